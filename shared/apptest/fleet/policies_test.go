package fleet

import (
	"net/http"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/store/storetest"
	"tokenrelay/shared/usage"
)

// setPolicy changes a client's policy with one of its own keys and returns when that was
// answered.
func setPolicy(t *testing.T, s *apptest.Stack, k apptest.Key, path, body string) time.Time {
	t.Helper()
	r := s.Proxies[0].Do(apptest.Request{Method: "PATCH", Path: path, Body: body, Header: http.Header{"Authorization": {"Bearer " + k.Token}, "Content-Type": {"application/json"}}})
	if r.Status != 200 {
		t.Fatalf("PATCH %s %s: %d %s", path, body, r.Status, r.Body)
	}
	return time.Now()
}

// S1-14, S1-16, S1-18: what a customer sets for the content of its calls holds on every
// proxy within a second, and ends within one.
func TestPoliciesHoldEverywhereWithinASecond(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2})
	s.CreateClient("acme", "10")
	s.CreateClient("other", "10")
	k, other := s.CreateKey("acme"), s.CreateKey("other")
	warm(t, s, k, other)
	blocked := func(x sample) bool { return x.status == 400 && x.code == "content_blocked" }
	for _, c := range []struct {
		what, path, on, off string
		request             func(apptest.Key) apptest.Request
		wanted              func(sample) bool
	}{
		{"a card that blocks", "/openapi/v1/security/policy", `{"masking":{"card":"block"}}`, `{"masking":{"card":"off"}}`, saying("pay 4111 1111 1111 1111"), blocked},
		{"a word that blocks", "/openapi/v1/security/policy", `{"content_safety":{"words":{"list":["zebra"],"action":"block"}}}`, `{"content_safety":{"words":{"action":"off"}}}`, saying("a Zebra"), blocked},
		{"a context window", "/openapi/v1/context/config", `{"context_window":{"max_tokens":3}}`, `{"context_window":{"max_tokens":null}}`, saying("more than three tokens are in this text"), func(x sample) bool { return x.status == 400 }},
	} {
		untilAll(t, s, time.Now(), c.what+", before", c.request(k), accepted)
		on := untilAll(t, s, setPolicy(t, s, k, c.path, c.on), c.what, c.request(k), c.wanted)
		untilAll(t, s, time.Now(), c.what+", another client", c.request(other), accepted)
		off := untilAll(t, s, setPolicy(t, s, k, c.path, c.off), c.what+", off", c.request(k), accepted)
		spread(t, c.what, append(on, off...))
	}

	// An answer that is given again is in the books: the audit derives its charge.
	since := setPolicy(t, s, k, "/openapi/v1/context/config", `{"cache":{"answers":"all"}}`)
	again := func() (hits int) {
		for _, p := range s.Proxies {
			if r := p.Do(saying("again and again")(k)); r.Status == 200 && r.Header.Get("X-Relay-Cache") == "hit" {
				hits++
			}
		}
		return hits
	}
	apptest.Eventually(t, 5*time.Second, "answers are given again on every proxy", func() bool { return again() == len(s.Proxies) })
	t.Logf("answers are given again after %s", time.Since(since))
	setPolicy(t, s, k, "/openapi/v1/context/config", `{"cache":{"answers":"off"}}`)
	apptest.Eventually(t, time.Second, "no answer is given again", func() bool { return again() == 0 })
	s.Audit()
}

// saying makes requests that say a text.
func saying(text string) func(apptest.Key) apptest.Request {
	return func(k apptest.Key) apptest.Request {
		r := short(k)
		r.Body = `{"model":"mock-chat","max_tokens":10,"messages":[{"role":"user","content":"` + text + ` mock:out=2"}]}`
		return r
	}
}

// S1-16, S1-B14: a second after a client has asked for little to be written down, neither
// proxy writes its callers' ids, its conversations, what a policy found or samples of what
// was refused; the rows with their charges are there all the same, and the audit is clean.
func TestLittleIsWrittenDownWithinASecond(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2})
	s.CreateClient("acme", "10")
	k := s.CreateKey("acme")
	db := database(t, s)
	warm(t, s, k)
	ask := func(p *apptest.Proxy, text string, more ...string) *apptest.Response {
		r := saying(text)(k)
		r.Header = r.Header.Clone()
		r.Header.Set("X-Request-Id", "mine")
		r.Header.Set("X-Conversation-Id", "trip")
		for i := 0; i < len(more); i += 2 {
			r.Header.Set(more[i], more[i+1])
		}
		return p.Do(r)
	}
	written := func(p *apptest.Proxy) (full, bare bool) {
		t.Helper()
		r := ask(p, "pay 4111 1111 1111 1111")
		if r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		row := booked(t, db, r.ID())
		if row.Charge <= 0 || row.NumAttempts != 1 || row.Units.IsZero() {
			t.Errorf("the row explains no charge: %+v", row.Record)
		}
		return row.ClientRequestID == "mine" && row.ConversationID == "trip" && row.Flags&usage.FlagCard != 0,
			row.ClientRequestID == "" && row.ConversationID == "" && row.Flags&usage.Findings == 0
	}
	refusals := func() int64 {
		return storetest.Value[int64](t, s.DatabaseURL, "SELECT count(*) FROM refusal")
	}
	counted := func() int64 {
		return storetest.Value[int64](t, s.DatabaseURL, "SELECT coalesce(sum(n), 0)::bigint FROM code_hourly WHERE code = 'invalid_request'")
	}
	refuse := func() {
		for _, p := range s.Proxies {
			if r := ask(p, "hello", "X-Relay-Max-Charge", "much"); r.Status != 400 {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
		}
	}
	for _, step := range []struct {
		level   string
		samples int64
	}{{"standard", 2}, {"minimal", 0}, {"standard", 2}} {
		since := setPolicy(t, s, k, security, `{"masking":{"card":"flag"},"logging":{"level":"`+step.level+`"}}`)
		time.Sleep(soon - time.Since(since))
		for n, p := range s.Proxies {
			if full, bare := written(p); full != (step.level == "standard") || bare != (step.level == "minimal") {
				t.Errorf("%s, proxy %d: all of it %v, none of it %v", step.level, n, full, bare)
			}
		}
		samples, counts := refusals(), counted()
		refuse()
		apptest.Eventually(t, 10*time.Second, "the refusals are counted", func() bool { return counted() == counts+2 })
		s.Settled()
		if n := refusals() - samples; n != step.samples {
			t.Errorf("%s: %d samples of refusals, want %d", step.level, n, step.samples)
		}
	}
	s.Audit()
}
