package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tokenrelay/shared/apptest"
)

// What happens beside requests must not be seen in their times: the p99 of a load with a
// disturbance over the p99 without, in pairs that alternate, for the relay and for the bare
// proxy, which has no part in it but shares the machine. The admin, Postgres and who asks the
// admin are kept apart as on a machine of their own: their work is the disturbance, and not
// what the proxy does about it.

// flatWork is the load whose p99 is compared.
var flatWork = work{Conns: 16, Rate: 300, Span: 3 * time.Second}

const (
	flatPairs    = 7
	flatBound    = 1.10 // and the bare proxy's spread without a disturbance
	flatRestless = 0.5  // of spread: nothing can be said
	flatModels   = 1000
	flatEvery    = 100 * time.Millisecond // between changes of the catalogue
	flatLeast    = 9                      // of them a second, or nothing was measured
)

var (
	errNotFlat    = errors.New("a disturbance is seen in the p99 of requests")
	errNotReached = errors.New("a disturbance was not done as often as is said, or the machine was not quiet")
)

// flat measures and prints every disturbance.
func (b *bench) flat(h *apptest.Host, w io.Writer) error {
	var bare, relay *target
	for _, t := range b.targets {
		switch t.name {
		case "bare":
			bare = t
		case "relay":
			relay = t
		}
	}
	drive(relay.plain, work{Conns: 32, Span: 2 * time.Second}) // rows for the reports
	if err := relay.rest(); err != nil {
		return err
	}
	op, err := startOperator(h, b.relay.AdminURLs[0], b.relay.OperatorToken)
	if err != nil {
		return err
	}
	if err := separate(op.pid, b.relay.Admins[0].PID(), b.relay.Postgres.PID()); err != nil {
		return err
	}
	seen, reached := false, true
	for i, d := range disturbances {
		followed := func() float64 {
			if d.metric == "" {
				return 0
			}
			return b.relay.Proxy(0).Metrics()[d.metric]
		}
		before, span := followed(), time.Duration(0)
		p99 := map[bool]map[*target][]float64{false: {}, true: {}}
		var took []time.Duration
		for range flatPairs {
			for _, with := range []bool{false, true} {
				for _, t := range []*target{bare, relay} {
					began := time.Now()
					if with {
						if err := op.begin(i); err != nil {
							return err
						}
					}
					o := drive(t.plain, flatWork)
					if with {
						done, err := op.end()
						if err != nil {
							return err
						}
						took, span = append(took, done...), span+time.Since(began)
					}
					if n := o.failures(); n > 0 {
						return fmt.Errorf("%s: %d errors: %s", t.name, n, o.OneError)
					}
					p99[with][t] = append(p99[with][t], quantile(o.Latency, .99)/1e3)
				}
			}
		}
		rate, follows := float64(len(took))/span.Seconds(), (followed()-before)/span.Seconds()
		slices.Sort(took)
		often := fmt.Sprintf("%.1f times a second, each %.1f ms, p99 %.1f", rate, took[len(took)/2].Seconds()*1e3, took[len(took)*99/100].Seconds()*1e3)
		if d.metric != "" {
			often += fmt.Sprintf(", the relay followed %.1f times", follows)
		}
		if rate < d.least || d.metric != "" && follows < d.least {
			reached = false
			often += fmt.Sprintf(": NOT REACHED, at least %.0f", d.least)
		}
		ratio := func(t *target) float64 {
			var r []float64
			for i, v := range p99[true][t] {
				r = append(r, v/p99[false][t][i])
			}
			return median(r)
		}
		alone := slices.Clone(p99[false][bare])
		slices.Sort(alone)
		spread := (alone[len(alone)*3/4] - alone[len(alone)/4]) / median(alone)
		r := ratio(relay)
		verdict := "not seen"
		switch {
		case spread > flatRestless:
			verdict, reached = "NOT KNOWN, the machine is not quiet", false
		case r > flatBound+spread:
			verdict, seen = "SEEN", true
		}
		_, _ = fmt.Fprintf(w, "%s (%s): p99 with / without, medians of %d pairs: relay %.2f, bare %.2f; spread of bare alone %.2f; p99 µs alone: relay %.0f, bare %.0f: %s\n",
			d.name, often, flatPairs, r, ratio(bare), spread, median(p99[false][relay]), median(alone), verdict)
	}
	switch {
	case !reached:
		return errNotReached
	case seen:
		return errNotFlat
	}
	return nil
}
