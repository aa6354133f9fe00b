package claim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenrelay/shared/obs"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// rows is the claim table, shared by the books of a test.
type rows struct {
	mu     sync.Mutex
	claims map[id]*store.Claim
	urls   map[int16]string
	silent map[int16]time.Duration
	down   bool
	calls  int
}

func (r *rows) away() error {
	if r.down {
		return context.DeadlineExceeded
	}
	return nil
}

func (r *rows) TakeClaim(_ context.Context, q *store.ClaimRequest) (store.Claim, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if err := r.away(); err != nil {
		return store.Claim{}, err
	}
	key := id{q.ClientID, q.Key}
	if c := r.claims[key]; c != nil && c.RequestID != q.Gone {
		c.InternalURL, c.Silent = r.urls[c.Slot], r.silent[c.Slot]
		return *c, nil
	}
	c := store.Claim{Body: q.Body, RequestID: q.RequestID, Slot: q.Slot, Epoch: q.Epoch, Retention: store.ClaimTTL}
	r.claims[key] = &c
	mine := c
	mine.Mine = true
	return mine, nil
}

func (r *rows) FinishClaim(_ context.Context, client int64, key [32]byte, first reqid.ID, answer []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.away(); err != nil {
		return err
	}
	if c := r.claims[id{client, key}]; c != nil && c.RequestID == first {
		c.Finished, c.Answer = true, bytes.Clone(answer)
	}
	return nil
}

func (r *rows) FreeClaim(_ context.Context, client int64, key [32]byte, first reqid.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.away(); err != nil {
		return err
	}
	if c := r.claims[id{client, key}]; c != nil && c.RequestID == first {
		delete(r.claims, id{client, key})
	}
	return nil
}

func (r *rows) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// fleet makes n books over one table, each with its internal port.
func fleet(t *testing.T, n int, edit ...func(*Options)) (*rows, []*Book) {
	t.Helper()
	r := &rows{claims: map[id]*store.Claim{}, urls: map[int16]string{}, silent: map[int16]time.Duration{}}
	var books []*Book
	for i := range n {
		o := Options{Store: r, Slot: int16(i + 1), Epoch: 1, Secret: make([]byte, seal.KeySize), Now: time.Now, Log: obs.Discard()}
		for _, f := range edit {
			f(&o)
		}
		b, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(b)
		r.urls[int16(i+1)] = s.URL
		t.Cleanup(func() { b.Close(); s.Close() })
		books = append(books, b)
	}
	return r, books
}

func ask(key, body byte) *Ask {
	return &Ask{Client: 7, Key: [32]byte{key}, Body: [32]byte{body}, RequestID: reqid.New(time.Now())}
}

// read follows an answer to its end.
func read(a *Answer) ([]byte, Stage) {
	defer a.Leave()
	var got []byte
	for {
		p, s := a.Next(len(got), 10*time.Second)
		got = append(got, p...)
		if len(p) == 0 && s != Running {
			return got, s
		}
	}
}

func take(t *testing.T, b *Book, q *Ask) (*Answer, bool) {
	t.Helper()
	a, lead, err := b.Take(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return a, lead
}

// get takes a key as a request does: again where the answer that it followed says
// so. It returns the answer to be led, or what was read of it.
func get(b *Book, q *Ask) (lead *Answer, got []byte, h Head, err error) {
	for {
		a, leads, err := b.Take(context.Background(), q)
		if err != nil {
			return nil, nil, Head{}, err
		}
		if leads {
			return a, nil, Head{}, nil
		}
		for s := Running; s == Running; {
			var p []byte
			p, s = a.Next(len(got), 10*time.Second)
			if got = append(got, p...); len(p) > 0 {
				s = Running
			} else if s != Running {
				if s == Done {
					h := a.Head()
					a.Leave()
					return nil, got, h, nil
				}
				if err := q.Again(a, s); err != nil || len(got) > 0 {
					a.Leave()
					return nil, got, Head{}, errors.Join(err, fmt.Errorf("broke off after %d bytes", len(got)))
				}
				a.Leave()
			}
		}
	}
}

func drained(t *testing.T, books ...*Book) {
	t.Helper()
	for i, b := range books {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := b.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		deadline := time.Now().Add(5 * time.Second)
		for time.Now().Before(deadline) {
			b.mu.Lock()
			n := len(b.answers)
			b.mu.Unlock()
			if n == 0 && b.Bytes() == 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if n := b.Bytes(); n != 0 || len(b.answers) != 0 {
			t.Errorf("book %d: %d bytes, %d answers left", i, n, len(b.answers))
		}
	}
}

func TestKeys(t *testing.T) {
	for _, bad := range []string{"", "a\tb", "a\x7f", "é", "a\x00", strings.Repeat("k", 256)} {
		if _, ok := Key([]byte(bad)); ok {
			t.Errorf("%q is a key", bad)
		}
	}
	seen := map[[32]byte]string{}
	for _, good := range []string{"a", "A", " ", "~", "with spaces, and such", strings.Repeat("k", 255)} {
		k, ok := Key([]byte(good))
		if !ok || seen[k] != "" {
			t.Errorf("%q: %v, like %q", good, ok, seen[k])
		}
		seen[k] = good
	}
}

// One leads, however many come, on however many proxies; all read the same bytes,
// those who come late from the start, those who come after the end as well.
func TestOneLeads(t *testing.T) {
	r, books := fleet(t, 3)
	for _, chunks := range []int{1, 40} {
		key := byte(chunks)
		var want []byte
		for i := range chunks {
			want = fmt.Appendf(want, "event %d of %d\n\n", i, chunks)
		}
		h := Head{Status: 200, Type: "text/event-stream", Clamped: 77}
		var mu sync.Mutex
		leaders := 0
		var wg sync.WaitGroup
		one := func(b *Book) {
			a, got, head, err := get(b, ask(key, 1))
			if err != nil {
				t.Error(err)
				return
			}
			if a != nil {
				mu.Lock()
				leaders++
				mu.Unlock()
				a.Begin(h)
				for i := range chunks {
					time.Sleep(time.Millisecond)
					a.Write(fmt.Appendf(nil, "event %d of %d\n\n", i, chunks))
				}
				a.Done()
				return
			}
			if !bytes.Equal(got, want) || head != h {
				t.Errorf("head %+v, %d of %d bytes", head, len(got), len(want))
			}
		}
		for i := range 60 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				one(books[i%3])
			})
		}
		wg.Wait()
		one(books[0])
		one(books[2])
		drained(t, books...)
		one(books[1]) // from the copy
		if leaders != 1 {
			t.Errorf("%d leaders", leaders)
		}
		c := r.claims[id{7, [32]byte{key}}]
		if !c.Finished || bytes.Contains(c.Answer, []byte("event")) || bytes.Contains(c.Answer, []byte("stream")) {
			t.Errorf("the copy at rest: %+v", c)
		}
	}
}

// Another body is refused, also while Postgres is being asked, and on every proxy.
func TestAnotherBody(t *testing.T) {
	_, books := fleet(t, 2)
	a, _ := take(t, books[0], ask(1, 1))
	refused := func(what string) {
		t.Helper()
		for i, b := range books {
			var c *Conflict
			if _, _, err := b.Take(t.Context(), ask(1, 2)); !errors.As(err, &c) || !c.Body || c.First != a.First() {
				t.Errorf("%s, book %d: %v", what, i, err)
			}
		}
	}
	refused("running")
	a.Begin(Head{Status: 200})
	a.Done()
	refused("done")
	drained(t, books...)
	refused("at rest")
	drained(t, books...)
}

// The first of two bodies that come at the same moment has the key, the other is
// refused: nobody is refused for a key that its rival did not get.
func TestBodiesRace(t *testing.T) {
	for round := range byte(50) {
		_, books := fleet(t, 2)
		var mu sync.Mutex
		lead, conflicts := 0, 0
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				a, _, _, err := get(books[i%2], ask(round, byte(i/2%2)))
				mu.Lock()
				defer mu.Unlock()
				var c *Conflict
				switch {
				case errors.As(err, &c):
					conflicts++
				case err != nil:
					t.Error(err)
				case a != nil:
					lead++
					a.Begin(Head{Status: 200})
					a.Write([]byte("x"))
					a.Done()
				}
			})
		}
		wg.Wait()
		if lead != 1 || conflicts != 4 {
			t.Fatalf("%d leaders, %d conflicts", lead, conflicts)
		}
		drained(t, books...)
	}
}

// A leader that ends without output frees the key: exactly one of those who wait
// leads anew, the others follow that one.
func TestLeaderFails(t *testing.T) {
	_, books := fleet(t, 2)
	first, _ := take(t, books[0], ask(1, 1))
	var mu sync.Mutex
	var led []int
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			q := ask(1, 1)
			for {
				a, lead, err := books[i%2].Take(t.Context(), q)
				if err != nil {
					t.Error(err)
					return
				}
				if lead {
					mu.Lock()
					led = append(led, i)
					n := len(led)
					mu.Unlock()
					if n < 4 { // three more fail
						a.Fail()
						return
					}
					a.Begin(Head{Status: 200})
					a.Write([]byte("at last"))
					a.Done()
					return
				}
				p, s := a.Whole(10 * time.Second)
				if s == Done {
					if string(p) != "at last" {
						t.Errorf("%q", p)
					}
					a.Leave()
					return
				}
				err = q.Again(a, s)
				a.Leave()
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	first.Fail()
	wg.Wait()
	if len(led) != 4 {
		t.Errorf("led by %v", led)
	}
	drained(t, books...)
}

// A stream that breaks off does so for its followers too, on both proxies, after the
// same bytes; the key is free.
func TestBreaksOff(t *testing.T) {
	_, books := fleet(t, 2)
	a, _ := take(t, books[0], ask(1, 1))
	near, _ := take(t, books[0], ask(1, 1))
	far, _ := take(t, books[1], ask(1, 1))
	a.Begin(Head{Status: 200, Type: "text/event-stream"})
	a.Write([]byte("some"))
	if s := far.Wait(5 * time.Second); s != Running {
		t.Fatal(s)
	}
	if p, _ := far.Next(0, 5*time.Second); string(p) != "some" {
		t.Fatalf("%q", p)
	}
	a.Write([]byte(" more"))
	a.Fail()
	for _, f := range []*Answer{near, far} {
		if p, s := read(f); s != Broken || string(p) != "some more" {
			t.Errorf("%q, stage %d", p, s)
		}
	}
	drained(t, books...)
	again, lead := take(t, books[1], ask(1, 1))
	if !lead {
		t.Error("the key is not free")
	}
	again.Fail()
	drained(t, books...)
}

// A leader whose customer has left goes on exactly while somebody follows, here or on
// another proxy. Once it gives up nobody gets hold of it any more, and who comes then
// waits until it has ended: there are never two upstream calls.
func TestAbandon(t *testing.T) {
	_, books := fleet(t, 2)
	a, _ := take(t, books[0], ask(1, 1))
	near, _ := take(t, books[0], ask(1, 1))
	far, _ := take(t, books[1], ask(1, 1))
	eventually(t, func() bool { return books[0].Stats.Attached.Load() == 2 })
	near.Leave()
	if a.Abandon() {
		t.Fatal("given up although another proxy follows")
	}
	far.Leave()
	eventually(t, a.Abandon)
	leads := make(chan *Answer, 2)
	for _, b := range books {
		go func() {
			q := ask(1, 1)
			for {
				next, lead, err := b.Take(context.Background(), q)
				if err != nil {
					t.Error(err)
				}
				if lead {
					leads <- next
					return
				}
				_, s := next.Whole(5 * time.Second)
				if s == Done {
					next.Leave()
					leads <- nil
					return
				}
				_ = q.Again(next, s)
				next.Leave()
			}
		}()
	}
	select {
	case <-leads:
		t.Fatal("another leads before the first has ended")
	case <-time.After(100 * time.Millisecond):
	}
	a.Fail()
	next := <-leads
	if next == nil {
		t.Fatal("nobody leads")
	}
	next.Begin(Head{Status: 200})
	next.Write([]byte("x"))
	next.Done()
	if other := <-leads; other != nil {
		t.Fatal("two lead")
	}
	drained(t, books...)
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 5 s")
		}
	}
}

// Answers above a megabyte are not repeated, but whoever follows already gets them;
// above the limit for that, they break off. All answers together have a limit as
// well.
func TestLargeAnswers(t *testing.T) {
	_, books := fleet(t, 2)
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4<<10) // 64 KiB
	run := func(key byte, pieces int, follow bool) (got []byte, s Stage, first reqid.ID) {
		a, _ := take(t, books[0], ask(key, 1))
		var f *Answer
		if follow {
			f, _ = take(t, books[1], ask(key, 1))
			eventually(t, func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.followers > 0 })
		}
		a.Begin(Head{Status: 200, Type: "x"})
		for range pieces {
			a.Write(piece)
		}
		a.Done()
		if follow {
			got, s = read(f)
		}
		drained(t, books...)
		return got, s, a.First()
	}
	if got, s, _ := run(1, 16, true); s != Done || len(got) != MaxAnswer {
		t.Errorf("1 MiB: %d bytes, stage %d", len(got), s)
	}
	f, lead := take(t, books[1], ask(1, 1))
	if got, s := read(f); lead || s != Done || len(got) != MaxAnswer {
		t.Errorf("1 MiB from the copy: %d bytes, stage %d", len(got), s)
	}
	got, s, first := run(2, 17, true)
	if s != Done || len(got) != 17*len(piece) {
		t.Errorf("above 1 MiB, followed: %d bytes, stage %d", len(got), s)
	}
	lost := func(key byte, first reqid.ID) {
		t.Helper()
		for _, b := range books {
			var c *Conflict
			if _, _, err := b.Take(t.Context(), ask(key, 1)); !errors.As(err, &c) || c.Body || c.First != first {
				t.Errorf("%v", err)
			}
		}
	}
	lost(2, first)
	_, _, first = run(3, 17, false)
	lost(3, first)
	got, s, first = run(4, MaxLive/len(piece)+1, true)
	if s != Broken || len(got) > MaxLive || len(got) == 0 {
		t.Errorf("above the limit for followers: %d bytes, stage %d", len(got), s)
	}
	lost(4, first)
	// While it runs and is too large already: refused, never a second call.
	a, _ := take(t, books[0], ask(5, 1))
	a.Begin(Head{Status: 200})
	for range 17 {
		a.Write(piece)
	}
	var c *Conflict
	if _, _, err := books[0].Take(t.Context(), ask(5, 1)); !errors.As(err, &c) {
		t.Errorf("same proxy: %v", err)
	}
	far, _ := take(t, books[1], ask(5, 1))
	if _, s := far.Whole(5 * time.Second); s != Lost {
		t.Errorf("another proxy: stage %d", s)
	}
	far.Leave()
	a.Done()
	drained(t, books...)

	_, small := fleet(t, 1, func(o *Options) { o.Memory = 100 << 10 })
	b, _ := take(t, small[0], ask(1, 1))
	b.Begin(Head{Status: 200})
	b.Write(piece)
	b.Write(piece)
	if n := small[0].Bytes(); n > 100<<10 {
		t.Errorf("%d bytes", n)
	}
	b.Done()
	drained(t, small...)
	if _, _, err := small[0].Take(t.Context(), ask(1, 1)); !errors.As(err, &c) {
		t.Errorf("beyond the memory: %v", err)
	}
}

// A copy opens only in its own row, for its own body and request, with the same
// secret; else the answer cannot be repeated. It is never run again.
func TestCopiesAreBound(t *testing.T) {
	r, books := fleet(t, 1)
	run := func(key byte) reqid.ID {
		a, _ := take(t, books[0], ask(key, 1))
		a.Begin(Head{Status: 200})
		a.Write([]byte("secret answer"))
		a.Done()
		drained(t, books...)
		return a.First()
	}
	run(1)
	first := run(2)
	lost := func(what string) {
		t.Helper()
		var c *Conflict
		if _, _, err := books[0].Take(t.Context(), ask(2, 1)); !errors.As(err, &c) || c.Body || c.First != first {
			t.Errorf("%s: %v", what, err)
		}
	}
	row := r.claims[id{7, [32]byte{2}}]
	own := row.Answer
	row.Answer = r.claims[id{7, [32]byte{1}}].Answer
	lost("of another row")
	for i := range own {
		row.Answer = bytes.Clone(own)
		row.Answer[i] ^= 1
		lost("a bit flipped")
	}
	row.Answer = own[:10]
	lost("torn")
	row.Answer = own
	f, lead := take(t, books[0], ask(2, 1))
	if p, s := read(f); lead || s != Done || string(p) != "secret answer" {
		t.Errorf("its own: %q", p)
	}
	_, other := fleet(t, 1, func(o *Options) { o.Store, o.Secret = r, bytes.Repeat([]byte{1}, seal.KeySize) })
	var c *Conflict
	if _, _, err := other[0].Take(t.Context(), ask(2, 1)); !errors.As(err, &c) {
		t.Errorf("another secret: %v", err)
	}
}

// What ended while Postgres was away is written when it is back; meanwhile it is
// found here, and nothing new with a key begins.
func TestPostgresAway(t *testing.T) {
	r, books := fleet(t, 2)
	a, _ := take(t, books[0], ask(1, 1))
	failed, _ := take(t, books[0], ask(2, 1))
	r.set(func() { r.down = true })
	a.Begin(Head{Status: 200})
	a.Write([]byte("x"))
	a.Done()
	failed.Fail()
	f, lead := take(t, books[0], ask(1, 1))
	if p, s := read(f); lead || s != Done || string(p) != "x" {
		t.Errorf("%q %d", p, s)
	}
	for _, key := range []byte{2, 3} {
		if _, _, err := books[1].Take(t.Context(), ask(key, 1)); err == nil || !store.Unavailable(err) {
			t.Errorf("without Postgres: %v", err)
		}
	}
	r.set(func() { r.down = false })
	drained(t, books...)
	if c := r.claims[id{7, [32]byte{1}}]; c == nil || !c.Finished || c.Answer == nil {
		t.Errorf("not written: %+v", c)
	}
	if c := r.claims[id{7, [32]byte{2}}]; c != nil {
		t.Errorf("not freed: %+v", c)
	}
}

// The proxy of the first request: gone for certain, gone perhaps, another process at
// its address.
func TestOwnerIsGone(t *testing.T) {
	r, books := fleet(t, 2)
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	first := reqid.New(time.Now())
	plant := func(slot int16, url string, silent time.Duration) {
		r.set(func() {
			r.claims[id{7, [32]byte{1}}] = &store.Claim{Body: [32]byte{1}, RequestID: first, Slot: slot, Epoch: 1, Retention: store.ClaimTTL}
			r.urls[slot], r.silent[slot] = url, silent
		})
	}
	stage := func(q *Ask) Stage {
		a, lead := take(t, books[0], q)
		if lead {
			a.Fail()
			drained(t, books[0])
			return Waiting
		}
		_, s := a.Whole(5 * time.Second)
		if err := q.Again(a, s); err != nil {
			t.Error(err)
		}
		a.Leave()
		return s
	}
	// Nothing listens, but it was heard of a moment ago: perhaps the address is wrong.
	plant(9, dead.URL, time.Second)
	q := ask(1, 1)
	if s := stage(q); s != Unheard {
		t.Errorf("heard of: stage %d", s)
	}
	r.set(func() { r.silent[9] = deadAfter + time.Second })
	if s := stage(q); s != Freed {
		t.Errorf("silent: stage %d", s)
	}
	if s := stage(q); s != Waiting {
		t.Errorf("then it is ours: stage %d", s)
	}
	// Another process answers at its address.
	plant(9, r.urls[2], time.Hour)
	if s := stage(ask(1, 1)); s != Unheard {
		t.Errorf("another process: stage %d", s)
	}
	// The right process does not know the request: it ended without an answer.
	plant(2, r.urls[2], 0)
	q = ask(1, 1)
	if s := stage(q); s != Unasked {
		t.Errorf("unknown to its proxy: stage %d", s)
	}
	if s := stage(q); s != Waiting {
		t.Errorf("then it is ours: stage %d", s)
	}
	// An own row without a request: from before a crash of the writer.
	plant(1, "", 0)
	if s := stage(ask(1, 1)); s != Waiting {
		t.Errorf("own row: stage %d", s)
	}
	// No address, for ever: it is said, and nothing runs twice.
	plant(9, "", time.Hour)
	q = ask(1, 1)
	q.unheard = time.Now().Add(-unheardFor - time.Second)
	a, _ := take(t, books[0], q)
	_, s := a.Whole(5 * time.Second)
	if err := q.Again(a, s); !errors.Is(err, ErrUnheard) {
		t.Errorf("stage %d: %v", s, err)
	}
	a.Leave()
	drained(t, books...)
}

// Only proxies with the same secret get answers, and a token holds for one question
// and a short time.
func TestPeersAreAuthenticated(t *testing.T) {
	r, books := fleet(t, 1)
	a, _ := take(t, books[0], ask(1, 1))
	a.Begin(Head{Status: 200})
	a.Write([]byte("secret"))
	good := fmt.Sprintf(`{"slot":1,"epoch":1,"client":7,"key":"01%s","body":"01%s","first":"%s","time":%d}`,
		strings.Repeat("00", 31), strings.Repeat("00", 31), a.First(), time.Now().Unix())
	send := func(text, token string) int {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", r.urls[1], strings.NewReader(text))
		req.Header.Set(signature, token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	old := strings.Replace(good, fmt.Sprint(time.Now().Unix()), fmt.Sprint(time.Now().Unix()-300), 1)
	other := strings.Replace(good, `"client":7`, `"client":8`, 1)
	sign := func(s string) string { return books[0].sign([]byte(s)) }
	for what, c := range map[string]struct {
		text, token string
		want        int
	}{
		"no token":               {good, "", 403},
		"a token of another":     {good, sign(other), 403},
		"another question":       {other, sign(good), 403},
		"an old token":           {old, sign(old), 403},
		"nobody's answer":        {other, sign(other), 404},
		"another slot":           {strings.Replace(good, `"slot":1`, `"slot":2`, 1), sign(strings.Replace(good, `"slot":1`, `"slot":2`, 1)), 421},
		"another epoch":          {strings.Replace(good, `"epoch":1`, `"epoch":2`, 1), sign(strings.Replace(good, `"epoch":1`, `"epoch":2`, 1)), 421},
		"no JSON":                {"x", sign("x"), 403},
		"too large":              {strings.Repeat("x", 5000), "", 400},
		"the right one":          {good, sign(good), 200},
		"another body's digest":  {strings.Replace(good, `"body":"01`, `"body":"02`, 1), sign(strings.Replace(good, `"body":"01`, `"body":"02`, 1)), 404},
		"a key that is no hex":   {strings.Replace(good, `"key":"01`, `"key":"zz`, 1), sign(strings.Replace(good, `"key":"01`, `"key":"zz`, 1)), 404},
		"a key that is too long": {strings.Replace(good, `"key":"01`, `"key":"0101`, 1), sign(strings.Replace(good, `"key":"01`, `"key":"0101`, 1)), 404},
	} {
		if got := send(c.text, c.token); got != c.want {
			t.Errorf("%s: %d; want %d", what, got, c.want)
		}
	}
	a.Done()
	http.DefaultClient.CloseIdleConnections()
	drained(t, books...)
}

// Look-ups are bounded: who waits too long is told to come again.
func TestLookUpsAreBounded(t *testing.T) {
	_, books := fleet(t, 1)
	for range maxAsking {
		books[0].asking <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := books[0].Take(ctx, ask(1, 1)); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	<-books[0].asking
	a, lead := take(t, books[0], ask(1, 1))
	if !lead {
		t.Error("a failed look-up stands in the way")
	}
	a.Fail()
	drained(t, books...)
}
