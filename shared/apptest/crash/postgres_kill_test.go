package crash

import (
	"testing"
	"time"

	"tokenrelay/shared/apptest"
)

// B1: Postgres is killed under load with all its processes, stays away for seconds, and
// comes back. No call of a key and a wallet that are in use fails, nothing is lost or
// doubled; who needs the database is told so, never that the money is gone.
func TestPostgresKilledUnderLoad(t *testing.T) {
	t.Parallel() // it mostly waits
	kills := times(5, 50)
	w := start(t, apptest.Options{OwnPostgres: true}, "1000", "1000", "1000")
	cold := w.CreateClient("cold", "10")
	coldKey := w.CreateKey(cold.Name)
	p := w.Proxy(0)
	l := &load{w: w, name: "pg", url: p.URL, streams: 60, buffered: 20, chunks: 40, gap: 40 * time.Millisecond}
	l.begin()
	apptest.Eventually(t, 20*time.Second, "the load runs", func() bool { return l.open.Load() > 40 && l.busy.Load() > 5 })
	time.Sleep(2 * time.Second) // the wallets are warm: their leases have the size of their spending
	before := p.Metrics()
	away := time.Duration(0)
	for i := range kills {
		began := time.Now()
		if err := w.Postgres.Kill(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			r := p.Do(apptest.Chat(coldKey.Token, "crash-chat", "hello mock:id=cold"))
			if r.Status != 503 || r.Header.Get("Retry-After") == "" {
				t.Errorf("a key that is not in memory while Postgres is away: %d %s", r.Status, r.Body)
			}
			t.Logf("a cold key while Postgres is away: %d %s after %s", r.Status, r.Code(), r.Took.Round(time.Millisecond))
		}
		time.Sleep(2*time.Second - time.Since(began))
		if get(t, p.InternalURL, "/readyz") != 200 {
			t.Error("the proxy is not ready while Postgres is away")
		}
		if err := w.Postgres.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		away += time.Since(began)
		time.Sleep(500 * time.Millisecond)
	}
	after := p.Metrics()
	l.end()
	settled := time.Now()
	w.Settled()
	shipped := time.Since(settled)
	if r := p.Do(apptest.Chat(coldKey.Token, "crash-chat", "hello")); r.Status != 200 {
		t.Errorf("the cold key afterwards: %d %s", r.Status, r.Body)
	}
	w.Audit()
	failed := 0
	for _, a := range l.answers {
		if a.status != 200 || !a.whole {
			if failed++; failed <= faults {
				t.Errorf("failed: %v", a)
			}
		}
	}
	c := l.compare()
	t.Logf("%d kills of Postgres, away for %s in all, failed %d, shipped within %s of the end: %s", kills, away.Round(time.Millisecond), failed+l.refused, shipped.Round(time.Millisecond), c)
	if failed+l.refused > 0 {
		t.Errorf("%d calls failed, %d connections refused", failed, l.refused)
	}
	grown(t, before, after)
}

// grown fails the test if a proxy under the same load as before has more goroutines,
// but for those of its connections, or much more memory.
func grown(t *testing.T, before, after map[string]float64) {
	t.Helper()
	const connections, memory = "relay_client_connections", "process_resident_memory_bytes"
	goroutines := func(m map[string]float64) float64 { return m["go_goroutines"] - m[connections] }
	t.Logf("goroutines %.0f, then %.0f; memory %.1f MB, then %.1f MB", goroutines(before), goroutines(after), before[memory]/1e6, after[memory]/1e6)
	if before["go_goroutines"] == 0 || before[connections] == 0 || goroutines(after) > goroutines(before)+10 {
		t.Errorf("goroutines besides connections: %.0f, then %.0f", goroutines(before), goroutines(after))
	}
	if before[memory] == 0 || after[memory] > before[memory]*1.5+32e6 {
		t.Errorf("memory: %.0f, then %.0f", before[memory], after[memory])
	}
}
