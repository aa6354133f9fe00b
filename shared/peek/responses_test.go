package peek

import (
	"encoding/json"
	"testing"

	"tokenrelay/shared/price"
)

var responsesSeeds = []string{
	`{"model":"m","input":"text"}`,
	`{"model":"m","input":[{"role":"user","content":"a"},{"type":"function_call_output","call_id":"c","output":"x"}],"max_output_tokens":8}`,
	`{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"data:image/png;base64,AAAA"}]}],"stream":true}`,
	`{"input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}],"model":"m","store":false}`,
	`{"model":"m","input":"x","tools":[{"type":"web_search"},{"type":"function","name":"f"}],"max_tool_calls":3,"previous_response_id":"resp_1"}`,
	`{"model":"m","input":"x","background":false,"conversation":null,"prompt":null,"max_tokens":"nobody reads it"}`,
	`{"model":"m","input":"x","background":true}`,
	`{"model":"m","input":{"role":"user"}}`,
	`{"model":"m","input":"x","Input":"y"}`,
	`{"model":"m","input":"x","max_output_tokens":null}`,
	`{"model":"m"}`,
	`{"model":"m","input":"x","store":"no"}`,
	`{"model":"m","input":"x","previous_response_id":""}`,
}

// responsesAgree checks that encoding/json sees in an admitted body what Scan saw, and
// that no text has more bytes than the bound.
func responsesAgree(t *testing.T, body []byte) bool {
	t.Helper()
	var r Request
	if Scan(body, OpenAIResponses, &r) != nil {
		return false
	}
	var v struct {
		Model    string
		Stream   bool
		Input    json.RawMessage
		Max      int64  `json:"max_output_tokens"`
		Calls    int64  `json:"max_tool_calls"`
		Previous string `json:"previous_response_id"`
		Store    *bool  `json:"store"`
		Tools    json.RawMessage
	}
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("encoding/json cannot read %q: %v", body, err)
	}
	var previous string
	_ = json.Unmarshal(body[r.PreviousSpan.Start:r.PreviousSpan.End], &previous)
	if v.Model != string(r.Model) || v.Stream != r.Stream || v.Max != r.OutputCap() || v.Calls != r.MaxToolCalls || v.Previous != previous ||
		(v.Store != nil && !*v.Store) != r.NotStored || len(v.Input) == 0 {
		t.Fatalf("encoding/json reads %q as %+v, we read %+v", body, v, r)
	}
	var tools []struct{ Type any }
	if json.Unmarshal(v.Tools, &tools) == nil {
		for _, tool := range tools {
			switch kind, _ := tool.Type.(string); kind {
			case "", "function", "custom", "namespace", "tool_search", "computer", "computer_use_preview", "local_shell", "apply_patch", "shell":
			default:
				if r.ServerTools == 0 && r.OwnTools == 0 {
					t.Fatalf("%q: the tool %s was not seen", body, kind)
				}
			}
		}
	}
	var b price.Bound
	if r.Bound(0, &b) && b.InputTokens < int64(len(body))-r.MediaBytes {
		t.Fatalf("%q: the bound is %+v", body, b)
	}
	return true
}

// FuzzResponses: whatever is admitted, another parser reads alike (E2), and it is not
// held for less than its text can be (D3).
func FuzzResponses(f *testing.F) {
	for _, s := range responsesSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) { responsesAgree(t, body) })
}

// The first six seeds are admitted, the others not: the fuzz target does not pass by
// refusing all.
func TestResponsesSeeds(t *testing.T) {
	for i, s := range responsesSeeds {
		if responsesAgree(t, []byte(s)) != (i < 6) {
			t.Errorf("seed %d: %s", i, s)
		}
	}
	body, r := []byte(responsesSeeds[4]), new(Request)
	if n := testing.AllocsPerRun(100, func() { _ = Scan(body, OpenAIResponses, r) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What the body only refers to is bounded by the window, and media are not text.
func TestResponsesBound(t *testing.T) {
	const window = 1_000_000
	for _, c := range []struct {
		input       string
		unknown     bool
		images      int
		stored      string
		media       bool
		serverTools int
	}{
		{`[{"role":"user","content":"a"}]`, false, 0, "", false, 0},
		{`[{"type":"reasoning","id":"rs_1","summary":[]}]`, true, 0, "", false, 0},
		{`[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"}]`, false, 0, "", false, 0},
		{`[{"type":"compaction","encrypted_content":"x"}]`, true, 0, "", false, 0},
		{`[{"type":"something_new","role":"user"}]`, true, 0, "", false, 0},
		{`[{"type":"message","role":"user","Content":"x"}]`, true, 0, "", false, 0},
		{`[{"type":"message","type":"item_reference","role":"user"}]`, true, 0, "", false, 0},
		{`[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,AAAABBBB"}]}]`, false, 1, "", true, 0},
		{`[{"role":"user","content":[{"type":"input_file","file_data":"data:application/pdf;base64,AAAABBBB"}]}]`, true, 0, "", true, 0},
		{`[{"role":"user","content":[{"type":"input_file","file_url":"https://example.com/a.pdf"}]}]`, true, 0, "", false, 0},
		{`[{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"https://example.com/a.png"}]}]`, false, 1, "", false, 0},
		{`[{"type":"computer_call_output","call_id":"c","output":{"type":"computer_screenshot","image_url":"data:image/png;base64,AAAA"}}]`, false, 1, "", true, 0},
		{`[{"type":"item_reference","id":"rs_1"}]`, false, 0, "item_reference", false, 0},
		{`[{"type":null,"id":"rs_1"}]`, false, 0, "item_reference", false, 0},
		{`[{"type":"tool_search_output","tools":[{"type":"mcp"}]}]`, true, 0, "", false, 1},
	} {
		body := []byte(`{"model":"m","input":` + c.input + `}`)
		var r Request
		if err := Scan(body, OpenAIResponses, &r); err != nil {
			t.Fatalf("%s: %v", c.input, err)
		}
		var b price.Bound
		if !r.Bound(window, &b) {
			t.Fatalf("%s: no bound", c.input)
		}
		if whole := b.InputTokens == window; whole != c.unknown || r.Images != c.images || r.StoredID != c.stored || (r.MediaBytes > 0) != c.media || r.ServerTools != c.serverTools {
			t.Errorf("%s: bound %+v, %+v", c.input, b, r)
		}
	}
}
