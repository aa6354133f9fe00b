package lease

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Now is the time in ns of a clock that never jumps and counts suspends
// (CLOCK_BOOTTIME), the one that leases and rate limits go by. Zero is the start of
// the machine. A raw system call: the clock cannot block, and telling the
// scheduler about it would cost ten times the call.
func Now() int64 {
	var t unix.Timespec
	if _, _, e := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&t)), 0); e != 0 {
		return 0
	}
	return t.Nano()
}
