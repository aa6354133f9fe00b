package crash

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/money"
	"tokenrelay/shared/proof"
)

// I1: SIGTERM amid streams. Load balancers are told, new work on open connections is
// refused in the protocol's words, what runs ends whole, the money goes home.
func TestDrain(t *testing.T) {
	t.Parallel() // it mostly waits
	w := start(t, apptest.Options{ProxyEnv: []string{"RELAY_DRAIN_DELAY=1s", "RELAY_DRAIN_GRACE=30s"}}, "1000")
	p := w.Proxy(0)
	token := w.accounts[0].token
	const streams = 120
	l := &load{w: w, name: "drain", url: p.URL}
	var running sync.WaitGroup
	for i := range streams {
		running.Go(func() {
			a := &answer{marker: fmt.Sprintf("drain-%d", i), stream: true}
			text := fmt.Sprintf("mock:id=%s;out=100;chunks=50;gap=%dms", a.marker, 50+i%30)
			r := apptest.Chat(token, "crash-chat", text, `"stream":true`, `"max_tokens":100`)
			if i%2 == 1 {
				r = apptest.Messages(token, "crash-messages", text, `"stream":true`)
			}
			l.readStream(a, l.url, r.With("X-Request-Id", a.marker))
			l.mu.Lock()
			l.answers = append(l.answers, a)
			l.mu.Unlock()
		})
	}
	// Connections that are open and have been used.
	var idle []*apptest.Raw
	for i := range 20 {
		raw := p.Raw()
		raw.Send(apptest.Chat(token, "crash-chat", fmt.Sprintf("mock:id=drain-idle-%d", i)).With("X-Request-Id", fmt.Sprintf("drain-idle-%d", i)).Text())
		r, err := raw.Response(5 * time.Second)
		if err != nil || r.Status != 200 {
			t.Fatalf("%v %+v", err, r)
		}
		l.answers = append(l.answers, &answer{marker: fmt.Sprintf("drain-idle-%d", i), status: 200, id: r.ID(), whole: true})
		idle = append(idle, raw)
	}
	for range 5 { // and some on which nothing was ever sent
		p.Raw()
	}
	apptest.Eventually(t, 20*time.Second, "the streams run", func() bool { return l.open.Load() == streams })
	// M6: what the leases say is held is what the streams hold, each counted by itself.
	held := money.Amount(0)
	for _, x := range proofOf(t, p).Leases {
		if x.Running == nil || *x.Running != x.Held {
			t.Errorf("%s are held of lease %d, the running requests hold %v", x.Held, x.ID, x.Running)
		}
		held += x.Held
	}
	if held <= 0 {
		t.Error("120 streams hold nothing")
	}

	p.Terminate()
	began := time.Now()
	apptest.Eventually(t, time.Second, "readyz says 503", func() bool { return get(t, p.InternalURL, "/readyz") == 503 })
	told := time.Since(began)
	if get(t, p.InternalURL, "/healthz") != 200 {
		t.Error("a draining proxy is not healthy")
	}
	// Until load balancers have noticed, new work is served.
	if r := p.Do(apptest.Chat(token, "crash-chat", "mock:id=drain-late").With("X-Request-Id", "drain-late")); r.Status != 200 {
		t.Errorf("within the drain's delay: %d %s", r.Status, r.Body)
	} else {
		l.answers = append(l.answers, &answer{marker: "drain-late", status: 200, id: r.ID(), whole: true})
	}
	time.Sleep(1200*time.Millisecond - time.Since(began))
	for i, raw := range idle {
		r, shape := apptest.Chat(token, "crash-chat", "mock:id=drain-never"), `"type":"`
		if i%2 == 1 {
			r, shape = apptest.Messages(token, "crash-messages", "mock:id=drain-never", `"stream":true`), `{"type":"error","error":{`
		}
		raw.Send(r.Text())
		resp, err := raw.Response(5 * time.Second)
		if err != nil || resp.Status != 503 || resp.Code() != "draining" || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(resp.Body), shape) {
			t.Fatalf("while draining: %v %+v", err, resp)
		}
		if _, closed := raw.All(5 * time.Second); !closed {
			t.Error("a refused connection stays open")
		}
	}
	open := l.open.Load()
	code := p.Wait(30 * time.Second)
	took := time.Since(began)
	running.Wait()
	for _, a := range l.answers {
		if !a.whole {
			t.Errorf("cut by the drain: %v", a)
		}
	}
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := len(w.leases(p.Name)); n != 0 {
		t.Errorf("%d leases are open after the drain", n)
	}
	if s := w.slot(p.Name); s.State != "closed" || s.Live {
		t.Errorf("the slot after the drain: %+v", s)
	}
	w.atRest()
	c := l.compare()
	w.Audit()
	t.Logf("told after %s; %d streams were open when new work was refused, all ended whole; exit %d after %s: %s", told.Round(time.Millisecond), open, code, took.Round(time.Millisecond), c)
	if open < 100 || c.whole != len(l.answers) {
		t.Errorf("%d streams were open, %d of %d whole", open, c.whole, len(l.answers))
	}

	// Nothing is left for the next start.
	p.Restart()
	if n := p.Metrics()["relay_journal_lag_records"]; n != 0 || strings.Contains(p.Log(), "recovered the journal") {
		t.Errorf("%.0f records left", n)
	}
}

// proofOf is what a proxy tells an audit of its leases.
func proofOf(t *testing.T, p *apptest.Proxy) (l proof.Leases) {
	t.Helper()
	resp, err := http.Get(p.InternalURL + proof.LeasesPath)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil {
		t.Fatal(err)
	}
	return l
}

// I1, rulings 3.27: Postgres is away when the proxy is to end. What it owes the books is
// kept, said with a number, and shipped by the next start.
func TestDrainWithPostgresAway(t *testing.T) {
	t.Parallel() // it mostly waits
	w := start(t, apptest.Options{OwnPostgres: true}, "100")
	p := w.Proxy(0)
	l := &load{w: w, name: "kept", url: p.URL, streams: 8, buffered: 4, chunks: 10, gap: 20 * time.Millisecond}
	l.begin()
	time.Sleep(2500 * time.Millisecond)
	if err := w.Postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	l.end()
	unshipped := p.Metric("relay_journal_lag_records")
	p.Terminate()
	code := p.Wait(30 * time.Second)
	kept := fmt.Sprintf("journal kept: %.0f records", unshipped)
	if code != 3 || !strings.Contains(p.Log(), kept) || unshipped == 0 {
		t.Errorf("exit code %d, %.0f records in the journal, log:\n%s", code, unshipped, p.Log())
	}
	if err := w.Postgres.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Restart()
	w.Audit()
	c := l.compare()
	t.Logf("exit %d, %s; after the next start: %s", code, kept, c)
	if c.whole != len(l.answers) || c.whole != c.upstream {
		t.Errorf("%d of %d answered", c.whole, len(l.answers))
	}
	p.Terminate()
	if code := p.Wait(20 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.atRest()
}
