package jobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/store"
)

// keep is long enough for nothing to be deleted.
var keep = store.Keep{Changes: 24 * time.Hour, Refusals: 24 * time.Hour, Leases: 24 * time.Hour}

func exposition(m *obs.Metrics) string {
	var b bytes.Buffer
	m.WriteMetrics(&b)
	return b.String()
}

// Every standing job runs on a fresh database without an error, and stops with its
// context.
func TestStandingJobs(t *testing.T) {
	db := pgtest.Open(t, store.Options{})
	if _, err := db.CreateClient(t.Context(), "test", store.NewClient{Name: "acme", Credit: money.USD}); err != nil {
		t.Fatal(err)
	}
	m := obs.NewMetrics(false)
	r := New(db, obs.Discard(), m, keep, Mailing{})
	for i := range r.jobs {
		r.once(t.Context(), &r.jobs[i])
		if want := `relay_admin_job_runs_total{job="` + r.jobs[i].Name + `",outcome="ok"} 1`; !strings.Contains(exposition(m), want) {
			t.Errorf("job %s did not run well:\n%s", r.jobs[i].Name, exposition(m))
		}
	}
	for _, want := range []string{"relay_usage_default_partition_rows 0", "relay_audit_broken 0", "relay_audit_wallets_total 1", "relay_proxies_live 0"} {
		if !strings.Contains(exposition(m), want) {
			t.Errorf("no %s in:\n%s", want, exposition(m))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	cancel()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the jobs do not stop with their context")
	}
}

// The jobs of a process that starts all begin at once, and there are as many as the pool
// has connections: they do not wait for each other.
func TestJobsBeginTogether(t *testing.T) {
	db := pgtest.Open(t, store.Options{Pool: 6})
	m := obs.NewMetrics(false)
	r := New(db, obs.Discard(), m, keep, Mailing{})
	if len(r.jobs) < 6 {
		t.Fatal("fewer jobs than connections: nothing is shown")
	}
	var all sync.WaitGroup
	for i := range r.jobs {
		all.Go(func() { r.once(t.Context(), &r.jobs[i]) })
	}
	all.Wait()
	if text := exposition(m); strings.Count(text, `outcome="ok"} 1`) != len(r.jobs) {
		t.Errorf("not all of %d jobs ran well:\n%s", len(r.jobs), text)
	}
}

// Two admins never run the same job at the same time.
func TestOneJobAtATime(t *testing.T) {
	url := pgtest.New(t)
	var mu sync.Mutex
	running, most, runs := 0, 0, 0
	job := Job{Name: "test", Every: time.Hour, Run: func(context.Context) error {
		mu.Lock()
		running++
		runs++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	}}
	var wg sync.WaitGroup
	for range 2 {
		db, err := store.Open(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		r := &Runner{db: db, log: obs.Discard(), metrics: obs.NewMetrics(false), turns: make(chan struct{}, atOnce)}
		for range 3 {
			wg.Go(func() {
				for range 10 {
					r.once(t.Context(), &job)
				}
			})
		}
	}
	wg.Wait()
	if most != 1 || runs == 0 {
		t.Errorf("%d at the same time in %d runs, want 1", most, runs)
	}
}

// A job that fails or panics is counted and does not end the runner.
func TestFailingJobs(t *testing.T) {
	m := obs.NewMetrics(false)
	r := &Runner{db: pgtest.Open(t, store.Options{}), log: obs.NewLogger(io.Discard, "json", "info"), metrics: m, turns: make(chan struct{}, atOnce)}
	r.once(t.Context(), &Job{Name: "fails", Every: time.Hour, Run: func(context.Context) error { return errors.New("no") }})
	r.once(t.Context(), &Job{Name: "panics", Every: time.Hour, Run: func(context.Context) error { panic("no") }})
	r.once(t.Context(), &Job{Name: "panics", Every: time.Hour, Run: func(context.Context) error { return nil }})
	for _, want := range []string{`job="fails",outcome="error"} 1`, `job="panics",outcome="panic"} 1`, `job="panics",outcome="ok"} 1`} {
		if !strings.Contains(exposition(m), want) {
			t.Errorf("no %s in:\n%s", want, exposition(m))
		}
	}
}

// Leases that expired long enough ago come back to their wallet.
func TestReclaim(t *testing.T) {
	db := pgtest.Open(t, store.Options{LeaseTTL: time.Millisecond, MaxRequest: time.Millisecond})
	ctx := t.Context()
	c, err := db.CreateClient(ctx, "test", store.NewClient{Name: "acme", Credit: money.USD})
	if err != nil {
		t.Fatal(err)
	}
	slot, err := db.ClaimSlot(ctx, "p", "j", "http://127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Grant(ctx, store.GrantRequest{
		Slot: slot.ID, Epoch: slot.Epoch, LeaseID: store.LeaseID(slot.ID, slot.Epoch, 1), Seq: 1,
		Escrow: store.Escrow{WalletID: c.WalletID}, Need: money.USD / 4, Target: money.USD / 4,
	}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	m := obs.NewMetrics(false)
	r := New(db, obs.Discard(), m, keep, Mailing{})
	r.once(ctx, &r.jobs[1])
	b, err := db.WalletBalance(ctx, c.WalletID)
	if err != nil {
		t.Fatal(err)
	}
	if b.Leased != 0 || b.Balance != money.USD {
		t.Errorf("after the reclaim: %+v", b)
	}
	if !strings.Contains(exposition(m), "relay_leases_reclaimed_total 1") {
		t.Errorf("metrics:\n%s", exposition(m))
	}
}
