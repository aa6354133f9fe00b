package relay_test

import (
	"net"
	"testing"
	"time"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/proxy/relay"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

var failoverCases = []struct {
	path, model string
	stream      bool
}{
	{"/v1/chat/completions", "gpt-a", false},
	{"/v1/chat/completions", "gpt-a", true},
	{"/v1/messages", "claude-a", false},
	{"/v1/messages", "claude-a", true},
}

// oneAnswer checks that a request was answered whole by its second upstream and paid
// once, at $1 and $2 a million tokens for what that upstream served.
func oneAnswer(t *testing.T, k *proxytest.Kit, r *reply, n int, first usage.Outcome, served *mockllm.Units) {
	t.Helper()
	if r.status != 200 || r.err != nil {
		t.Fatalf("%d %v\n%s", r.status, r.err, r.body)
	}
	recs := k.WaitRecords(t, n)
	if len(recs) != n {
		t.Fatalf("%d records for %d requests", len(recs), n)
	}
	rec := recs[n-1]
	if rec.Status != usage.Success || rec.NumAttempts != 2 || rec.Attempts[0].Outcome != first || rec.Attempts[1].Outcome != usage.OutcomeOK {
		t.Fatalf("record %+v", rec)
	}
	if served == nil || rec.Charge != money.Amount(1000*served.Input+2000*served.Output) {
		t.Fatalf("charged %s, the second upstream served %+v", rec.Charge, served)
	}
}

// C2, D11: the first upstream takes the request and never answers.
func TestFailoverFromSilence(t *testing.T) {
	k, meter := standard(t, proxytest.Options{Relay: relay.Options{FirstByteTimeout: time.Second, StreamStartTimeout: time.Second}})
	for i, c := range failoverCases {
		k.HealAll()
		id := "silent" + c.model + map[bool]string{true: "s"}[c.stream]
		r := post(t, k, c.path, chat(c.model, "id="+id+";out=4;first.hang=headers;first.hold=20s", c.stream))
		second := ended(meter, mockllm.Filter{Marker: id, Lane: "second"})
		if len(second) != 1 {
			t.Fatalf("%d calls of the second upstream", len(second))
		}
		oneAnswer(t, k, r, i+1, usage.OutcomeTimeout, second[0].Usage)
	}
	k.AtRest(t)
}

// C1, D11: nobody listens at the first upstream's address.
func TestFailoverFromRefusal(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String() + "/v1"
	closed.Close()
	url, meter := mock(t, mockllm.Options{})
	k := proxytest.New(t, proxytest.Options{
		Providers: []proxytest.Provider{
			{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: nobody, Keys: []string{"sk-first"}},
			{Slug: "backup", Protocol: "openai", Dialect: "openai", BaseURL: url + "/second/openai/v1", Keys: []string{"sk-second"}},
			{Slug: "anthropic", Protocol: "anthropic", BaseURL: nobody, Keys: []string{"sk-ant-first"}},
			{Slug: "claude-backup", Protocol: "anthropic", BaseURL: url + "/second/anthropic/v1", Keys: []string{"sk-ant-second"}},
		},
		Models: []proxytest.Model{
			{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up"}, {Provider: "backup", Model: "up-2", Priority: 1}}},
			{ID: "claude-a", Routes: []proxytest.Route{{Provider: "anthropic", Model: "up"}, {Provider: "claude-backup", Model: "up-2", Priority: 1}}},
		},
	})
	for i, c := range failoverCases {
		k.HealAll()
		id := "refused" + c.model + map[bool]string{true: "s"}[c.stream]
		r := post(t, k, c.path, chat(c.model, "id="+id+";out=4", c.stream))
		second := ended(meter, mockllm.Filter{Marker: id})
		if len(second) != 1 {
			t.Fatalf("%d calls of the second upstream", len(second))
		}
		oneAnswer(t, k, r, i+1, usage.OutcomeConnect, second[0].Usage)
	}
	k.AtRest(t)
}
