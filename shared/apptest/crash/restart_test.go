package crash

import (
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
)

// A1, K6 … K14: after a kill a proxy is ready again within seconds, has closed what its
// predecessor had borrowed, and keeps no money when it rests.
func TestRestartAfterKill(t *testing.T) {
	w := start(t, apptest.Options{}, "1000", "1000")
	p := w.Proxy(0)
	l := &load{w: w, name: "restart", url: p.URL, streams: 40, buffered: 10, chunks: 20, gap: 40 * time.Millisecond}
	l.begin()
	slowest, closed := time.Duration(0), time.Duration(0)
	for range times(2, 50) {
		apptest.Eventually(t, 20*time.Second, "streams are open", func() bool { return l.open.Load() > 20 })
		old := w.slot(p.Name)
		p.Kill()
		began := time.Now()
		p.Restart()
		slowest = max(slowest, time.Since(began))
		now := w.slot(p.Name)
		if now.ID != old.ID || now.Epoch != old.Epoch+1 {
			t.Errorf("slot %d epoch %d, before the kill slot %d epoch %d", now.ID, now.Epoch, old.ID, old.Epoch)
		}
		apptest.Eventually(t, 5*time.Second, "the leases of the old epoch are closed", func() bool {
			for _, lease := range w.leases(p.Name) {
				if lease.Epoch != now.Epoch {
					return false
				}
			}
			return true
		})
		closed = max(closed, time.Since(began))
	}
	l.end()
	w.Audit()
	c := l.compare()
	t.Logf("ready after at most %s, old leases closed after at most %s: %s", slowest.Round(time.Millisecond), closed.Round(time.Millisecond), c)
	if slowest > 5*time.Second {
		t.Errorf("ready only after %s", slowest)
	}
	p.Terminate()
	if code := p.Wait(20 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.atRest()
}

// A15: a second process on the same data folder waits for the first, which never notices.
func TestSecondProcessOnTheSameFolderWaits(t *testing.T) {
	t.Parallel() // it mostly waits
	w := start(t, apptest.Options{}, "10")
	first := w.Proxy(0)
	token := w.accounts[0].token
	slot := w.slot(first.Name)
	second := w.AddProxy("RELAY_DATA_DIR="+first.DataDir, "RELAY_PROXY_NAME="+first.Name)
	for range 10 {
		time.Sleep(100 * time.Millisecond)
		if !second.Running() || get(t, second.InternalURL, "/readyz") == 200 || get(t, second.URL, "/v1/models") != 0 {
			t.Fatalf("the second does not wait:\n%s", second.Log())
		}
		if r := first.Do(apptest.Chat(token, "crash-chat", "hello")); r.Status != 200 {
			t.Fatalf("the first: %d %s", r.Status, r.Body)
		}
	}
	if s := w.slot(first.Name); s.Epoch != slot.Epoch {
		t.Errorf("the slot went from epoch %d to %d", slot.Epoch, s.Epoch)
	}
	if !strings.Contains(second.Log(), "waiting for") {
		t.Errorf("the second does not say that it waits:\n%s", second.Log())
	}
	first.Kill()
	second.WaitReady()
	if r := second.Do(apptest.Chat(token, "crash-chat", "hello")); r.Status != 200 {
		t.Errorf("the second, once it may: %d %s", r.Status, r.Body)
	}
	if s := w.slot(first.Name); s.Epoch != slot.Epoch+1 {
		t.Errorf("the slot went from epoch %d to %d", slot.Epoch, s.Epoch)
	}
	w.Audit()
}

// A15, rulings 3.32: two proxies of one name on different folders. The second ends with
// a line that says why, the first keeps its slot; after the first has ended for good the
// name is free.
func TestSecondProxyOfTheSameName(t *testing.T) {
	t.Parallel() // it mostly waits
	w := start(t, apptest.Options{}, "10")
	first := w.Proxy(0)
	token := w.accounts[0].token
	second := w.AddProxy("RELAY_PROXY_NAME=" + first.Name)
	if code := second.Wait(20 * time.Second); code != 1 || !strings.Contains(second.Log(), "proxy name is used by a live proxy") || !strings.Contains(second.Log(), first.Name) {
		t.Errorf("exit code %d:\n%s", code, second.Log())
	}
	if r := first.Do(apptest.Chat(token, "crash-chat", "hello")); r.Status != 200 {
		t.Errorf("the first: %d %s", r.Status, r.Body)
	}
	first.Terminate()
	if code := first.Wait(20 * time.Second); code != 0 {
		t.Errorf("the first: exit code %d", code)
	}
	second.Restart()
	if r := second.Do(apptest.Chat(token, "crash-chat", "hello")); r.Status != 200 {
		t.Errorf("the second, once the name is free: %d %s", r.Status, r.Body)
	}
	w.Audit()
}
