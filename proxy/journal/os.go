package journal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes the folder's lock without waiting. The lock belongs to the open
// file, so it is gone with the process however that dies.
func tryLock(f *os.File) (bool, error) {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case errors.Is(err, unix.EINTR):
		default:
			return false, err
		}
	}
}

// pwriteAll writes b at off by system call: os.File would add two locks. An error
// after a part was written leaves that part, which reads as a torn record.
func pwriteAll(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// freeBytes returns what an unprivileged process may still use of the disk.
func freeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// zeros is as much as is written at once, and no more than a page: the kernel keeps what
// comes in one write in one piece of its cache, and such a piece is dirty and goes to the
// disk as a whole. A record of 200 bytes had 256 KiB written by its sync.
var zeros [4 << 10]byte

// writeZeros overwrites [from, to) with zeros.
func writeZeros(f *os.File, from, to int64) error {
	for from < to {
		n := min(int64(len(zeros)), to-from)
		if err := pwriteAll(int(f.Fd()), zeros[:n], from); err != nil {
			return fmt.Errorf("cannot zero %s: %w", f.Name(), err)
		}
		from += n
	}
	return nil
}
