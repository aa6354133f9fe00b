package journal

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alarm wakes the goroutine that waits for it, once, after a time. Setting it is one
// small system call of whoever finishes a request, where setting a timer of the
// runtime wakes a second thread to look after it.
type alarm struct {
	f   *os.File
	raw syscall.RawConn
	fd  int
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	a := &alarm{f: os.NewFile(uintptr(fd), "alarm"), fd: fd}
	if a.raw, err = a.f.SyscallConn(); err != nil {
		_ = a.f.Close()
		return nil, err
	}
	return a, nil
}

// set makes it ring after d from now, and not at an earlier setting.
func (a *alarm) set(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, int64(d)))}
	// Raw: it cannot block, and a fault of it is one of the arguments.
	_, _, _ = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(a.fd), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

// wait waits until it rings. The read cannot block and does not tell the scheduler, which
// would wake the runtime's monitor for it.
func (a *alarm) wait() {
	_ = a.raw.Read(func(fd uintptr) bool {
		var count [8]byte
		for {
			_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&count[0])), uintptr(len(count)))
			if errno != unix.EINTR {
				return errno != unix.EAGAIN
			}
		}
	})
}

func (a *alarm) close() { _ = a.f.Close() }
