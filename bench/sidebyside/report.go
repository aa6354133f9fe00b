package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
)

// median of what it is given, NaN of nothing.
func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Clone(v)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// column is one figure of the table.
type column struct {
	head   string
	load   string
	value  func(m, direct *measurement) float64
	digits int
	ratio  bool // to the bare proxy's
}

func per(total func(m *measurement) float64, n func(m *measurement) float64) func(m, direct *measurement) float64 {
	return func(m, _ *measurement) float64 { return total(m) / n(m) }
}

var (
	cpuOf   = func(m *measurement) float64 { return m.CPU }
	sent    = func(m *measurement) float64 { return float64(m.Sent) }
	events  = func(m *measurement) float64 { return float64(m.Events) }
	seconds = func(m *measurement) float64 { return m.Seconds }
)

// tables are the plain requests' and the streams'.
var tables = [][]column{
	{
		{"CPU µs / request at 500/s", "500", per(cpuOf, sent), 0, true},
		{"at 2,000/s", "2000", per(cpuOf, sent), 0, true},
		{"with 64 KB of text", "prompt", per(cpuOf, sent), 0, true},
		{"added p50 µs at 100/s", "calm", func(m, d *measurement) float64 { return m.P50 - d.P50 }, 0, true},
		{"added p99 µs", "calm", func(m, d *measurement) float64 { return m.P99 - d.P99 }, 0, true},
		{"requests/s, 64 connections", "full", per(func(m *measurement) float64 { return float64(m.OK) }, seconds), 0, true},
		{"p99 ms there", "full", func(m, _ *measurement) float64 { return m.P99 / 1e3 }, 1, false},
	},
	{
		{"CPU µs / event, paced", "paced", per(cpuOf, events), 1, true},
		{"the same, translated", "other", per(cpuOf, events), 1, true},
		{"added p50 µs to the first token", "first", func(m, d *measurement) float64 { return m.First50 - d.First50 }, 0, true},
		{"added p99 µs", "first", func(m, d *measurement) float64 { return m.First99 - d.First99 }, 0, false},
		{"added p50 µs per event", "paced", func(m, d *measurement) float64 { return m.Delay50 - d.Delay50 }, 0, false},
		{"events/s, 32 connections", "flood", per(events, seconds), 0, true},
		{"CPU µs / event there", "flood", per(cpuOf, events), 1, true},
		{"KiB / open stream", "held", func(m, _ *measurement) float64 { return m.KiB }, 1, true},
	},
}

// cell is a column's median for a target and the median of its ratios, NaN where there
// is none.
func (b *bench) cell(c column, name string) (value, ratio float64) {
	byRound := func(target string) map[int]*measurement {
		m := map[int]*measurement{}
		for i := range b.all {
			if x := &b.all[i]; x.Load == c.load && x.Target == target {
				m[x.Round] = x
			}
		}
		return m
	}
	mine, direct, bare := byRound(name), byRound("direct"), byRound("bare")
	var values, ratios []float64
	for round, m := range mine {
		v := c.value(m, direct[round])
		values = append(values, v)
		if bare[round] == nil {
			continue
		}
		// What was added to a delay may be below what can be seen: no ratio then.
		if floor := c.value(bare[round], direct[round]); c.ratio && v > 0 && floor > 0 {
			ratios = append(ratios, v/floor)
		}
	}
	if 2*len(ratios) <= len(values) {
		return median(values), math.NaN()
	}
	return median(values), median(ratios)
}

var errFindings = errors.New("errors or missing records: see below the tables")

// report prints the tables, what was wrong, and whether the books are whole.
func (b *bench) report(w io.Writer) error {
	var out strings.Builder
	n := 0
	for _, m := range b.all {
		n = max(n, m.Round+1)
	}
	fmt.Fprintf(&out, "%d processors, %d rounds; medians, in brackets the median ratio to the bare proxy in the same round.\n\n", runtime.NumCPU(), n)
	disturbed := 0
	for _, m := range b.all {
		if m.Foreign*100 > *strangers {
			disturbed++
		}
	}
	word := ""
	if 5*disturbed > len(b.all) {
		word = "NOT A QUIET MACHINE: "
	}
	fmt.Fprintf(&out, "%sin %d of %d measurements other processes took over %.0f %% of the machine.\n\n", word, disturbed, len(b.all), *strangers)
	for _, l := range loads {
		fmt.Fprintf(&out, "- %s: %s\n", l.name, l.what)
	}
	fmt.Fprintf(&out, "- held: %d streams open at a process that has just been started\n", *held)
	for _, table := range tables {
		out.WriteString("\n| |")
		for _, c := range table {
			fmt.Fprintf(&out, " %s |", c.head)
		}
		out.WriteString(" errors |\n|---|" + strings.Repeat("---:|", len(table)+1) + "\n")
		for _, t := range b.targets {
			fmt.Fprintf(&out, "| %s |", t.name)
			if t.missing != "" {
				fmt.Fprintf(&out, " %s |%s\n", t.missing, strings.Repeat(" |", len(table)))
				continue
			}
			for _, c := range table {
				out.WriteString(b.text(c, t) + " |")
			}
			fmt.Fprintf(&out, " %d |\n", b.errorsOf(t.name, table))
		}
	}
	out.WriteString("\n")
	for _, t := range b.targets {
		if t.missing == "" {
			fmt.Fprintf(&out, "- %s: %s\n", t.name, t.version)
		} else {
			fmt.Fprintf(&out, "- %s: NOT MEASURED, %s\n", t.name, t.missing)
		}
	}
	var database []float64
	failures := int64(0)
	for _, m := range b.all {
		if m.Target == "relay" && m.Load == "500" {
			database = append(database, m.Database/float64(m.Sent))
		}
		for kind, k := range m.Errors {
			failures += k
			fmt.Fprintf(&out, "- ERRORS: round %d, %s, %s: %d × %s (%s)\n", m.Round+1, m.Load, m.Target, k, kind, m.OneError)
		}
	}
	fmt.Fprintf(&out, "- besides its proxy, the relay's Postgres took %.0f µs per request at 500/s\n", median(database))
	whole, err := b.audit(&out)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return err
	}
	if failures > 0 || !whole {
		return errFindings
	}
	return nil
}

func (b *bench) text(c column, t *target) string {
	if t.name == "direct" {
		v, _ := b.cell(column{load: c.load, value: plainOf(c)}, t.name)
		if math.IsNaN(v) {
			return " –"
		}
		return fmt.Sprintf(" %.*f", c.digits, v)
	}
	v, r := b.cell(c, t.name)
	s := fmt.Sprintf(" %.*f", c.digits, v)
	if c.ratio && t.name != "bare" && !math.IsNaN(r) {
		s += fmt.Sprintf(" (%.2f)", r)
	}
	return s
}

// plainOf is a column for the provider itself, with nothing to subtract: NaN where the
// figure is of a process in between.
func plainOf(c column) func(m, direct *measurement) float64 {
	return func(m, _ *measurement) float64 {
		v := c.value(m, &measurement{})
		if v == 0 {
			return math.NaN()
		}
		return v
	}
}

// errorsOf counts a target's errors in the loads of a table.
func (b *bench) errorsOf(name string, table []column) int64 {
	var n int64
	for _, m := range b.all {
		if m.Target != name || !slices.ContainsFunc(table, func(c column) bool { return c.load == m.Load }) {
			continue
		}
		for _, k := range m.Errors {
			n += k
		}
	}
	return n
}

// audit compares the relay's records with what the provider served for it.
func (b *bench) audit(w *strings.Builder) (whole bool, err error) {
	lanes, err := fetchStats(b.provider)
	if err != nil {
		return false, err
	}
	served := lanes["relay"]
	k := b.relay.books()
	line := func(what string, got, want int64) bool {
		word := "as served"
		if got != want {
			word = fmt.Sprintf("WRONG, the provider served %d", want)
		}
		fmt.Fprintf(w, "- relay's books: %s: %d, %s\n", what, got, word)
		return got == want
	}
	whole = line("usage rows", k.Rows, served.Plain+served.Streams)
	whole = line("of them with the provider's own numbers", k.Reported, served.Plain+served.Ended) && whole
	whole = line("their input tokens", k.Input, (served.Plain+served.Ended)*promptTokens) && whole
	fmt.Fprintf(w, "- relay's books: %d streams were left open and cut; %d rows carry a charge, %d none\n", served.Streams-served.Ended, k.Charged, k.Rows-k.Charged)
	if k.Audit != "" {
		fmt.Fprintf(w, "- relay's books: %s\n", k.Audit)
		return false, nil
	}
	fmt.Fprintln(w, "- relay's books: admin audit --strict finds nothing")
	return whole, nil
}
