package relay_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	book "tokenrelay/shared/stored"
	"tokenrelay/shared/usage"
)

// responseID is the id in an answer, streamed or whole.
func responseID(t *testing.T, r *reply) string {
	t.Helper()
	at := strings.Index(string(r.body), `"id":"resp_`)
	if r.status != 200 || at < 0 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	id, _, _ := strings.Cut(string(r.body[at+len(`"id":"`):]), `"`)
	return id
}

func goOn(model, id, script, more string) string {
	return fmt.Sprintf(`{"model":%q,"previous_response_id":%q,"input":"and then","user":"mock:%s"%s}`, model, id, script, more)
}

// sentBody is the body that the upstream got.
func sentBody(t *testing.T, m *mockllm.Meter, marker string) (lane, body string) {
	t.Helper()
	list := m.Requests(mockllm.Filter{Marker: marker})
	if len(list) == 0 {
		t.Fatalf("%s reached nobody", marker)
	}
	return list[len(list)-1].Lane, string(list[len(list)-1].Extra.Body)
}

// A conversation goes on at the account that has it, its body as it came; where that
// cannot answer, another gets all that was said.
func TestResponsesGoOn(t *testing.T) {
	k, m := plainOnly(t, proxytest.Options{})
	for i, stream := range []string{"", `,"stream":true`} {
		first := post(t, k, "/v1/responses", `{"model":"all-a","input":[{"role":"user","content":"my name is Ada <&"}],"instructions":"brief"`+stream+`}`)
		id := responseID(t, first)
		said := readAnswer(t, first)
		n := len(k.Records(t))
		second := post(t, k, "/v1/responses", goOn("all-a", id, fmt.Sprintf("out=4;keep=1;id=n%d", i), stream))
		lane, body := sentBody(t, m, fmt.Sprintf("n%d", i))
		if a := readAnswer(t, second); a.Status != "completed" || lane != "native" || !strings.Contains(body, `"previous_response_id":"`+id+`"`) || strings.Contains(body, "Ada") {
			t.Fatalf("by %s: %s\n%s", lane, body, second.body)
		}
		rec := k.WaitRecords(t, n+1)[n]
		before := said.Usage.Input + said.Usage.Output
		if rec.Units[usage.Input] <= before || rec.Source != usage.SourceReported || rec.Flags&usage.FlagUsageSuspect != 0 || rec.Overrun != 0 {
			t.Errorf("metered %v (%s, %s) after %d tokens", rec.Units, rec.Source, rec.Flags, before)
		}
		third := post(t, k, "/v1/responses", goOn("all-a", responseID(t, second), fmt.Sprintf("out=4;keep=1;id=p%d;native.status=500", i), stream))
		lane, body = sentBody(t, m, fmt.Sprintf("p%d", i))
		// the upstream that failed, then the whole conversation for the next
		if a := readAnswer(t, third); a.Status != "completed" || lane != "plain" || !strings.Contains(body, "Ada <&") || !strings.Contains(body, said.text()) ||
			strings.Count(body, "and then") != 2 || strings.Contains(body, "brief") || strings.Contains(body, "previous_response_id") {
			t.Fatalf("by %s: %s\n%s", lane, body, third.body)
		}
		if !strings.Contains(string(third.body), `"previous_response_id":"`+responseID(t, second)+`"`) {
			t.Errorf("the answer does not say what it goes on from: %s", third.body)
		}
		k.HealAll()
		fourth := post(t, k, "/v1/responses", goOn("all-a", responseID(t, third), fmt.Sprintf("out=4;keep=1;id=q%d", i), stream))
		lane, body = sentBody(t, m, fmt.Sprintf("q%d", i))
		if a := readAnswer(t, fourth); a.Status != "completed" || lane != "native" || !strings.Contains(body, "Ada") || strings.Count(body, "and then") != 3 || !strings.Contains(body, `"previous_response_id":null`) || strings.Contains(body, `"id":"msg_`) {
			t.Fatalf("by %s: %s\n%s", lane, body, fourth.body)
		}
	}
	if got := k.Relay.Stats.Stored.Load(); got != 8 || k.Books.Responses() != 8 {
		t.Errorf("%d responses kept, %d counted", k.Books.Responses(), got)
	}
	k.AtRest(t)
}

// A tool loop goes on with the output alone, at a provider of another protocol.
func TestResponsesGoOnTools(t *testing.T) {
	k, m := plainOnly(t, proxytest.Options{})
	const tools = `,"tools":[{"type":"function","name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}],"reasoning":{"effort":"low"}`
	r := post(t, k, "/v1/responses", ask("claude-a", "tools=1;reasoning=3", tools))
	a := readAnswer(t, r)
	call := a.Output[len(a.Output)-1]
	if call.Type != "function_call" {
		t.Fatalf("%s", r.body)
	}
	r = post(t, k, "/v1/responses", `{"model":"claude-a","previous_response_id":"`+responseID(t, r)+`","input":[{"type":"function_call_output","call_id":"`+call.CallID+`","output":"mild"}],"safety_identifier":"mock:id=loop;keep=1;out=3"`+tools+`}`)
	_, body := sentBody(t, m, "loop")
	if b := readAnswer(t, r); b.Status != "completed" || strings.Count(body, call.CallID) != 2 || !strings.Contains(body, `"signature":"bW9jaw=="`) || !strings.Contains(body, "mild") {
		t.Errorf("%s\n%s", body, r.body)
	}
	k.AtRest(t)
}

// Only the client that made a response can go on from it, and only from what was kept.
func TestResponsesGoOnRefused(t *testing.T) {
	k, m := plainOnly(t, proxytest.Options{})
	turn := book.Turn{Input: []byte(`"hi"`), Answer: []byte(`{"id":"resp_x","output":[{"type":"message","id":"m","role":"assistant","content":[{"type":"output_text","text":"yo"}]}]}`)}
	for client, id := range map[int64]string{77: "resp_other"} {
		if _, err := k.Stored.Keep(t.Context(), &book.Response{ClientID: client, ID: id, Turn: turn}); err != nil {
			t.Fatal(err)
		}
	}
	r := post(t, k, "/v1/responses", ask("all-a", "out=3", `,"store":false`))
	for _, id := range []string{responseID(t, r), "resp_other", "resp_none", "x y", "é", strings.Repeat("x", 200), `a"b`} {
		q, _ := json.Marshal(id)
		r := post(t, k, "/v1/responses", `{"model":"all-a","input":"a","previous_response_id":`+string(q)+`}`)
		if r.status != 404 || !strings.Contains(string(r.body), `"param":"previous_response_id"`) {
			t.Errorf("%q: %d %s", id, r.status, r.body)
		}
	}
	if n := len(m.Requests(mockFilter)); n != 1 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}

// A provider that has forgotten a response gets the whole conversation; thoughts that
// are bound to an account, and what its tools did, are left out then.
func TestResponsesForgotten(t *testing.T) {
	k, m := plainOnly(t, proxytest.Options{})
	const client = 1
	turn := book.Turn{Input: []byte(`[{"role":"user","content":"one"},{"type":"item_reference","id":"x"}]`), Answer: []byte(`{"id":"resp_gone","output":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},{"type":"web_search_call","id":"ws_1"},{"type":"message","id":"msg_9","status":"completed","role":"assistant","content":[{"type":"output_text","text":"two"}]}]}`)}
	if _, err := k.Stored.Keep(t.Context(), &book.Response{ClientID: client, ID: "resp_gone", ProviderKeyID: 300, Tokens: 50, Turn: turn}); err != nil {
		t.Fatal(err)
	}
	r := post(t, k, "/v1/responses", goOn("all-a", "resp_gone", "out=3;keep=1;id=gone", ""))
	lane, body := sentBody(t, m, "gone")
	if a := readAnswer(t, r); r.status != 200 || a.Status != "completed" || lane != "native" || !strings.Contains(body, `"two"`) || strings.Contains(body, "rs_1") || strings.Contains(body, "ws_1") || strings.Contains(body, "msg_9") || strings.Contains(body, "item_reference") {
		t.Errorf("%d by %s: %s\n%s", r.status, lane, body, r.body)
	}
	if rec := k.WaitRecords(t, 1)[0]; rec.NumAttempts != 2 || rec.Status != usage.Success {
		t.Errorf("%d attempts, %s", rec.NumAttempts, rec.Status)
	}
	k.AtRest(t)
}

// The database is away: answers come, and cannot be gone on from; nothing is guessed.
func TestResponsesStoreAway(t *testing.T) {
	k, _ := plainOnly(t, proxytest.Options{})
	id := responseID(t, post(t, k, "/v1/responses", ask("all-a", "out=3", "")))
	k.Books.SetDown(true)
	defer k.Books.SetDown(false)
	r := post(t, k, "/v1/responses", ask("all-a", "out=3", `,"stream":true`))
	if a := readAnswer(t, r); a.Status != "completed" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := post(t, k, "/v1/responses", goOn("all-a", id, "out=3", "")); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if n := k.Relay.Stats.StoreErrors.Load(); n != 2 {
		t.Errorf("%d errors", n)
	}
}
