package simtest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenrelay/proxy/lease/model"
	"tokenrelay/shared/reqid"
)

var (
	schedules = flag.Uint64("schedules", 2000, "schedules to simulate")
	seed      = flag.Uint64("seed", 1, "the first schedule's seed")
	trace     = flag.Bool("tell", false, "print what happens")
	workers   = flag.Int("workers", 2, "schedules at once")
)

const steps = 120

// TestSchedules is G-17: A1–A7, B1–B5, F1, F2, F8, F15 and K1–K14 over random
// schedules, each repeated by its seed: -schedules=1 -seed=N.
func TestSchedules(t *testing.T) {
	root := memory(t)
	var mu sync.Mutex
	seen := map[string]int{}
	began := time.Now()
	t.Run("all", func(t *testing.T) {
		for n := range *workers {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				for s := *seed + uint64(n); s < *seed+*schedules && !t.Failed(); s += uint64(*workers) {
					w, err := simulate(t, s, fmt.Sprintf("%s/%d", root, s), nil)
					if err != nil {
						t.Errorf("seed %d: %v", s, err)
					}
					if did := s - *seed + 1; did%50_000 <= 1 && did > 1 {
						t.Logf("%d schedules in %s", did/50_000*50_000, time.Since(began).Round(time.Second))
					}
					mu.Lock()
					for k, v := range w {
						seen[k] += v
					}
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%d schedules of %d steps in %s", *schedules, steps, time.Since(began).Round(time.Millisecond))
	for _, k := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%9d × %s", seen[k], k)
	}
	if *schedules < 2000 || t.Failed() {
		return
	}
	for _, k := range []string{"K10 kill", "K14 late", "disk fault", "torn record", "unsynced sectors lost", "lost alive", "admitted false", "booked"} {
		if seen[k] == 0 {
			t.Errorf("the schedules met no %s", k)
		}
	}
	for _, point := range []string{"K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K9", "K11", "K12", "K13"} {
		for _, how := range []string{" kill", " power"} {
			if seen[point+how] == 0 {
				t.Errorf("the schedules met no %s%s", point, how)
			}
		}
	}
}

// memory is a folder that needs no disk, where there is one.
func memory(t *testing.T) string {
	if st, err := os.Stat("/dev/shm"); err != nil || !st.IsDir() {
		return t.TempDir()
	}
	root, err := os.MkdirTemp("/dev/shm", "simtest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	return root
}

// simulate runs the schedule of one seed and returns what it met and what is wrong.
func simulate(t *testing.T, seed uint64, root string, plant func([]model.Record) []model.Record) (seen map[string]int, failure error) {
	defer func() {
		_ = os.RemoveAll(root)
		if r := recover(); r != nil {
			panic(fmt.Sprintf("seed %d: %v", seed, r))
		}
	}()
	synctest.Test(t, func(*testing.T) {
		w := newWorld(seed, root)
		w.plant = plant
		failure = w.run()
		seen = w.seen
	})
	return seen, failure
}

// TestSchedulesCatch plants faults between the journal and the books: some schedule of
// a few must see each.
func TestSchedulesCatch(t *testing.T) {
	root := memory(t)
	for name, plant := range map[string]func([]model.Record) []model.Record{
		"a record lost":  func(l []model.Record) []model.Record { return l[1:] },
		"a charge wrong": func(l []model.Record) []model.Record { l[0].Charge = max(0, l[0].Charge-1); return l },
		"a charge doubled": func(l []model.Record) []model.Record {
			return append(l, model.Record{ID: reqid.ID{1}, Leases: l[0].Leases})
		},
	} {
		caught := false
		for s := uint64(1); s <= 20 && !caught; s++ {
			_, err := simulate(t, s, fmt.Sprintf("%s/%d", root, s), plant)
			caught = err != nil
		}
		if !caught {
			t.Errorf("%s: not seen by 20 schedules", name)
		}
	}
}

func (w *world) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			w.abandon()
			err = fmt.Errorf("%v\n%s", r, debug.Stack())
		}
	}()
	for i := range steps {
		if err := w.step(); err != nil {
			w.abandon()
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	if err := w.rest(); err != nil {
		w.abandon()
		return fmt.Errorf("at rest: %w", err)
	}
	return nil
}

// abandon ends every goroutine of a schedule that failed.
func (w *world) abandon() {
	for _, p := range w.proxies {
		if p.process != nil {
			p.dead = true
		}
	}
	for _, q := range w.pending {
		q.end(undone)
	}
	for _, p := range w.proxies {
		if p.process != nil {
			w.stop(p.process)
			p.process = nil
		}
	}
}
