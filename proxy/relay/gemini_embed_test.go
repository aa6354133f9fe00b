package relay_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

type geminiVectors struct {
	Embedding  struct{ Values []float64 }
	Embeddings []struct{ Values []float64 }
}

// embedContent and batchEmbedContents at Gemini's own providers, who report nothing, and at
// those with OpenAI's embeddings, who do.
func TestGeminiEmbed(t *testing.T) {
	k, m := beside(t)
	one := `{"content":{"parts":[{"text":"hello"},{"text":"world mock:keep=1"}]},"taskType":"RETRIEVAL_QUERY","outputDimensionality":8}`
	many := `{"requests":[{"model":"models/MODEL","content":{"parts":[{"text":"hello mock:keep=1"}]},"output_dimensionality":8},{"content":{"parts":{"text":"world"}},"output_dimensionality":8}]}`
	n := 0
	for _, model := range []string{"embed-g", "embed-o"} {
		for _, batch := range []bool{false, true} {
			path, body := "/v1beta/models/"+model+":embedContent", one
			if batch {
				path, body = "/v1beta/models/"+model+":batchEmbedContents", strings.Replace(many, "MODEL", model, 1)
			}
			r := post(t, k, path, body)
			var v geminiVectors
			if err := json.Unmarshal(r.body, &v); err != nil || r.status != 200 || batch && len(v.Embeddings) != 2 || !batch && len(v.Embedding.Values) != 8 {
				t.Fatalf("%s: %d %s", path, r.status, tail(r.body))
			}
			if batch && slices.Equal(v.Embeddings[0].Values, v.Embeddings[1].Values) {
				t.Errorf("%s: two texts with one vector", path)
			}
			n++
			rec := last(t, k, n)
			source, rate := usage.SourceEstimated, int64(150_000)
			if model == "embed-o" {
				source, rate = usage.SourceReported, 20_000
				if dropped := r.header.Get("X-Relay-Dropped"); (dropped == "taskType") == batch {
					t.Errorf("%s: dropped %q", path, dropped)
				}
			}
			in := int(rec.Units[usage.Input])
			if in < 2 || in > 60 {
				t.Errorf("%s: %d tokens", path, in)
			}
			check(t, path, rec, units(usage.Input, in), source, due(int64(in), rate))
			up := ended(m, mockllm.Filter{})[n-1]
			if up.Extra == nil || strings.Contains(strings.ReplaceAll(string(up.Extra.Body), "up-"+model, ""), model) || up.Model != "up-"+model {
				t.Errorf("%s: the provider %q got %+v", path, up.Model, up.Extra)
			}
		}
	}
	// And the other way: OpenAI's form to a provider of Gemini.
	r := post(t, k, "/v1/embeddings", `{"model":"embed-g","input":["hello"],"dimensions":8}`)
	if r.status != 200 || !strings.Contains(string(r.body), `"model":"embed-g"`) {
		t.Errorf("%d %s", r.status, tail(r.body))
	}
	if rec := last(t, k, n+1); rec.Charge == 0 || rec.Source != usage.SourceReported {
		t.Errorf("%+v", rec.Units)
	}
	for _, c := range [][2]string{
		{"embedContent", `{}`},
		{"embedContent", `{"content":"x"}`},
		{"embedContent", many},
		{"batchEmbedContents", one},
		{"batchEmbedContents", `{"requests":[]}`},
		{"embedContent", `{"content":{"parts":[]},"Content":{"parts":[]}}`},
		{"embedContent", `{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"QUJD"}}]}}`},
		{"batchEmbedContents", `{"requests":[{"content":{"parts":[]},"outputDimensionality":8},{"content":{"parts":[]}}]}`},
		{"batchEmbedContents", `{"requests":[{"model":"a","model":"b","content":{"parts":[]}}]}`},
	} {
		if r := post(t, k, "/v1beta/models/embed-g:"+c[0], c[1]); r.status != 400 || r.header.Get("X-Relay-Error") != "invalid_request" || !strings.Contains(string(r.body), "INVALID_ARGUMENT") {
			t.Errorf("%s: %d %s", c[1], r.status, r.body)
		}
	}
	k.AtRest(t)
}
