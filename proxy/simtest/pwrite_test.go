package simtest

import "golang.org/x/sys/unix"

// pwrite writes b at off by one system call; files in memory take it whole.
func pwrite(fd int, b []byte, off int64) error {
	_, err := unix.Pwrite(fd, b, off)
	return err
}
