package peek

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/shared/price"
)

var geminiSeeds = []string{
	`{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`,
	`{"contents":{"parts":{"text":"hi"}},"system_instruction":{"parts":[{"text":"s"}]}}`,
	`{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"QUJD"}},{"inline_data":{"mime_type":"audio/wav","data":"QUJDREVG"}},{"inlineData":{"mimeType":"application/pdf","data":"QUJD"}},{"inlineData":{"mimeType":"text/plain","data":"QUJD"}}]}]}`,
	`{"contents":[{"parts":[{"fileData":{"fileUri":"https://youtu.be/x","mimeType":"video/mp4"}}]}],"generationConfig":{"maxOutputTokens":7,"candidateCount":3}}`,
	`{"contents":[],"generation_config":{"max_output_tokens":7,"response_modalities":["AUDIO"]}}`,
	`{"contents":[],"generationConfig":null,"cachedContent":null,"serviceTier":"flex"}`,
	`{"contents":[],"tools":[{"functionDeclarations":[{"name":"f"},{"name":"g"}]},{"googleSearch":{}},{"computer_use":{}}]}`,
	`{"contents":[{"parts":[{"functionResponse":{"name":"f","response":{"contents":1,"model":2},"parts":[{"inlineData":{"mimeType":"image/png","data":"QUJD"}}]}}]}]}`,
	`{"contents":[],"generationConfig":{"maxOutputTokens":7,"max_output_tokens":8}}`,
	`{"contents":[],"generationConfig":{"MaxOutputTokens":7}}`,
	`{"contents":[],"generationConfig":{},"generation\u0043onfig":{"maxOutputTokens":7}}`,
	`{"contents":[],"generation\u0043onfig":{"maxOutput\u0054okens":7}}`,
	`{"contents":[],"cached_content":"x"}`,
	`{"generateContentRequest":{"model":"models/x","contents":[{"parts":[]}],"generationConfig":{"maxOutputTokens":5}}}`,
	`{"contents":[],"model":"x"}`,
}

func TestGeminiScan(t *testing.T) {
	var r Request
	scan := func(s string) {
		t.Helper()
		if err := Scan([]byte(s), GeminiGenerate, &r); err != nil {
			t.Fatal(err)
		}
	}
	scan(geminiSeeds[2])
	if r.Images != 1 || r.Audios != 1 || r.Files != 1 || r.MediaBytes != 4+8+4 || r.AudioBytes != 8 || r.Messages != 1 {
		t.Errorf("%+v", r)
	}
	scan(geminiSeeds[3])
	if r.Files != 1 || r.StoredID != "" || r.MaxTokens != 7 || r.N != 3 || r.OutputCap() != 7 || r.Choices() != 3 {
		t.Errorf("%+v", r)
	}
	scan(geminiSeeds[4])
	if r.MaxTokens != 7 || !r.AudioOutput || geminiSeeds[4][r.MaxTokensSpan.Start:r.MaxTokensSpan.End] != "7" || !strings.HasPrefix(geminiSeeds[4][r.Config.Start:], "{") {
		t.Errorf("%+v", r)
	}
	scan(geminiSeeds[5])
	if r.StoredID != "" || r.PriceMember != "" || geminiSeeds[5][r.Config.Start:r.Config.End] != "null" {
		t.Errorf("%+v", r)
	}
	scan(geminiSeeds[6])
	if r.Tools != 4 || r.ServerTools != 1 || r.ServerToolsNoLimit != 1 || r.OwnTools != 1 {
		t.Errorf("%+v", r)
	}
	scan(geminiSeeds[7])
	if r.Images != 1 {
		t.Errorf("%+v", r)
	}
	scan(geminiSeeds[11])
	if r.MaxTokens != 7 {
		t.Errorf("%+v", r)
	}
	scan(geminiSeeds[12])
	if r.StoredID != "cachedContent" {
		t.Errorf("%+v", r)
	}
	for _, i := range []int{8, 9, 10, 13, 14} {
		if err := Scan([]byte(geminiSeeds[i]), GeminiGenerate, &r); err == nil || err.Status != 400 {
			t.Errorf("%s: %v", geminiSeeds[i], err)
		}
	}
	if err := Scan([]byte(geminiSeeds[13]), GeminiCount, &r); err != nil {
		t.Fatal(err)
	}
	if geminiSeeds[13][r.ModelSpan.Start:r.ModelSpan.End] != `"models/x"` || r.MaxTokens != 5 {
		t.Errorf("%+v", r)
	}
	for _, s := range []string{
		`{"generateContentRequest":{}}`, `{}`, `[]`, `{"contents":[]}x`, `{"contents":[]`, "\xef\xbb\xbf" + geminiSeeds[0],
		`{"contents":[],"generateContentRequest":{"contents":[]}}`, `{"generateContentRequest":{"contents":[]},"contents":[]}`,
		`{"contents":[{"parts":[],"Parts":[]}]}`, `{"contents":[{"parts":[{"inlineData":{"data":"A","data":"B"}}]}]}`,
		`{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","mime_type":"text/plain","data":"B"}}]}]}`,
	} {
		if Scan([]byte(s), GeminiCount, &r) == nil {
			t.Errorf("%s passed", s)
		}
	}
}

// canonical are the members of an object by the names that a reader which ignores case
// and underscores takes them for.
func canonical(v any) map[string]any {
	m, _ := v.(map[string]any)
	out := map[string]any{}
	for k, x := range m {
		out[strings.ToLower(strings.ReplaceAll(k, "_", ""))] = x
	}
	return out
}

// FuzzGemini: what is admitted says to the most tolerant reader what it said to us, and
// is never held for less than it can be billed for (D3, E2).
func FuzzGemini(f *testing.F) {
	for _, s := range geminiSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r Request
		if err := Scan(body, GeminiGenerate, &r); err != nil {
			if err.Status != 400 {
				t.Fatalf("%+v", err)
			}
			return
		}
		var v any
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("encoding/json cannot read %q: %v", body, err)
		}
		top := canonical(v)
		config := canonical(top["generationconfig"])
		limit, _ := config["maxoutputtokens"].(json.Number)
		if n, _ := limit.Int64(); n != r.MaxTokens {
			t.Fatalf("%q: %v, we read %d", body, limit, r.MaxTokens)
		}
		count, _ := config["candidatecount"].(json.Number)
		if n, _ := count.Int64(); n != r.N {
			t.Fatalf("%q: %v, we read %d", body, count, r.N)
		}
		if s, _ := top["cachedcontent"].(string); s != "" && r.StoredID == "" {
			t.Fatalf("%q: a stored object", body)
		}
		if _, ok := top["model"]; ok {
			t.Fatalf("%q names a model", body)
		}
		if r.TextBytes+r.MediaBytes != int64(len(body)) || r.MediaBytes < 0 || r.TextBytes < 0 {
			t.Fatalf("%q: %d + %d bytes", body, r.TextBytes, r.MediaBytes)
		}
		var b price.Bound
		if r.Bound(1_000_000, &b) && r.ServerTools == 0 && r.Files == 0 && b.InputTokens < min(r.TextBytes, 1_000_000) {
			t.Fatalf("%q: bound %+v", body, b)
		}
	})
}
