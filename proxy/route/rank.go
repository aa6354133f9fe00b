package route

import "tokenrelay/proxy/catalog"

// Candidate is what a virtual model knows of one of its models when a request comes.
type Candidate struct {
	Cost     int64 // what the request is likely to cost its client, nano-USD
	Micros   int64 // how fast the model answers at the moment, 0 = it has not been asked yet
	Inflight int64 // what it does at the moment
	Foreign  bool  // the request must be translated for it
	Unfit    bool  // it is not made for the request: it lacks an ability, or the room
	Down     bool  // it has no route that can be asked now
}

// exploreOneIn is how seldom a model is asked that is not the best: what is never asked
// is never measured again.
const exploreOneIn = 32

// Rank puts the candidates that can be asked into order, the first to be asked first,
// and returns their places. Unfit ones are among them only if there are no others. Of
// those that are alike, one that speaks the request's protocol goes first, then the
// operator's order decides; for Best it alone does. random is any 64 random bits.
func Rank(s catalog.Strategy, list []Candidate, random uint64, order []uint8) []uint8 {
	order = order[:0]
	known := int64(0) // the shortest time that was measured
	for pass := range 2 {
		for i := range list {
			c := &list[i]
			if c.Down || c.Unfit != (pass == 1) {
				continue
			}
			if c.Micros > 0 && (known == 0 || c.Micros < known) {
				known = c.Micros
			}
			order = append(order, uint8(i))
		}
		if len(order) > 0 {
			break
		}
	}
	if known == 0 {
		known = defaultMicros
	}
	// Few and almost in order: insertion keeps those that are alike in theirs.
	for i := 1; i < len(order); i++ {
		for j := i; j > 0 && before(s, &list[order[j]], &list[order[j-1]], known); j-- {
			order[j], order[j-1] = order[j-1], order[j]
		}
	}
	if n := uint64(len(order)); n > 1 && (s == catalog.Balanced || s == catalog.Fastest) && random%exploreOneIn == 0 {
		i := 1 + random/exploreOneIn%(n-1)
		order[0], order[i] = order[i], order[0]
	}
	return order
}

// before reports whether a is to be asked before b.
func before(s catalog.Strategy, a, b *Candidate, known int64) bool {
	x, y := a.score(s, known), b.score(s, known)
	if x != y {
		return x < y
	}
	return s != catalog.Best && !a.Foreign && b.Foreign
}

// score is the smaller the better. It orders and is no money, so that it may be a
// floating-point number.
func (c *Candidate) score(s catalog.Strategy, known int64) float64 {
	switch s {
	case catalog.Cheapest:
		return float64(c.Cost)
	case catalog.Fastest: // one that was not asked yet is asked
		return float64(c.Micros) * float64(c.Inflight+1)
	case catalog.Best:
		return 0
	}
	micros := c.Micros
	if micros == 0 {
		micros = known
	}
	return float64(max(c.Cost, 1)) * float64(micros) * float64(c.Inflight+1)
}
