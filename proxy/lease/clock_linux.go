package lease

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The clock of leases and rate limits counts suspends (CLOCK_BOOTTIME), which takes a
// system call to ask; the runtime's two clocks take none. A suspend shows in those as well:
// the wall goes on and the monotonic clock does not. So the distance between the monotonic
// clock and the one that is wanted is kept, and asked for anew when the wall has moved
// against the monotonic clock by more than drift: behind a suspend, or when somebody sets
// the wall, which is no suspend and is found to be none.

// drift is how far the wall may move against the monotonic clock before the kernel is asked
// again, ns. NTP moves it by at most half a millisecond a second.
const drift = int64(time.Millisecond)

var (
	began = time.Now()
	known atomic.Pointer[distances]
)

// distances are of other clocks to the monotonic one, ns, at one moment.
type distances struct {
	clock int64 // the wanted one's
	wall  int64
}

// Now is the time in ns of a clock that never jumps and counts suspends, the one that
// leases and rate limits go by. Zero is the start of the machine.
func Now() int64 { return At(time.Now()) }

// At is what Now was at t, which time.Now gave a moment ago.
func At(t time.Time) int64 {
	mono := int64(t.Sub(began))
	wall := t.UnixNano() - mono
	if k := known.Load(); k != nil {
		if d := wall - k.wall; d <= drift && d >= -drift {
			return mono + k.clock
		}
	}
	if now := ask(); now != 0 {
		return now - int64(time.Since(t))
	}
	return 0
}

// ask reads all three clocks. A thread that is kept waiting between them would read what
// does not belong together, so the closest of a few readings counts.
func ask() int64 {
	var best distances
	closest := int64(-1)
	var now int64
	for range 5 {
		t := time.Now()
		clock := boottime()
		if clock == 0 {
			return 0
		}
		mono := int64(t.Sub(began))
		if took := int64(time.Since(t)); closest < 0 || took < closest {
			closest, best = took, distances{clock: clock - mono, wall: t.UnixNano() - mono}
		}
		now = clock
		if closest < int64(20*time.Microsecond) {
			break
		}
	}
	known.Store(&best)
	return now
}

// boottime asks the kernel. A raw system call: the clock cannot block, and telling the
// scheduler about it would cost ten times the call.
func boottime() int64 {
	var t unix.Timespec
	if _, _, e := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&t)), 0); e != 0 {
		return 0
	}
	return t.Nano()
}
