//go:build !linux

package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync flushes a file.
func datasync(fd int) error { return unix.Fsync(fd) }

// allocate sets the size; the zeros that are written next take the space.
func allocate(f *os.File, size int64) error { return f.Truncate(size) }
