package claim

import (
	"sync"
	"time"

	"tokenrelay/shared/reqid"
)

// Answer is the answer of one key, kept as it is written. The leader's methods may
// be called on a nil Answer and do nothing: a request without a key pays one
// comparison.
type Answer struct {
	book *Book
	id   id

	mu        sync.Mutex // guards all below
	body      [32]byte
	first     reqid.ID // the request that answers
	known     bool     // it is known who answers
	leader    bool     // this proxy does
	stage     Stage
	head      Head
	buf       []byte // append only: what was handed out stays valid
	over      bool   // buf lacks something: it can not be repeated
	closed    bool   // nobody may follow any more
	keep      bool   // the client's answers may be kept
	followers int
	held      bool // by its leader, its mirror, or the book
	err       error
	changed   chan struct{} // closed at the next change; nil = nobody waits
	stop      func()        // ends the mirror
}

// tell wakes whoever waits. Called under the lock.
func (a *Answer) tell() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// Begin says that the answer has begun.
func (a *Answer) Begin(h Head) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.head, a.stage = h, Running
	a.tell()
}

// Write adds a part of the body. p is copied.
func (a *Answer) Write(p []byte) {
	if a != nil && len(p) > 0 {
		a.write(p)
	}
}

func (a *Answer) write(p []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	limit := MaxAnswer
	if a.followers > 0 {
		limit = MaxLive
	}
	if len(a.buf)+len(p) > limit || !a.book.reserve(len(p)) {
		a.over = true
		if a.followers == 0 {
			a.drop()
		}
	} else {
		a.buf = append(a.buf, p...)
	}
	a.tell()
}

// drop gives the bytes back. Called under the lock.
func (a *Answer) drop() {
	a.book.bytes.Add(int64(-len(a.buf)))
	a.buf = nil
}

// Done says that the answer is whole.
func (a *Answer) Done() {
	if a.end(Done, nil) {
		a.book.ended(a)
	}
}

// Fail says that the leader ended without output, or its answer broke off: whoever
// asks next leads a new request.
func (a *Answer) Fail() {
	if a == nil {
		return
	}
	a.mu.Lock()
	s := Freed
	if a.stage == Running {
		s = Broken
	}
	a.mu.Unlock()
	if a.end(s, nil) {
		a.book.ended(a)
	}
}

// end sets the last stage, once. It says whether it did.
func (a *Answer) end(s Stage, err error) bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stage >= Done {
		return false
	}
	a.stage, a.err, a.known, a.closed = s, err, true, s != Done
	a.tell()
	return true
}

// Abandon closes the answer to followers if there are none: its customer has left
// and it will not be finished. false: it is followed and must go on.
func (a *Answer) Abandon() bool {
	if a == nil {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.followers > 0 {
		return false
	}
	a.closed = true
	return true
}

// Followed says that somebody follows the answer at the moment.
func (a *Answer) Followed() bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.followers > 0
}

// release gives up what held the answer besides its followers.
func (a *Answer) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = false
	if a.followers == 0 {
		a.drop()
	}
}

// Leave ends following. An answer that is only mirrored is not read on for nobody.
func (a *Answer) Leave() {
	a.mu.Lock()
	a.followers--
	var stop func()
	if a.followers == 0 {
		if a.known && !a.leader && a.stage < Done {
			a.closed = true
			stop = a.stop
		}
		if !a.held {
			a.drop()
		}
	}
	a.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// First is the request that answers.
func (a *Answer) First() reqid.ID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first
}

// led says that a request of this proxy answered, and has ended.
func (a *Answer) led() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.leader && a.stage >= Done
}

// Head is the answer's head, once its stage is Running or Done.
func (a *Answer) Head() Head {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.head
}

// Err is why an answer Failed.
func (a *Answer) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Wait waits until the answer has begun or ended, at most d.
func (a *Answer) Wait(d time.Duration) Stage {
	_, s := a.wait(0, d, func(_ []byte, s Stage) bool { return s != Waiting })
	return s
}

// Whole waits until the answer has ended, at most d. With Done it returns all of the
// body.
func (a *Answer) Whole(d time.Duration) ([]byte, Stage) {
	p, s := a.wait(0, d, func(_ []byte, s Stage) bool { return s > Running })
	if s == Done {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.over {
			return nil, Lost
		}
	}
	return p, s
}

// settled waits until it is known who answers, or, if nobody may follow any more,
// until the answer has ended.
func (a *Answer) settled(d time.Duration) bool {
	done := false
	a.wait(0, d, func([]byte, Stage) bool {
		done = a.known && (!a.closed || a.stage >= Done)
		return done
	})
	return done
}

// Next returns the bytes behind offset, or waits for some or for the end, at most d.
// The answer is at its last stage when there are no more bytes. They stay valid and
// are not to be changed.
func (a *Answer) Next(offset int, d time.Duration) ([]byte, Stage) {
	return a.wait(offset, d, func(p []byte, s Stage) bool { return len(p) > 0 || s > Running })
}

func (a *Answer) wait(offset int, d time.Duration, enough func([]byte, Stage) bool) ([]byte, Stage) {
	var t *time.Timer
	for {
		a.mu.Lock()
		p, s := a.view(offset)
		if enough(p, s) || d <= 0 {
			a.mu.Unlock()
			if t != nil {
				t.Stop()
			}
			return p, s
		}
		if a.changed == nil {
			a.changed = make(chan struct{})
		}
		changed := a.changed
		a.mu.Unlock()
		if t == nil {
			t = time.NewTimer(d)
		}
		select {
		case <-changed:
		case <-t.C:
			d = 0
		}
	}
}

// view is what a follower at offset sees. Called under the lock.
func (a *Answer) view(offset int) ([]byte, Stage) {
	s := a.stage
	p := a.buf[min(offset, len(a.buf)):]
	if a.over && (s == Running || s == Done) && len(p) == 0 {
		// What is missing can not be had any more: for one who has got nothing it can not
		// be repeated, for the others it breaks off.
		if offset == 0 {
			return nil, Lost
		}
		return nil, Broken
	}
	if len(p) > 0 && s > Running && s != Done && s != Broken {
		p = nil
	}
	return p, s
}
