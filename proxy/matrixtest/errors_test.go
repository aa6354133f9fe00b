package matrixtest

import (
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/shared/apptest/mockllm"
)

// Faults of the customer reach it as 4xx in its own format; those of our account, of our
// key and of our entitlement never do.
var (
	theirFaults = []string{"context_length", "bad_request", "content_filter", "unprocessable"}
	ourFaults   = []string{"invalid_key", "account_empty", "permission", "model_not_found", "rate_limit"}
)

// kinds are the types of a customer's fault in each format, by its name.
func kinds(p chat.Protocol, fault string) []string {
	switch p {
	case chat.Gemini:
		return []string{"INVALID_ARGUMENT"}
	case chat.DashScope:
		if fault == "content_filter" {
			return []string{"DataInspectionFailed"}
		}
		return []string{"InvalidParameter"}
	}
	return []string{"invalid_request_error"}
}

// errors runs the table of one pair; "" means that something is wrong, and was said.
func (w *world) errors(t *testing.T, p chat.Protocol, up *upstream) string {
	t.Helper()
	good := true
	bad := func(what, format string, args ...any) {
		t.Helper()
		good = false
		t.Errorf("%s for %s, %s: %s", up.name, p, what, fmt.Sprintf(format, args...))
	}
	n := 0
	try := func(script string, stream bool) (*reply, *said, []mockllm.Record) {
		t.Helper()
		n++
		marker := fmt.Sprintf("e%d-%s-%s", n, p.String(), up.public())
		marker = strings.ReplaceAll(marker, " ", "-")
		r := w.post(t, ask(p, up.public(), &question{text: "hello mock:id=" + marker + ";" + script, stream: stream}))
		s := read(t, p, r, stream)
		for _, c := range append([]string{"-upstream", "-first", "-second", "sk-m"}, mockllm.Canaries...) {
			if c == "req_mockcanary" && p == chat.DashScope && owns(up, p) && r.status == 200 {
				continue // the id of the upstream's stream stands in all its events
			}
			if strings.Contains(string(r.body), c) {
				bad(script, "%q shows: %s", c, r.body)
			}
		}
		if r.status >= 400 && !s.shaped {
			bad(script, "another format: %s", r.body)
		}
		w.kit.HealAll()
		return r, s, w.meter.Requests(mockllm.Filter{Marker: marker})
	}
	for _, stream := range []bool{false, true} {
		for _, fault := range theirFaults {
			r, s, served := try("error="+fault, stream)
			// What a provider's policy refuses may come as an answer that is filtered (Gemini).
			if r.status == 200 && fault == "content_filter" && up.protocol == "gemini" {
				continue
			}
			if r.status < 400 || r.status > 499 || r.status == 401 || r.status == 403 || s.problem == "" || len(served) != 1 {
				bad(fault, "%d after %d attempts: %s", r.status, len(served), r.body)
				continue
			}
			if p != chat.OpenAI && p != chat.Responses || !owns(up, p) {
				if up.protocol == "anthropic" || up.protocol == "gemini" {
					fault = "any" // they have no word for a filter that refuses
				}
				if want := kinds(p, fault); !contains(want, s.kind) {
					bad(fault, "kind %q, want %v: %s", s.kind, want, r.body)
				}
			}
		}
		for _, fault := range ourFaults {
			if p == chat.Responses && owns(up, p) && fault == "model_not_found" {
				continue // it is asked by translation first: relay's own tests have that
			}
			if r, s, served := try("out=3;first.error="+fault, stream); r.status != 200 || s.problem != "" || len(served) < 2 {
				bad(fault, "%d after %d attempts: %s", r.status, len(served), r.body)
			}
			if r, s, _ := try("error="+fault, stream); r.status < 429 || r.status == 431 || s.problem == "" || r.status < 500 && fault != "rate_limit" {
				bad(fault+" everywhere", "%d: %s", r.status, r.body)
			}
		}
	}
	// Amid a stream the client's format says it, and does not end as if all were well.
	for _, fault := range []string{"cut=8", "end=8", "gap=5ms;error_at=8"} {
		if r, s, _ := try("out=9;"+fault, true); r.status != 200 || s.problem == "" || s.ended {
			bad(fault, "%d, ended %v: %s", r.status, s.ended, r.body)
		}
	}
	if !good {
		return ""
	}
	return "works"
}

func owns(up *upstream, p chat.Protocol) bool {
	for _, o := range up.own {
		if o == p {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
