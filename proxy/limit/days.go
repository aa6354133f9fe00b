package limit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"tokenrelay/proxy/live"
	"tokenrelay/proxy/tempo"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

const (
	dayMilli = int64(24 * time.Hour / time.Millisecond)
	daysAt   = 2000                    // subjects in one exchange
	quiet    = int64(10 * time.Second) // between exchanges of a subject that spends nothing here
)

// days are the subjects of daily limits that are exchanged.
type days struct {
	mu        sync.Mutex
	watched   map[store.DaySubject]*watched
	providers atomic.Pointer[map[int64]*provider]
}

// watched is a day of a subject.
type watched struct {
	use   *live.Use
	limit atomic.Int64

	told    money.Amount // what Postgres knows of us
	movedAt int64        // it last changed here
	askedAt int64
	noted   bool // the limit was reached and that is known
}

// provider counts the supplier's cost of a provider.
type provider struct {
	use  live.Use
	day  atomic.Int64
	stop atomic.Int64
}

func (d *days) init() {
	d.watched = map[store.DaySubject]*watched{}
	d.providers.Store(&map[int64]*provider{})
}

// Day sees to it that a subject's day is exchanged; watching is the day that is, kept
// with the subject. The first time on a day it waits for what others have spent. Warm
// it is one load.
func (x *Exchange) Day(kind store.DayKind, id int64, u *live.Use, watching *atomic.Int64, day int64, limit money.Amount) {
	if x == nil || watching.Load() == day {
		return
	}
	s := store.DaySubject{Kind: kind, ID: id, Day: day}
	w := x.watch(s, u, limit)
	if now := x.o.now(); now >= x.downTill.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), x.o.Wait)
		defer cancel()
		if others, err := x.o.DB.ExchangeDays(ctx, x.o.Slot.ID, x.o.Slot.Epoch, []store.DaySpent{{DaySubject: s, Spent: u.SpentHere(day)}}); err == nil {
			x.days.mu.Lock()
			w.use.SetOthers(day, others[0])
			x.days.mu.Unlock()
		} else {
			x.failed(err)
		}
	}
	watching.Store(day)
}

func (x *Exchange) watch(s store.DaySubject, u *live.Use, limit money.Amount) *watched {
	x.days.mu.Lock()
	defer x.days.mu.Unlock()
	w := x.days.watched[s]
	if w == nil {
		w = &watched{use: u, movedAt: x.o.now()}
		x.days.watched[s] = w
	}
	w.use = u
	if w.limit.Swap(int64(limit)) != int64(limit) {
		w.noted = false
	}
	return w
}

// AddCost adds what a request cost us at a provider with a daily stop.
func (x *Exchange) AddCost(id int64, stop, cost money.Amount, milli int64) {
	if x == nil || cost <= 0 {
		return
	}
	day := milli / dayMilli
	p := (*x.days.providers.Load())[id]
	if p == nil {
		p = x.provider(id)
	}
	p.use.AddSpent(day, cost)
	if p.day.Load() != day || p.stop.Load() != int64(stop) {
		p.stop.Store(int64(stop))
		x.watch(store.DaySubject{Kind: store.DayProvider, ID: id, Day: day}, &p.use, stop)
		p.day.Store(day)
	}
}

func (x *Exchange) provider(id int64) *provider {
	x.days.mu.Lock()
	defer x.days.mu.Unlock()
	old := *x.days.providers.Load()
	if p := old[id]; p != nil {
		return p
	}
	all := make(map[int64]*provider, len(old)+1)
	for k, v := range old {
		all[k] = v
	}
	all[id] = new(provider)
	x.days.providers.Store(&all)
	return all[id]
}

func (x *Exchange) runDays(ctx context.Context) {
	for tempo.Wait(ctx, x.o.Days) {
		x.exchangeDays(ctx, false)
	}
}

// exchangeDays tells what was spent here and reads what others spent; all: also of
// subjects that are quiet.
func (x *Exchange) exchangeDays(ctx context.Context, all bool) {
	now, today := x.o.now(), x.o.DBTime().Unix()/86400
	if now < x.downTill.Load() && !all {
		return
	}
	var mine []store.DaySpent
	var whose []*watched
	x.days.mu.Lock()
	for s, w := range x.days.watched {
		spent := w.use.SpentHere(s.Day)
		if spent != w.told {
			w.movedAt = now
		}
		switch {
		case s.Day < today-1 && spent == w.told || s.Day < today-7:
			delete(x.days.watched, s)
			continue
		case spent == w.told && now-w.movedAt > quiet && now-w.askedAt < quiet && !all:
			continue
		case spent == w.told && w.askedAt != 0 && x.lone.Load():
			continue // nobody else spends
		}
		mine, whose = append(mine, store.DaySpent{DaySubject: s, Spent: spent}), append(whose, w)
	}
	x.days.mu.Unlock()
	for len(mine) > 0 {
		n := min(len(mine), daysAt)
		others, err := x.o.DB.ExchangeDays(ctx, x.o.Slot.ID, x.o.Slot.Epoch, mine[:n])
		if err != nil {
			if ctx.Err() == nil {
				x.failed(err)
			}
			return
		}
		x.days.mu.Lock()
		var reached []store.DaySpent
		var limits []money.Amount
		for i, w := range whose[:n] {
			m := mine[i]
			w.told, w.askedAt = m.Spent, now
			w.use.SetOthers(m.Day, others[i])
			limit := money.Amount(w.limit.Load())
			if sum := m.Spent + others[i]; !w.noted && limit >= 0 && sum >= limit && sum > 0 {
				reached, limits = append(reached, store.DaySpent{DaySubject: m.DaySubject, Spent: sum}), append(limits, limit)
			}
		}
		x.days.mu.Unlock()
		for i, r := range reached {
			x.reached(ctx, r, limits[i])
		}
		mine, whose = mine[n:], whose[n:]
	}
}

// reached makes a daily limit known, once a day.
func (x *Exchange) reached(ctx context.Context, r store.DaySpent, limit money.Amount) {
	first, err := x.o.DB.DayReached(ctx, r.DaySubject, r.Spent, limit)
	if err != nil {
		x.Count.Errors.Add(1)
		return
	}
	x.days.mu.Lock()
	if w := x.days.watched[r.DaySubject]; w != nil {
		w.noted = true
	}
	x.days.mu.Unlock()
	if first {
		x.o.Log.Warn("a daily limit was reached", "kind", r.Kind.String(), "id", r.ID, "spent_usd", r.Spent.String(), "limit_usd", limit.String())
	}
}
