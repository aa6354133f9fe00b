package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

const relayCatalogue = `
providers:
  - {name: provider, protocol: openai, dialect: openai, base_url: "http://PROVIDER/relay/v1", keys: [{name: main, secret: sk-sidebyside-0001}]}
models:
  - {id: bench-model, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: provider, model: upstream-model}], price: PRICE}
groups:
  - {name: default, models: ["*"], multiplier: "1"}
`

// relay is the whole of this project as in production: Postgres, an admin, one proxy,
// a customer with money and a key, prices, usage and journal on. Only the limit per
// client address is off: all the load comes from one.
type relay struct {
	*apptest.Stack
	h *apptest.Host
}

func startRelay(h *apptest.Host, provider string) (*relay, *target) {
	s := apptest.Start(h, apptest.Options{OwnPostgres: true, DurablePostgres: true, Catalogue: strings.ReplaceAll(relayCatalogue, "PROVIDER", provider)})
	r := &relay{s, h}
	c := s.CreateClient("sidebyside", "1000000").Name
	d := door{Addr: strings.TrimPrefix(s.Proxy(0).URL, "http://"), Path: "/v1/chat/completions", Key: s.CreateKey(c).Token}
	return r, &target{name: "relay", plain: d, stream: d, pid: func() int { return s.Proxy(0).PID() }, restart: r.again, settle: r.settled}
}

func (r *relay) again() error {
	p := r.Proxy(0)
	p.Terminate()
	if code := p.Wait(time.Minute); code != 0 {
		return fmt.Errorf("the relay ended with %d", code)
	}
	p.Restart()
	return nil
}

var errUnsettled = errors.New("the relay has not shipped its records in 2 minutes")

// settled waits until no request runs and every record is in Postgres.
func (r *relay) settled() error {
	for limit := time.Now().Add(2 * time.Minute); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		m := r.Proxy(0).Metrics()
		if m["relay_requests_running"] == 0 && m["relay_journal_lag_records"] == 0 && m["relay_ship_direct_records"] == 0 {
			return nil
		}
	}
	return errUnsettled
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
