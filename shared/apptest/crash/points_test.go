package crash

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/money"
)

// withFailpoints builds the proxy with failpoints.
func (w *world) withFailpoints() string {
	w.t.Helper()
	root, err := apptest.Root()
	if err != nil {
		w.t.Fatal(err)
	}
	program := filepath.Join(w.Dir, "proxy-failpoint")
	cmd := exec.Command("go", "build", "-tags", "failpoint", "-o", program, "./proxy")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("cannot build the program with failpoints: %v\n%s", err, out)
	}
	return program
}

// K1 … K14, A3: a proxy dies by its own hand exactly at each crash point, one after the
// other, under load, and each time the books are what its customers were told. The
// program is a build with failpoints.
func TestEveryCrashPoint(t *testing.T) {
	w := start(t, apptest.Options{Proxies: 2}, "1000", "1000", "0.05")
	p := w.Proxy(0)
	p.Use(w.withFailpoints())
	b := w.balance()
	l := &load{w: w, name: "point", pick: b.pick, streams: 40, buffered: 20, poor: 6, chunks: 8, late: true, gap: 10 * time.Millisecond}
	poor := &w.accounts[len(w.accounts)-1]
	pay := func() {
		w.Credit(poor.name, "0.002")
		poor.credit += 2_000_000
	}
	l.begin()
	// What a point is met within: often in a second of load, or now and then.
	hits := map[int]int{1: 40, 2: 40, 3: 40, 4: 200, 5: 40, 6: 40, 7: 20, 8: 20, 9: 3, 10: 3, 11: 3, 12: 3, 13: 3}
	var longest time.Duration
	died := map[int]int{}
	// The death of one start is the recovery of the next.
	die := func(point int) {
		t.Helper()
		p.With(fmt.Sprintf("FAILPOINT=K%d:%d", point, 1+rand.IntN(hits[point])))
		p.Start() // it may die before it is ready
		began := time.Now()
		for p.Running() {
			pay() // the scarce account's money moves between the proxies
			time.Sleep(20 * time.Millisecond)
			if time.Since(began) > time.Minute {
				t.Fatalf("K%d is not met", point)
			}
		}
		longest = max(longest, time.Since(began))
		died[point]++
	}
	p.Kill()
	for range times(1, 100) {
		for point := 1; point <= 13; point++ {
			die(point)
		}
		if t.Failed() {
			break
		}
	}
	// K14: its leases are closed as lost, then it comes back with its journal.
	for range times(1, 20) {
		die(4)
		w.MustCLI(nil, "proxy", "lost", p.Name)
		died[14]++
	}
	p.With()
	p.Restart()
	l.end()
	w.Settled()
	w.Audit()
	c := l.compare()
	if c.overspent > 0 {
		t.Errorf("%d wallets paid more than they had", c.overspent)
	}
	t.Logf("died at %v, each within %s: %s", died, longest.Round(time.Millisecond), c)
	for point := 1; point <= 14; point++ {
		if died[point] == 0 {
			t.Errorf("nobody died at K%d", point)
		}
	}
	late := money.Amount(0)
	for i := range w.accounts {
		for _, row := range w.rows(&w.accounts[i]) {
			if row.Late {
				late += row.Charge
			}
		}
	}
	t.Logf("charged late, to leases that were closed: %s USD", late)
	if late == 0 {
		t.Error("nothing was charged on the late path")
	}
}
