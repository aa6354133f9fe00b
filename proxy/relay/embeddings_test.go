package relay_test

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

// embedder is a proxy with one model for embeddings, whose window is small, at two
// providers, and one for conversations at a provider that has no embeddings.
func embedder(tb testing.TB) (*proxytest.Kit, *mockllm.Meter) {
	tb.Helper()
	url, meter := mock(tb, mockllm.Options{})
	k := proxytest.New(tb, proxytest.Options{
		Balance: 1 << 40,
		Providers: []proxytest.Provider{
			{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url + "/first/openai/v1", Keys: []string{"sk-first"}},
			{Slug: "backup", Protocol: "openai", Dialect: "openai", BaseURL: url + "/second/openai/v1", Keys: []string{"sk-second"}},
			{Slug: "anthropic", Protocol: "anthropic", BaseURL: url + "/third/anthropic/v1", Keys: []string{"sk-ant"}},
		},
		Models: []proxytest.Model{
			{ID: "embed-a", Context: 100, Prices: map[string]string{"input": "0.02", "output": "0.02"}, Routes: []proxytest.Route{{Provider: "openai", Model: "up-embed"}, {Provider: "backup", Model: "up-embed-2", Priority: 1}}},
			{ID: "claude-a", Routes: []proxytest.Route{{Provider: "anthropic", Model: "up-claude"}}},
		},
	})
	return k, meter
}

type vectors struct {
	Object, Model string
	Data          []struct {
		Index     int
		Embedding json.RawMessage
	}
	Usage struct {
		Prompt int64 `json:"prompt_tokens"`
		Total  int64 `json:"total_tokens"`
	}
}

// S2-15, D8: every form of input, answered as the provider did but for the model's
// name; charged is the input alone, and the mock's meter agrees.
func TestEmbeddings(t *testing.T) {
	k, m := embedder(t)
	long := strings.Repeat(`"four words of text",`, 200) + `"end"` // far above the window of one input
	for i, c := range []struct {
		input   string
		vectors int
	}{
		{`"hello"`, 1},
		{`["hello","world"]`, 2},
		{`[1,2,30000]`, 1},
		{`[[1,2],[3]]`, 2},
		{`[` + long + `]`, 201},
	} {
		for _, format := range []string{"", `,"encoding_format":"base64"`} {
			r := post(t, k, "/v1/embeddings", `{"model":"embed-a","dimensions":8,"input":`+c.input+format+`}`)
			if r.status != 200 {
				t.Fatalf("%d: %d %s", i, r.status, r.body)
			}
			var v vectors
			if err := json.Unmarshal(r.body, &v); err != nil {
				t.Fatal(err)
			}
			if v.Model != "embed-a" || len(v.Data) != c.vectors || v.Usage.Prompt == 0 || (v.Data[0].Embedding[0] == '"') != (format != "") {
				t.Errorf("%d: %s", i, tail(r.body))
			}
			recs := k.WaitRecords(t, len(m.Requests(mockFilter)))
			rec := recs[len(recs)-1]
			due := (v.Usage.Prompt*20_000 + 999) / 1000
			if rec.Units != (usage.Units{usage.Input: v.Usage.Prompt, usage.Request: 1}) || rec.Source != usage.SourceReported || int64(rec.Charge) != due || rec.Flags&usage.FlagUsageSuspect != 0 {
				t.Errorf("%d: charged %s for %v (%s, %s); want %d", i, rec.Charge, rec.Units, rec.Source, rec.Flags, due)
			}
			// The hold has no output in it: no more than the body's bytes and the frame.
			if most := int64(len(c.input)+len(format)+600) * 20; int64(rec.Hold) > most {
				t.Errorf("%d: held %s; want at most %d", i, rec.Hold, most)
			}
		}
	}
	k.AtRest(t)
}

// Failover as for conversations (D11), and the provider's lies about usage.
func TestEmbeddingsFaults(t *testing.T) {
	k, _ := embedder(t)
	for script, want := range map[string]struct {
		status int
		source usage.Source
	}{
		"first.status=500":  {200, usage.SourceReported},
		"usage_in=huge":     {200, usage.SourcePartial},
		"usage_in=negative": {200, usage.SourcePartial},
		"usage=none":        {200, usage.SourceEstimated},
		"status=500":        {502, usage.SourceNone},
		"error=bad_request": {400, usage.SourceNone},
	} {
		k.HealAll()
		n := len(k.Records(t))
		r := post(t, k, "/v1/embeddings", `{"model":"embed-a","input":"hello mock:`+script+`"}`)
		rec := k.WaitRecords(t, n+1)[n]
		if r.status != want.status || rec.Source != want.source || rec.Charge > rec.Hold || (want.status != 200) != (rec.Charge == 0) {
			t.Errorf("%s: %d, %s, charge %s of hold %s\n%s", script, r.status, rec.Source, rec.Charge, rec.Hold, tail(r.body))
		}
		if strings.Contains(string(r.body), "up-embed") {
			t.Errorf("%s: the upstream's name is told: %s", script, r.body)
		}
	}
	k.AtRest(t)
}

// What cannot be served is refused by name, before it costs anything.
func TestEmbeddingsRefused(t *testing.T) {
	k, m := embedder(t)
	for body, param := range map[string]string{
		`{"model":"embed-a"}`:                                   "input",
		`{"model":"embed-a","input":""}`:                        "input",
		`{"model":"embed-a","input":[]}`:                        "input",
		`{"model":"embed-a","input":[[]]}`:                      "input",
		`{"model":"embed-a","input":null}`:                      "input",
		`{"model":"embed-a","input":{"image":"x"}}`:             "input",
		`{"model":"embed-a","input":[{"image":"x"}]}`:           "input",
		`{"model":"embed-a","input":["a",1]}`:                   "input",
		`{"model":"embed-a","input":[1.5]}`:                     "input",
		`{"model":"embed-a","input":[-1]}`:                      "input",
		`{"model":"embed-a","input":[["a"]]}`:                   "input",
		`{"model":"embed-a","input":"a","input":"b"}`:           "input",
		`{"model":"embed-a","input":"a","stream":true}`:         "stream",
		`{"model":"embed-a","input":"a","max_tokens":5}`:        "max_tokens",
		`{"model":"embed-a","input":"a","n":2}`:                 "n",
		`{"input":"a"}`:                                         "model",
		`{"model":"claude-a","input":"a"}`:                      "model",
		`{"model":"embed-a","input":"a","service_tier":"fast"}`: "service_tier",
	} {
		r := post(t, k, "/v1/embeddings", body)
		var e struct {
			Error struct{ Param, Message string }
		}
		if err := json.Unmarshal(r.body, &e); err != nil {
			t.Fatalf("%s: %s", body, r.body)
		}
		if r.status != 400 || e.Error.Param != param || r.header.Get("X-Relay-Error") != string(apierr.InvalidRequest) {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	if n := len(m.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}
