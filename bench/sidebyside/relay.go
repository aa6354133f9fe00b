package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

const relayCatalogue = `
providers:
  - {name: provider, protocol: openai, dialect: openai, base_url: "http://PROVIDER/relay/v1", keys: [{name: main, secret: sk-sidebyside-0001}]}
  - {name: other, protocol: anthropic, base_url: "http://PROVIDER/relay/v1", keys: [{name: main, secret: sk-sidebyside-0002}]}
models:
  - {id: OTHER, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: other, model: upstream-other}], price: PRICE}
  - {id: bench-model, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: provider, model: upstream-model}], price: PRICE}
groups:
  - {name: default, models: ["*"], multiplier: "1"}
`

const otherModel = "bench-other"

// relay is the whole of this project as in production: Postgres, an admin, one proxy,
// a customer with money and a key, prices, usage and journal on. Only the limit per
// client address is off: all the load comes from one.
type relay struct {
	*apptest.Stack
	h *apptest.Host
}

// startRelay starts it. With old, a proxy of another build serves beside the first one,
// from the same books: what a change has brought shows in a paired measurement.
func startRelay(h *apptest.Host, provider, old string) (*relay, []*target) {
	catalogue := strings.NewReplacer("PROVIDER", provider, "OTHER", otherModel).Replace(relayCatalogue)
	if *flatOnly {
		catalogue = strings.Replace(catalogue, "models:\n", "models:\n"+flatModelsOf(flatModels), 1)
	}
	s := apptest.Start(h, apptest.Options{OwnPostgres: true, DurablePostgres: true, Catalogue: catalogue})
	r := &relay{s, h}
	key := s.CreateKey(s.CreateClient("sidebyside", "1000000").Name).Token
	for range *proxies - 1 {
		s.AddProxy()
	}
	s.WaitReady()
	list := []*target{r.target("relay", key, s.Proxies...)}
	if old != "" {
		p := s.AddProxy()
		p.WaitReady()
		p.Terminate()
		_ = p.Wait(time.Minute)
		p.Use(old)
		p.Restart()
		// With the same key: rows of the newer of two would be the last in Postgres's indexes,
		// where they cost a microsecond less.
		list = append(list, r.target("old", key, p))
	}
	return r, list
}

func (r *relay) target(name, key string, all ...*apptest.Proxy) *target {
	d := door{Path: "/v1/chat/completions", Key: key, Other: otherModel}
	for _, p := range all {
		d.More = append(d.More, strings.TrimPrefix(p.URL, "http://"))
	}
	d.Addr, d.More = d.More[0], d.More[1:]
	return &target{
		name: name, plain: d, stream: d,
		restart: func() error { return restarted(all) }, settle: func() error { return settled(all) },
		pids: func() (list []int) {
			for _, p := range all {
				list = append(list, p.PID())
			}
			return list
		},
	}
}

func restarted(all []*apptest.Proxy) error {
	for _, p := range all {
		p.Terminate()
		if code := p.Wait(time.Minute); code != 0 {
			return fmt.Errorf("the relay ended with %d", code)
		}
		p.Restart()
	}
	return nil
}

// profile begins a CPU profile of the proxy; end waits for its end and writes it to a
// file. A profile has a length from its beginning: what is asked for covers the longest
// load, and what the proxy does after the load's end is in it as well.
func (r *relay) profile(file string) (end func() error, err error) {
	const seconds = 10
	done := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		close(began)
		done <- func() error {
			resp, err := http.Get(fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", r.Proxy(0).InternalURL, seconds))
			if err != nil {
				return fmt.Errorf("cannot profile the relay: %w", err)
			}
			defer func() { _ = resp.Body.Close() }()
			b, err := io.ReadAll(resp.Body)
			if err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d: %s", resp.StatusCode, b)
			}
			if err != nil {
				return fmt.Errorf("cannot profile the relay: %w", err)
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return fmt.Errorf("cannot make a folder: %w", err)
			}
			return os.WriteFile(file, b, 0o644)
		}()
	}()
	<-began
	return func() error { return <-done }, nil
}

var errUnsettled = errors.New("the relay has not shipped its records in 2 minutes")

// settled waits until no request runs and every record is in Postgres. It asks seldom, and
// not before the shipper's next turn: the page of metrics is work for the proxy that is
// being measured, 1 to 2 ms each time.
func settled(all []*apptest.Proxy) error {
	time.Sleep(600 * time.Millisecond)
	limit := time.Now().Add(2 * time.Minute)
	for len(all) > 0 {
		m := all[0].Metrics()
		switch {
		case m["relay_requests_running"] == 0 && m["relay_journal_lag_records"] == 0 && m["relay_ship_direct_records"] == 0:
			all = all[1:]
		case time.Now().After(limit):
			return errUnsettled
		default:
			time.Sleep(250 * time.Millisecond)
		}
	}
	return nil
}

// books are what the relay has on record about its requests.
type books struct {
	Rows     int64 // requests
	Charged  int64 // of them, with a charge above 0
	Reported int64 // of them, with the provider's own numbers of tokens
	Input    int64 // tokens of the reported ones
	Output   int64
	Audit    string // what admin audit --strict finds wrong, "" if nothing
}

func (r *relay) books() books {
	one := func(sql string) int64 { return storetest.Value[int64](r.h, r.DatabaseURL, sql) }
	reported := fmt.Sprintf(` FROM usage WHERE source = %d`, usage.SourceReported)
	unit := func(c usage.Class) int64 {
		return one(fmt.Sprintf(`SELECT coalesce(sum(units[%d]), 0)::bigint`, c+1) + reported)
	}
	b := books{
		Rows: one(`SELECT count(*) FROM usage`), Charged: one(`SELECT count(*) FROM usage WHERE charge > 0`),
		Reported: one(`SELECT count(*)` + reported), Input: unit(usage.Input), Output: unit(usage.Output),
	}
	if out, errs, code := r.CLI("audit", "--strict"); code != 0 {
		b.Audit = fmt.Sprintf("admin audit: exit %d\n%s%s", code, out, errs)
	}
	return b
}

// processes are those that work for the relay besides its proxy.
func (r *relay) processes() []int {
	return []int{r.Admins[0].PID(), r.Postgres.PID(), r.Mock.PID()}
}
