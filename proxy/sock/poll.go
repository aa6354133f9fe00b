package sock

import (
	"net"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// A pollDesc is Go's poller's note of a descriptor (runtime/netpoll.go). The kernel tells the
// poller once of what comes; the note keeps that until a wait takes it. Each read of net and
// of a syscall.RawConn throws it away first and then has to look, which is a system call that
// mostly finds nothing. The memory is never given back: a note may be looked at behind the end
// of its connection, when it may be another's.
type pollDesc = unsafe.Pointer

// pollWait waits until the descriptor is ready for 'r' or 'w'; not 0: it was closed, or its
// deadline has passed. One goroutine a mode at a time.
//
//go:linkname pollWait internal/poll.runtime_pollWait
func pollWait(pd pollDesc, mode int) int

const (
	// readyAt is where a pollDesc says whether there is something to read, behind link, fd,
	// fdseq and atomicInfo with 8 bytes each.
	readyAt = 32
	// ready is what it says then; 0: nothing has come, and nobody waits.
	ready = 1
)

// stirred tells whether something has come since the last wait, or somebody waits.
func stirred(pd pollDesc) bool {
	return atomic.LoadUintptr((*uintptr)(unsafe.Add(pd, readyAt))) != 0
}

// pollDescOf is nil where this Go keeps its notes in another way.
func pollDescOf(tcp *net.TCPConn) pollDesc {
	if at := pollDescAt(); at != 0 && !plain {
		return noteOf(unsafe.Pointer(tcp), at)
	}
	return nil
}

// noteOf is the note of a net.TCPConn or net.UnixConn, which begin with a pointer to their netFD.
func noteOf(conn unsafe.Pointer, at uintptr) pollDesc {
	return *(*pollDesc)(unsafe.Add(*(*unsafe.Pointer)(conn), at))
}

// pollDescAt is the offset of the note in net's netFD, 0 if it is not known. It is tried once:
// a byte that comes has to be noted, and the wait for it has to take the note.
var pollDescAt = sync.OnceValue(func() uintptr {
	at := noteOffset()
	if at == 0 || !tryNote(at) {
		return 0
	}
	return at
})

// noteOffset is where netFD.pfd.pd.runtimeCtx is.
func noteOffset() uintptr {
	t := reflect.TypeFor[net.TCPConn]()
	for _, name := range []string{"conn", "fd"} {
		f, ok := t.FieldByName(name)
		if !ok || f.Offset != 0 {
			return 0
		}
		t = f.Type
	}
	if t.Kind() != reflect.Pointer {
		return 0
	}
	t = t.Elem()
	var at uintptr
	for _, name := range []string{"pfd", "pd", "runtimeCtx"} {
		if t.Kind() != reflect.Struct {
			return 0
		}
		f, ok := t.FieldByName(name)
		if !ok {
			return 0
		}
		at += f.Offset
		t = f.Type
	}
	if t.Kind() != reflect.Uintptr {
		return 0
	}
	return at
}

func tryNote(at uintptr) bool {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = syscall.Close(fds[1]) }()
	f := os.NewFile(uintptr(fds[0]), "pair")
	conn, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return false
	}
	note := noteOf(unsafe.Pointer(c), at)
	said := (*uintptr)(unsafe.Add(note, readyAt))
	if note == nil || atomic.LoadUintptr(said) != 0 {
		return false
	}
	if n, err := syscall.Write(fds[1], []byte{1}); n != 1 || err != nil {
		return false
	}
	for i := 0; atomic.LoadUintptr(said) != ready; i++ {
		if i == 100 {
			return false
		}
		<-time.After(time.Millisecond)
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	if pollWait(note, 'r') != 0 || atomic.LoadUintptr(said) != 0 {
		return false
	}
	_ = c.SetReadDeadline(time.Now()) // and a wait that has nothing to take does not return as if
	return pollWait(note, 'r') != 0
}
