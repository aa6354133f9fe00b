package crash

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// Rulings 1.9: a proxy dies when a request with an Idempotency-Key is charged and its
// answer not yet kept, before its client has the end (K6) and after (K7). The retry, at
// either proxy, is told that it was answered and charged, and is not charged again.
func TestRetryOfAChargedRequest(t *testing.T) {
	w := start(t, apptest.Options{Proxies: 2}, "1000")
	p := w.Proxy(0)
	a := &w.accounts[0]
	p.Use(w.withFailpoints())
	for i, c := range []struct{ point, stream string }{
		{"K6", `"stream":false`}, {"K6", `"stream":true`}, {"K7", `"stream":true`},
	} {
		p.Kill()
		p.With("FAILPOINT=" + c.point + ":1")
		p.Restart()
		name := fmt.Sprintf("charged-%d", i)
		r := apptest.Chat(a.token, "crash-chat", "hello mock:id="+name+";out=12;chunks=3", c.stream).With("Idempotency-Key", name).With("X-Request-Id", name)
		resp, err := apptest.Fetch(context.Background(), p.URL, r)
		if c.point == "K6" && err == nil && resp.Err == nil {
			t.Errorf("%s %s: the client got the end", c.point, c.stream)
		}
		apptest.Eventually(t, 10*time.Second, "it dies", func() bool { return !p.Running() })
		p.With()
		p.Start()
		var first store.UsageRow
		for n := range 2 {
			retry, err := apptest.Fetch(context.Background(), w.Proxy(1-n).URL, r)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				for _, row := range w.rows(a) {
					if row.ClientRequestID == name {
						first = row
					}
				}
			}
			if retry.Status != 409 || retry.Code() != "idempotency_conflict" || !strings.Contains(string(retry.Body), first.ID.String()) {
				t.Errorf("%s %s: the retry got %d %s; the first was %s", c.point, c.stream, retry.Status, retry.Body, first.ID)
			}
			apptest.Eventually(t, 20*time.Second, "it is back", func() bool { return get(t, p.InternalURL, "/readyz") == 200 })
		}
		calls, err := w.Meter.Requests(mockllm.Filter{Marker: name})
		if err != nil || len(calls) != 1 || first.Charge == 0 || first.Charge != cost(calls[0].Usage) {
			t.Errorf("%s %s: %d calls, charged %s, %v", c.point, c.stream, len(calls), first.Charge, err)
		}
	}
	w.Settled()
	charged := money.Amount(0)
	for _, row := range w.rows(a) {
		charged += row.Charge
	}
	if rows := w.rows(a); len(rows) != 3 || charged == 0 {
		t.Errorf("%d rows", len(rows))
	}
	w.Audit()
}
