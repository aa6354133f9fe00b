package simtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing/synctest"
	"time"

	"tokenrelay/proxy/admit"
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/journal"
	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/lease/model"
	"tokenrelay/proxy/live"
	"tokenrelay/proxy/ship"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// world is one schedule.
type world struct {
	rng     *rand.Rand
	began   time.Time
	books   *model.Books
	root    string
	folders int
	proxies []*proxy
	calls   []*call
	lost    bool // some slot was declared lost: late charges are possible
	seen    map[string]int
	plant   func([]model.Record) []model.Record // a fault in the shipper that the checks must see

	mu      sync.Mutex // guards pending
	pending []*query
}

// proxy is one proxy's life over several processes.
type proxy struct {
	*process // nil between a death and the next start
	slot     int16
	dir      string
	mode     journal.Mode
	upAt     int64 // start again at this time
}

// process is one incarnation.
type process struct {
	w       *world
	p       *proxy
	dead    bool // the books and the disk hear nothing of it any more
	fenced  bool
	broken  bool // its disk has failed
	leases  *lease.Manager
	live    *live.Registry
	gate    *admit.Gate
	journal *journal.Journal
	ship    *ship.Shipper
	ctx     context.Context // ends with the process
	end     context.CancelFunc
	endShip context.CancelFunc
	running sync.WaitGroup
	old     []byte // the in-flight slots of an earlier moment, which a loss of power may bring back

	wantK10 bool   // keep the folder as it is between booking and acknowledging
	atK10   string // that copy
	torn    int    // the next record is written up to here only, and the process dies; -1 = no
	tornDir string // the folder at that moment
}

var (
	quiet   = slog.New(slog.DiscardHandler)
	group   = &catalog.Group{ID: 5, Name: "default", AllModels: true, DailyUSD: -1, TotalQuota: -1}
	served  = &catalog.Model{ID: "m", MaxOutput: 1000}
	escrows = []store.Escrow{{WalletID: 1}, {WalletID: 2}, {KeyID: 7, Period: 200001}, {KeyID: 7}}
	modes   = []journal.Mode{journal.ModeGroup, journal.ModeSync, journal.ModeProcess}
	rules   [2]*price.Rule // a change of price between them
	ips     = live.NewIPs()
)

func init() {
	for i := range rules {
		v := &price.Version{ID: int64(i + 1)}
		v.Base.Set = 1<<usage.Input | 1<<usage.Output
		v.Base.Rates[usage.Input], v.Base.Rates[usage.Output] = price.Rate(1_000*(i+1)), price.Rate(10_000*(i+1))
		v.Base.Resolve()
		rules[i] = &price.Rule{Version: v, ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM}
	}
}

func newWorld(seed uint64, root string) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 2)), began: time.Now(), root: root, seen: map[string]int{}}
	w.books = model.New(w.now)
	for _, e := range escrows {
		w.books.Pay(e, money.Amount(w.rng.Int64N(60_000)+2_000))
	}
	for i := range 2 {
		p := &proxy{slot: int16(i + 1), dir: w.folder(), mode: modes[w.rng.IntN(len(modes))]}
		w.proxies = append(w.proxies, p)
		w.boot(p)
	}
	return w
}

// now is the clock of leases: it begins well after 0.
func (w *world) now() int64 { return int64(time.Since(w.began)) + int64(time.Hour) }

func (w *world) folder() string {
	w.folders++
	dir := filepath.Join(w.root, fmt.Sprint(w.folders))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		panic(err)
	}
	return dir
}

// boot starts a process on the proxy's folder.
func (w *world) boot(p *proxy) {
	c := &process{w: w, p: p, torn: -1}
	d := &database{w: w, c: c}
	slot := w.books.Claim(p.slot)
	faults := &journal.Faults{Datasync: c.datasync, Free: func(string) (int64, error) { return 1 << 30, nil }}
	if w.rng.IntN(2) == 0 { // else records are stored into mapped pages, as in production
		faults.Pwrite = c.pwrite
	}
	var err error
	c.journal, _, err = journal.Open(p.dir, journal.Options{
		Mode: p.mode, Slot: slot.ID, Epoch: slot.Epoch, SegmentBytes: 8 << 10, MinFree: 1, Cells: 16, Reserve: 1 << 10,
		Watch: 100 * time.Millisecond, Log: quiet, Faults: faults,
	})
	if err != nil {
		panic(fmt.Errorf("proxy %d does not start: %w", p.slot, err))
	}
	c.ship = ship.New(c.journal, d, ship.Options{
		Slot: slot.ID, Every: 20 * time.Millisecond, MaxWait: 200 * time.Millisecond, Log: quiet,
		Jitter: func(d time.Duration) time.Duration { return d / 2 }, OnShipped: c.shipped,
	})
	c.leases = lease.New(d, slot, lease.Options{Log: quiet, Now: w.now, Jitter: func(n int64) int64 { return n / 2 }, OnFenced: func() { c.fenced = true }})
	c.live = live.NewRegistry(c.leases)
	c.gate = admit.NewGate(admit.Options{Leases: c.leases, Live: c.live, IPs: ips, Strict: true})
	ctx, end := context.WithCancel(context.Background())
	shipCtx, endShip := context.WithCancel(ctx)
	c.ctx, c.end, c.endShip = ctx, end, endShip
	c.running.Go(func() { _ = c.ship.Run(shipCtx) })
	c.leases.Start(ctx)
	c.running.Go(func() {
		select {
		case <-c.ship.CaughtUp():
			_ = c.leases.Recovered(ctx)
		case <-ctx.Done():
		}
	})
	p.process = c
	synctest.Wait()
}

// pwrite is the disk's write: whole, or torn by the death of the machine.
func (c *process) pwrite(fd int, b []byte, off int64) error {
	if c.dead {
		return errors.New("dead")
	}
	if c.torn >= 0 && off > 0 {
		part := b[:min(c.torn, len(b)-1)]
		if err := pwrite(fd, part, off); err != nil {
			return err
		}
		c.torn, c.tornDir = -1, c.copy()
		return errors.New("the power is gone")
	}
	if c.broken {
		return errors.New("input/output error")
	}
	return pwrite(fd, b, off)
}

func (c *process) datasync(int) error {
	if c.broken || c.dead {
		return errors.New("input/output error")
	}
	return nil // the folder lies in memory
}

// shipped is called when records are booked and not yet acknowledged.
func (c *process) shipped([]usage.Record) {
	if c.wantK10 && !c.dead && c.atK10 == "" {
		c.atK10 = c.copy()
	}
}

// copy is the folder as the next process would find it.
func (c *process) copy() string {
	to := c.w.folder()
	if err := os.CopyFS(to, os.DirFS(c.p.dir)); err != nil {
		panic(err)
	}
	return to
}

func (c *process) file(name string) string { return filepath.Join(c.p.dir, "journal", name) }

// query is a call to the database that waits for its fate.
type query struct {
	c      *process
	kind   string
	do     func() error
	answer chan error // room for one
}

// fates of a query.
const (
	done       = iota // and answered
	undone            // never arrived
	unanswered        // done, and the answer is lost
)

// end decides about a query.
func (q *query) end(fate int) {
	err := error(context.DeadlineExceeded)
	if fate != undone {
		if e := q.do(); fate == done {
			err = e
		}
	}
	q.answer <- err
}

// database is the model as one process sees it.
type database struct {
	w *world
	c *process
}

var errDead = errors.New("the process is dead")

func (d *database) ask(ctx context.Context, kind string, do func() error) error {
	if d.c.dead {
		return errDead
	}
	q := &query{c: d.c, kind: kind, do: do, answer: make(chan error, 1)}
	d.w.mu.Lock()
	d.w.pending = append(d.w.pending, q)
	d.w.mu.Unlock()
	select {
	case err := <-q.answer:
		return err
	case <-ctx.Done():
		return ctx.Err() // the call may still be done
	}
}

func (d *database) Grant(ctx context.Context, r store.GrantRequest) (g store.Grant, err error) {
	var out store.Grant
	err = d.ask(ctx, "grant", func() (err error) { out, err = d.w.books.Grant(context.Background(), r); return err })
	if err != nil {
		return g, err
	}
	return out, nil
}

func (d *database) ReturnLease(ctx context.Context, id, rseq int64, amount money.Amount, answers int64, end bool) error {
	return d.ask(ctx, "return", func() error { return d.w.books.ReturnLease(context.Background(), id, rseq, amount, answers, end) })
}

func (d *database) RenewLeases(ctx context.Context, slot int16, epoch int64, ids []int64) (time.Time, []int64, error) {
	if d.c.dead {
		return time.Time{}, nil, errDead
	}
	return d.w.books.RenewLeases(ctx, slot, epoch, ids)
}

func (d *database) CloseOldLeases(ctx context.Context, slot int16, epoch int64) (c store.Closed, err error) {
	var out store.Closed
	err = d.ask(ctx, "close", func() (err error) { out, err = d.w.books.CloseOldLeases(context.Background(), slot, epoch); return err })
	if err != nil {
		return c, err
	}
	return out, nil
}

func (d *database) Heartbeat(ctx context.Context, slot int16, epoch, rev int64) (store.Beat, error) {
	if d.c.dead {
		return store.Beat{}, errDead
	}
	return d.w.books.Heartbeat(ctx, slot, epoch, rev)
}

func (d *database) ReportReserved(ctx context.Context, slot int16, epoch int64, holds map[int64]money.Amount) error {
	if d.c.dead {
		return errDead
	}
	return d.w.books.ReportReserved(ctx, slot, epoch, holds)
}

func (d *database) Unanswered(ctx context.Context, e store.Escrow, slot int16, recall int64, silent time.Duration) (store.Unanswered, error) {
	if d.c.dead {
		return store.Unanswered{}, errDead
	}
	return d.w.books.Unanswered(ctx, e, slot, recall, silent)
}

// SettleBatch is one transaction: all of it or nothing.
func (d *database) SettleBatch(ctx context.Context, _ int16, recs []usage.Record) (res store.SettleResult, err error) {
	list := make([]model.Record, len(recs))
	for i := range recs {
		r := &recs[i]
		list[i] = model.Record{ID: r.ID, Charge: r.Charge, Leases: []int64{r.WalletLease, r.MonthLease, r.TotalLease}}
	}
	if d.w.plant != nil {
		list = d.w.plant(list)
	}
	return res, d.ask(ctx, "settle", func() error { return d.w.books.Settle(list) })
}

// call is one request.
type call struct {
	c     *process
	id    reqid.ID
	rule  *price.Rule
	in    admit.Input
	t     admit.Ticket
	stage stage
	admit chan bool // the gate's answer
	fl    *journal.Flight
	rec   usage.Record

	void   bool // the upstream answers nothing of use
	lies   bool // it reports more than it may
	chunks int  // left
	units  usage.Units
	bill   money.Amount // what the slot says it owes
	noted  money.Amount // the most that the slot ever said
	final  money.Amount // what the record says
	seq    uint64       // of the record

	// What may be in the books in the end.
	least, most money.Amount
	booked      bool // it must be there
}

// stage is how far a request is: a kill now is the crash point of that name.
type stage int

const (
	waiting   stage = iota // for money
	admitted               // K1: the money is taken
	begun                  // K2: the slot is written
	sent                   // K3: the request is at the upstream
	streaming              // K4: output is noted, then told
	counted                // K5: the usage is known
	journaled              // K6: the record is written
	told                   // K7: the client has all
	settled                // the hold has ended
	over
)

var points = map[stage]string{admitted: "K1", begun: "K2", sent: "K3", streaming: "K4", counted: "K5", journaled: "K6", told: "K7", settled: "K7"}

func (w *world) newCall(c *process) {
	k := &call{c: c, id: w.newID(), rule: rules[w.rng.IntN(2)], admit: make(chan bool, 1), chunks: w.rng.IntN(4)}
	k.void, k.lies = w.rng.IntN(8) == 0, w.rng.IntN(8) == 0
	key := &catalog.Key{ID: 3, Status: catalog.KeyActive, ClientActive: true, GroupID: 5, MonthlyCap: -1, TotalQuota: -1, DailyUSD: -1}
	switch w.rng.IntN(3) {
	case 0:
		key.ID, key.MonthlyCap, key.TotalQuota, key.WalletID = 7, 1, 1, 1
	case 1:
		key.ID, key.WalletID = 4, 2
	default:
		key.WalletID = 1
	}
	key.Live = c.live.Key(key.ID, key.WalletID)
	k.in = admit.Input{
		Key: key, Group: group, Model: served, Rule: k.rule, Ctx: c.ctx, ClientCap: w.rng.IntN(2) == 0,
		Bound: price.Bound{InputTokens: w.rng.Int64N(500) + 1, OutputTokens: w.rng.Int64N(400) + 50, TextOutput: true}, BodyBytes: 100,
		Now: w.now(), Milli: time.Now().UnixMilli(),
	}
	w.calls = append(w.calls, k)
	go func() { k.admit <- c.gate.Admit(&k.in, &k.t) == nil }()
}

// newID is a request id of the seed.
func (w *world) newID() reqid.ID {
	id := reqid.Min(time.Now().UnixMilli())
	for i := 8; i < 16; i++ {
		id[i] = byte(w.rng.Uint32())
	}
	return id
}
