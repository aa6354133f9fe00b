package relay_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/usage"
)

// S0-19, S1-01, S1-02, S1-03, S1-B11, S2-1, S3-1, S4-2.
// S0-1, S0-2, S0-10, S2-2: a buffered and a streamed answer on both protocols, by
// alias, with the alias in the answer, the usage metered, the charge exact.
func TestAnswers(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	n := 0
	f := func(path, body, want, reject string) {
		t.Helper()
		r := post(t, k, path, body)
		if r.status != 200 || r.err != nil || !regexp.MustCompile(want).Match(r.body) || strings.Contains(string(r.body), reject) {
			t.Fatalf("%s: %d %v\n%s", path, r.status, r.err, r.body)
		}
		if id := r.header.Get("X-Request-Id"); !strings.HasPrefix(id, "req_") || len(id) != 30 {
			t.Fatalf("request id %q", id)
		}
		n++
		rec := k.WaitRecords(t, n)[n-1]
		served := ended(meter, mockFilter)
		last := served[len(served)-1]
		if last.Usage == nil || rec.Units[usage.Input] != last.Usage.Input || rec.Units[usage.Output] != last.Usage.Output {
			t.Fatalf("metered %v; the provider served %+v", rec.Units, last.Usage)
		}
		// $1 and $2 a million: 1000 and 2000 nano-USD a token.
		if want := 1000*last.Usage.Input + 2000*last.Usage.Output; int64(rec.Charge) != want {
			t.Fatalf("charged %d; want %d", rec.Charge, want)
		}
		if rec.Status != usage.Success || rec.Source != usage.SourceReported || rec.HTTPStatus != 200 || rec.NumAttempts != 1 {
			t.Fatalf("record %+v", rec)
		}
	}
	for _, path := range []string{"/v1/chat/completions", "/v1/chat/completions?x=1"} {
		f(path, chat("gpt.a", "out=7", false), `"model":"gpt.a"`, "up-gpt")
		f(path, chat("gpt-a", "out=7", true), `"model":"gpt-a"`, "up-gpt")
	}
	for _, path := range []string{"/v1/messages", "/anthropic/v1/messages"} {
		f(path, chat("claude-a", "out=7", false), `"model":"claude-a"`, "up-claude")
		f(path, chat("claude-a", "out=7", true), `"model":"claude-a"`, "up-claude")
	}
	// S4: pinned paths show the provider's own names.
	for _, path := range []string{"/v1/openai/chat/completions", "/v1/openai/v1/chat/completions"} {
		f(path, chat("gpt-a", "out=3", false), `"model":"up-gpt"`, `"gpt-a"`)
		f(path, chat("up-gpt", "out=3", true), `"model":"up-gpt"`, `"gpt-a"`)
	}
	for _, path := range []string{"/v1/anthropic/messages", "/v1/anthropic/v1/messages"} {
		f(path, chat("claude-a", "out=3", false), `"model":"up-claude"`, `"claude-a"`)
	}
	// S1-B9: a virtual model answers on both protocols with the name it chose.
	f("/v1/chat/completions", chat("auto-a", "out=3", false), `"model":"(gpt|claude)-a"`, "auto-a")
	f("/v1/messages", chat("auto-a", "out=3", true), `"model":"(gpt|claude)-a"`, "auto-a")
	k.AtRest(t)
}

// S3-9: no chunk with empty choices unless the customer asked for usage; the relay
// asks for it all the same.
func TestUsageChunk(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	for _, asked := range []bool{false, true} {
		body := chat("gpt-a", "out=5", true)
		if asked {
			body = strings.Replace(body, `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1)
		}
		r := post(t, k, "/v1/chat/completions", body)
		if got := strings.Contains(string(r.body), `"choices":[]`); got != asked {
			t.Fatalf("asked %v: empty choices %v\n%s", asked, got, r.body)
		}
		if !strings.HasSuffix(string(r.body), "data: [DONE]\n\n") {
			t.Fatalf("no [DONE]:\n%s", r.body)
		}
		if rt := r.header.Get("Content-Type"); rt != "text/event-stream; charset=utf-8" || r.header.Get("X-Accel-Buffering") != "no" || r.header.Get("Cache-Control") != "no-cache" {
			t.Fatalf("headers %v", r.header)
		}
	}
	for _, rec := range k.WaitRecords(t, 2) {
		if rec.Source != usage.SourceReported || rec.Units[usage.Output] != 5 {
			t.Fatalf("record %+v", rec)
		}
	}
	k.AtRest(t)
}

// S0-11, S0-12.
// D11: whatever goes wrong before the first output, the customer sees one clean
// answer from the second upstream, and pays once.
func TestFailover(t *testing.T) {
	faults := []string{
		"status=429;retry_after=1", "status=500", "status=503", "status=529", "error=invalid_key", "error=account_empty", "error=permission",
		"error=model_not_found", "error=html", "rst=headers", "cut=headers", "head=broken", "te=both", "error_at=1", "gzip=lie", "huge_headers=100000",
		"status=302;location=http://example.com/",
	}
	for _, protocol := range []struct{ path, model string }{{"/v1/chat/completions", "gpt-a"}, {"/v1/messages", "claude-a"}} {
		for _, stream := range []bool{false, true} {
			k, meter := standard(t, proxytest.Options{})
			for i, fault := range faults {
				if !stream && (fault == "error_at=1") {
					continue
				}
				id := fmt.Sprintf("f%d", i)
				script := "id=" + id + ";out=4"
				for _, part := range strings.Split(fault, ";") {
					script += ";first." + part
				}
				before := len(k.Records(t))
				r := post(t, k, protocol.path, chat(protocol.model, script, stream))
				if r.status != 200 || r.err != nil {
					t.Fatalf("%s %s stream=%v: %d %v\n%s", protocol.model, fault, stream, r.status, r.err, r.body)
				}
				if strings.Contains(string(r.body), `"error"`) {
					t.Fatalf("%s: the customer sees an error\n%s", fault, r.body)
				}
				recs := k.WaitRecords(t, before+1)
				rec := recs[len(recs)-1]
				if len(recs) != before+1 || rec.Status != usage.Success || rec.Units[usage.Output] != 4 || rec.Attempts[rec.NumAttempts-1].Outcome != usage.OutcomeOK {
					t.Fatalf("%s: record %+v", fault, rec)
				}
				if rec.NumAttempts == 1 && meterCalls(meter, id) != 1 {
					t.Fatalf("%s: %d upstream calls, one attempt in the record", fault, meterCalls(meter, id))
				}
				k.HealAll()
			}
			k.AtRest(t)
		}
	}
}
