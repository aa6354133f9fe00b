package relay_test

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

type ranking struct {
	ID, Model string
	Results   []struct {
		Index    int
		Score    float64 `json:"relevance_score"`
		Document *struct{ Text string }
	}
	Usage struct {
		Total int64 `json:"total_tokens"`
	}
}

// Ranks by tokens, by searches, and of DashScope's own form, which is made into the same.
func TestRanks(t *testing.T) {
	k, m := beside(t)
	docs := `["first one",{"text":"second one"},"third one"]`
	simple := `["first one","second one","third one"]`
	n := 0
	ask := func(model, docs, more string) (*ranking, *usage.Record) {
		t.Helper()
		r := post(t, k, "/v1/rerank", `{"model":"`+model+`","query":"what is it","documents":`+docs+more+`}`)
		var a ranking
		if err := json.Unmarshal(r.body, &a); err != nil || r.status != 200 {
			t.Fatalf("%s: %d %s", model, r.status, r.body)
		}
		n++
		return &a, last(t, k, n)
	}
	a, rec := ask("rank-t", simple, "")
	if len(a.Results) != 3 || a.Results[0].Index != 2 || a.Model != "rank-t" {
		t.Errorf("%+v", a)
	}
	check(t, "tokens", rec, units(usage.Input, int(a.Usage.Total)), usage.SourceReported, due(a.Usage.Total, 20_000))

	a, rec = ask("rank-s", `["a"`+strings.Repeat(`,"b"`, 149)+`]`, `,"top_n":5`)
	if len(a.Results) != 5 || a.Results[0].Index != 149 {
		t.Errorf("%+v", a)
	}
	check(t, "searches", rec, units(usage.Searches, 2), usage.SourceReported, due(2, 2_000_000_000))

	a, rec = ask("rank-d", docs, `,"top_n":2,"return_documents":true`)
	if len(a.Results) != 2 || a.Results[1].Index != 1 || a.Results[1].Document == nil || a.Results[1].Document.Text != "second one" || a.Model != "rank-d" || !strings.HasPrefix(a.ID, "req_") {
		t.Errorf("%+v", a)
	}
	check(t, "DashScope", rec, units(usage.Input, int(a.Usage.Total)), usage.SourceReported, due(a.Usage.Total, 100_000))

	for _, model := range []string{"rank-t", "rank-s"} {
		r := post(t, k, "/v1/rerank", `{"model":"`+model+`","query":"what mock:usage=none","documents":["a","b"]}`)
		n++
		if rec := last(t, k, n); r.status != 200 || rec.Source != usage.SourceEstimated || rec.Charge == 0 || rec.Charge > rec.Hold {
			t.Errorf("%s: %d %v %s charged %s of %s", model, r.status, rec.Units, rec.Source, rec.Charge, rec.Hold)
		}
	}
	r := post(t, k, "/v1/rerank", `{"model":"rank-d","query":"what mock:error=bad_request","documents":["a","b"]}`)
	if r.status != 400 || !strings.HasPrefix(string(r.body), `{"error":{`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	for body, param := range map[string]string{
		`{"model":"rank-t","documents":["a"]}`:                               "query",
		`{"model":"rank-t","query":"q"}`:                                     "documents",
		`{"model":"rank-t","query":"q","documents":[]}`:                      "documents",
		`{"model":"rank-t","query":"q","documents":[1]}`:                     "documents",
		`{"model":"rank-t","query":"q","documents":[{"image":"https://x"}]}`: "documents[].image",
		`{"model":"rank-t","query":"q","documents":["a"],"Documents":["b"]}`: "documents",
		`{"model":"rank-t","query":["q"],"documents":["a"]}`:                 "query",
		`{"model":"rank-t","query":"q","documents":["a"],"top_n":-1}`:        "top_n",
	} {
		refused(t, post(t, k, "/v1/rerank", body), 400, "invalid_request", param)
	}
	k.AtRest(t)
	_ = m
}

// Judgements: a model that is free on purpose costs nothing and needs no money, one with a
// price is charged by an estimate.
func TestModerations(t *testing.T) {
	k, m := beside(t)
	for i, c := range []struct{ body, model, upstream string }{
		{`{"input":"hello"}`, "omni-moderation-latest", "up-moderation"},
		{` { "input":["hello","world"],"model":"omni-moderation-latest"}`, "omni-moderation-latest", "up-moderation"},
		{`{"model":"judge-a","input":[{"type":"text","text":"hello"},{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}`, "judge-a", "up-judge"},
	} {
		r := post(t, k, "/v1/moderations", c.body)
		if r.status != 200 || !strings.Contains(string(r.body), `"model":"`+c.model+`"`) || !strings.Contains(string(r.body), `"flagged":false`) {
			t.Fatalf("%d: %d %s", i, r.status, r.body)
		}
		rec := last(t, k, i+1)
		if rec.Model != c.model || (rec.Charge > 0) != (c.model == "judge-a") || rec.Charge > rec.Hold {
			t.Errorf("%d: %s charged %s of %s", i, rec.Model, rec.Charge, rec.Hold)
		}
		if up := ended(m, mockllm.Filter{}); up[i].Model != c.upstream {
			t.Errorf("%d: the provider was asked for %q", i, up[i].Model)
		}
	}
	for body, param := range map[string]string{
		`{}`: "input", `{"input":7}`: "input", `{"input":"a","model":""}`: "model", `{"input":"a","input":"b"}`: "input",
	} {
		refused(t, post(t, k, "/v1/moderations", body), 400, "invalid_request", param)
	}
	k.AtRest(t)
}
