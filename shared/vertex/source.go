package vertex

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// How a token is kept fresh.
const (
	early = 5 * time.Minute  // before its end another is fetched, at most a fourth of its life
	slack = 10 * time.Second // before its end it is not used any more
	again = 5 * time.Second  // after a failure, before the endpoint is asked again
	young = time.Minute      // a token refused at this age is refused for what the account is
)

// Source has a token of one account ready. Who asks for it takes it from memory; another
// is fetched beside the requests some minutes before it ends. It may be used from any
// goroutine.
type Source struct {
	account   *Account
	transport http.RoundTripper
	cur       atomic.Pointer[issued]

	mu     sync.Mutex
	flight chan struct{} // closed when the fetch under way has ended, nil = there is none
	err    error         // of the last fetch
	errAt  time.Time
}

type issued struct {
	token          string
	since          time.Time
	refresh, until time.Time
}

// NewSource returns a source without a token: the first is fetched when it is asked for.
// transport is as for Fetch.
func NewSource(a *Account, transport http.RoundTripper) *Source {
	return &Source{account: a, transport: transport}
}

// Account is the account's address and the id of its key: of its secret, what a provider
// may repeat.
func (s *Source) Account() (email, keyID string) {
	return s.account.conf.Email, s.account.conf.PrivateKeyID
}

// Token is the token to use now, "" if there is none that holds. Where another should be
// or must be fetched, that is begun; nobody waits for it here.
func (s *Source) Token(now time.Time) string {
	t := s.cur.Load()
	if t != nil && now.Before(t.refresh) {
		return t.token
	}
	if s.mu.TryLock() { // who holds it begins a fetch, or has just ended one
		s.begin(now)
		s.mu.Unlock()
	}
	if t != nil && now.Before(t.until) {
		return t.token
	}
	return ""
}

// begin starts a fetch if none is under way and none has just failed. s.mu is held.
func (s *Source) begin(now time.Time) {
	if s.flight != nil || s.err != nil && now.Sub(s.errAt) < again {
		return
	}
	done := make(chan struct{})
	s.flight = done
	go func() {
		token, until, err := s.account.Fetch(context.Background(), s.transport)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight, s.err, s.errAt = nil, err, time.Now()
		if err == nil {
			life := until.Sub(s.errAt)
			s.cur.Store(&issued{token, s.errAt, until.Add(-min(early, life/4)), until.Add(-min(slack, life/8))})
		}
		close(done)
	}()
}

// errEnded says that a token was fetched and held no longer than the fetch took.
var errEnded = errors.New("the token had ended when it came")

// Wait is Token for who has nothing to do before there is one. The error is that of
// the fetch, or of ctx; a *RefusedError says that the account is at fault.
func (s *Source) Wait(ctx context.Context) (string, error) {
	if t := s.Token(time.Now()); t != "" {
		return t, nil
	}
	s.mu.Lock()
	s.begin(time.Now())
	flight, err := s.flight, s.err
	s.mu.Unlock()
	if flight == nil && err != nil {
		return "", err
	}
	if flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	if t := s.Token(time.Now()); t != "" {
		return t, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return "", s.err
	}
	return "", errEnded
}

// Refused says that an upstream does not take the token. One that has been in use is
// given up, and true tells that another may do; a new one is refused for what its account
// is.
func (s *Source) Refused(token string, now time.Time) bool {
	t := s.cur.Load()
	if t == nil || t.token != token {
		return true // another is there already
	}
	if now.Sub(t.since) < young {
		return false
	}
	s.cur.CompareAndSwap(t, nil)
	return true
}
