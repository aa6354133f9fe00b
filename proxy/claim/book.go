package claim

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tokenrelay/shared/reqid"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

// Store is what claims need of Postgres.
type Store interface {
	TakeClaim(ctx context.Context, r *store.ClaimRequest) (store.Claim, error)
	FinishClaim(ctx context.Context, clientID int64, key [32]byte, id reqid.ID, answer []byte) error
	FreeClaim(ctx context.Context, clientID int64, key [32]byte, id reqid.ID) error
}

// Options of a book.
type Options struct {
	Store  Store
	Slot   int16
	Epoch  int64
	Secret []byte           // RELAY_SECRET_KEY
	Now    func() time.Time // the clock that all proxies share
	Memory int64            // bytes of all answers that are kept, default 256 MiB
	Log    *slog.Logger
}

// Stats are a book's counters.
type Stats struct {
	Led      atomic.Int64 // keys taken
	Attached atomic.Int64 // requests that follow one of this proxy
	Mirrored atomic.Int64 // answers followed on another proxy
	Replayed atomic.Int64 // answers read from Postgres
	Refused  atomic.Int64 // conflicts
	Freed    atomic.Int64 // keys freed
	Errors   atomic.Int64 // failed calls of Postgres and of other proxies
	Pending  atomic.Int64 // ended answers that Postgres does not know of yet
}

// Book is a proxy's answers that may be followed.
type Book struct {
	o       Options
	sealKey []byte
	peerKey []byte
	peers   *peers
	Stats   Stats

	bytes  atomic.Int64 // of all answers
	asking chan struct{}

	mu      sync.Mutex // guards answers, queue and closed
	answers map[id]*Answer
	queue   []*Answer // ended, to be written
	more    chan struct{}

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

type id struct {
	client int64
	key    [32]byte
}

const (
	maxAsking = 4 // of the store's connections: money must not wait behind claims
	writers   = 2
)

// New makes a book and starts its writers; Close ends them.
func New(o Options) (*Book, error) {
	if o.Memory == 0 {
		o.Memory = 256 << 20
	}
	b := &Book{o: o, answers: map[id]*Answer{}, asking: make(chan struct{}, maxAsking), more: make(chan struct{}, writers)}
	var err error
	if b.sealKey, err = seal.Derive(o.Secret, "answers"); err != nil {
		return nil, err
	}
	if b.peerKey, err = seal.Derive(o.Secret, "proxies"); err != nil {
		return nil, err
	}
	b.peers = newPeers()
	b.ctx, b.cancel = context.WithCancel(context.Background())
	for range writers {
		b.running.Go(b.write)
	}
	return b, nil
}

// Close ends what runs in the background. What was not written by then stays
// claimed until this proxy's next start frees it.
func (b *Book) Close() {
	b.cancel()
	b.running.Wait()
	b.peers.close()
}

// Drain waits until all that ended is in Postgres.
func (b *Book) Drain(ctx context.Context) error {
	for b.Stats.Pending.Load() > 0 {
		if !pause(ctx, 5*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reserve counts bytes of answers; false: there is no more memory for them.
func (b *Book) reserve(n int) bool {
	if b.bytes.Add(int64(n)) > b.o.Memory {
		b.bytes.Add(int64(-n))
		return false
	}
	return true
}

// settleWait bounds how long a request waits for another that asks or ends.
const settleWait = 5 * time.Second

// Bytes is the memory that answers take.
func (b *Book) Bytes() int64 { return b.bytes.Load() }

// Take finds out who answers a request. lead: the caller does, and ends the answer
// with Done or Fail; else it follows the answer and ends that with Leave. Errors are
// *Conflict, ErrBusy, or of the store.
func (b *Book) Take(ctx context.Context, q *Ask) (a *Answer, lead bool, err error) {
	key := id{client: q.Client, key: q.Key}
	for {
		a, how, err := b.get(key, q)
		switch {
		case err != nil:
			return nil, false, err
		case how == follows:
			return a, false, nil
		case how == asks:
			return b.ask(ctx, a, q)
		}
		if !a.settled(settleWait) {
			return nil, false, ErrBusy
		}
	}
}

// What a request finds in the book.
type found uint8

const (
	asks    found = iota // nothing: Postgres is to be asked
	follows              // an answer, which it follows now
	waits                // one that must be settled first
)

// get finds the answer under way, to be followed, or begins one, about which
// Postgres is to be asked. Two cases wait: while Postgres is being asked for another
// body, it is not known who has the key; and an answer that is being given up must
// have ended before there is another, so that there are never two upstream calls.
func (b *Book) get(key id, q *Ask) (*Answer, found, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.answers[key]; a != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case a.closed && a.stage >= Done:
			if a.leader {
				q.gone = a.first
			}
		case a.closed, a.body != q.Body && !a.known:
			return a, waits, nil
		case a.body != q.Body:
			b.Stats.Refused.Add(1)
			return nil, 0, &Conflict{First: a.first, Body: true}
		case a.over && a.followers == 0:
			b.Stats.Refused.Add(1)
			return nil, 0, &Conflict{First: a.first}
		default:
			a.followers++
			b.Stats.Attached.Add(1)
			return a, follows, nil
		}
	}
	a := &Answer{book: b, id: key, body: q.Body, first: q.RequestID, held: true}
	b.answers[key] = a
	return a, asks, nil
}

// forget takes an answer out of the book: nobody finds it any more.
func (b *Book) forget(a *Answer) {
	b.mu.Lock()
	if b.answers[a.id] == a {
		delete(b.answers, a.id)
	}
	b.mu.Unlock()
	a.release()
}

// ask asks Postgres who has the key.
func (b *Book) ask(ctx context.Context, a *Answer, q *Ask) (*Answer, bool, error) {
	c, err := b.claim(ctx, q)
	if err != nil {
		b.Stats.Errors.Add(1)
		a.end(Failed, err)
		b.forget(a)
		return nil, false, err
	}
	a.mu.Lock()
	a.first, a.known, a.keep = c.RequestID, true, c.Retention > 0
	if a.leader = c.Mine; !a.leader {
		a.followers++
	}
	a.closed = c.Body != a.body // the key is the other body's: who asks for that one asks anew
	a.tell()
	a.mu.Unlock()
	switch {
	case c.Mine:
		b.Stats.Led.Add(1)
		return a, true, nil
	case c.Body != a.body:
		return nil, false, b.refuse(a, Mismatch, &Conflict{First: c.RequestID, Body: true})
	case c.Finished:
		if !b.open(a, &c) {
			return nil, false, b.refuse(a, Lost, &Conflict{First: c.RequestID})
		}
		b.Stats.Replayed.Add(1)
		a.end(Done, nil)
		b.forget(a)
		return a, false, nil
	}
	b.Stats.Mirrored.Add(1)
	b.mirror(a, &c)
	return a, false, nil
}

func (b *Book) refuse(a *Answer, s Stage, err *Conflict) error {
	b.Stats.Refused.Add(1)
	a.end(s, nil)
	a.Leave()
	b.forget(a)
	return err
}

// claim is one look-up, or two when what the first one says is known to be over:
// the row names a request of this very process that is in no book any more, or one
// that its own proxy denied after it had been asked.
func (b *Book) claim(ctx context.Context, q *Ask) (store.Claim, error) {
	select {
	case b.asking <- struct{}{}:
		defer func() { <-b.asking }()
	default:
		wait, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		select {
		case b.asking <- struct{}{}:
			defer func() { <-b.asking }()
		case <-wait.Done():
			return store.Claim{}, ErrBusy
		}
	}
	r := store.ClaimRequest{
		ClientID: q.Client, Key: q.Key, Body: q.Body, RequestID: q.RequestID, Slot: b.o.Slot, Epoch: b.o.Epoch, Now: b.o.Now(), Gone: q.gone,
	}
	for {
		c, err := b.o.Store.TakeClaim(ctx, &r)
		if err != nil || c.Mine || c.Finished {
			return c, err
		}
		own := c.Slot == b.o.Slot && c.Epoch == b.o.Epoch
		if r.Gone == c.RequestID || !own && c.RequestID != q.denied {
			return c, nil
		}
		r.Gone = c.RequestID
	}
}

// ended takes note of a leader's end: Postgres is told in the background. A whole
// answer stays in the book until then, so that nobody finds a finished request
// neither here nor there.
func (b *Book) ended(a *Answer) {
	a.mu.Lock()
	whole := a.stage == Done
	a.mu.Unlock()
	b.mu.Lock()
	if !whole && b.answers[a.id] == a {
		delete(b.answers, a.id)
	}
	b.queue = append(b.queue, a)
	b.mu.Unlock()
	b.Stats.Pending.Add(1)
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// next takes an ended answer from the queue.
func (b *Book) next() *Answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return nil
	}
	a := b.queue[0]
	b.queue[0] = nil
	b.queue = b.queue[1:]
	return a
}

// write tells Postgres of ended answers.
func (b *Book) write() {
	for {
		a := b.next()
		if a == nil {
			select {
			case <-b.more:
				continue
			case <-b.ctx.Done():
				return
			}
		}
		if !b.tell(a) {
			return
		}
		b.forget(a)
		b.Stats.Pending.Add(-1)
	}
}

// tell writes one end, again and again while Postgres is away. false: the book is
// closed.
func (b *Book) tell(a *Answer) bool {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := b.tellOnce(a)
		switch {
		case err == nil:
			return true
		case !store.Unavailable(err):
			b.o.Log.Error("an idempotency key could not be updated", "request_id", a.First().String(), "error", err)
			return true
		}
		b.Stats.Errors.Add(1)
		if !pause(b.ctx, wait) {
			return false
		}
	}
}

func (b *Book) tellOnce(a *Answer) error {
	a.mu.Lock()
	stage, first, buf, head := a.stage, a.first, a.buf, a.head
	kept := a.keep && !a.over && len(buf) <= MaxAnswer
	a.mu.Unlock()
	if stage != Done {
		b.Stats.Freed.Add(1)
		return b.o.Store.FreeClaim(b.ctx, a.id.client, a.id.key, first)
	}
	if !kept {
		return b.o.Store.FinishClaim(b.ctx, a.id.client, a.id.key, first, nil)
	}
	sealed, err := b.seal(a, first, head, buf)
	if err != nil {
		return err
	}
	err = b.o.Store.FinishClaim(b.ctx, a.id.client, a.id.key, first, sealed)
	if errors.Is(err, store.ErrInvalid) {
		return b.o.Store.FinishClaim(b.ctx, a.id.client, a.id.key, first, nil)
	}
	return err
}
