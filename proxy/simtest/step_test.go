package simtest

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"tokenrelay/proxy/settle"
	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// step does one thing that the seed draws, and lets all that follows from it happen.
func (w *world) step() error {
	p := w.proxies[w.rng.IntN(len(w.proxies))]
	if p.process == nil {
		if w.now() >= p.upAt {
			w.boot(p)
		}
	} else {
		w.act(p.process)
	}
	synctest.Wait()
	for _, p := range w.proxies {
		c := p.process
		switch {
		case c == nil:
		case c.atK10 != "":
			// What the acknowledgement wrote, and nothing that it removed.
			b, err := os.ReadFile(c.file("ack"))
			if err == nil {
				err = os.WriteFile(filepath.Join(c.atK10, "journal", "ack"), b, 0o600)
			}
			if err != nil {
				return err
			}
			w.seen["K10 kill"]++
			w.crash(p, false, c.atK10)
		case c.fenced:
			w.crash(p, false, "")
		}
	}
	return w.check()
}

func (w *world) act(c *process) {
	p := c.p
	switch n := w.rng.IntN(1000); {
	case n < 170:
		if w.open(c) < 12 {
			w.newCall(c)
		}
	case n < 600:
		if k := w.pick(c); k != nil {
			for n := w.rng.IntN(4); n >= 0 && k.stage != over; n-- {
				w.advance(k)
			}
		}
	case n < 800:
		w.land(w.rng.IntN(20) == 0)
	case n < 880:
		time.Sleep(w.upTo(30 * time.Millisecond))
	case n < 905:
		time.Sleep(w.upTo(600 * time.Millisecond))
	case n < 925:
		w.deliver(w.rng.IntN(4) == 0)
	case n < 935:
		w.books.Pay(escrows[w.rng.IntN(len(escrows))], money.Amount(w.rng.Int64N(5000)+1))
	case n < 945:
		w.books.SetDown(w.rng.IntN(3) == 0)
	case n < 955:
		c.old, _ = os.ReadFile(c.file("flights"))
	case n < 960:
		c.wantK10 = true
	case n < 964:
		if !c.broken {
			w.seen["disk fault"]++
			c.broken = true
			w.tell("proxy %d: its disk fails", p.slot)
		}
	case n < 970:
		c.torn = w.rng.IntN(200)
	case n < 975:
		// An operator declares the proxy lost, though it lives.
		w.books.Lost(p.slot)
		w.lost = true
		w.seen["lost alive"]++
		w.tell("proxy %d: declared lost", p.slot)
	case n < 988:
		w.crash(p, w.rng.IntN(2) == 0, "")
		if w.rng.IntN(6) == 0 {
			w.books.Lost(p.slot)
			w.lost = true
		}
	}
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }

func (w *world) open(c *process) (n int) {
	for _, k := range w.calls {
		if k.c == c && k.stage != over {
			n++
		}
	}
	return n
}

// pick is a running request of c, nil if there is none.
func (w *world) pick(c *process) *call {
	n := w.open(c)
	if n == 0 {
		return nil
	}
	n = w.rng.IntN(n)
	for _, k := range w.calls {
		if k.c == c && k.stage != over {
			if n == 0 {
				return k
			}
			n--
		}
	}
	return nil
}

// advance brings a request to its next stage, in the order of the relay.
func (w *world) advance(k *call) {
	c := k.c
	defer func() {
		w.tell("proxy %d: request %s: stage %d, slot %s, may owe %s to %s", c.p.slot, k.id, k.stage, k.bill, k.least, k.most)
	}()
	switch k.stage {
	case waiting:
		select {
		case ok := <-k.admit:
			k.stage = over
			if ok {
				k.stage = admitted
			}
			w.seen[fmt.Sprint("admitted ", ok)]++
		default:
		}
	case admitted:
		if k.fl = c.journal.Flights().Acquire(); k.fl == nil || !c.journal.Healthy() {
			if k.fl != nil {
				k.fl.Release()
			}
			k.t.Void()
			k.stage = over
			return
		}
		k.rec = usage.Record{
			ID: k.id, ProxySlot: c.p.slot, ClientID: 1, WalletID: k.in.Key.WalletID, KeyID: k.in.Key.ID, Model: served.ID, RequestedModel: served.ID,
			Hold: k.t.Hold(), PriceID: k.rule.Version.ID, AdmittedMicros: time.Now().UnixMicro(),
		}
		k.rec.WalletLease, k.rec.MonthLease, k.rec.TotalLease = k.t.Leases()
		k.fl.Begin(&k.rec)
		k.stage = begun
	case begun:
		k.fl.Sent(1, 1, 1)
		k.stage = sent
	case sent:
		switch {
		case k.void && w.rng.IntN(2) == 0:
			k.fl.Sent(2, 1, 2) // another upstream is tried
			k.void = false
		case k.void:
			w.record(k, usage.Failed)
		case k.chunks == 0:
			w.count(k)
		default:
			k.stage = streaming
			w.chunk(k)
		}
	case streaming:
		switch n := w.rng.IntN(10); {
		case k.chunks > 0:
			w.chunk(k)
		case n == 0:
			w.record(k, usage.Failed) // cut by the upstream
		case n == 1:
			w.record(k, usage.Cancelled) // the client left
		default:
			w.count(k)
		}
	case counted:
		w.record(k, usage.Success)
	case journaled:
		k.stage = told
	case told:
		if k.rec.Charge > 0 || k.rec.Status == usage.Success {
			k.t.Settle(k.rec.Charge, 1)
		} else {
			k.t.Void()
		}
		k.stage = settled
	case settled:
		k.fl.Release()
		k.stage = over
	}
}

// chunk notes output in the slot, then the client gets it.
func (w *world) chunk(k *call) {
	k.chunks--
	k.units[usage.Input] = k.in.Bound.InputTokens
	k.units[usage.Output] += w.rng.Int64N(k.t.OutputCap/4 + 1)
	w.note(k)
}

// count is the provider's own usage, which may be a lie.
func (w *world) count(k *call) {
	k.units[usage.Input] = k.in.Bound.InputTokens
	k.units[usage.Output] = w.rng.Int64N(k.t.OutputCap + 1)
	if k.lies {
		k.units[usage.Output] *= 3
	}
	w.note(k)
	k.fl.Details(0, 0, 0)
	k.stage = counted
}

func (w *world) note(k *call) {
	bill := settle.Price(k.rule, nil, &k.units, k.t.Hold())
	k.bill = bill.Charge
	k.noted = max(k.noted, k.bill)
	k.fl.Progress(bill.Charge, &k.units)
	k.least, k.most, k.booked = bill.Charge, bill.Charge, true
}

// record journals the end of a request.
func (w *world) record(k *call, status usage.Status) {
	c := k.c
	k.rec.Status, k.rec.HTTPStatus, k.rec.Units, k.rec.Charge, k.rec.EndMicros = status, 200, k.units, k.bill, time.Now().UnixMicro()
	err := c.journal.Append(&k.rec)
	if c.tornDir != "" {
		w.seen["torn record"]++
		k.stage = counted // as far as the disk knows
		w.crash(c.p, false, c.tornDir)
		return
	}
	if err != nil {
		// The slot stays as it is, for the next start; the hold ends.
		k.fl = nil
		k.t.Settle(k.rec.Charge, 1)
		k.stage = over
		return
	}
	k.final, k.seq = k.bill, c.journal.Last()
	if c.journal.Dead() {
		k.seq = math.MaxUint64 // in memory only
	}
	k.least, k.most, k.booked = k.final, k.final, true
	k.stage = journaled
}

// tell prints what happens, where one schedule is looked at.
func (w *world) tell(format string, args ...any) {
	if *trace {
		fmt.Printf("%s "+format+"\n", append([]any{time.Since(w.began)}, args...)...)
	}
}

// land ends one query to the database.
func (w *world) land(fault bool) {
	w.mu.Lock()
	n := len(w.pending)
	if n == 0 {
		w.mu.Unlock()
		return
	}
	i := w.rng.IntN(n)
	q := w.pending[i]
	w.pending = slices.Delete(w.pending, i, i+1)
	w.mu.Unlock()
	fate := done
	if fault {
		fate = 1 + w.rng.IntN(2)
		w.seen[q.kind+[]string{"", " undone", " unanswered"}[fate]]++
	}
	q.end(fate)
	w.tell("proxy %d: %s ends, fate %d", q.c.p.slot, q.kind, fate)
}

// deliver hands out the notices, or loses them.
func (w *world) deliver(lose bool) {
	list := w.books.Notices
	w.books.Notices = nil
	if lose {
		return
	}
	for _, r := range list {
		for _, p := range w.proxies {
			if p.process != nil {
				p.leases.OnRecall(r)
			}
		}
	}
}

// crash ends a process at once. from is the folder as it was in the moment of death,
// "" = as it is now. A loss of power costs what was not on the disk.
func (w *world) crash(p *proxy, power bool, from string) {
	c := p.process
	how := " kill"
	if power {
		how = " power"
	}
	synced := c.journal.Synced()
	w.tell("proxy %d: dies,%s, synced %+v, broken %v, %s", p.slot, how, synced, c.broken, from)
	if from == "" {
		from = c.copy()
	}
	c.dead = true
	w.mu.Lock()
	var mine []*query
	w.pending = slices.DeleteFunc(w.pending, func(q *query) bool {
		if q.c == c {
			mine = append(mine, q)
		}
		return q.c == c
	})
	w.mu.Unlock()
	for _, q := range mine {
		fate := undone + w.rng.IntN(2)
		if point := map[string]string{"settle1": "K8", "settle2": "K9", "grant2": "K11", "return1": "K12", "return2": "K13"}[q.kind+fmt.Sprint(fate)]; point != "" {
			w.seen[point+how]++
		}
		q.end(fate)
	}
	for _, k := range w.calls {
		if k.c != c {
			continue
		}
		if k.stage != over {
			if point := points[k.stage]; point != "" {
				w.seen[point+how]++
			}
		}
		_, there := w.books.Charges[k.id]
		switch {
		case there:
		case k.seq == math.MaxUint64:
			k.least, k.most, k.booked = 0, max(k.most, k.noted), false // the disk had failed before: a second fault
		case power && k.seq == 0, power && k.seq > synced.Seq:
			// Not on the disk yet; an older state of its slot may be.
			k.least, k.most, k.booked = 0, max(k.most, k.noted), false
		}
		k.stage = over
	}
	if power {
		w.lose(c, from, synced)
	}
	w.stop(c)
	if c.atK10 != "" && c.atK10 != from {
		_ = os.RemoveAll(c.atK10)
	}
	_ = os.RemoveAll(p.dir)
	p.dir, p.process = from, nil
	p.upAt = w.now() + w.rng.Int64N(int64(time.Second))
}

// stop ends the goroutines of a process.
func (w *world) stop(c *process) {
	c.end()
	c.running.Wait()
	c.leases.Wait()
	_ = c.journal.Close()
	if err := c.journal.Unmap(); err != nil {
		panic(err)
	}
}

// lose is what a loss of power does to a folder: of what was not synced, any part may
// be missing, and in-flight slots may be older than they were.
func (w *world) lose(c *process, dir string, synced journalfile.Position) {
	files, err := filepath.Glob(filepath.Join(dir, "journal", "*.seg"))
	if err != nil {
		panic(err)
	}
	at := journalfile.SegName(synced.Segment)
	for _, path := range files {
		switch strings.Compare(filepath.Base(path), at) {
		case 1:
			if err := os.Remove(path); err != nil {
				panic(err)
			}
		case 0:
			b, err := os.ReadFile(path)
			if err != nil {
				panic(err)
			}
			end := int64(len(b))
			for end > synced.Offset && b[end-1] == 0 {
				end--
			}
			// Disks write sectors: each is there or as it was, in any order.
			all, any := w.rng.IntN(3) == 0, false
			for from := synced.Offset; from < end; {
				to := min((from/journalfile.Sector+1)*journalfile.Sector, end)
				if all || w.rng.IntN(2) == 0 {
					clear(b[from:to])
					any = true
				}
				from = to
			}
			if any {
				w.seen["unsynced sectors lost"]++
				if err := os.WriteFile(path, b, 0o600); err != nil {
					panic(err)
				}
			}
		}
	}
	path := filepath.Join(dir, "journal", "flights")
	b, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	if len(c.old) == len(b) {
		for i := journalfile.FlightsHeader; i < len(b); i += journalfile.CellSize {
			if w.rng.IntN(2) == 0 {
				copy(b[i:i+journalfile.CellSize], c.old[i:])
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			panic(err)
		}
	}
}

// check proves M1 to M6 as they stand.
func (w *world) check() error {
	var err error
	if err = w.books.Check(); err != nil {
		return err
	}
	if !w.lost && (w.books.BadDebt != 0 || w.books.Late != 0) {
		return fmt.Errorf("overspend: bad debt of %s, %d late charges", w.books.BadDebt, w.books.Late)
	}
	for _, p := range w.proxies {
		c := p.process
		if c == nil {
			continue
		}
		held := map[int64]money.Amount{}
		unsure := false
		for _, k := range w.calls {
			if k.c != c {
				continue
			}
			if k.stage == waiting {
				unsure = true // it may have a part of what it needs
			}
			if k.t.Open() {
				a, b, d := k.t.Leases()
				for _, id := range []int64{a, b, d} {
					held[id] += k.t.Hold()
				}
			}
		}
		for _, s := range c.leases.Leases() {
			if s.Free < 0 || s.Held < held[s.ID] || !unsure && s.Held != held[s.ID] {
				return fmt.Errorf("M6: proxy %d lease %d: %+v, requests hold %s", p.slot, s.ID, s, held[s.ID])
			}
		}
	}
	return nil
}

// rest lets everything end without further faults and compares the books with what
// the clients got.
func (w *world) rest() error {
	w.books.SetDown(false)
	time.Sleep(600 * time.Millisecond) // a heartbeat tells who is fenced
	for round := 0; ; round++ {
		if round > 3000 {
			return fmt.Errorf("it does not come to rest: %d queries", len(w.pending))
		}
		busy := false
		for _, p := range w.proxies {
			if p.process == nil {
				time.Sleep(time.Duration(max(0, p.upAt-w.now())))
				w.boot(p)
			}
			p.torn, p.wantK10 = -1, false
			if p.broken {
				p.broken = false // only new processes can use the disk again
			}
			for _, k := range w.calls {
				if k.c == p.process && k.stage != over {
					w.advance(k)
					busy = true
				}
			}
		}
		synctest.Wait()
		for len(w.pending) > 0 {
			busy = true
			w.land(false)
			synctest.Wait()
		}
		w.deliver(false)
		for _, p := range w.proxies {
			if p.process != nil && p.fenced {
				w.crash(p, false, "")
				busy = true
			} else if p.process != nil && !p.journal.Dead() && p.journal.Lag() > 0 {
				busy = true
			}
		}
		if err := w.check(); err != nil {
			return err
		}
		if !busy && round > 5 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, p := range w.proxies {
		ended := make(chan error, 1)
		go func() {
			p.endShip()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			err := p.ship.Drain(ctx)
			if err == nil {
				err = p.leases.Drain(ctx)
			}
			ended <- err
		}()
		for open := true; open; {
			synctest.Wait()
			select {
			case err := <-ended:
				if err != nil {
					return fmt.Errorf("proxy %d does not end: %w; %+v", p.slot, err, p.leases.Leases())
				}
				open = false
			default:
				if len(w.pending) > 0 {
					w.land(false)
				} else {
					time.Sleep(time.Millisecond)
				}
			}
		}
		if p.journal.Lag() != 0 && !p.journal.Dead() {
			return fmt.Errorf("proxy %d keeps %d records", p.slot, p.journal.Lag())
		}
		w.stop(p.process)
		p.process = nil
	}
	if err := w.books.Check(); err != nil {
		return err
	}
	for e, row := range w.books.Wallets {
		if row.Leased != 0 {
			err := fmt.Errorf("M14: %s of %+v still leased at rest", row.Leased, e)
			for _, l := range w.books.Leases {
				if l.Outstanding() != 0 {
					err = fmt.Errorf("%w; lease %d: %+v", err, l.ID, l)
				}
			}
			return err
		}
	}
	known := map[string]bool{}
	for _, k := range w.calls {
		known[k.id.String()] = true
		charge, there := w.books.Charges[k.id]
		if there {
			w.seen["booked"]++
		}
		if k.booked && !there || charge < k.least || charge > k.most {
			return fmt.Errorf("M7: request %s: booked %v %s, owed at least %s and at most %s", k.id, there, charge, k.least, k.most)
		}
	}
	for id := range w.books.Charges {
		if !known[id.String()] {
			return fmt.Errorf("M7: a charge for request %s, which nobody made", id)
		}
	}
	if w.books.Late > 0 {
		w.seen["K14 late"]++
	}
	return nil
}
