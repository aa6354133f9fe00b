package upstream

import (
	"syscall"
	"unsafe"
)

// peek looks at the next byte of a socket without waiting and without taking it.
// n is -1 with an errno, 0 at FIN, 1 if a byte is there. A raw call: it cannot block.
func peek(fd uintptr) (n int, errno syscall.Errno) {
	var b [1]byte
	r, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return -1, e
	}
	return int(r), 0
}
