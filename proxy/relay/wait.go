package relay

import (
	"errors"
	"time"

	"tokenrelay/proxy/live"
	"tokenrelay/proxy/upstream"
)

// The reasons for which a wait ends. They come out of a read from the upstream.
var (
	errFirstByte  = errors.New("relay: the upstream did not answer in time")
	errSilent     = errors.New("relay: the upstream fell silent")
	errTooLong    = errors.New("relay: the request took longer than any may")
	errClientGone = errors.New("relay: the customer left")
	errKeyCut     = errors.New("relay: the key was disabled or revoked")
)

// errCommit pauses a read: a stream has been held back for long enough and is to
// be given to the customer as it is. It is temporary, so that TLS keeps its place.
var errCommit error = pause{}

type pause struct{}

func (pause) Error() string   { return "relay: time to let the stream go" }
func (pause) Timeout() bool   { return true }
func (pause) Temporary() bool { return true }

const (
	heartbeatAfter = int64(15 * time.Second) // silence towards the customer
	holdOpening    = int64(2 * time.Second)  // how long the opening of a stream is held for failover
	holdBytes      = 64 << 10                // and how much of it
	eofWait        = int64(time.Second)      // for the end of a response behind its terminator
)

var _ upstream.Waiter = (*Exchange)(nil)

// Tick is asked about twice a second while an upstream is silent: is there still
// time, is the customer still there, may its key go on, is a heartbeat due.
func (x *Exchange) Tick(now int64) error {
	switch x.phase {
	case waitHead:
		if now >= x.firstByteBy {
			return errFirstByte
		}
	case waitEOF:
		if now-x.lastRead >= eofWait {
			return errSilent
		}
		return nil
	default:
		if now-x.lastRead >= int64(x.r.o.IdleTimeout) {
			return errSilent
		}
	}
	if now >= x.endBy {
		return errTooLong
	}
	if !x.stream {
		return nil // a buffered answer is read to its end whoever still waits for it
	}
	if x.key.Live.Cut() == live.CutNow {
		return errKeyCut
	}
	if x.phase == waitDrain || x.away {
		return x.tickAway(now)
	}
	gone := false
	switch x.client.Look() {
	case Gone:
		gone = true
	case HalfClosed:
		// It may only have finished sending. A heartbeat tells: a closed socket
		// answers it with a reset.
		if x.phase == waitStream && !x.halfProbed && x.atBoundary() {
			x.halfProbed = true
			gone = x.beat(now) != nil
		}
	}
	switch {
	case gone:
	case x.phase == waitOpening && now-x.openedAt >= holdOpening:
		return errCommit
	case x.phase == waitStream && now-x.lastWrite >= heartbeatAfter && x.atBoundary():
		gone = x.beat(now) != nil
	}
	if gone {
		// A read that ends with an error is lost to TLS: who goes on says so by a flag.
		if x.away = x.goesOn(); !x.away {
			return errClientGone
		}
	}
	return nil
}

// tickAway looks after a request whose customer has left: those who follow it get
// the heartbeats, and when they have left as well it ends.
func (x *Exchange) tickAway(now int64) error {
	if !x.goesOn() {
		return errClientGone
	}
	if x.phase == waitOpening && now-x.openedAt >= holdOpening {
		return errCommit
	}
	if x.phase != waitHead && x.phase != waitOpening && now-x.lastWrite >= heartbeatAfter && x.atBoundary() {
		x.lastWrite = now
		x.claim.Write(x.keepAlive())
	}
	return nil
}

// atBoundary reports whether what the customer has got ends with a whole event. Sound and
// plain text have no place for a heartbeat.
func (x *Exchange) atBoundary() bool { return !x.oversize && !x.plain && len(x.out) == 0 }

// beat writes the protocol's heartbeat.
func (x *Exchange) beat(now int64) error {
	x.lastWrite = now
	b := x.keepAlive()
	x.claim.Write(b)
	if _, err := x.w.Write(b); err != nil {
		return errClientGone
	}
	x.bytesOut += int64(len(b))
	return nil
}
