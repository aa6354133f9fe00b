package peek

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bytedance/sonic"
)

// read is what another parser makes of a body.
type read struct {
	Model               string `json:"model"`
	Stream              bool   `json:"stream"`
	MaxTokens           int64  `json:"max_tokens"`
	MaxCompletionTokens int64  `json:"max_completion_tokens"`
	N                   int64  `json:"n"`
	BestOf              int64  `json:"best_of"`
	StreamOptions       *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

// agree checks that encoding/json, and sonic in its two ways of reading, see in an
// admitted body what Scan saw (E2). The model is compared after it has been written
// anew, as it is on the way upstream.
func agree(t testing.TB, body []byte) bool {
	t.Helper()
	var r Request
	if Scan(body, OpenAIChat, &r) != nil {
		return false
	}
	out := append([]byte(nil), body[:r.ModelSpan.Start]...)
	quoted, _ := json.Marshal("the-model")
	out = append(append(out, quoted...), body[r.ModelSpan.End:]...)
	for _, text := range [][]byte{body, out} {
		model := string(r.Model)
		if len(text) > 0 && &text[0] == &out[0] {
			model = "the-model"
		}
		want := read{Model: model, Stream: r.Stream, MaxTokens: r.MaxTokens, MaxCompletionTokens: r.MaxCompletion, N: r.N, BestOf: r.BestOf}
		check := func(who string, got read, err error) {
			t.Helper()
			include := got.StreamOptions != nil && got.StreamOptions.IncludeUsage
			got.StreamOptions = nil
			if err != nil || got != want || include != r.IncludeUsage {
				t.Fatalf("%s reads %q as %+v include %v (%v), we read %+v include %v", who, text, got, include, err, want, r.IncludeUsage)
			}
		}
		var got read
		err := json.Unmarshal(text, &got)
		check("encoding/json", got, err)
		got = read{}
		err = sonic.Unmarshal(text, &got)
		check("sonic", got, err)
		node, err := sonic.Get(text, "model")
		if err != nil {
			t.Fatalf("sonic.Get of %q: %v", text, err)
		}
		if s, err := node.String(); err != nil || s != model {
			t.Fatalf("sonic.Get reads %q as %q (%v), want %q", text, s, err, model)
		}
	}
	return true
}

// FuzzModelAgreement: whatever is admitted, all parsers read alike (E2, G-16).
func FuzzModelAgreement(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) { agree(t, body) })
}

// FuzzShapes: the same for every kind of body that is JSON: what is admitted is JSON for
// encoding/json, and the model that it finds is the one that is priced.
func FuzzShapes(f *testing.F) {
	shapes := []Shape{OpenAIChat, AnthropicMessages, OpenAIEmbeddings, OpenAICompletions, OpenAIResponses, GeminiGenerate, GeminiCount, DashScopeText, AnthropicCount}
	for i := range shapes {
		for _, s := range append(seeds, `{"model":"a","max_tokens":5,"messages":[],"system":"s"}`, `{"model":"a","prompt":["x","y"],"n":2}`, `{"model":"a","input":"x"}`, `{"contents":[{"parts":[{"text":"a"}]}]}`, `{"model":"a","input":{"prompt":"x"},"parameters":{"n":2}}`) {
			f.Add([]byte(s), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, n uint8) {
		shape := shapes[int(n)%len(shapes)]
		var r Request
		if Scan(body, shape, &r) != nil {
			return
		}
		var got struct {
			Model *string `json:"model"`
		}
		if err := json.Unmarshal(body, &got); err != nil && shape != GeminiGenerate && shape != GeminiCount {
			t.Fatalf("shape %d admitted %q: %v", shape, body, err)
		}
		if !json.Valid(body) {
			t.Fatalf("shape %d admitted %q", shape, body)
		}
		if shape != GeminiGenerate && shape != GeminiCount && (got.Model == nil || *got.Model != string(r.Model)) {
			t.Fatalf("shape %d reads the model %q of %q", shape, r.Model, body)
		}
	})
}

var seeds = []string{
	`{"model":"gpt-5","messages":[]}`,
	`{"model":"cheap","model":"gpt-5","messages":[]}`,
	`{"model":"gpt-5","Model":"cheap","messages":[]}`,
	`{"mod\u0065l":"gpt-5","messages":[{"role":"user","content":"é\ud83d\ude00"}],"stream":true}`,
	`{"max_tokens":1,"max_completion_tokens":2,"n":3,"best_of":4,"model":"a\/b","messages":[],"stream_options":{"include_usage":true}}`,
	`{"model":"a","messages":[],"stream":null,"stream_options":null,"x":[1,-2.5e+3,{"model":"b"}]}`,
	`{"model":"a","messages":[],"max_to` + "\u212a" + `ens":1}`,
}

// The same over bodies that are put together from pieces which parsers are known to
// read differently: more of them are admitted than of random bytes.
func TestAgreement(t *testing.T) {
	keys := []string{
		`"model"`, `"Model"`, `"mod\u0065l"`, `"\u006dodel"`, `"MODEL"`, `"model "`, `"stream"`, `"` + "\u017f" + `tream"`, `"max_tokens"`,
		`"max_to` + "\u212a" + `ens"`, `"Max_Tokens"`, `"max_completion_tokens"`, `"n"`, `"N"`, `"best_of"`, `"messages"`, `"stream_options"`, `"x"`, `""`, `"\ud83d\ude00"`, `"é"`,
	}
	values := []string{
		`"a"`, `"gpt\u002d5"`, `"\ud83d\ude00"`, `"é"`, `"\/"`, `"a\\b"`, `true`, `false`, `null`, `1`, `17`, `1e3`, `1.0`, `-1`, `0`, `"1"`, `[]`, `{}`,
		`[{"model":"z"}]`, `{"include_usage":true}`, `{"include_usage":false,"x":1}`, `{"Include_usage":true}`, `{"include_us\u0061ge":true}`, ` 5 `, "[1,\n2]",
	}
	natural := map[string][]string{
		`"model"`: {`"a"`, `"gpt\u002d5"`, `"é"`}, `"messages"`: {`[]`, `[{"model":"z"}]`}, `"stream"`: {`true`, `false`, `null`},
		`"max_tokens"`: {`1`, ` 5 `}, `"stream_options"`: {`{"include_usage":true}`, `{"include_us\u0061ge":true}`, `null`}, `"n"`: {`17`},
	}
	rng := rand.New(rand.NewPCG(1, 2))
	admitted := 0
	for range 60_000 {
		var b strings.Builder
		b.WriteString(`{"model":`[:1])
		parts := []string{}
		if rng.IntN(10) > 0 {
			parts = append(parts, `"model":"m\u0061"`, `"messages":[]`)
		}
		for range rng.IntN(5) {
			k := keys[rng.IntN(len(keys))]
			v := values[rng.IntN(len(values))]
			if n := natural[k]; n != nil && rng.IntN(4) > 0 {
				v = n[rng.IntN(len(n))]
			}
			parts = append(parts, k+":"+v)
		}
		rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		b.WriteString(strings.Join(parts, ","))
		b.WriteString("}")
		if agree(t, []byte(b.String())) {
			admitted++
		}
	}
	if admitted < 1000 {
		t.Errorf("only %d bodies were admitted: the test shows little", admitted)
	}
}

// E3: linear time, at most 5 ms a MiB, whatever the body is made of.
func TestLinearTime(t *testing.T) {
	const mib = 1 << 20
	fill := func(head, piece, tail string, size int) []byte {
		return []byte(head + strings.Repeat(piece, (size-len(head)-len(tail))/len(piece)) + tail)
	}
	for _, tt := range []struct{ name, head, piece, tail string }{
		{"one string", `{"model":"a","messages":[{"content":"`, "x", `"}]}`},
		{"wide text", `{"model":"a","messages":[{"content":"`, "é中", `"}]}`},
		{"escapes", `{"model":"a","messages":[{"content":"`, `\n\u00e9\\`, `"}]}`},
		{"backslashes", `{"model":"a","messages":[{"content":"`, `\\`, `"}]}`},
		{"open backslashes", `{"model":"a","messages":[{"content":"`, `\\`, `\`},
		{"numbers", `{"model":"a","messages":[],"x":[0`, `,1`, `]}`},
		{"spaces", `{"model":"a","messages":[`, ` `, `]}`},
		{"brackets", `{"model":"a","messages":[`, `[`, ``},
		{"parts", `{"model":"a","messages":[{"content":[{}`, `,{"type":"image_url","image_url":{"url":"data:x"}}`, `]}]}`},
		{"long key", `{"model":"a","messages":[],"`, `\u0041`, `":1}`},
	} {
		best := func(size int) time.Duration {
			body := fill(tt.head, tt.piece, tt.tail, size)
			var r Request
			least := time.Hour
			for range 5 {
				start := time.Now()
				_ = Scan(body, OpenAIChat, &r)
				least = min(least, time.Since(start))
			}
			return least
		}
		one, eight := time.Hour, time.Hour
		slow := func() bool { return one > 25*time.Millisecond || eight > 40*max(one, 100*time.Microsecond) }
		for range 5 { // others are at work on this machine too
			if one, eight = min(one, best(mib)), min(eight, best(8*mib)); !slow() {
				break
			}
		}
		if slow() {
			t.Errorf("%s: %v for 1 MiB, %v for 8", tt.name, one, eight)
		}
		t.Logf("%s: %v for 1 MiB, %v for 8", tt.name, one, eight)
	}
}
