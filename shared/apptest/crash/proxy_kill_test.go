package crash

import (
	"math/rand/v2"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
)

// A2, K1 … K10: a proxy is killed amid 200 streams and buffered requests, again and
// again. What the provider finished and the client got is charged once and exactly;
// what the kill cut is charged at most once, between what the client had and what was
// produced. Some are killed once more amid the recovery.
func TestProxyKilledAmidStreams(t *testing.T) {
	const streams = 200
	kills := times(20, 200)
	w := start(t, apptest.Options{}, "1000", "1000", "1000", "0.5")
	p := w.Proxy(0)
	l := &load{w: w, name: "kill", url: p.URL, streams: 260, buffered: 25, poor: 14, chunks: 40, gap: 50 * time.Millisecond}
	looks := w.watch()
	l.begin()
	fewest, slowest := int64(1<<62), time.Duration(0)
	again := 0
	for i := range kills {
		apptest.Eventually(t, 30*time.Second, "200 streams are open", func() bool { return l.open.Load() >= streams && l.busy.Load() > 0 })
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
		apptest.Eventually(t, 30*time.Second, "200 streams are open", func() bool { return l.open.Load() >= streams })
		fewest = min(fewest, l.open.Load())
		p.Kill()
		if i%4 == 3 { // it dies again while it recovers
			p.Start()
			time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
			p.Kill()
			again++
		}
		began := time.Now()
		p.Restart()
		slowest = max(slowest, time.Since(began))
	}
	l.end()
	w.Audit()
	n := looks()
	c := l.compare()
	t.Logf("%d kills amid at least %d streams, %d more while recovering, %d connections refused, ready again after at most %s, wallets looked at %d times: %s", kills, fewest, again, l.refused, slowest.Round(time.Millisecond), n, c)
	if c.whole < kills || c.interrupted < kills || c.unbilled == 0 {
		t.Errorf("the kills did not meet what they are to prove: %v", c)
	}
	p.Terminate()
	if code := p.Wait(20 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.atRest()
	w.Audit()
}
