// Package route chooses the upstream of an attempt: candidates by priority, then
// the better of two by latency and load; breakers, cool-downs and provider keys.
package route

import (
	"math"
	"time"

	"tokenrelay/proxy/catalog"
)

var start = time.Now()

// Now is the monotonic clock of health, ns since the process began; never 0.
func Now() int64 { return int64(time.Since(start)) + 1 }

const (
	openAfter     = 5                // consecutive failures that open a breaker
	openFirst     = 5 * time.Second  // first time a breaker stays open
	openMost      = 60 * time.Second // longest
	coolDefault   = 2 * time.Second  // a 429 without Retry-After
	coolMost      = 60 * time.Second
	parkFor       = 10 * time.Minute // a key that the provider refuses is tried again after
	ewmaShift     = 3                // weight of a new latency: 1/8
	defaultMicros = 1000             // latency of a route that never answered, µs
)

// Why says why no route could be chosen.
type Why uint8

// The reasons. When several hold for different routes, the mixed case is Down.
const (
	Chosen    Why = iota
	NoRoute       // the model has no route for these wires and this provider
	NoKeys        // every provider lacks a usable key row
	Paused        // every provider is paused by the operator or its daily stop
	Down          // open, cooling or parked
	Exhausted     // every candidate was tried
)

// Choice is one candidate of an attempt.
type Choice struct {
	Route  *catalog.Route
	Key    *catalog.ProviderKey
	Health *catalog.Health
	probe  bool
}

// Filter narrows the candidates.
type Filter struct {
	Wires    catalog.Wires     // the provider has one of these
	Provider *catalog.Provider // pinned provider, or nil
	Region   string            // "" = any
	KeyID    int64             // this key of the provider only, 0 = any
	Sticky   uint64            // requests of one number go the same way as long as it is open, 0 = none
}

// Tried remembers the routes of earlier attempts of one request.
type Tried struct {
	ids [8]int64
	n   int
}

// Reset forgets all.
func (t *Tried) Reset() { t.n = 0 }

// Add remembers a route.
func (t *Tried) Add(id int64) {
	if t.n < len(t.ids) {
		t.ids[t.n] = id
		t.n++
	}
}

func (t *Tried) has(id int64) bool {
	for _, v := range t.ids[:t.n] {
		if v == id {
			return true
		}
	}
	return false
}

// Health looks a route's live state up.
type Health interface {
	Health(r *catalog.Route) *catalog.Health
}

// Pick chooses the next route of m. random is any 64 random bits. Routes that were
// tried are left out; with again they are chosen when nothing else is left. The
// returned seconds say after how long a down route may be tried again.
func Pick(m *catalog.Model, f *Filter, t *Tried, again bool, hs Health, now int64, random uint64, c *Choice) (Why, int) {
	return pick(m, f, t, again, hs, now, random, c, true)
}

// Peek says whether Pick would find a route now, without taking a half-open route's
// probe, and how fast that route answers (µs, 0 = it never has) and how much it does at
// the moment.
func Peek(m *catalog.Model, f *Filter, hs Health, now int64) (why Why, micros, inflight int64) {
	var c Choice
	var t Tried
	if why, _ = pick(m, f, &t, false, hs, now, 0, &c, false); why == Chosen {
		micros, inflight = c.Health.LatencyMicros.Load(), c.Health.Inflight.Load()
	}
	return why, micros, inflight
}

func pick(m *catalog.Model, f *Filter, t *Tried, again bool, hs Health, now int64, random uint64, c *Choice, take bool) (Why, int) {
	var seen, paused, keyless, down, tried int
	reopen := int64(0)
	for i := 0; i < len(m.Routes); {
		// One priority at a time: m.Routes is sorted by it.
		prio := m.Routes[i].Priority
		var best [2]candidate
		n, weight, stuck := 0, int64(0), 0.0
		for ; i < len(m.Routes) && m.Routes[i].Priority == prio; i++ {
			r := m.Routes[i]
			if r.Provider.Wires&f.Wires == 0 || (f.Provider != nil && r.Provider != f.Provider) || (f.Region != "" && r.Region != f.Region) {
				continue
			}
			seen++
			if r.Provider.Paused {
				paused++
				continue
			}
			if len(r.Provider.Keys) == 0 {
				keyless++
				continue
			}
			if t.has(r.ID) && !again {
				tried++
				continue
			}
			h := hs.Health(r)
			open := h.OpenUntilNanos.Load()
			if open > now || (open != 0 && h.Probing.Load()) {
				down++
				reopen = sooner(reopen, open)
				continue
			}
			keys := r.Provider.Keys
			if f.KeyID != 0 {
				keys = only(keys, f.KeyID)
			}
			if len(keys) == 0 {
				keyless++
				continue
			}
			k, until := pickKey(keys, now, random, f.Sticky)
			if k == nil {
				down++
				reopen = sooner(reopen, until)
				continue
			}
			// Weighted reservoir of two: each eligible route replaces a place with the
			// probability of its share of the weight so far.
			w := int64(r.Weight)
			if w <= 0 {
				w = 1
			}
			weight += w
			cand := candidate{route: r, key: k, health: h, probe: open != 0}
			if f.Sticky != 0 {
				if s := share(f.Sticky, r.ID, w); n == 0 || s > stuck {
					best[0], n, stuck = cand, 1, s
				}
				continue
			}
			if n < 2 {
				best[n] = cand
				n++
				continue
			}
			random = random*6364136223846793005 + 1442695040888963407
			if int64(random>>33)%weight < w {
				best[(random>>32)&1] = cand
			}
		}
		if n == 0 {
			continue
		}
		pick := &best[0]
		if n == 2 && best[1].score() < best[0].score() {
			pick = &best[1]
		}
		if take && pick.probe && !pick.health.Probing.CompareAndSwap(false, true) {
			down++ // another request probes it just now
			continue
		}
		*c = Choice{Route: pick.route, Key: pick.key, Health: pick.health, probe: pick.probe}
		return Chosen, 0
	}
	switch {
	case seen == 0:
		return NoRoute, 0
	case tried > 0:
		return Exhausted, 0
	case paused == seen:
		return Paused, 0
	case keyless == seen:
		return NoKeys, 0
	}
	return Down, seconds(reopen - now)
}

type candidate struct {
	route  *catalog.Route
	key    *catalog.ProviderKey
	health *catalog.Health
	probe  bool
}

// score is the expected wait: latency times the work already there (peak EWMA),
// divided by the operator's weight.
func (c *candidate) score() int64 {
	l := c.health.LatencyMicros.Load()
	if l == 0 {
		l = defaultMicros
	}
	w := int64(c.route.Weight)
	if w <= 0 {
		w = 1
	}
	return l * (c.health.Inflight.Load() + 1) / w
}

// pickKey takes the usable provider key with the fewest requests, starting at a
// random place so that equal keys share the load.
func pickKey(keys []*catalog.ProviderKey, now int64, random, sticky uint64) (best *catalog.ProviderKey, until int64) {
	n := uint64(len(keys))
	at := random >> 7 % n
	var load int64
	most := 0.0
	for i := range n {
		k := keys[(at+i)%n]
		if open := k.Health.OpenUntilNanos.Load(); open > now {
			until = sooner(until, open)
			continue
		}
		if sticky != 0 {
			if s := share(sticky, k.ID, 1); best == nil || s > most {
				best, most = k, s
			}
			continue
		}
		if l := k.Health.Inflight.Load(); best == nil || l < load {
			best, load = k, l
		}
	}
	return best, until
}

// share is how much a candidate is meant for a number: the largest of all has it (weighted
// rendezvous hashing), so that one that goes or comes moves nobody else's.
func share(sticky uint64, id, weight int64) float64 {
	h := sticky ^ uint64(id)*0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	u := (float64(h>>11) + 0.5) / (1 << 53)
	return -float64(weight) / math.Log(u)
}

// only is the one of the keys that has the id.
func only(keys []*catalog.ProviderKey, id int64) []*catalog.ProviderKey {
	for i, k := range keys {
		if k.ID == id {
			return keys[i : i+1]
		}
	}
	return nil
}

func sooner(a, b int64) int64 {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// seconds rounds up, at least 1.
func seconds(ns int64) int {
	s := (ns + int64(time.Second) - 1) / int64(time.Second)
	if s < 1 {
		return 1
	}
	return int(s)
}

// Begin counts the attempt as running.
func (c *Choice) Begin() {
	c.Health.Inflight.Add(1)
	c.Key.Health.Inflight.Add(1)
}

// End counts it as over.
func (c *Choice) End() {
	c.Health.Inflight.Add(-1)
	c.Key.Health.Inflight.Add(-1)
	if c.probe {
		c.Health.Probing.Store(false)
		c.probe = false
	}
}

// Good reports that an upstream answered, micros µs after it was asked.
func (c *Choice) Good(micros int64) {
	h := c.Health
	if micros < 1 {
		micros = 1
	}
	old := h.LatencyMicros.Load()
	next := micros // a peak is believed at once and forgotten slowly
	if old > micros {
		next = old - (old-micros)>>ewmaShift
	}
	if next != old {
		h.LatencyMicros.Store(next)
	}
	if h.Failures.Load() != 0 {
		h.Failures.Store(0)
	}
	if h.OpenUntilNanos.Load() != 0 {
		h.OpenUntilNanos.Store(0)
	}
	if c.Key.Health.OpenUntilNanos.Load() != 0 {
		c.Key.Health.OpenUntilNanos.Store(0)
		c.Key.Health.Dead.Store(0)
	}
}

// Bad reports that an upstream failed by its own fault: after some in a row the
// breaker opens, twice as long each time it fails again.
func (c *Choice) Bad(now int64) {
	n := c.Health.Failures.Add(1)
	if n < openAfter && !c.probe {
		return
	}
	d := openFirst
	for i := int64(openAfter); i < n && d < openMost; i++ {
		d *= 2
	}
	if d > openMost {
		d = openMost
	}
	c.Health.OpenUntilNanos.Store(now + int64(d))
}

// Cool rests the provider key for what the provider asked for (0: a default).
func (c *Choice) Cool(now int64, wait time.Duration) {
	if wait <= 0 {
		wait = coolDefault
	}
	if wait > coolMost {
		wait = coolMost
	}
	c.Key.Health.OpenUntilNanos.Store(now + int64(wait))
}

// Park takes a provider key out whose account or secret the provider refuses. It
// is tried again after a while: an operator may have paid the bill.
func (c *Choice) Park(now int64) {
	c.Key.Health.Dead.Store(time.Now().Unix())
	c.Key.Health.OpenUntilNanos.Store(now + int64(parkFor))
}

// ModelMissing takes a route out whose upstream does not know the model.
func (c *Choice) ModelMissing(now int64) {
	c.Health.OpenUntilNanos.Store(now + int64(openMost))
}
