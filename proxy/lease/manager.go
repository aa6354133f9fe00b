package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tokenrelay/proxy/live/pin"
	"tokenrelay/proxy/tempo"
	"tokenrelay/shared/failpoint"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// DB is what the manager asks of the database; *store.DB is one.
type DB interface {
	Grant(ctx context.Context, r store.GrantRequest) (store.Grant, error)
	ReturnLease(ctx context.Context, leaseID, rseq int64, amount money.Amount, answers int64, close bool) error
	RenewLeases(ctx context.Context, slot int16, epoch int64, ids []int64) (expires time.Time, open []int64, err error)
	CloseOldLeases(ctx context.Context, slot int16, epoch int64) (store.Closed, error)
	Heartbeat(ctx context.Context, slot int16, epoch, appliedRev int64) (store.Beat, error)
	ReportReserved(ctx context.Context, slot int16, epoch int64, holds map[int64]money.Amount) error
	Unanswered(ctx context.Context, e store.Escrow, slot int16, recall int64, silent time.Duration) (store.Unanswered, error)
}

// Options are the manager's settings. Zero values mean the defaults named.
type Options struct {
	TTL         time.Duration // of a lease; default store.LeaseTTL, must be the database's
	Beat        time.Duration // between heartbeats, default 500 ms
	Renew       time.Duration // between renewals, default 60 s
	Tick        time.Duration // of sizing and idle returns, default 1 s
	IdleAfter   time.Duration // unused money goes back after, default 30 s
	ForgetAfter time.Duration // an empty lease is dropped after, default 1 h
	Recall      time.Duration // other proxies have to give back, default store.RecallGap
	Remember    time.Duration // a refusal is remembered, default 1 s
	Scarce      time.Duration // after a recall, what comes free goes back, default 2 s
	ScarceGap   time.Duration // between such returns, default 20 ms
	HoldTimeout time.Duration // a request waits for money, default 3 s
	Silent      time.Duration // a proxy without heartbeat does not answer, default 2 s
	Parallel    int           // database calls at once, default 6

	AppliedRev func() int64 // revision that the feed applied, for the heartbeat; nil = 0
	OnFenced   func()       // called once when this process's epoch is over: it must end
	// OnBeat is called with every answered heartbeat, when it was sent and when its
	// answer came; nil = nobody.
	OnBeat func(b store.Beat, sent, got time.Time)
	Log    *slog.Logger // nil = slog.Default()

	Now    func() int64                     // ns, nil = the boot clock (Now); a simulation's own
	Jitter func(below int64) (random int64) // nil = by chance; a simulation's own
}

func (o *Options) defaults() {
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{
		{&o.TTL, store.LeaseTTL},
		{&o.Beat, 500 * time.Millisecond},
		{&o.Renew, time.Minute},
		{&o.Tick, time.Second},
		{&o.IdleAfter, 30 * time.Second},
		{&o.ForgetAfter, time.Hour},
		{&o.Recall, store.RecallGap},
		{&o.Remember, time.Second},
		{&o.Scarce, 2 * time.Second},
		{&o.ScarceGap, 20 * time.Millisecond},
		{&o.HoldTimeout, 3 * time.Second},
		{&o.Silent, 2 * time.Second},
	} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	if o.Parallel <= 0 {
		o.Parallel = 6
	}
	if o.AppliedRev == nil {
		o.AppliedRev = func() int64 { return 0 }
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = Now
	}
	if o.Jitter == nil {
		o.Jitter = rand.Int64N
	}
}

// Kind says why a hold was refused.
type Kind uint8

// The refusals of a hold.
const (
	Short       Kind = iota + 1 // the money is not there: 402, or 403 for a budget
	Unavailable                 // nobody can tell at the moment: 503 money_unavailable
)

// Refusal is the answer to a hold that got no money; Kind 0 is none.
type Refusal struct {
	Kind       Kind
	Available  money.Amount // Short: what a hold could have got at once
	Reach      money.Amount // Short: with what other proxies have, if they can spare it
	RetryAfter int          // Unavailable: seconds
}

var (
	away  = Refusal{Kind: Unavailable, RetryAfter: 2}
	slow  = Refusal{Kind: Unavailable, RetryAfter: 1}  // with a proxy that has not answered yet
	stuck = Refusal{Kind: Unavailable, RetryAfter: 30} // with a proxy that does not answer
)

// Manager borrows and returns for one proxy process. Its zero value is of no use,
// see New.
type Manager struct {
	db   DB
	slot store.ProxySlot
	o    Options

	wallets pin.Table[store.Escrow, Wallet]
	seq     atomic.Int64
	kicks   chan *Wallet
	calls   chan struct{} // limits calls at once
	ctx     context.Context
	running sync.WaitGroup

	fenced   atomic.Bool
	draining atomic.Bool
	underWay atomic.Int64 // actions whose answer is awaited
	downTill atomic.Int64 // the database was away: no new question before
	clock    atomic.Int64 // unix ns of the database − Now(), 0 = not known
	lived    atomic.Int64 // proxies alive, as of the last heartbeat
	count    Counters

	reported   map[int64]money.Amount // holds of the last ReportReserved; of the heartbeat's goroutine
	reportedAt int64

	spawn func(*Wallet) // starts serve; tests step through it instead

	mu     sync.Mutex
	active map[*Wallet]struct{} // those with a lease
}

// New makes the manager of a claimed slot. Nothing happens before Start.
func New(db DB, slot store.ProxySlot, o Options) *Manager {
	o.defaults()
	m := &Manager{
		db: db, slot: slot, o: o, ctx: context.Background(),
		kicks: make(chan *Wallet, 1024), calls: make(chan struct{}, o.Parallel),
		active: make(map[*Wallet]struct{}),
	}
	m.spawn = func(w *Wallet) { go m.serve(w) }
	return m
}

// Wallet is the wallet of a client. There is one object per id.
func (m *Manager) Wallet(id int64) *Wallet { return m.wallet(store.Escrow{WalletID: id}) }

// Budget is the room under a key's cap: of a month (period yyyymm), or its total
// quota (period 0). There is one object per key and period.
func (m *Manager) Budget(keyID int64, period int32) *Wallet {
	return m.wallet(store.Escrow{KeyID: keyID, Period: period})
}

func (m *Manager) wallet(e store.Escrow) *Wallet {
	return m.wallets.Get(e, false, func() *Wallet { return &Wallet{m: m, escrow: e, nudge: make(chan struct{}, 1)} })
}

func (m *Manager) newLease(w *Wallet) *Lease {
	return &Lease{id: store.LeaseID(m.slot.ID, m.slot.Epoch, m.seq.Add(1)), w: w}
}

// Hold takes amount (> 0) of the wallet, waiting for at most one grant and, where
// other proxies have the money, for their answer. The lease is to be settled or
// voided once.
func (m *Manager) Hold(ctx context.Context, w *Wallet, amount money.Amount) (*Lease, Refusal) {
	m.count.SlowHolds.Add(1)
	t, v := w.ask(amount, m.o.Now())
	if t == nil {
		m.count.refused(v.refusal)
		return v.lease, v.refusal
	}
	timer := time.NewTimer(m.o.HoldTimeout)
	defer timer.Stop()
	select {
	case v = <-t.answer:
	case <-ctx.Done():
		v = w.leave(t)
	case <-timer.C:
		v = w.leave(t)
	}
	m.count.refused(v.refusal)
	return v.lease, v.refusal
}

// ask answers a hold at once where that is possible, else it queues a waiter.
func (w *Wallet) ask(amount money.Amount, now int64) (*waiter, verdict) {
	m := w.m
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiters) == 0 {
		if l, ok := w.Take(amount, now); ok {
			return nil, verdict{lease: l}
		}
	}
	if r := w.refusal(amount, now); r.Kind != 0 {
		return nil, verdict{refusal: r}
	}
	if m.fenced.Load() || m.draining.Load() || now < m.downTill.Load() || now < w.brokenUntil {
		return nil, verdict{refusal: away}
	}
	t := &waiter{amount: amount, answer: make(chan verdict, 1)}
	w.waiters = append(w.waiters, t)
	if w.act.kind != nothing && !w.inFlight {
		w.retryAt = now // the database is there again, as far as we know
	}
	w.start()
	return t, verdict{}
}

// leave ends a wait: with what the waiter was given meanwhile, or with nothing.
func (w *Wallet) leave(t *waiter) verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.done {
		return <-t.answer
	}
	w.refuseWaiters(func(o *waiter) (verdict, bool) { return verdict{refusal: away}, o == t })
	return <-t.answer
}

// start sees to it that the wallet's goroutine runs and looks again. Under the lock.
func (w *Wallet) start() {
	if !w.serving {
		w.serving = true
		w.m.spawn(w)
		return
	}
	select {
	case w.nudge <- struct{}{}:
	default:
	}
}

// serve does the wallet's database actions until nothing is due.
func (m *Manager) serve(w *Wallet) {
	w.mu.Lock()
	for {
		now := m.o.Now()
		act, wake := w.next(now)
		switch {
		case act != nil:
			a := *act
			w.mu.Unlock()
			r := m.call(w, &a)
			w.mu.Lock()
			w.apply(r, m.o.Now())
		case wake != 0 && m.ctx.Err() == nil:
			w.mu.Unlock()
			m.sleep(w, time.Duration(wake-now))
			w.mu.Lock()
		default:
			w.serving = false
			w.mu.Unlock()
			return
		}
	}
}

func (m *Manager) sleep(w *Wallet, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.nudge:
	case <-m.ctx.Done():
	}
}

// call does one action. The time of sending is taken after the wait for a turn.
func (m *Manager) call(w *Wallet, a *action) (r result) {
	m.calls <- struct{}{}
	defer func() { <-m.calls }()
	sent := m.o.Now()
	w.mu.Lock()
	w.act.sent = sent
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.ctx), 3*time.Second)
	defer cancel()
	return m.do(ctx, w.escrow, a)
}

// do is the database's part of an action.
func (m *Manager) do(ctx context.Context, e store.Escrow, a *action) (r result) {
	switch a.kind {
	case grant:
		r.grant, r.err = m.db.Grant(ctx, store.GrantRequest{
			Slot: m.slot.ID, Epoch: m.slot.Epoch, LeaseID: a.lease.id, Seq: a.seq, Escrow: e, Need: a.need, Target: a.target,
		})
		failpoint.Hit(failpoint.K11)
	case giveBack:
		failpoint.Hit(failpoint.K12)
		r.err = m.db.ReturnLease(ctx, a.lease.id, a.seq, a.amount, a.recall, a.close)
		failpoint.Hit(failpoint.K13)
	case renew:
		var open []int64
		_, open, r.err = m.db.RenewLeases(ctx, m.slot.ID, m.slot.Epoch, []int64{a.lease.id})
		r.open = slices.Contains(open, a.lease.id)
	case look:
		r.unanswered, r.err = m.db.Unanswered(ctx, e, m.slot.ID, a.recall, m.o.Silent)
	}
	return r
}

// kick asks for a refill from the hot path: no lock, no wait, no allocation.
func (m *Manager) kick(w *Wallet) {
	if w.kicked.Load() || !w.kicked.CompareAndSwap(false, true) {
		return
	}
	select {
	case m.kicks <- w:
	default:
		w.kicked.Store(false)
	}
}

// Start begins the background work; it ends with ctx. Drain comes before that.
func (m *Manager) Start(ctx context.Context) {
	m.ctx = ctx
	m.running.Go(func() { m.refills(ctx) })
	m.running.Go(func() { every(ctx, m.o.Beat, m.beat) })
	m.running.Go(func() { every(ctx, m.o.Tick, m.ticks) })
	m.running.Go(func() { every(ctx, time.Minute, m.sweep) })
	m.running.Go(func() { m.renewals(ctx) })
}

// Wait returns when the background work of a Start whose context ended is over.
func (m *Manager) Wait() { m.running.Wait() }

func every(ctx context.Context, d time.Duration, f func(context.Context)) {
	for f(ctx); tempo.Wait(ctx, d); f(ctx) {
	}
}

func (m *Manager) refills(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-m.kicks:
			m.refillNow(w)
		}
	}
}

func (m *Manager) refillNow(w *Wallet) {
	w.kicked.Store(false)
	w.mu.Lock()
	defer w.mu.Unlock()
	// Where others wait for what comes free, the end of a hold was the reason.
	if l := w.cur.Load(); l == nil || !l.scarce.Load() {
		if l != nil {
			l.refillBelow.Store(0) // asked once; the grant or the next tick asks again
		}
		w.refill = true
	}
	w.start()
}

func (m *Manager) ticks(context.Context) {
	now := m.o.Now()
	for _, w := range m.list() {
		w.mu.Lock()
		if w.tick(now) {
			w.start()
		}
		w.mu.Unlock()
	}
}

// sweep drops the table's entries of wallets that nobody refers to. Those with a
// lease are referred to by active, those of keys in use by the keys.
func (m *Manager) sweep(context.Context) { m.wallets.Sweep(func(*Wallet) bool { return false }) }

// beat reports the proxy alive and takes the recalls that a lost notice hid.
func (m *Manager) beat(ctx context.Context) {
	if m.fenced.Load() {
		return
	}
	sent, wall := m.o.Now(), time.Now()
	beat, err := m.db.Heartbeat(ctx, m.slot.ID, m.slot.Epoch, m.o.AppliedRev())
	switch {
	case errors.Is(err, store.ErrFenced):
		m.fence()
		return
	case err != nil:
		if ctx.Err() == nil {
			m.away(m.o.Now(), err)
		}
		return
	}
	m.up()
	m.clock.Store(beat.Now.UnixNano() - (sent + (m.o.Now()-sent)/2))
	m.lived.Store(int64(beat.Live))
	for _, r := range beat.Recalls {
		m.OnRecall(r)
	}
	if m.o.OnBeat != nil {
		m.o.OnBeat(beat, wall, time.Now())
	}
	m.reportReserved(ctx)
}

// reportReserved tells what running requests hold (interface 8).
func (m *Manager) reportReserved(ctx context.Context) {
	holds := make(map[int64]money.Amount)
	for _, w := range m.list() {
		if w.escrow.WalletID == 0 {
			continue
		}
		if held := w.Held(); held > 0 {
			holds[w.escrow.WalletID] = held
		}
	}
	now := m.o.Now()
	if maps.Equal(holds, m.reported) && now-m.reportedAt < int64(10*time.Second) {
		return
	}
	if err := m.db.ReportReserved(ctx, m.slot.ID, m.slot.Epoch, holds); err != nil {
		if ctx.Err() == nil {
			m.count.Errors.Add(1)
		}
		m.reported = nil // unknown
		return
	}
	m.reported, m.reportedAt = holds, now
}

// OnRecall answers a recall: what is free goes back at once; and it hears that others
// gave back: those who wait ask again at once. The feed calls it for every notice on
// store.ChannelRecall. A notice may be lost: then the waits end by their times, and the
// heartbeat tells of the recall.
func (m *Manager) OnRecall(r store.Recall) {
	if r.Slot == m.slot.ID {
		return
	}
	w := m.wallets.Find(r.Escrow)
	if w == nil {
		return
	}
	if r.Freed {
		w.mu.Lock()
		w.refusedUntil = 0 // there is more than was refused
		if len(w.waiters) > 0 {
			w.freed = true
			w.start()
		}
		w.mu.Unlock()
		return
	}
	m.count.Recalls.Add(1)
	w.mu.Lock()
	w.heard = max(w.heard, r.Number)
	if w.cur.Load() != nil {
		w.recalled = true
		w.start()
	}
	w.mu.Unlock()
}

// OnWallet forgets a remembered refusal: the feed reports that money came.
func (m *Manager) OnWallet(id int64) { m.forget(store.Escrow{WalletID: id}) }

// OnBudget forgets the remembered refusals of a key's budgets: its caps changed.
func (m *Manager) OnBudget(keyID int64, period int32) {
	m.forget(store.Escrow{KeyID: keyID})
	m.forget(store.Escrow{KeyID: keyID, Period: period})
}

func (m *Manager) forget(e store.Escrow) {
	if w := m.wallets.Find(e); w != nil {
		w.mu.Lock()
		w.refusedUntil = 0
		if len(w.waiters) > 0 {
			w.graceAt, w.round = 0, 0
			w.start()
		}
		w.mu.Unlock()
	}
}

// Recovered closes the leases of this slot's earlier epochs. It is called when
// every record of them has been shipped, and tries until it is done or ctx ends.
func (m *Manager) Recovered(ctx context.Context) error {
	for n := 0; ; n++ {
		closed, err := m.db.CloseOldLeases(ctx, m.slot.ID, m.slot.Epoch)
		switch {
		case err == nil:
			if closed.Leases > 0 {
				m.o.Log.Info("closed leases of an earlier run", "leases", closed.Leases, "reclaimed_usd", closed.Reclaimed.String())
			}
			return nil
		case errors.Is(err, store.ErrFenced):
			m.fence()
			return fmt.Errorf("cannot close the leases of an earlier run: %w", err)
		}
		timer := time.NewTimer(time.Duration(m.o.backoff(n)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("cannot close the leases of an earlier run: %w", err)
		}
	}
}

// renewals moves the leases' expiry while they are of use.
func (m *Manager) renewals(ctx context.Context) {
	wait := m.o.Renew
	for failures := 0; ; {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if err := m.renew(ctx); err != nil {
			wait = min(m.o.Renew, time.Duration(m.o.backoff(failures)))
			failures++
			continue
		}
		wait, failures = m.o.Renew, 0
	}
}

const renewAtOnce = 1000

func (m *Manager) renew(ctx context.Context) error {
	list := m.list()
	ids := make([]int64, 0, min(len(list), renewAtOnce))
	leases := make(map[int64]*Lease, cap(ids))
	for len(list) > 0 {
		ids = ids[:0]
		clear(leases)
		for len(list) > 0 && len(ids) < renewAtOnce {
			if l := list[0].cur.Load(); l != nil {
				ids = append(ids, l.id)
				leases[l.id] = l
			}
			list = list[1:]
		}
		if len(ids) == 0 {
			continue
		}
		sent := m.o.Now()
		_, open, err := m.db.RenewLeases(ctx, m.slot.ID, m.slot.Epoch, ids)
		if errors.Is(err, store.ErrFenced) {
			m.fence()
			return nil
		}
		if err != nil {
			m.away(m.o.Now(), err)
			return err
		}
		m.count.Renewals.Add(1)
		for _, id := range open {
			if l := leases[id]; l != nil {
				l.w.mu.Lock()
				if l.w.cur.Load() == l {
					l.extend(sent, m.o.TTL)
				}
				l.w.mu.Unlock()
				delete(leases, id)
			}
		}
		for _, l := range leases {
			l.w.mu.Lock()
			if l.w.cur.Load() == l {
				m.count.Lost.Add(1)
				l.w.kill(l)
			}
			l.w.mu.Unlock()
		}
	}
	return nil
}

// Drain gives every lease back and closes it, so that nothing is left with this
// proxy. No hold succeeds afterwards. It is called when requests have ended and the
// journal is shipped; leases with money still held are returned but for that, not
// closed, and named in the error. A grant whose answer was lost is closed unseen.
func (m *Manager) Drain(ctx context.Context) error {
	m.draining.Store(true)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for first := true; ; first = false {
		left := m.list()
		switch {
		case len(left) == 0 && m.underWay.Load() == 0 && !first:
			return m.closeUnseen(ctx)
		case m.fenced.Load():
			return fmt.Errorf("cannot return %d of the leases: %w", len(left), store.ErrFenced)
		}
		for _, w := range left {
			w.mu.Lock()
			w.start()
			w.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot return %d of the leases: %w", len(left), ctx.Err())
		case <-ticker.C:
		}
	}
}

// closeUnseen closes what the database granted this process without its knowing: the
// answer was lost and nobody asked again.
func (m *Manager) closeUnseen(ctx context.Context) error {
	for n := 0; ; n++ {
		_, err := m.db.CloseOldLeases(ctx, m.slot.ID, m.slot.Epoch+1)
		if err == nil {
			return nil
		}
		timer := time.NewTimer(time.Duration(m.o.backoff(n)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("cannot close grants that were not answered: %w", err)
		}
	}
}

// fence ends all lending: another process has this slot.
func (m *Manager) fence() {
	if !m.fenced.CompareAndSwap(false, true) {
		return
	}
	m.o.Log.Error("this proxy slot was taken over or declared lost: no more requests are admitted", "slot", m.slot.ID, "epoch", m.slot.Epoch)
	for _, w := range m.list() {
		if l := w.cur.Load(); l != nil {
			l.stop.Store(0)
		}
	}
	if m.o.OnFenced != nil {
		go m.o.OnFenced() // not under the locks of whoever found out
	}
}

// Fenced says that this process's epoch is over.
func (m *Manager) Fenced() bool { return m.fenced.Load() }

// away notes that the database does not answer: new questions wait a moment.
func (m *Manager) away(now int64, err error) {
	m.count.Errors.Add(1)
	if m.downTill.Swap(now+int64(250*time.Millisecond)) == 0 {
		m.o.Log.Warn("the database does not answer: leases live on what they have", "error", err)
	}
}

// failed notes a call without an answer, or with one that nobody foresaw.
func (m *Manager) failed(now int64, err error) {
	if store.Unavailable(err) {
		m.away(now, err)
		return
	}
	m.count.Errors.Add(1)
	m.o.Log.Error("a call about leases failed and is repeated", "error", err)
}

func (m *Manager) up() {
	if m.downTill.Load() != 0 {
		m.downTill.Store(0)
	}
}

func (m *Manager) refusedForGood(w *Wallet, a *action, err error) {
	m.count.Errors.Add(1)
	m.o.Log.Error("cannot move lease money", "wallet", w.escrow.WalletID, "key", w.escrow.KeyID, "period", w.escrow.Period,
		"lease", a.lease.IDOrZero(), "step", a.seq, "error", err)
}

// IDOrZero is the lease's row, 0 for nil.
func (l *Lease) IDOrZero() int64 {
	if l == nil {
		return 0
	}
	return l.id
}

// final says that the database refused for good. Everything else, also what nobody
// foresaw, leaves open whether the call was done.
func final(err error) bool {
	for _, e := range []error{store.ErrNotFound, store.ErrInvalid, store.ErrExists, store.ErrConflict, store.ErrSequence, store.ErrInsufficient} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// backoff is the n-th wait in ns: 50 ms doubling to 5 s, with jitter (B10).
func (o *Options) backoff(n int) int64 {
	d := int64(50*time.Millisecond) << min(n, 7)
	d = min(d, int64(5*time.Second))
	return d/2 + o.Jitter(d/2)
}

func (m *Manager) activate(w *Wallet) {
	m.mu.Lock()
	m.active[w] = struct{}{}
	m.mu.Unlock()
}

func (m *Manager) deactivate(w *Wallet) {
	m.mu.Lock()
	delete(m.active, w)
	m.mu.Unlock()
}

func (m *Manager) list() []*Wallet {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*Wallet, 0, len(m.active))
	for w := range m.active {
		list = append(list, w)
	}
	return list
}

// DBTime is the time of Postgres's clock at now (see Now), the wall clock's before
// the first heartbeat.
func (m *Manager) DBTime(now int64) time.Time {
	if c := m.clock.Load(); c != 0 {
		return time.Unix(0, now+c).UTC()
	}
	return time.Now().UTC()
}

// Live is the number of proxies alive, as of the last heartbeat, at least 1.
func (m *Manager) Live() int { return int(max(1, m.lived.Load())) }
