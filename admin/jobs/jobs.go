// Package jobs is what the control plane does by itself: partitions made ahead,
// expired leases taken back, old rows deleted, days chained, books audited. Each job holds an advisory lock while
// it runs, so any number of admin processes may run.
package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"tokenrelay/shared/obs"
	"tokenrelay/shared/store"
)

// Job is one thing that is done again and again.
type Job struct {
	Name  string
	Every time.Duration
	Run   func(ctx context.Context) error
}

// Runner runs jobs until its context ends.
type Runner struct {
	db      *store.DB
	log     *slog.Logger
	metrics *obs.Metrics
	mailing Mailing
	now     func() time.Time
	jobs    []Job
	turns   chan struct{}
}

// atOnce is how many jobs run at the same time. Each holds one connection with its lock
// and needs another for its work: as many jobs as the pool has connections, all begun
// when the process starts, would wait for each other.
const atOnce = 3

// New returns a runner of the standing jobs. keep says how long old rows stay.
func New(db *store.DB, log *slog.Logger, metrics *obs.Metrics, keep store.Keep, mailing Mailing) *Runner {
	r := &Runner{db: db, log: log, metrics: metrics, mailing: mailing, now: time.Now, turns: make(chan struct{}, atOnce)}
	r.jobs = []Job{
		{Name: "partitions", Every: time.Hour, Run: r.partitions()},
		{Name: "reclaim", Every: 30 * time.Second, Run: r.reclaim()},
		{Name: "proxies", Every: 10 * time.Second, Run: r.proxies()},
		{Name: "claims", Every: time.Minute, Run: r.claims()},
		{Name: "sign-ins", Every: 10 * time.Minute, Run: r.signIns()},
		{Name: "responses", Every: 10 * time.Minute, Run: r.responses()},
		{Name: "prune", Every: time.Hour, Run: r.prune(keep)},
		{Name: "events", Every: time.Minute, Run: r.events()},
		{Name: "mails", Every: 10 * time.Second, Run: r.mails()},
		{Name: "chain", Every: 5 * time.Minute, Run: r.chain()},
		{Name: "audit", Every: auditEvery, Run: r.audit()},
	}
	return r
}

// Run starts every job and returns when ctx has ended and all have stopped.
func (r *Runner) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range r.jobs {
		wg.Go(func() { r.loop(ctx, &r.jobs[i]) })
	}
	wg.Wait()
}

// loop runs a job at once and then every j.Every, a tenth more or less, so that
// several admins do not ask at the same moment.
func (r *Runner) loop(ctx context.Context, j *Job) {
	for {
		r.once(ctx, j)
		wait := time.NewTimer(j.Every*9/10 + rand.N(j.Every/5))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

// once runs a job unless another admin is running it. A failure is logged and
// counted; the next turn tries again.
func (r *Runner) once(ctx context.Context, j *Job) {
	defer func() {
		if p := recover(); p != nil {
			r.count(j.Name, "panic")
			r.log.Error("panic in a job", "job", j.Name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	select {
	case r.turns <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-r.turns }()
	ran, err := r.db.Locked(ctx, j.Name, j.Run)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.count(j.Name, "error")
		r.log.Warn("job failed", "job", j.Name, "error", err.Error())
	case ran:
		r.count(j.Name, "ok")
	default:
		r.count(j.Name, "elsewhere")
	}
}

func (r *Runner) count(job, outcome string) {
	r.metrics.Counter("relay_admin_job_runs_total{job=" + strconv.Quote(job) + ",outcome=" + strconv.Quote(outcome) + "}").Inc()
}
