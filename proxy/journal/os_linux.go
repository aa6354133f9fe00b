package journal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// datasync flushes a file's data and what is needed to read it back.
func datasync(fd int) error {
	for {
		if err := unix.Fdatasync(fd); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// allocate makes sure that the first size bytes have disk space.
func allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP):
			return f.Truncate(size) // the zeros that follow take the space
		default:
			return err
		}
	}
}
