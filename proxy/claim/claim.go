// Package claim makes a request that comes twice one request: requests of a client
// that carry the same Idempotency-Key and body within a day get one answer, from
// one upstream call, for one charge, whichever proxy they reach.
//
// The first one claims the key in Postgres and leads: it runs as any request does,
// and what it answers is kept while it is written. The others follow: they read
// what the leader has answered so far and then as it comes. A leader never waits
// for a follower. On other proxies the answer is mirrored from the leader's proxy;
// once finished it is read from an encrypted copy in Postgres.
package claim

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"tokenrelay/shared/reqid"
)

// The sizes.
const (
	MaxKey    = 255      // bytes of an Idempotency-Key
	MaxAnswer = 1 << 20  // bytes of an answer that is kept for a day
	MaxLive   = 16 << 20 // bytes of an answer that is kept while somebody follows it
)

// Key is what stands for an Idempotency-Key, which itself is kept nowhere. ok is
// false for one that is not 1 … 255 printable ASCII characters.
func Key(value []byte) (digest [32]byte, ok bool) {
	if len(value) == 0 || len(value) > MaxKey {
		return digest, false
	}
	for _, c := range value {
		if c < ' ' || c > '~' {
			return digest, false
		}
	}
	return sha256.Sum256(value), true
}

// Head is what an answer has before its body.
type Head struct {
	Status  int
	Type    string // Content-Type
	Clamped int64  // the output cap that the relay set, 0 = none
}

// Stage is how far an answer is.
type Stage uint8

// The stages of an answer. Behind Done nothing follows any more.
const (
	Waiting  Stage = iota // nothing yet
	Running               // head and a part of the body
	Done                  // whole
	Broken                // broke off after a part of the body
	Freed                 // the leader ended without output: somebody may lead anew
	Unasked               // its proxy did not know the request any more: ask again
	Unheard               // its proxy did not answer: ask again, not for ever
	Lost                  // it can not be repeated: too large, or not kept
	Mismatch              // the key was used for another body
	Failed                // it could not be found out
)

// The reasons why a request with a key is refused.
var (
	ErrBusy    = errors.New("claim: too many idempotency keys are being looked up")
	ErrUnheard = errors.New("claim: the proxy that answers the first request does not answer")
)

// Conflict says that a key was used by a request whose answer this one can not get.
type Conflict struct {
	First reqid.ID // the request that used the key
	Body  bool     // for another body; else its answer can not be repeated
}

func (c *Conflict) Error() string {
	if c.Body {
		return fmt.Sprintf("claim: the key was used for another body by %s", c.First)
	}
	return fmt.Sprintf("claim: the answer of %s can not be repeated", c.First)
}

// Ask is one request that carries a key.
type Ask struct {
	Client    int64
	Key, Body [32]byte
	RequestID reqid.ID

	gone    reqid.ID // ended without an answer, for certain
	denied  reqid.ID // its own proxy does not know it
	unheard time.Time
}

// unheardFor is how long a proxy that does not answer is asked again: long enough
// to tell a killed one from a slow one.
const unheardFor = 9 * time.Second

// Again prepares for another Take after a followed answer ended at a stage that
// allows it. The error is for the customer.
func (q *Ask) Again(a *Answer, s Stage) error {
	first := a.First()
	switch s {
	case Freed:
		q.gone = first
	case Unasked:
		q.denied = first
	case Unheard:
		if now := time.Now(); q.unheard.IsZero() {
			q.unheard = now
		} else if now.Sub(q.unheard) > unheardFor {
			return ErrUnheard
		}
	case Broken: // before anything of it was used
		if a.led() {
			q.gone = first
		}
	case Mismatch:
		return &Conflict{First: first, Body: true}
	case Lost:
		return &Conflict{First: first}
	case Failed:
		return a.Err()
	}
	return nil
}
