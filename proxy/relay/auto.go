package relay

import (
	"bytes"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/route"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// auto is how a request for a virtual model stands. The zero value is a request for a
// real one.
type auto struct {
	virtual *catalog.Model
	order   [catalog.MaxCandidates]uint8 // of its models, as they are asked
	n       int
	at      int // the one in x.model
}

// likelyOutput is what an answer is taken to have when prices are compared, in tokens.
const likelyOutput = 1000

// chooseAuto replaces a virtual model by the best of its models that can be asked now.
// The customer is told which one: answers carry its public name.
func (x *Exchange) chooseAuto() *apiError {
	x.showName = x.asked
	if x.pinned != nil {
		x.showName = ""
	}
	if x.rolledOut && x.pinned == nil {
		x.showName = x.model.ID
	}
	if x.model.Auto == nil {
		return nil
	}
	a := &x.auto
	a.virtual = x.model
	needs := x.needs() & x.model.Auto.Told
	last := route.NoRoute
	var facts [catalog.MaxCandidates]route.Candidate
	models := x.model.Auto.Models
	for i, m := range models {
		c := &facts[i]
		why := x.fact(c, m, needs)
		if c.Down = why != route.Chosen; c.Down && last == route.NoRoute {
			last = why
		}
	}
	bits := random()
	if x.sticky != 0 {
		bits = 1 // a conversation is no place to explore
	}
	a.n = len(route.Rank(x.model.Auto.Strategy, facts[:len(models)], bits, a.order[:]))
	if a.n > 0 {
		x.use(0)
		return nil
	}
	switch last {
	case route.NoRoute:
		if x.regions()[0] != "" {
			return apierr.Invalid("model", sprintf(errNoRegion, x.asked))
		}
		return apierr.Invalid("model", sprintf(errNoLane, x.asked))
	case route.NoKeys:
		return apierr.ErrNoProviderKeys
	case route.Paused:
		return apierr.ErrProviderPaused
	}
	return apierr.ErrNoHealthyUpstream.WithRetryAfter(1)
}

// fact finds out what a candidate is worth to the request, and whether it can be asked.
func (x *Exchange) fact(c *route.Candidate, m *catalog.Model, needs catalog.Abilities) (why route.Why) {
	if !x.callable(m) {
		return route.NoRoute
	}
	rule := x.r.o.Catalog.Rule(x.key, m, x.startedMilli)
	if rule == nil {
		return route.NoRoute
	}
	f := route.Filter{Wires: x.lane.wire, Provider: x.pinned}
	why, c.Micros, c.Inflight = x.look(m, &f)
	if why != route.Chosen && x.pinned == nil {
		if f.Wires = x.lane.others(); x.lane.free {
			f.Wires = targets // counted here
		}
		w, micros, inflight := x.look(m, &f)
		if w == route.Chosen || why == route.NoRoute {
			why, c.Micros, c.Inflight, c.Foreign = w, micros, inflight, true
		}
	}
	var u usage.Units
	u[usage.Input] = meter.EstimateInput(m.Family, &x.peek)
	out := x.peek.OutputCap()
	room := m.ContextTokens <= 0 || u[usage.Input]+out <= m.ContextTokens
	if !x.lane.inputOnly {
		if u[usage.Output] = likelyOutput; out > 0 {
			u[usage.Output] = min(out, likelyOutput)
		}
	}
	cost, err := rule.Charge(&u)
	if err != nil {
		cost = money.Amount(1<<63 - 1)
	}
	c.Cost = int64(cost)
	c.Unfit = m.Can&needs != needs || !room || out > m.MaxOutput && m.MaxOutput > 0 ||
		x.peek.ServerTools > 0 && !rule.Version.Base.Priced(usage.Searches)
	return why
}

// look is route.Peek in the regions that the request may be served in.
func (x *Exchange) look(m *catalog.Model, f *route.Filter) (why route.Why, micros, inflight int64) {
	now := route.Now()
	for i, region := range x.regions() {
		f.Region = region
		w, l, n := route.Peek(m, f, x.r.o.Catalog, now)
		if w == route.Chosen {
			return w, l, n
		}
		if why = mixed(why, w); i == 0 {
			why = w
		}
	}
	return why, 0, 0
}

// needs is what a model must be able to do for the request. No string of a JSON text
// can hold these names with their quotes: they are members, or values of their own.
func (x *Exchange) needs() (n catalog.Abilities) {
	if x.peek.Images > 0 {
		n |= catalog.CanSee
	}
	if x.peek.Files > 0 {
		n |= catalog.CanRead
	}
	if x.peek.Tools > 0 {
		n |= catalog.CanCall
	}
	for _, name := range [...]string{`"json_schema"`, `"responseSchema"`, `"responseJsonSchema"`, `"response_schema"`} {
		if bytes.Contains(x.body, []byte(name)) {
			n |= catalog.CanStructure
			break
		}
	}
	return n
}

// use makes the i-th candidate the model that is asked.
func (x *Exchange) use(i int) {
	x.auto.at = i
	x.model = x.auto.virtual.Auto.Models[x.auto.order[i]]
	if x.pinned == nil {
		x.showName = x.model.ID
	}
}

// boundAll finds the most that the request can cost, whichever candidate serves it: what
// x.input holds then is the dearest's, asked for in the virtual model's name, whose scope
// covers all that it picks from.
func (x *Exchange) boundAll() *apiError {
	a := &x.auto
	if a.n == 0 {
		return x.bound()
	}
	var most money.Amount
	var bound price.Bound
	var rule *price.Rule
	for i := a.n - 1; i >= 0; i-- {
		x.use(i)
		r := x.r.o.Catalog.Rule(x.key, x.model, x.startedMilli)
		if r == nil {
			return apierr.UnknownModel(x.model.ID)
		}
		x.rule = r // of the first, at the end
		if err := x.bound(); err != nil {
			return err
		}
		need, err := r.Ceiling(&x.input.Bound)
		if err != nil {
			return apierr.UnknownModel(x.model.ID).WithCause(err)
		}
		if rule == nil || need > most {
			most, bound, rule = need, x.input.Bound, r
		}
	}
	x.input.Bound, x.input.Rule, x.input.Model = bound, rule, a.virtual
	return nil
}

// pickAny is pick for all candidates of a virtual model: when the one that was asked has
// no route left, the next ones are tried.
func (x *Exchange) pickAny(again bool) (route.Why, int) {
	why, after := x.pick(again)
	for k := 1; k < x.auto.n && why != route.Chosen; k++ {
		x.use((x.auto.at + 1) % x.auto.n)
		w, s := x.pick(again)
		if why, after = mixed(why, w), sooner(after, s); w == route.Chosen {
			why = w
		}
	}
	if why == route.Chosen {
		x.reprice()
	}
	return why, after
}

// other goes on to the next candidate of a virtual model before the last attempt: what is
// the matter with a model is often the matter at all of its providers.
func (x *Exchange) other(last bool) {
	if last && x.auto.n > 1 {
		x.use((x.auto.at + 1) % x.auto.n)
	}
}

// reprice puts the request on the price of the model that is asked now. The hold is the
// dearest's and stays.
func (x *Exchange) reprice() {
	if x.auto.n == 0 || x.rec.Model == x.model.ID {
		return
	}
	rule := x.r.o.Catalog.Rule(x.key, x.model, x.startedMilli)
	if rule == nil {
		return // it had a price a moment ago, and this request keeps its snapshot
	}
	x.rule = rule
	x.fillRecord()
	x.flight.Restart(&x.rec)
}

// outputCap is the cap that the model is asked with: the one that is held for, and never
// more than the model takes.
func (x *Exchange) outputCap() int64 {
	n := x.ticket.OutputCap
	if x.auto.n > 0 && x.model.MaxOutput > 0 {
		n = min(n, x.model.MaxOutput)
	}
	return n
}
