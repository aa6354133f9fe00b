package limit

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/live"
	"tokenrelay/proxy/tempo"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// DB is what an exchange asks of the database; *store.DB is one.
type DB interface {
	TakeLimits(ctx context.Context, slot int16, epoch int64, asks []store.LimitAsk) (grants []store.LimitGrant, blocked bool, err error)
	PostLimits(ctx context.Context, counts []store.LimitCount) error
	BeginLone(ctx context.Context, slot int16, epoch int64) (bool, error)
	EndLone(ctx context.Context, slot int16, epoch int64) error
	SweepLimits(ctx context.Context) error
	ExchangeDays(ctx context.Context, slot int16, epoch int64, mine []store.DaySpent) (others []money.Amount, err error)
	DayReached(ctx context.Context, s store.DaySubject, spent, limit money.Amount) (first bool, err error)
}

// Options are the settings of an exchange. Zero values mean the defaults named.
type Options struct {
	DB       DB
	Slot     store.ProxySlot
	Live     *live.Registry
	IPs      *live.IPs
	Tick     time.Duration // between looks at what runs low, default 250 ms
	Days     time.Duration // between exchanges of what was spent, default 500 ms
	Gap      time.Duration // between two questions at least, default 20 ms
	Wait     time.Duration // a request waits for an answer at most, default 1 s
	Remember time.Duration // a refusal is remembered at most, default 900 ms
	Idle     time.Duration // tokens and places unused so long go back, default 10 s
	Valid    time.Duration // places are good since the last heartbeat, default 20 s
	DBTime   func() time.Time
	Log      *slog.Logger // nil = slog.Default()

	now func() int64 // tests
}

func (o *Options) defaults() {
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{
		{&o.Tick, 250 * time.Millisecond},
		{&o.Days, 500 * time.Millisecond},
		{&o.Gap, 20 * time.Millisecond},
		{&o.Wait, time.Second},
		{&o.Remember, 900 * time.Millisecond},
		{&o.Idle, 10 * time.Second},
		{&o.Valid, store.LiveWindow - 10*time.Second},
	} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.now == nil {
		o.now = lease.Now
	}
	if o.DBTime == nil {
		o.DBTime = func() time.Time { return time.Now().UTC() }
	}
	if o.IPs == nil {
		o.IPs = live.NewIPs()
	}
}

// The times of an exchange that nobody sets.
const (
	minute    = int64(time.Minute)
	forget    = 3 * minute                   // a limit that nobody uses
	again     = int64(60 * time.Millisecond) // others give back what they do not use
	blockedOn = int64(50 * time.Millisecond) // another proxy tells what it counted alone
	downFor   = int64(250 * time.Millisecond)
	settling  = 5 * time.Millisecond // requests that began before a switch have counted
)

// Counters count what an exchange did since its start.
type Counters struct {
	Questions atomic.Uint64 // statements
	Asked     atomic.Uint64 // limits in them
	Waited    atomic.Uint64 // requests that waited for an answer
	Refused   atomic.Uint64 // answers that refused
	Alone     atomic.Uint64 // requests judged without Postgres, which did not answer
	Recalls   atomic.Uint64
	Errors    atomic.Uint64
}

// Exchange shares limits for one proxy process. A nil one counts alone.
type Exchange struct {
	o     Options
	Count Counters

	lone       atomic.Bool
	proxies    atomic.Int64 // alive, as of the last heartbeat
	placesTill atomic.Int64 // places are ours until then
	downTill   atomic.Int64 // Postgres was away: no question before
	fenced     atomic.Bool

	mu      sync.Mutex
	entries map[store.LimitSubject]*entry
	queue   []*entry
	wake    chan struct{}

	days days

	turn    sync.Mutex // of whoever asks: the goroutine of Run, and Drain
	loneAt  int64      // next try to begin
	leaving bool
	swept   int64
}

// entry is one limit that this proxy has parts of. It has a share, or places.
type entry struct {
	store.LimitSubject
	share  *live.Share
	places *live.Places
	use    atomic.Pointer[live.Use] // of places

	// Under Exchange.mu.
	limit    int64
	need     int64 // waits for an answer
	answers  []chan struct{}
	queued   bool
	recalled bool
	after    int64 // not to be asked before

	// Of whoever asks.
	taken  int64 // of share, at the last look
	usedAt int64 // something was taken
	low    int64 // free below which more is asked for
	report bool  // Postgres is to be told of fewer places
}

// New makes an exchange. It asks Postgres until it is found to be alone.
func New(o Options) *Exchange {
	o.defaults()
	x := &Exchange{o: o, entries: map[store.LimitSubject]*entry{}, wake: make(chan struct{}, 1)}
	x.proxies.Store(1)
	x.placesTill.Store(o.now() + int64(o.Valid))
	x.days.init()
	return x
}

// Lone says that this proxy counts by itself.
func (x *Exchange) Lone() bool { return x == nil || x.lone.Load() }

// Proxies is the number of proxies alive, as of the last heartbeat.
func (x *Exchange) Proxies() int64 { return x.proxies.Load() }

// OnBeat takes what a heartbeat told: the number of proxies alive.
func (x *Exchange) OnBeat(b store.Beat) {
	x.proxies.Store(max(1, int64(b.Live)))
	x.placesTill.Store(x.o.now() + int64(x.o.Valid))
	if x.lone.Load() != (b.Live <= 1) {
		x.nudge()
	}
}

// OnRecall gives back what is not used of a limit that somebody else was refused. It
// reports whether the payload (of store.ChannelRecall) was such a recall.
func (x *Exchange) OnRecall(payload string) bool {
	s, slot, ok := store.ParseLimitRecall(payload)
	if !ok || slot == x.o.Slot.ID {
		return ok
	}
	x.mu.Lock()
	if e := x.entries[s]; e != nil {
		x.Count.Recalls.Add(1)
		e.recalled = true
		x.enqueue(e)
	}
	x.mu.Unlock()
	x.nudge()
	return true
}

func (x *Exchange) nudge() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

func (x *Exchange) enqueue(e *entry) {
	if !e.queued {
		e.queued = true
		x.queue = append(x.queue, e)
	}
}

// entry finds a limit, or begins it.
func (x *Exchange) entry(s store.LimitSubject) *entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[s]
	if e == nil {
		e = &entry{LimitSubject: s, usedAt: x.o.now()}
		if s.Kind.Window() || s.Kind.Bucket() {
			e.share = new(live.Share)
		} else {
			e.places = new(live.Places)
		}
		x.entries[s] = e
	}
	return e
}

// Window counts one request of a window limit. w counts what passes here, also while
// the limit is shared: that is what counts when this proxy is alone, or Postgres away.
// A refusal comes with the time in ns after which a lone client will be let through.
func (x *Exchange) Window(s store.LimitSubject, w *live.Window, share *atomic.Pointer[live.Share], limit, now int64) (part *live.Part, began, wait int64, ok bool) {
	if x.Lone() {
		began, wait, ok = w.Take(limit, now)
		return nil, began, wait, ok
	}
	if sh := share.Load(); sh != nil {
		if part, ok := sh.Take(1, now); ok {
			return part, w.Count(now), 0, true
		}
		if wait, no := sh.Refused(now); no {
			return nil, 0, wait, false
		}
	}
	return x.windowSlow(s, w, share, limit)
}

func (x *Exchange) windowSlow(s store.LimitSubject, w *live.Window, share *atomic.Pointer[live.Share], limit int64) (part *live.Part, began, wait int64, ok bool) {
	e := x.entry(s)
	share.Store(e.share)
	deadline := x.o.now() + int64(x.o.Wait)
	for x.ask(e, limit, 1, deadline) {
		now := x.o.now()
		if part, ok := e.share.Take(1, now); ok {
			return part, w.Count(now), 0, true
		}
		if wait, no := e.share.Refused(now); no {
			return nil, 0, wait, false
		}
	}
	began, wait, ok = w.Take(x.evenly(limit), x.o.now())
	return nil, began, wait, ok
}

// evenly is this proxy's even share of a limit, when nobody can be asked.
func (x *Exchange) evenly(limit int64) int64 {
	if x.Lone() {
		return limit
	}
	x.Count.Alone.Add(1)
	return max(1, limit/x.proxies.Load())
}

// Tokens draws n tokens of a bucket limit; b is to them what w is to Window. share is
// what was drawn from, nil if this proxy counted by itself.
func (x *Exchange) Tokens(s store.LimitSubject, b *live.Bucket, share *atomic.Pointer[live.Share], n, limit, now int64) (from *live.Share, wait int64, ok bool) {
	if x.Lone() {
		wait, ok = b.Take(n, limit, now)
		return nil, wait, ok
	}
	if sh := share.Load(); sh != nil {
		if _, ok := sh.Take(n, now); ok {
			b.Draw(n, limit, now)
			return sh, 0, true
		}
		if wait, no := sh.Refused(now); no {
			return nil, wait, false
		}
	}
	e := x.entry(s)
	share.Store(e.share)
	deadline := x.o.now() + int64(x.o.Wait)
	for x.ask(e, limit, n, deadline) {
		now = x.o.now()
		if _, ok := e.share.Take(n, now); ok {
			b.Draw(n, limit, now)
			return e.share, 0, true
		}
		if wait, no := e.share.Refused(now); no {
			return nil, wait, false
		}
	}
	wait, ok = b.Take(n, x.evenly(limit), x.o.now())
	return nil, wait, ok
}

// Enter counts a request that starts, unless limit (> 0) of them run on all proxies.
func (x *Exchange) Enter(s store.LimitSubject, u *live.Use, places *atomic.Pointer[live.Places], limit, now int64) bool {
	if x.Lone() {
		return u.Enter(limit)
	}
	if p := places.Load(); p != nil && now < x.placesTill.Load() {
		if p.Enter(u, limit) {
			return true
		}
		if p.Refused(now) {
			return false
		}
	}
	e := x.entry(s)
	e.use.Store(u)
	places.Store(e.places)
	deadline := x.o.now() + int64(x.o.Wait)
	for x.ask(e, limit, 1, deadline) && x.o.now() < x.placesTill.Load() {
		if e.places.Enter(u, limit) {
			return true
		}
		if e.places.Refused(x.o.now()) {
			return false
		}
	}
	return u.Enter(x.evenly(limit))
}

// Allowance is how many requests a minute of an address a proxy lets pass without
// asking: a spray of addresses must not become a spray of rows. It is taken off the
// limit before the rest is shared.
func Allowance(limit, proxies int64) int64 { return limit / (16 * proxies) }

// AllowIP counts a request of an address.
func (x *Exchange) AllowIP(ips *live.IPs, at live.Counted, limit, now int64) (wait int64, ok bool) {
	if x.Lone() {
		_, wait, ok = at.Window().Take(limit, now)
		return wait, ok
	}
	n := x.proxies.Load()
	free := Allowance(limit, n)
	if at.Share().Load() == nil && free > 0 {
		if _, _, ok = at.Window().Take(free, now); ok {
			return 0, true
		}
	}
	_, _, wait, ok = x.Window(store.LimitSubject{Kind: store.LimitIP, ID: at.ID}, at.Window(), at.Share(), max(1, limit-n*free), now)
	return wait, ok
}

// ask waits for an answer about a limit; false: there was none in time.
func (x *Exchange) ask(e *entry, limit, need, deadline int64) bool {
	now := x.o.now()
	if now >= deadline || now < x.downTill.Load() || x.fenced.Load() {
		return false
	}
	answer := make(chan struct{})
	x.mu.Lock()
	e.limit = limit
	e.needs(need)
	e.answers = append(e.answers, answer)
	x.enqueue(e)
	x.mu.Unlock()
	x.nudge()
	x.Count.Waited.Add(1)
	timer := time.NewTimer(time.Duration(deadline - now))
	defer timer.Stop()
	select {
	case <-answer:
		return x.o.now() >= x.downTill.Load()
	case <-timer.C:
		return false
	}
}

// needs notes what a request waits for. Of tokens the least counts: who waits for more
// asks again, with what was left.
func (e *entry) needs(n int64) {
	switch {
	case n == 0:
	case e.Kind.Bucket() && e.need > 0:
		e.need = min(e.need, n)
	case e.Kind.Bucket():
		e.need = n
	default:
		e.need += n
	}
}

// Ready waits until no other proxy counts by itself any more, or ctx ends.
func (x *Exchange) Ready(ctx context.Context) {
	for ctx.Err() == nil && !x.lone.Load() {
		if _, blocked, err := x.o.DB.TakeLimits(ctx, x.o.Slot.ID, x.o.Slot.Epoch, nil); err == nil && !blocked {
			return
		}
		sleep(ctx, 25*time.Millisecond)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Run asks and delivers until ctx ends.
func (x *Exchange) Run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { x.runDays(ctx) })
	defer both.Wait()
	timer := time.NewTimer(tempo.Until(x.o.Tick))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(tempo.Until(x.o.Tick))
			x.look()
		case <-x.wake:
		}
		x.step(ctx)
		// Whoever asks meanwhile is served together.
		sleep(ctx, x.o.Gap)
	}
}

// step does what is due.
func (x *Exchange) step(ctx context.Context) {
	x.turn.Lock()
	defer x.turn.Unlock()
	x.mode(ctx)
	if x.leaving || x.fenced.Load() {
		return
	}
	for ctx.Err() == nil && x.flush(ctx) {
	}
	if now := x.o.now(); now-x.swept > minute {
		x.swept = now
		if err := x.o.DB.SweepLimits(ctx); err != nil {
			x.Count.Errors.Add(1)
		}
	}
}

// mode begins or ends counting alone.
func (x *Exchange) mode(ctx context.Context) {
	alone, now := x.proxies.Load() <= 1, x.o.now()
	switch {
	case x.leaving || x.lone.Load() && !alone:
		x.leave(ctx)
	case !x.lone.Load() && alone && now >= x.loneAt:
		x.loneAt = now + int64(5*time.Second)
		lone, err := x.o.DB.BeginLone(ctx, x.o.Slot.ID, x.o.Slot.Epoch)
		if err != nil {
			x.failed(err)
			x.loneAt = now + downFor
		}
		if lone {
			x.lone.Store(true)
		}
	}
}

// leave ends counting alone: what was counted becomes everybody's first. Until then
// nobody is given anything, here or elsewhere.
func (x *Exchange) leave(ctx context.Context) {
	x.leaving = true
	x.lone.Store(false)
	sleep(ctx, settling)
	counts := x.counted(x.o.now())
	for len(counts) > 0 {
		n := min(len(counts), store.MaxLimitAsks)
		if err := x.o.DB.PostLimits(ctx, counts[:n]); err != nil {
			x.failed(err)
			return // again at the next tick; what is told twice only refuses
		}
		counts = counts[n:]
	}
	for x.flush(ctx) { // the places of requests that run
	}
	if err := x.o.DB.EndLone(ctx, x.o.Slot.ID, x.o.Slot.Epoch); err != nil {
		x.failed(err)
		return
	}
	x.leaving = false
}

// counted is what this proxy has counted by itself and that still matters.
func (x *Exchange) counted(now int64) (counts []store.LimitCount) {
	window := func(kind store.LimitKind, id int64, w *live.Window) {
		if elapsed, prev, cur := w.State(now); prev > 0 || cur > 0 {
			counts = append(counts, store.LimitCount{LimitSubject: store.LimitSubject{Kind: kind, ID: id}, Elapsed: time.Duration(elapsed), Prev: prev, Cur: cur})
		}
	}
	bucket := func(kind store.LimitKind, id int64, b *live.Bucket) {
		if missing := b.Missing(now); missing > 0 {
			counts = append(counts, store.LimitCount{LimitSubject: store.LimitSubject{Kind: kind, ID: id}, Elapsed: time.Duration(missing)})
		}
	}
	type running struct {
		s      store.LimitSubject
		u      *live.Use
		places *atomic.Pointer[live.Places]
	}
	var places []running
	if x.o.Live != nil {
		x.o.Live.EachKey(func(k *live.Key) {
			window(store.LimitKeyRPM, k.ID, &k.RPM)
			bucket(store.LimitKeyTPM, k.ID, &k.TPM)
			if k.Running() > 0 {
				places = append(places, running{store.LimitSubject{Kind: store.LimitKeyPlaces, ID: k.ID}, &k.Use, &k.Places})
			}
		})
		x.o.Live.Groups(func(id int64, g *live.Group) {
			window(store.LimitGroupRPM, id, &g.RPM)
			bucket(store.LimitGroupTPM, id, &g.TPM)
			if g.Running() > 0 {
				places = append(places, running{store.LimitSubject{Kind: store.LimitGroupPlaces, ID: id}, &g.Use, &g.Places})
			}
		})
	}
	x.o.IPs.Each(now, func(id int64, w *live.Window) {
		if _, prev, cur := w.State(now); prev+cur > 1 {
			window(store.LimitIP, id, w)
		}
	})
	for _, r := range places {
		e := x.entry(r.s)
		r.places.Store(e.places)
		e.use.Store(r.u)
		x.mu.Lock()
		e.usedAt = now
		x.enqueue(e)
		x.mu.Unlock()
	}
	return counts
}

func (x *Exchange) failed(err error) {
	x.Count.Errors.Add(1)
	if errors.Is(err, store.ErrFenced) {
		x.fenced.Store(true)
		return
	}
	if x.downTill.Swap(x.o.now()+downFor) == 0 {
		x.o.Log.Warn("the limits are not shared at the moment: this proxy counts its even share", "error", err)
	}
}

// look finds what runs low, what nobody uses, and what nobody needs to know any more.
func (x *Exchange) look() {
	now := x.o.now()
	x.turn.Lock()
	defer x.turn.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	for s, e := range x.entries {
		used := false
		if e.share != nil {
			taken := e.share.Taken()
			used, e.taken = taken != e.taken, taken
		} else {
			used = e.use.Load() != nil && e.use.Load().Running() > 0
		}
		if used || len(e.answers) > 0 {
			e.usedAt = now
		}
		idle := now - e.usedAt
		switch {
		case e.report:
			x.enqueue(e)
		case x.lone.Load() && idle > minute, idle > forget:
			if !e.queued && (e.places == nil || e.places.Held() == 0) {
				delete(x.entries, s)
			}
		case s.Kind.Window():
			if free, _ := e.share.Free(now); idle < minute && free < e.low && !refusing(e, now) {
				x.enqueue(e)
			}
		case s.Kind.Bucket():
			free, _ := e.share.Free(now)
			switch {
			case free < 0, idle < int64(x.o.Idle) && free < e.low && !refusing(e, now):
				x.enqueue(e)
			case idle >= int64(x.o.Idle) && free > 0:
				e.recalled = true
				x.enqueue(e)
			}
		case idle >= int64(x.o.Idle) && e.places.Held() > 0:
			e.recalled = true
			x.enqueue(e)
		}
	}
}

func refusing(e *entry, now int64) bool {
	_, no := e.share.Refused(now)
	return no
}

// question is one entry on its way.
type question struct {
	e       *entry
	need    int64
	answers []chan struct{}
}

// flush asks about what is queued; true: there is more.
func (x *Exchange) flush(ctx context.Context) bool {
	now := x.o.now()
	var asks []store.LimitAsk
	var questions []question
	x.mu.Lock()
	later := x.queue[:0]
	for _, e := range x.queue {
		if len(asks) == store.MaxLimitAsks || e.after > now && !e.recalled {
			later = append(later, e)
			continue
		}
		e.queued, e.after = false, 0
		a, ok := e.question()
		if !ok {
			continue
		}
		asks = append(asks, a)
		questions = append(questions, question{e, e.need, e.answers})
		e.need, e.answers = 0, nil
	}
	clear(x.queue[len(later):])
	x.queue = later
	x.mu.Unlock()
	if len(asks) == 0 {
		return false
	}
	full := len(asks) == store.MaxLimitAsks
	sent := x.o.now()
	x.Count.Questions.Add(1)
	x.Count.Asked.Add(uint64(len(asks)))
	ask, cancel := context.WithTimeout(ctx, x.o.Wait)
	grants, blocked, err := x.o.DB.TakeLimits(ask, x.o.Slot.ID, x.o.Slot.Epoch, asks)
	cancel()
	if err != nil && ctx.Err() == nil {
		x.failed(err)
	}
	if err == nil {
		x.downTill.Store(0)
	}
	now = x.o.now()
	for i := range questions {
		q := &questions[i]
		switch {
		case err != nil || blocked:
			// Whether it was done is not known: what was asked for is lost until its
			// minute ends, what was to be told is told again.
			x.undo(q, &asks[i])
			if blocked {
				x.later(q, now+blockedOn)
				continue
			}
		case x.deliver(q, &asks[i], &grants[i], sent, now):
			x.later(q, now+again)
			continue
		}
		for _, c := range q.answers {
			close(c)
		}
	}
	return full && err == nil && !blocked
}

// later puts a question back.
func (x *Exchange) later(q *question, after int64) {
	x.mu.Lock()
	e := q.e
	e.needs(q.need)
	e.answers = append(e.answers, q.answers...)
	e.after = after
	x.enqueue(e)
	x.mu.Unlock()
	time.AfterFunc(time.Duration(after-x.o.now()), x.nudge)
}

// question is what an entry wants to know. Under Exchange.mu.
func (e *entry) question() (a store.LimitAsk, ok bool) {
	a = store.LimitAsk{LimitSubject: e.LimitSubject, Cap: e.limit, Need: e.need, Want: e.limit}
	if e.share != nil {
		if e.Kind.Bucket() {
			a.Used = e.share.Debt()
		}
		if e.recalled {
			e.recalled = false
			a.Start, a.Back = e.share.Drain(0)
			a.Want = 0
		}
		return a, a.Need > 0 || a.Want > 0 || a.Back > 0 || a.Used > 0
	}
	use := e.use.Load()
	if use == nil {
		return a, false
	}
	held := e.places.Held()
	if e.recalled {
		e.recalled = false
		if n := min(held, use.Running()); n < held {
			held = max(n, e.places.Hold(n, use))
			e.places.Hold(held, use)
			e.report = true
		}
		a.Want = 0
	}
	a.Used = max(held, use.Running())
	return a, a.Need > 0 || a.Want > held || e.report || a.Used > held
}

// undo takes back what a question took that was not answered.
func (x *Exchange) undo(q *question, a *store.LimitAsk) {
	if q.e.Kind.Bucket() && a.Used > 0 {
		q.e.share.Owe(a.Used)
	}
}

// deliver gives out an answer; again: it is to be asked once more.
func (x *Exchange) deliver(q *question, a *store.LimitAsk, g *store.LimitGrant, sent, now int64) (again bool) {
	e := q.e
	if e.places != nil {
		e.report = false
		e.places.Hold(g.Granted, e.use.Load())
		if q.need > 0 && g.Granted < a.Used+q.need {
			if g.Again && g.Granted <= a.Used {
				return true
			}
			x.Count.Refused.Add(1)
			e.places.Refuse(now + int64(x.o.Remember)/2)
		}
		return false
	}
	until := sent + int64(g.Remains)
	if e.Kind.Bucket() {
		until = math.MaxInt64
	}
	e.share.Deliver(g.Start, until, g.Granted, g.Spare, now)
	e.low = g.Granted / 4
	if q.need > 0 && g.Granted < q.need {
		if g.Again {
			return g.Granted == 0
		}
		if g.Wait > 0 {
			x.Count.Refused.Add(1)
			remember := int64(x.o.Remember)
			if e.Kind.Bucket() {
				remember /= 4 // another request may need less
			}
			e.share.Refuse(now+int64(g.Wait), now+min(int64(g.Wait), remember))
		}
	}
	return false
}

// Drain gives back everything that is not used. Requests have ended.
func (x *Exchange) Drain(ctx context.Context) {
	if x.Lone() {
		// For whoever comes next.
		x.turn.Lock()
		x.leave(ctx)
		x.turn.Unlock()
	} else {
		x.mu.Lock()
		for _, e := range x.entries {
			e.recalled = true
			x.enqueue(e)
		}
		x.mu.Unlock()
		x.turn.Lock()
		for x.flush(ctx) {
		}
		x.turn.Unlock()
	}
	x.exchangeDays(ctx, true)
}
