package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// What happens beside requests must not be seen in their times: the p99 of a load with a
// disturbance over the p99 without, in pairs that alternate, for the relay and for the bare
// proxy, which has no part in it but shares the machine. The admin and Postgres have what
// others leave them: their work is the disturbance, and not what the proxy does about it.

// flatWork is the load whose p99 is compared.
var flatWork = work{Conns: 16, Rate: 300, Span: 3 * time.Second}

const (
	flatPairs    = 7
	flatBound    = 1.10 // and the bare proxy's own spread
	flatRestless = 0.5  // of spread: nothing can be said
	flatModels   = 1000
	flatEvery    = 100 * time.Millisecond // between changes of the catalogue
	flatLeast    = 9                      // of them a second, or nothing was measured
)

// disturbance is something that goes on until stop is closed; it notes how long each took.
type disturbance struct {
	name   string
	least  float64 // times a second that it has to be done, or nothing was measured; 0: as often as it can be
	metric string  // of the relay: what it does about it, as often; "" = nothing
	run    func(stop <-chan struct{}, took *[]time.Duration) error
}

// paced calls f every so long until stop is closed, from the start on: one that took longer
// makes the next ones come at once, not fewer.
func paced(stop <-chan struct{}, every time.Duration, f func() error) error {
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-timer.C:
		}
		select {
		case <-stop: // with turns that are late there is always one ready
			return nil
		default:
		}
		if err := f(); err != nil {
			return err
		}
		due = due.Add(every)
		timer.Reset(time.Until(due))
	}
}

// flatModelsOf is a catalogue's models besides those that are measured.
func flatModelsOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - {id: other-%d, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: provider, model: up-%d}], price: PRICE}\n", i, i)
	}
	return b.String()
}

func (b *bench) disturbances() []disturbance {
	admin, token := b.relay.AdminURLs[0], b.relay.OperatorToken
	ask := func(took *[]time.Duration, method, path, body string) error {
		began := time.Now()
		r, err := http.NewRequest(method, admin+path, strings.NewReader(body))
		if err != nil {
			return fmt.Errorf("cannot make a request: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return fmt.Errorf("cannot ask the admin: %w", err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("cannot read the admin's answer: %w", err)
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, bytes.TrimSpace(text))
		}
		*took = append(*took, time.Since(began))
		return nil
	}
	return []disturbance{
		{name: fmt.Sprintf("a catalogue of %d models changes ten times a second", flatModels), least: flatLeast, metric: "relay_feed_snapshots_total", run: func(stop <-chan struct{}, took *[]time.Duration) error {
			return paced(stop, flatEvery, func() error {
				return ask(took, "PATCH", "/admin/v1/models/other-7", fmt.Sprintf(`{"multiplier":"1.%d"}`, 10+len(*took)%80))
			})
		}},
		{name: "reports of all calls, one after the other", run: func(stop <-chan struct{}, took *[]time.Duration) error {
			reports := []string{
				"/admin/v1/reports/margin?step=hour&by=client,model,key&limit=200", "/admin/v1/reports/providers",
				"/admin/v1/calls?limit=200", "/admin/v1/attempts?limit=200",
			}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return nil
				default:
				}
				if err := ask(took, "GET", reports[i%len(reports)], ""); err != nil {
					return err
				}
			}
		}},
	}
}

var (
	errNotFlat    = errors.New("a disturbance is seen in the p99 of requests")
	errNotReached = errors.New("a disturbance was not done as often as is said, or the machine was not quiet")
)

// flat measures and prints every disturbance.
func (b *bench) flat(w io.Writer) error {
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
	for _, pid := range []int{b.relay.Admins[0].PID(), b.relay.Postgres.PID()} {
		if err := last(pid); err != nil {
			return err
		}
	}
	seen, reached := false, true
	for _, d := range b.disturbances() {
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
					stop, began := make(chan struct{}), time.Now()
					var err error
					var beside sync.WaitGroup
					if with {
						beside.Go(func() { err = d.run(stop, &took) })
					}
					o := drive(t.plain, flatWork)
					close(stop)
					beside.Wait()
					if with {
						span += time.Since(began)
					}
					if err != nil {
						return err
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
		r, floor := ratio(relay), ratio(bare)
		verdict := "not seen"
		switch {
		case spread > flatRestless:
			verdict, reached = "NOT KNOWN, the machine is not quiet", false
		case r > flatBound+spread && r > floor*flatBound:
			verdict, seen = "SEEN", true
		}
		_, _ = fmt.Fprintf(w, "%s (%s): p99 with / without, medians of %d pairs: relay %.2f, bare %.2f; spread of bare alone %.2f; p99 µs alone: relay %.0f, bare %.0f: %s\n",
			d.name, often, flatPairs, r, floor, spread, median(p99[false][relay]), median(alone), verdict)
	}
	switch {
	case !reached:
		return errNotReached
	case seen:
		return errNotFlat
	}
	return nil
}
