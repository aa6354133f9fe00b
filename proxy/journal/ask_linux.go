package journal

import (
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelAsker has the kernel do fdatasync while nobody waits for it (Linux's AIO, which has
// FDSYNC since 4.18). A thread that waits in fdatasync(2) costs far more than the
// call: the runtime takes its processor away, wakes another thread for it, and looks
// every 20 µs whether it is back. One question at a time; syncMu is held around
// all but close.
type kernelAsker struct {
	ctx  uintptr
	cb   iocb
	list [1]*iocb
}

// iocb is struct iocb of linux/aio_abi.h; all we set is the operation and the file.
type iocb struct {
	_      uint64 // data
	_, _   uint32 // key, flags
	opcode uint16
	_      uint16 // priority
	fd     uint32
	_, _   uint64 // buffer, bytes
	_      int64  // offset
	_      uint64
	_      uint32 // more flags
	_      uint32 // eventfd
}

type ioEvent struct {
	data, obj uint64
	res, res2 int64
}

const opDatasync = 3 // IOCB_CMD_FDSYNC

// newAsker is nil where the kernel does not offer it: the syncer then waits itself.
func newAsker() asker {
	a := new(kernelAsker)
	if _, _, e := unix.RawSyscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&a.ctx)), 0); e != 0 {
		return nil
	}
	return a
}

// ask begins the fdatasync of a file. An error says that it was not begun.
func (a *kernelAsker) ask(fd int) error {
	a.cb = iocb{opcode: opDatasync, fd: uint32(fd)}
	a.list[0] = &a.cb
	n, _, e := unix.RawSyscall(unix.SYS_IO_SUBMIT, a.ctx, 1, uintptr(unsafe.Pointer(&a.list[0])))
	runtime.KeepAlive(a)
	if e != 0 {
		return e
	}
	if n != 1 {
		return errNotBegun
	}
	return nil
}

var errNotBegun = errors.New("the kernel did not take the request")

// answer tells whether the fdatasync is done, and how it ended. With wait it is.
func (a *kernelAsker) answer(wait bool) (done bool, err error) {
	var ev ioEvent
	for {
		var n uintptr
		var e unix.Errno
		if wait {
			n, _, e = unix.Syscall6(unix.SYS_IO_GETEVENTS, a.ctx, 1, 1, uintptr(unsafe.Pointer(&ev)), 0, 0)
		} else {
			n, _, e = unix.RawSyscall6(unix.SYS_IO_GETEVENTS, a.ctx, 0, 1, uintptr(unsafe.Pointer(&ev)), 0, 0)
		}
		switch {
		case e == unix.EINTR:
			continue
		case e != 0:
			return true, e
		case n == 0:
			return false, nil
		}
		if ev.res < 0 {
			return true, unix.Errno(-ev.res)
		}
		return true, nil
	}
}

// close gives the kernel's memory back. Nothing may be asked any more.
func (a *kernelAsker) close() {
	if a.ctx != 0 {
		_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, a.ctx, 0, 0)
		a.ctx = 0
	}
}
