package fleet

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/store/storetest"
)

// statusCatalogue is the test catalogue with what refusals need.
var statusCatalogue = strings.Replace(apptest.TestCatalogue, "models:\n", `  - {name: keyless, protocol: openai, base_url: MOCK/keyless/v1}
models:
  - {id: mock-keyless, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: keyless, model: x}], price: PRICE}
`, 1) + `  - {name: tight, models: ["*"], multiplier: "1", rpm: 2}
`

// types are the error types by status: OpenAI's, Anthropic's (interface 7).
var types = map[int][2]string{
	402: {"insufficient_quota", "billing_error"}, 403: {"permission_error", "permission_error"}, 400: {"invalid_request_error", "invalid_request_error"},
	429: {"rate_limit_error", "rate_limit_error"}, 502: {"upstream_error", "api_error"}, 503: {"server_error", "api_error"},
}

// refusal checks an error of the relay in its protocol's shape and gives its message.
func refusal(t *testing.T, r *apptest.Response, status int, code string) string {
	t.Helper()
	if r.Status != status || r.Code() != code {
		t.Errorf("%d %s, want %d %s: %s", r.Status, r.Code(), status, code, r.Body)
		return ""
	}
	if !strings.HasPrefix(r.ID(), "req_") {
		t.Errorf("%s: the request id is %q", code, r.ID())
	}
	anthropic := r.JSON("type") == "error"
	family := 0
	if anthropic {
		family = 1
		if r.JSON("request_id") != r.ID() {
			t.Errorf("%s: %s", code, r.Body)
		}
	} else if r.JSON("error", "code") != strconv.Itoa(status) {
		t.Errorf("%s: error.code is not the status: %s", code, r.Body)
	}
	if got := r.JSON("error", "type"); got != types[status][family] {
		t.Errorf("%s: type %q, want %q", code, got, types[status][family])
	}
	if !anthropic {
		var body struct{ Error map[string]any }
		if err := json.Unmarshal(r.Body, &body); err != nil {
			t.Error(err)
		}
		members := slices.Sorted(maps.Keys(body.Error))
		want := []string{"code", "message", "param", "relay_code", "type"}
		if status == 429 {
			want = []string{"code", "message", "type"} // S2-13
		}
		if !slices.Equal(members, want) {
			t.Errorf("%s: members %v", code, members)
		}
		if status != 429 && r.JSON("error", "relay_code") != code {
			t.Errorf("%s: %s", code, r.Body)
		}
	}
	return r.JSON("error", "message")
}

// retryAfter is the field in seconds, -1 if there is none.
func retryAfter(r *apptest.Response) int {
	n, err := strconv.Atoi(r.Header.Get("Retry-After"))
	if err != nil {
		return -1
	}
	return n
}

// S0-14, S0-15, S0-16, S0-17, S0-21, S1-B4, S2-9, S2-10, S2-12, S3-12, S3-13, S3-14, S4-16, S4-20.
// Interface 7 through real processes: each refusal has its status, code, type, text and
// fields, in both protocols; what a Retry-After promises is kept.
func TestStatuses(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Catalogue: statusCatalogue})
	p := s.Proxy(0)
	s.CreateClient("acme", "100")
	chat := func(k apptest.Key, text string, more ...string) *apptest.Response {
		return p.Do(apptest.Chat(k.Token, "mock-chat", text, more...))
	}
	messages := func(k apptest.Key, text string, more ...string) *apptest.Response {
		return p.Do(apptest.Messages(k.Token, "mock-claude", text, more...))
	}
	serves := func(what string, r *apptest.Response) {
		t.Helper()
		if r.Status != 200 {
			t.Errorf("%s: %d %s", what, r.Status, r.Body)
		}
	}

	t.Run("402", func(t *testing.T) {
		s.CreateClient("short", "0.05")
		k := s.CreateKey("short")
		text := regexp.MustCompile(`^Insufficient credit balance: balance too low for this request's reservation ceiling \(need \$([0-9.]+), available \$([0-9.]+)\)\.$`)
		for _, r := range []*apptest.Response{chat(k, "hello", `"max_tokens":10000`), messages(k, "hello", `"max_tokens":10000`)} {
			m := text.FindStringSubmatch(refusal(t, r, 402, "insufficient_balance"))
			if m == nil {
				t.Fatalf("%s", r.Body)
			}
			need, _ := strconv.ParseFloat(m[1], 64)
			if need < 0.1 || need > 0.11 || m[2] != "0.05" {
				t.Errorf("need %s, available %s", m[1], m[2])
			}
			if retryAfter(r) != -1 {
				t.Error("a Retry-After")
			}
		}
	})

	t.Run("a cap of ours follows the wallet", func(t *testing.T) {
		s.CreateClient("small", "0.05")
		k := s.CreateKey("small")
		for i, f := range []struct {
			what string
			send func(id string) *apptest.Response
		}{
			{"chat", func(id string) *apptest.Response { return chat(k, "hello mock:keep=1;out=5;id="+id) }},
			{"chat, streamed", func(id string) *apptest.Response { return chat(k, "hello mock:keep=1;out=5;id="+id, `"stream":true`) }},
		} {
			id := fmt.Sprintf("clamp%d", i)
			r := f.send(id)
			serves(f.what, r)
			clamped, err := strconv.Atoi(r.Header.Get("X-Relay-Max-Tokens-Clamped"))
			if err != nil || clamped < 1024 || clamped > 5000 {
				t.Fatalf("%s: x-relay-max-tokens-clamped %q", f.what, r.Header.Get("X-Relay-Max-Tokens-Clamped"))
			}
			// The provider was told the same.
			list, err := s.Meter.Wait(mockllm.Filter{Marker: id}, 1, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			kept, err := s.Meter.Kept(list[0].ID)
			if err != nil || !regexp.MustCompile(`"max_(completion_)?tokens": ?`+strconv.Itoa(clamped)+`\D`).Match(kept.Body) {
				t.Errorf("%s: %v, the provider got %s", f.what, err, kept.Body)
			}
		}
		// A cap that the client gave is never lowered.
		refusal(t, chat(k, "hello", `"max_tokens":10000`), 402, "insufficient_balance")
		// Below 1,024 tokens there is no use in it.
		s.CreateClient("tiny", "0.009")
		refusal(t, chat(s.CreateKey("tiny"), "hello"), 402, "insufficient_balance")
		// Enough money: nothing is lowered, nothing is said.
		r := chat(s.CreateKey("acme"), "hello mock:out=3")
		serves("unclamped", r)
		if _, there := r.Header["X-Relay-Max-Tokens-Clamped"]; there {
			t.Error("clamped with money enough")
		}
	})

	t.Run("403", func(t *testing.T) {
		month := s.CreateKey("acme", "--monthly-cap", "0.02")
		serves("within the cap", chat(month, "hello mock:out=1000", `"max_tokens":1000`))
		s.Settled()
		if m := refusal(t, chat(month, "hello", `"max_tokens":1000`), 403, "monthly_cap_reached"); !strings.Contains(m, "monthly spend cap reached") {
			t.Error(m)
		}
		refusal(t, messages(month, "hello", `"max_tokens":1000`), 403, "monthly_cap_reached")
		total := s.CreateKey("acme", "--total-quota", "0.001")
		refusal(t, chat(total, "hello", `"max_tokens":1000`), 403, "key_quota_reached")
		scoped := s.CreateKey("acme", "--models", "mock-claude")
		refusal(t, chat(scoped, "hello"), 403, "model_not_allowed")
		serves("a model within the scope", messages(scoped, "hello mock:out=3"))
		s.CreateClient("narrow", "1", "--group", "narrow")
		narrow := s.CreateKey("narrow")
		refusal(t, messages(narrow, "hello"), 403, "group_not_allowed")
		serves("a model of the group", chat(narrow, "hello mock:out=3"))
		elsewhere := s.CreateKey("acme", "--ip-allow", "10.1.2.0/24")
		refusal(t, chat(elsewhere, "hello"), 403, "ip_not_allowed")
	})

	t.Run("429 rpm", func(t *testing.T) {
		k := s.CreateKey("acme", "--rpm", "3")
		at := time.Now()
		for left := 2; left >= 0; left-- {
			r := chat(k, "hello mock:out=3")
			serves("within the limit", r)
			h := r.Header
			if h.Get("X-Ratelimit-Limit-Requests") != "3" || h.Get("X-Ratelimit-Remaining-Requests") != strconv.Itoa(left) || h.Get("X-Ratelimit-Reset-Requests") == "" {
				t.Errorf("%d left: %v", left, h)
			}
		}
		r := chat(k, "hello")
		m := refusal(t, r, 429, "rate_limited_rpm")
		wait := retryAfter(r)
		if m != fmt.Sprintf("Rate limit exceeded (rpm). Retry after %ds.", wait) || wait < 50 || wait > 61 {
			t.Errorf("%q, Retry-After %d", m, wait)
		}
		r = messages(k, "hello")
		refusal(t, r, 429, "rate_limited_rpm")
		if h := r.Header; h.Get("Anthropic-Ratelimit-Requests-Limit") != "3" || h.Get("Anthropic-Ratelimit-Requests-Remaining") != "0" {
			t.Errorf("%v", h)
		}
		// It counts down.
		time.Sleep(1100 * time.Millisecond)
		if again := retryAfter(chat(k, "hello")); again >= wait || again < wait-3 {
			t.Errorf("Retry-After %d, %s later %d", wait, time.Since(at), again)
		}
		if long {
			time.Sleep(time.Until(at.Add(time.Duration(wait-3) * time.Second)))
			refusal(t, chat(k, "hello"), 429, "rate_limited_rpm")
			time.Sleep(time.Until(at.Add(time.Duration(wait)*time.Second + 100*time.Millisecond)))
			serves("after the Retry-After", chat(k, "hello mock:out=3"))
		}
	})

	t.Run("429 tpm", func(t *testing.T) {
		k := s.CreateKey("acme", "--tpm", "6000")
		r := chat(k, "hello mock:out=5750", `"max_tokens":5750`)
		serves("within the limit", r)
		if h := r.Header; h.Get("X-Ratelimit-Limit-Tokens") != "6000" || h.Get("X-Ratelimit-Remaining-Tokens") == "" || h.Get("X-Ratelimit-Reset-Tokens") == "" {
			t.Errorf("%v", h)
		}
		s.Settled()
		r = chat(k, "hello mock:out=3", `"max_tokens":450`)
		at := time.Now()
		m := refusal(t, r, 429, "rate_limited_tpm")
		wait := retryAfter(r)
		if wait < 2 || wait > 4 || m != fmt.Sprintf("Rate limit exceeded (tpm). Retry after %ds.", wait) {
			t.Errorf("%q, Retry-After %d", m, wait)
		}
		time.Sleep(time.Until(at.Add(time.Duration(wait-1)*time.Second - 200*time.Millisecond)))
		refusal(t, chat(k, "hello mock:out=3", `"max_tokens":450`), 429, "rate_limited_tpm")
		time.Sleep(time.Until(at.Add(time.Duration(wait) * time.Second)))
		serves("after the Retry-After", chat(k, "hello mock:out=3", `"max_tokens":450`))
	})

	t.Run("429 of a group", func(t *testing.T) {
		s.CreateClient("tight", "1", "--group", "tight")
		for range 2 { // two keys, one limit
			serves("within the limit", chat(s.CreateKey("tight"), "hello mock:out=3"))
		}
		r := chat(s.CreateKey("tight"), "hello")
		if m := refusal(t, r, 429, "rate_limited_group"); !strings.HasPrefix(m, "Rate limit exceeded (group). Retry after ") || retryAfter(r) < 50 {
			t.Errorf("%q %d", m, retryAfter(r))
		}
	})

	t.Run("429 concurrency", func(t *testing.T) {
		k := s.CreateKey("acme", "--max-concurrency", "2")
		st := p.Open(apptest.Chat(k.Token, "mock-chat", "hello mock:out=30;gap=50ms", `"stream":true`))
		st2 := p.Open(apptest.Chat(k.Token, "mock-chat", "hello mock:out=3000;gap=50ms", `"stream":true`))
		r := chat(k, "hello")
		if refusal(t, r, 429, "rate_limited_concurrency"); retryAfter(r) != 1 {
			t.Errorf("Retry-After %d", retryAfter(r))
		}
		if _, err := st.Rest(); err != nil {
			t.Error(err)
		}
		serves("after one has ended", chat(k, "hello mock:out=3"))
		st2.Close() // a client that leaves frees its place within a second
		apptest.Eventually(t, 1200*time.Millisecond, "both places are free", func() bool { return p.Metric("relay_requests_running") == 0 })
	})

	t.Run("429 daily", func(t *testing.T) {
		k := s.CreateKey("acme", "--daily-usd", "0.0001")
		serves("the day's first", chat(k, "hello mock:out=20"))
		r := chat(k, "hello")
		refusal(t, r, 429, "rate_limited_daily")
		now := time.Now().UTC()
		midnight := time.Until(now.Truncate(24 * time.Hour).Add(24 * time.Hour)).Seconds()
		if wait := float64(retryAfter(r)); wait < midnight-3 || wait > midnight+3 {
			t.Errorf("Retry-After %.0f, midnight is in %.0f s", wait, midnight)
		}
	})

	t.Run("429 ip", func(t *testing.T) {
		q := s.AddProxy("RELAY_IP_RPM=5")
		q.WaitReady()
		k := s.CreateKey("acme")
		for range 3 {
			serves("within the limit", q.Do(apptest.Chat(k.Token, "mock-chat", "hello mock:out=3")))
		}
		for range 2 { // guesses count too
			if r := q.Do(apptest.Chat("tsk_nobody", "mock-chat", "hello")); r.Status != 401 {
				t.Errorf("%d", r.Status)
			}
		}
		r := q.Do(apptest.Chat(k.Token, "mock-chat", "hello"))
		if refusal(t, r, 429, "rate_limited_ip"); retryAfter(r) < 50 || retryAfter(r) > 61 {
			t.Errorf("Retry-After %d", retryAfter(r))
		}
	})

	t.Run("503 no keys", func(t *testing.T) {
		r := p.Do(apptest.Chat(s.CreateKey("acme").Token, "mock-keyless", "hello"))
		if m := refusal(t, r, 503, "no_provider_keys"); !strings.Contains(m, "No active API keys") {
			t.Error(m)
		}
	})

	t.Run("503 all down", func(t *testing.T) {
		k := s.CreateKey("acme")
		ask := func() *apptest.Response { return p.Do(apptest.Chat(k.Token, "mock-down", "hello")) }
		refusal(t, ask(), 502, "upstream_error") // it was tried
		var r *apptest.Response
		apptest.Eventually(t, 10*time.Second, "the breaker is open", func() bool {
			r = ask()
			return r.Status == 503
		})
		refusal(t, r, 503, "no_healthy_upstream")
		wait := retryAfter(r)
		if wait < 1 || wait > 60 {
			t.Fatalf("Retry-After %d", wait)
		}
		// Honest: it is tried again then.
		if wait <= 10 || long {
			time.Sleep(time.Duration(wait) * time.Second)
			refusal(t, ask(), 502, "upstream_error")
		}
		t.Logf("down: Retry-After %d", wait)
	})

	t.Run("429 paused", func(t *testing.T) {
		k := s.CreateKey("acme")
		pause := func(provider, verb string) {
			at := operator(t, s, "POST", "/admin/v1/providers/"+provider+"/"+verb, "", nil)
			rev := float64(storetest.Value[int64](t, s.DatabaseURL, `SELECT rev FROM config_rev`))
			apptest.Eventually(t, time.Second, provider+" "+verb, func() bool { return p.Metric("relay_feed_applied_revision") >= rev })
			t.Logf("%s %s: applied after %s", provider, verb, time.Since(at).Round(time.Millisecond))
		}
		both := func() *apptest.Response { return p.Do(apptest.Chat(k.Token, "mock-failover", "hello mock:out=3")) }
		serves("before", both())
		pause("primary", "pause")
		serves("the other provider", both())
		pause("backup", "pause")
		r := both()
		if refusal(t, r, 429, "provider_paused"); retryAfter(r) != -1 {
			t.Errorf("a Retry-After of %d: nobody knows when", retryAfter(r))
		}
		// Paused and down mixed: 503 (interface 7).
		r = p.Do(apptest.Chat(k.Token, "mock-refused", "hello"))
		if r.Status == 502 {
			apptest.Eventually(t, 10*time.Second, "the breaker is open", func() bool {
				r = p.Do(apptest.Chat(k.Token, "mock-refused", "hello"))
				return r.Status == 503
			})
		}
		refusal(t, r, 503, "no_healthy_upstream")
		pause("primary", "reactivate")
		serves("reactivated", both())
		pause("backup", "reactivate")
	})
	s.Audit()
}
