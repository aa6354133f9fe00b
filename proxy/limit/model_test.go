package limit

import (
	"context"
	"errors"
	"sync"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// model is Postgres's part of the protocol in Go, on a clock of its own; the tests of
// the store hold the real one to the same rules.
type model struct {
	mu      sync.Mutex
	begun   time.Time
	counts  map[store.LimitSubject]*count
	places  map[store.LimitSubject]map[int16]int64
	slots   map[int16]*slot
	calls   int
	asked   int
	fault   func() (before, after bool) // the call fails before or after it was done
	latency func() time.Duration
	recall  func(payload store.LimitSubject, slot int16)

	windows map[store.LimitSubject][]window
	days    map[store.DaySubject]map[int16]money.Amount
	reached map[store.DaySubject]bool
	events  int
}

// window is one that was: from is when something could be taken of it first. own: from
// there on a proxy counted alone, by windows of its own.
type window struct {
	start, from int64
	own         bool
}

type slot struct {
	beat time.Duration
	lone bool
}

type count struct{ at, prev, cur, called int64 }

var errAway = errors.New("away")

func newModel() *model {
	return &model{
		begun: time.Now(), counts: map[store.LimitSubject]*count{}, places: map[store.LimitSubject]map[int16]int64{}, slots: map[int16]*slot{},
		fault: func() (bool, bool) { return false, false }, latency: func() time.Duration { return 0 }, recall: func(store.LimitSubject, int16) {},
		windows: map[store.LimitSubject][]window{}, days: map[store.DaySubject]map[int16]money.Amount{}, reached: map[store.DaySubject]bool{},
	}
}

// now is µs by the database's clock, which is years from everybody else's.
func (m *model) now() int64 { return 1_000_000_000_000_000 + time.Since(m.begun).Microseconds() }

func (m *model) live() (n int64) {
	for _, s := range m.slots {
		if time.Since(m.begun)-s.beat < store.LiveWindow {
			n++
		}
	}
	return n
}

func (m *model) beat(id int16) store.Beat {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.slots[id] == nil {
		m.slots[id] = &slot{}
	}
	m.slots[id].beat = time.Since(m.begun)
	return store.Beat{Live: int(m.live())}
}

// see reads the model.
func (m *model) see(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *model) done() (calls int) {
	m.see(func() { calls = m.calls })
	return calls
}

func (m *model) told(s store.DaySubject) (ok bool) {
	m.see(func() { ok = m.reached[s] })
	return ok
}

func (m *model) call(f func()) error {
	time.Sleep(m.latency() / 2)
	m.mu.Lock()
	before, after := m.fault()
	if !before {
		m.calls++
		f()
	}
	m.mu.Unlock()
	time.Sleep(m.latency() / 2)
	if before || after {
		return errAway
	}
	return nil
}

func (m *model) TakeLimits(_ context.Context, me int16, _ int64, asks []store.LimitAsk) (grants []store.LimitGrant, blocked bool, err error) {
	err = m.call(func() {
		for id, s := range m.slots {
			blocked = blocked || id != me && s.lone && time.Since(m.begun)-s.beat < store.LiveWindow
		}
		if blocked {
			return
		}
		m.asked += len(asks)
		for i := range asks {
			grants = append(grants, m.take(me, &asks[i]))
		}
	})
	return grants, blocked && err == nil, err
}

const minuteMicros = 60_000_000

func (m *model) roll(s store.LimitSubject, now int64) *count {
	c := m.counts[s]
	if c == nil {
		c = &count{at: now}
		m.counts[s] = c
	}
	switch {
	case now-c.at >= 2*minuteMicros, now-c.at >= minuteMicros && c.cur == 0, c.cur == 0 && c.prev == 0:
		c.at, c.prev, c.cur = now+500_000, 0, 0
	case now-c.at >= minuteMicros:
		c.at, c.prev, c.cur = c.at+minuteMicros, c.cur, 0
	}
	if w := m.windows[s]; len(w) == 0 || w[len(w)-1].start != c.at {
		m.windows[s] = append(w, window{start: c.at, from: min(now, c.at)})
	}
	return c
}

func (m *model) take(me int16, a *store.LimitAsk) (g store.LimitGrant) {
	now, live := m.now(), max(1, m.live())
	var c *count
	switch {
	case a.Kind.Window():
		c = m.roll(a.LimitSubject, now)
		switch a.Start {
		case c.at:
			c.cur = max(0, c.cur-a.Back)
		case c.at - minuteMicros:
			c.prev = max(0, c.prev-a.Back)
		}
		c.cur += a.Used
		elapsed := now - c.at
		spare := a.Cap - c.prev*(minuteMicros-max(0, elapsed))/minuteMicros - c.cur
		g.Granted = max(0, min(spare, max(a.Need, min(a.Want, spare/(2*live)))))
		c.cur += g.Granted
		if g.Granted < a.Need {
			var wait int64
			if room := a.Cap - 1 - c.cur; room >= 0 {
				wait = minuteMicros - (room+1)*minuteMicros/c.prev + 1 - elapsed
			} else {
				wait = minuteMicros - elapsed + max(0, minuteMicros-a.Cap*minuteMicros/max(1, c.cur)) + 1
			}
			g.Wait = time.Duration(max(1, wait)) * time.Microsecond
		}
		g.Spare, g.Start = max(0, spare-g.Granted), c.at
		g.Remains = time.Duration(minuteMicros-(now-c.at)) * time.Microsecond
	case a.Kind.Bucket():
		c = m.counts[a.LimitSubject]
		if c == nil {
			c = &count{at: now}
			m.counts[a.LimitSubject] = c
		}
		cost := func(n int64) int64 { return (n*minuteMicros + a.Cap - 1) / a.Cap }
		missing := max(0, max(0, c.at-now)+cost(a.Used)-cost(a.Back))
		spare := max(0, (minuteMicros-missing)*a.Cap/minuteMicros)
		g.Granted = max(0, min(spare, max(a.Need, min(a.Want, spare/(2*live)))))
		if a.Need > g.Granted {
			if g.Granted = 0; missing == 0 {
				g.Granted = a.Need
			} else {
				g.Wait = time.Duration(max(1, missing-max(0, minuteMicros-cost(a.Need))+1)) * time.Microsecond
			}
		}
		c.at = now + missing + cost(g.Granted)
		g.Spare = max(0, spare-g.Granted)
	default:
		c = m.counts[a.LimitSubject]
		if c == nil {
			c = &count{}
			m.counts[a.LimitSubject] = c
		}
		held := m.places[a.LimitSubject]
		if held == nil {
			held = map[int16]int64{}
			m.places[a.LimitSubject] = held
		}
		others := int64(0)
		for id, n := range held {
			if id != me && time.Since(m.begun)-m.slots[id].beat < store.LiveWindow {
				others += n
			}
		}
		spare := max(0, a.Cap-others-a.Used)
		g.Granted = a.Used + max(0, min(spare, max(a.Need, min(a.Want-a.Used, spare/(2*live)))))
		held[me] = g.Granted
		if g.Granted < a.Used+a.Need {
			g.Wait = time.Second
		}
	}
	gap := int64(5_000_000)
	if !a.Kind.Window() && !a.Kind.Bucket() {
		gap = 500_000
	}
	if g.Wait > 0 && live > 1 && c.called < now-gap {
		c.called, g.Again, g.Wait = now, true, 0
		m.recall(a.LimitSubject, me)
	}
	return g
}

func (m *model) PostLimits(_ context.Context, counts []store.LimitCount) error {
	return m.call(func() {
		now := m.now()
		for _, p := range counts {
			if !p.Kind.Window() {
				continue
			}
			c := m.roll(p.LimitSubject, now)
			if c.cur == 0 && c.prev == 0 {
				c.at, c.prev, c.cur = now-p.Elapsed.Microseconds(), p.Prev, p.Cur
				w := m.windows[p.LimitSubject]
				w[len(w)-1] = window{start: c.at, from: c.at}
			} else {
				c.prev, c.cur = c.prev+p.Prev, c.cur+p.Cur
			}
		}
	})
}

func (m *model) BeginLone(_ context.Context, me int16, _ int64) (lone bool, err error) {
	err = m.call(func() {
		lone = true
		for id, s := range m.slots {
			lone = lone && (id == me || time.Since(m.begun)-s.beat > 150*time.Second)
		}
		m.slots[me].lone = m.slots[me].lone || lone
		if lone {
			for s, w := range m.windows {
				m.windows[s] = append(w, window{start: m.now(), from: m.now(), own: true})
			}
		}
	})
	return lone && err == nil, err
}

func (m *model) EndLone(_ context.Context, me int16, _ int64) error {
	return m.call(func() { m.slots[me].lone = false })
}

func (m *model) SweepLimits(context.Context) error { return nil }

func (m *model) ExchangeDays(_ context.Context, me int16, _ int64, mine []store.DaySpent) (others []money.Amount, err error) {
	err = m.call(func() {
		for _, s := range mine {
			if m.days[s.DaySubject] == nil {
				m.days[s.DaySubject] = map[int16]money.Amount{}
			}
			sum := money.Amount(0)
			for id, n := range m.days[s.DaySubject] {
				if id != me {
					sum += n
				}
			}
			m.days[s.DaySubject][me] = max(m.days[s.DaySubject][me], s.Spent)
			others = append(others, sum)
		}
	})
	return others, err
}

func (m *model) DayReached(_ context.Context, s store.DaySubject, _, _ money.Amount) (first bool, err error) {
	err = m.call(func() {
		first = !m.reached[s]
		m.reached[s] = true
		m.events++
	})
	return first && err == nil, err
}
