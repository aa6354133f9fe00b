package sdk

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"tokenrelay/shared/apptest"
)

// testBodies looks at the bytes of the answers that the SDKs turn into typed errors:
// exactly the members of C15, S2-13's literal, C7's text, and the headers of each.
// S0-13, S2-8, S2-9, S2-11, S3-11, S3-15, S4-18, S4-19, S4-20, S4-21.
func testBodies(t *testing.T, w *world, _ *tools) {
	p, proxy := w.plans["bodies"], w.Proxy(0)
	message := `("(?:[^"\\]|\\.)+")`
	chat := func(key, model string) apptest.Request { return apptest.Chat(p.Keys[key], model, "hello") }
	claude := func(key, model string) apptest.Request { return apptest.Messages(p.Keys[key], model, "hello") }
	broken := func(r apptest.Request) apptest.Request {
		r.Body = strings.Replace(r.Body, "hello", "hello mock:status=500", 1)
		return r
	}
	m := p.Models
	for _, c := range []struct {
		name    string
		request apptest.Request
		status  int
		code    string
		kind    string // the type in the body
		says    string // regular expression of the message
		param   string
	}{
		{"401 missing key", apptest.Chat("", m.Chat, "hello"), 401, "invalid_api_key", "authentication_error", `(?i)api key`, ""},
		{"401 unknown key", apptest.Chat("sk-nothing", m.Chat, "hello"), 401, "invalid_api_key", "authentication_error", `complete`, ""},
		{"401 disabled key", chat("disabled", m.Chat), 401, "key_disabled", "authentication_error", `disabled`, ""},
		{"402 C7", chat("broke", m.Chat), 402, "insufficient_balance", "insufficient_quota", insufficient, ""},
		{"403 key scope", chat("scoped", m.Chat), 403, "model_not_allowed", "permission_error", `not allowed to use the model`, "model"},
		{"403 group", chat("narrow", m.Chat), 403, "group_not_allowed", "permission_error", `group has no access to the model`, "model"},
		{"400 unknown model", chat("ok", "no-such-model"), 400, "unknown_model_pricing", "invalid_request_error", `^Unknown model pricing`, "model"},
		{"502", broken(chat("ok", m.Broken[0])), 502, "upstream_error", "upstream_error", `upstream provider failed`, ""},
		{"503 no provider keys", chat("ok", m.Keyless), 503, "no_provider_keys", "server_error", `^No active API keys`, ""},
		{"anthropic 401 unknown key", apptest.Messages("sk-nothing", m.Claude, "hello"), 401, "invalid_api_key", "authentication_error", `complete`, ""},
		{"anthropic 402 C7", claude("broke", m.Claude), 402, "insufficient_balance", "billing_error", insufficient, ""},
		{"anthropic 403 key scope", claude("scoped", m.Claude), 403, "model_not_allowed", "permission_error", `not allowed to use the model`, ""},
		{"anthropic 400 unknown model", claude("ok", "no-such-model"), 400, "unknown_model_pricing", "invalid_request_error", `^Unknown model pricing`, ""},
		{"anthropic 502", broken(claude("ok", m.BrokenClaude[0])), 502, "upstream_error", "api_error", `upstream provider failed`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := proxy.Do(c.request)
			head(t, r, c.status, c.code)
			form := `{"error":{"message":` + message + `,"type":"` + c.kind + `","code":` + strconv.Itoa(c.status) + `,"param":` + param(c.param) + `,"relay_code":"` + c.code + `"}}`
			if strings.HasPrefix(c.name, "anthropic") {
				form = `{"type":"error","error":{"type":"` + c.kind + `","message":` + message + `},"request_id":"` + r.ID() + `"}`
			}
			match(t, r, form, c.says)
		})
	}
	t.Run("429 S2-13", func(t *testing.T) {
		r := proxy.Do(chat("rpm_openai", m.Chat))
		if r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		for name, want := range map[string]string{"X-Ratelimit-Limit-Requests": "1", "X-Ratelimit-Remaining-Requests": "0"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		r = proxy.Do(chat("rpm_openai", m.Chat))
		head(t, r, 429, "rate_limited_rpm")
		after := r.Header.Get("Retry-After")
		if n, err := strconv.Atoi(after); err != nil || n < 1 || n > 61 {
			t.Errorf("retry-after %q", after)
		}
		want := `{"error":{"message":"Rate limit exceeded (rpm). Retry after ` + after + `s.","type":"rate_limit_error","code":429}}`
		if string(r.Body) != want {
			t.Errorf("%s\nwant %s", r.Body, want)
		}
	})
	t.Run("anthropic 429", func(t *testing.T) {
		if r := proxy.Do(claude("rpm_anthropic", m.Claude)); r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		r := proxy.Do(claude("rpm_anthropic", m.Claude))
		head(t, r, 429, "rate_limited_rpm")
		match(t, r, `{"type":"error","error":{"type":"rate_limit_error","message":`+message+`},"request_id":"`+r.ID()+`"}`, `^Rate limit exceeded \(rpm\)\. Retry after `+r.Header.Get("Retry-After")+`s\.$`)
	})
	t.Run("429 provider paused", func(t *testing.T) {
		r := proxy.Do(chat("ok", m.Paused))
		head(t, r, 429, "provider_paused")
		match(t, r, `{"error":{"message":`+message+`,"type":"rate_limit_error","code":429}}`, `(?i)paused`)
	})
	t.Run("503 all down", func(t *testing.T) {
		for range 10 {
			r := proxy.Do(chat("ok", m.Down))
			if r.Status == 502 {
				continue // the only route is still tried
			}
			head(t, r, 503, "no_healthy_upstream")
			if n, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || n < 1 {
				t.Errorf("retry-after %q", r.Header.Get("Retry-After"))
			}
			match(t, r, `{"error":{"message":`+message+`,"type":"server_error","code":503,"param":null,"relay_code":"no_healthy_upstream"}}`, `No healthy upstream`)
			return
		}
		t.Error("never 503")
	})
}

// insufficient is C7's text. It holds the words of all four documents.
const insufficient = `^Insufficient credit balance: balance too low for this request's reservation ceiling \(need \$?[0-9.]+, available \$?0\)\.$`

func param(name string) string {
	if name == "" {
		return "null"
	}
	return strconv.Quote(name)
}

var requestID = regexp.MustCompile(`^req_[0-9A-HJKMNP-TV-Z]{26}$`)

func head(t *testing.T, r *apptest.Response, status int, code string) {
	t.Helper()
	if r.Status != status || r.Code() != code {
		t.Errorf("%d %q, want %d %q: %s", r.Status, r.Code(), status, code, r.Body)
	}
	if !requestID.MatchString(r.ID()) {
		t.Errorf("x-request-id %q", r.ID())
	}
	if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("content-type %q", got)
	}
}

// match compares a body byte for byte with a form in which only the message is a
// pattern, and the message with what it must say.
func match(t *testing.T, r *apptest.Response, form, says string) {
	t.Helper()
	message := `("(?:[^"\\]|\\.)+")`
	before, after, _ := strings.Cut(form, message)
	found := regexp.MustCompile(`^` + regexp.QuoteMeta(before) + message + regexp.QuoteMeta(after) + `$`).FindSubmatch(r.Body)
	if found == nil {
		t.Errorf("%s\nwant the form %s", r.Body, form)
		return
	}
	var text string
	if err := json.Unmarshal(found[1], &text); err != nil || !regexp.MustCompile(says).MatchString(text) {
		t.Errorf("the message %q does not say %s", text, says)
	}
}
