package peek

import (
	"encoding/json"
	"testing"

	"tokenrelay/shared/price"
)

var embeddingSeeds = []string{
	`{"model":"m","input":"text"}`,
	`{"model":"m","input":["a","b"],"dimensions":8}`,
	`{"model":"m","input":[1,22,333]}`,
	`{"model":"m","input":[[1],[2,3]],"encoding_format":"base64"}`,
	`{"input":[ "\u0061" , "é" ] , "model":"m"}`,
	`{"model":"m","input":[1,2.5]}`,
	`{"model":"m","input":[[1],"a"]}`,
	`{"model":"m","input":["a"],"Input":"b"}`,
	`{"model":"m","input":[{"image":"x"}]}`,
}

// embedded is how many tokens at least the input of an admitted body has by another
// parser's reading, if a token has one byte or is given as a number.
func embedded(t *testing.T, body []byte) (units int64, ok bool) {
	var r struct {
		Input json.RawMessage `json:"input"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatalf("encoding/json cannot read %q: %v", body, err)
	}
	var one string
	var texts []string
	var tokens []json.Number
	var lists [][]json.Number
	switch {
	case json.Unmarshal(r.Input, &one) == nil:
		return int64(len(one)), one != ""
	case json.Unmarshal(r.Input, &texts) == nil:
		for _, s := range texts {
			units += int64(len(s))
		}
		return units, len(texts) > 0
	case json.Unmarshal(r.Input, &tokens) == nil:
		return int64(len(tokens)), len(tokens) > 0
	case json.Unmarshal(r.Input, &lists) == nil:
		for _, l := range lists {
			if len(l) == 0 {
				return 0, false
			}
			units += int64(len(l))
		}
		return units, len(lists) > 0
	}
	return 0, false
}

// FuzzEmbeddings: what is admitted has one of the four forms for every parser, and is
// never held for less than it can be billed for, in whatever window (D3, E2).
func FuzzEmbeddings(f *testing.F) {
	for _, s := range embeddingSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r Request
		if Scan(body, OpenAIEmbeddings, &r) != nil {
			return
		}
		units, ok := embedded(t, body)
		if !ok {
			t.Fatalf("admitted %q", body)
		}
		var b price.Bound
		if !r.Bound(1, &b) || b.InputTokens < units || b.OutputTokens != 0 || r.Stream || r.OutputCap() != 0 {
			t.Fatalf("%q has %d, the bound is %+v", body, units, b)
		}
	})
}

// The first five seeds are admitted, the others not: the fuzz target does not pass by
// refusing all.
func TestEmbeddingSeeds(t *testing.T) {
	for i, s := range embeddingSeeds {
		var r Request
		if err := Scan([]byte(s), OpenAIEmbeddings, &r); (err == nil) != (i < 5) {
			t.Errorf("%s: %v", s, err)
		}
	}
	body, r := []byte(embeddingSeeds[3]), new(Request)
	if n := testing.AllocsPerRun(100, func() { _ = Scan(body, OpenAIEmbeddings, r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
