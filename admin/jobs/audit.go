package jobs

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// The continuous audit: every run proves one of auditSlices parts of the wallets, from
// their rows, so that each wallet is proven once a day.
const (
	auditEvery  = 10 * time.Minute
	auditSlices = 144
)

// audit proves the books of one slice of the wallets after the other. What is broken
// stays in the gauges until its slice was proven right. Which slice comes next follows
// from the time, so that restarts and several admins leave none out.
func (r *Runner) audit() func(context.Context) error {
	var mu sync.Mutex
	broken := map[string]map[int]int64{} // invariant → slice → broken
	sum := func(id string) func() float64 {
		return func() float64 {
			mu.Lock()
			defer mu.Unlock()
			n := int64(0)
			for line, slices := range broken {
				if id != "" && line != id {
					continue
				}
				for _, b := range slices {
					n += b
				}
			}
			return float64(n)
		}
	}
	r.metrics.Gauge("relay_audit_broken", sum(""))
	wallets := r.metrics.Counter("relay_audit_wallets_total")
	var last, took, leased, writtenOff atomic.Int64
	r.metrics.Gauge("relay_audit_last_success_timestamp_seconds", func() float64 { return float64(last.Load()) })
	r.metrics.Gauge("relay_audit_duration_seconds", func() float64 { return time.Duration(took.Load()).Seconds() })
	r.metrics.Gauge("relay_audit_leased_usd", func() float64 { return float64(leased.Load()) / float64(money.USD) })
	r.metrics.Gauge("relay_audit_written_off_usd", func() float64 { return float64(writtenOff.Load()) / float64(money.USD) })
	return func(ctx context.Context) error {
		start := time.Now()
		slice := int(start.Unix()/int64(auditEvery/time.Second)) % auditSlices
		report, err := r.db.Audit(ctx, store.AuditOptions{Slice: slice, Slices: auditSlices, Deep: true})
		if err != nil {
			return err
		}
		if err := r.keepAudit(ctx, slice, report); err != nil {
			return err
		}
		wallets.AddInt64(report.Wallets)
		last.Store(time.Now().Unix())
		took.Store(int64(time.Since(start)))
		leased.Store(int64(report.Leased))
		writtenOff.Store(int64(report.WrittenOff))
		for _, l := range report.Lines {
			mu.Lock()
			known := broken[l.ID] != nil
			if !known {
				broken[l.ID] = map[int]int64{}
			}
			broken[l.ID][slice] = l.Broken
			mu.Unlock()
			if !known { // not under the lock that the gauge takes
				r.metrics.Gauge("relay_audit_line_broken{line="+strconv.Quote(l.ID)+"}", sum(l.ID))
			}
			if l.Broken > 0 {
				r.log.Error("the books are broken: run admin audit --deep", "invariant", l.ID, "slice", slice, "broken", l.Broken,
					"worst_usd", l.Worst.String(), "samples", l.Samples)
			}
		}
		return nil
	}
}

// keepAudit stores what was found for /admin/v1/self-audit.
func (r *Runner) keepAudit(ctx context.Context, slice int, found *store.AuditReport) error {
	text, err := json.Marshal(report.ViewAudit(found))
	if err != nil {
		return err
	}
	a := store.SelfAudit{Slice: slice, Slices: auditSlices, At: found.At, Report: text}
	for _, l := range found.Lines {
		a.Broken += l.Broken
	}
	return r.db.NoteSelfAudit(ctx, a)
}

// chain closes the days that are over and adds them to the wallets' chains (M13).
func (r *Runner) chain() func(context.Context) error {
	links := r.metrics.Counter("relay_chain_links_total")
	return func(ctx context.Context) error {
		n, err := r.db.ChainDays(ctx, store.ChainWait)
		links.AddInt64(n)
		if n > 0 {
			r.log.Info("closed days were chained", "links", n)
		}
		return err
	}
}
