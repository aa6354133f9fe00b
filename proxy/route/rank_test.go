package route

import (
	"slices"
	"testing"

	"tokenrelay/proxy/catalog"
)

// S1-B9: each strategy chooses by the facts.
func TestRank(t *testing.T) {
	const off = 1 // random bits that do not explore
	cheap, dear := Candidate{Cost: 100, Micros: 900_000}, Candidate{Cost: 5000, Micros: 100_000}
	with := func(c Candidate, f func(*Candidate)) Candidate { f(&c); return c }
	down, unfit, foreign, busy, unknown := func(c *Candidate) { c.Down = true }, func(c *Candidate) { c.Unfit = true },
		func(c *Candidate) { c.Foreign = true }, func(c *Candidate) { c.Inflight = 99 }, func(c *Candidate) { c.Micros = 0 }
	for _, c := range []struct {
		name string
		s    catalog.Strategy
		list []Candidate
		want []uint8
	}{
		{"cheapest takes the cheaper", catalog.Cheapest, []Candidate{dear, cheap}, []uint8{1, 0}},
		{"cheapest does not look at speed", catalog.Cheapest, []Candidate{dear, with(cheap, busy)}, []uint8{1, 0}},
		{"fastest takes the faster", catalog.Fastest, []Candidate{cheap, dear}, []uint8{1, 0}},
		{"fastest asks who was never asked", catalog.Fastest, []Candidate{dear, with(cheap, unknown)}, []uint8{1, 0}},
		{"fastest sees who is busy", catalog.Fastest, []Candidate{cheap, with(dear, busy)}, []uint8{0, 1}},
		{"best keeps the operator's order", catalog.Best, []Candidate{dear, cheap}, []uint8{0, 1}},
		{"best goes on where the first is down", catalog.Best, []Candidate{with(dear, down), cheap}, []uint8{1}},
		{"balanced weighs 50 times the price against 9 times the speed", catalog.Balanced, []Candidate{dear, cheap}, []uint8{1, 0}},
		{"balanced weighs twice the price against 9 times the speed", catalog.Balanced, []Candidate{cheap, {Cost: 200, Micros: 100_000}}, []uint8{1, 0}},
		{"balanced takes who was never asked for as fast as the fastest", catalog.Balanced, []Candidate{{Cost: 150, Micros: 50_000}, with(cheap, unknown)}, []uint8{1, 0}},
		{"balanced spreads load", catalog.Balanced, []Candidate{with(cheap, busy), with(cheap, func(c *Candidate) { c.Cost = 300 })}, []uint8{1, 0}},
		{"nobody who is down", catalog.Cheapest, []Candidate{with(cheap, down), with(dear, down)}, []uint8{}},
		{"nobody who is unfit while there are others", catalog.Cheapest, []Candidate{with(cheap, unfit), dear}, []uint8{1}},
		{"who is unfit where all are", catalog.Cheapest, []Candidate{with(dear, unfit), with(cheap, unfit)}, []uint8{1, 0}},
		{"who is unfit where the others are down", catalog.Best, []Candidate{with(dear, down), with(cheap, unfit)}, []uint8{1}},
		{"of those alike who needs no translation", catalog.Balanced, []Candidate{with(cheap, foreign), cheap}, []uint8{1, 0}},
		{"best is best in any protocol", catalog.Best, []Candidate{with(dear, foreign), cheap}, []uint8{0, 1}},
		{"translation costs less than money", catalog.Cheapest, []Candidate{dear, with(cheap, foreign)}, []uint8{1, 0}},
		{"else the operator's order", catalog.Balanced, []Candidate{cheap, cheap, cheap}, []uint8{0, 1, 2}},
	} {
		var order [catalog.MaxCandidates]uint8
		if got := Rank(c.s, c.list, off, order[:]); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v; want %v", c.name, got, c.want)
		}
	}
}

// Who is slow is asked again some time, or nobody would learn that it is not any more;
// who goes by price or by the operator's order is not led astray.
func TestRankExplores(t *testing.T) {
	list := []Candidate{{Cost: 1, Micros: 1}, {Cost: 2, Micros: 2}, {Cost: 3, Micros: 3}}
	var order [catalog.MaxCandidates]uint8
	for _, s := range []catalog.Strategy{catalog.Balanced, catalog.Cheapest, catalog.Fastest, catalog.Best} {
		first := map[uint8]int{}
		for r := range uint64(3200) {
			got := Rank(s, list, r, order[:])
			if len(got) != 3 {
				t.Fatal(got)
			}
			first[got[0]]++
		}
		explores := s == catalog.Balanced || s == catalog.Fastest
		if explores && (first[0] != 3100 || first[1] != 50 || first[2] != 50) || !explores && first[0] != 3200 {
			t.Errorf("%d: %v", s, first)
		}
	}
}

func TestRankAllocatesNothing(t *testing.T) {
	var list [catalog.MaxCandidates]Candidate
	for i := range list {
		list[i] = Candidate{Cost: int64(i * 7919 % 64), Micros: int64(i), Foreign: i%2 == 0}
	}
	var order [catalog.MaxCandidates]uint8
	if n := testing.AllocsPerRun(100, func() { Rank(catalog.Balanced, list[:], 5, order[:]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
