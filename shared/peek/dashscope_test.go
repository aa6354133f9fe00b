package peek

import (
	"encoding/json"
	"testing"

	"github.com/bytedance/sonic"

	"tokenrelay/shared/price"
)

// FuzzDashScopeAgreement: whatever is admitted, other parsers read alike (E2).
func FuzzDashScopeAgreement(f *testing.F) {
	for _, s := range []string{
		`{"model":"m","input":{"prompt":"x"},"parameters":{"max_tokens":5,"n":2,"enable_search":true}}`,
		`{"model":"m","input":{"messages":[{"role":"user","content":[{"text":"x"}]}]},"parameters":{"max_completion_tokens":5,"thinking_budget":7}}`,
		`{"model":"m","input":{"prompt":"x"},"parameters":{"max_tokens":5,"Max_tokens":6}}`,
		`{"model":"m","input":{"prompt":"x"},"parameters":{"max_tokens":5,"maxTokens":6}}`,
		`{"model":"m","input":{"prompt":"x"},"parameters":{"N":6}}`,
		`{"parameters":{"tools":[{"type":"function"}],"search_options":{"search_strategy":"agent"}},"input":{"prompt":"x"},"model":"m"}`,
	} {
		f.Add([]byte(s))
	}
	type read struct {
		Model      string `json:"model"`
		Parameters struct {
			MaxTokens     int64 `json:"max_tokens"`
			MaxCompletion int64 `json:"max_completion_tokens"`
			N             int64 `json:"n"`
			Budget        int64 `json:"thinking_budget"`
			Search        bool  `json:"enable_search"`
			Thinking      bool  `json:"enable_thinking"`
		} `json:"parameters"`
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r Request
		if Scan(body, DashScopeText, &r) != nil {
			return
		}
		var want read
		want.Model = string(r.Model)
		p := &want.Parameters
		p.MaxTokens, p.MaxCompletion, p.N, p.Budget, p.Search, p.Thinking = r.MaxTokens, r.MaxCompletion, r.N, r.thoughts, r.search, r.Thinks
		for who, parse := range map[string]func([]byte, any) error{"encoding/json": json.Unmarshal, "sonic": sonic.Unmarshal} {
			var got read
			if err := parse(body, &got); err != nil || got != want {
				t.Fatalf("%s reads %q as %+v (%v), we read %+v", who, body, got, err, want)
			}
		}
	})
}

// E10: what a request may cost is bounded, thoughts beside max_tokens included.
func TestDashScopeBound(t *testing.T) {
	for _, c := range []struct {
		parameters   string
		output       int64
		input, known bool // the window counts; without one there is a bound
		searches     int64
	}{
		{`"max_tokens":10`, 10, false, true, 0},
		{`"max_tokens":10,"enable_thinking":false,"thinking_budget":5`, 10, false, true, 0},
		{`"max_tokens":10,"thinking_budget":5`, 15, false, true, 0},
		{`"max_tokens":10,"enable_thinking":true`, 1010, false, true, 0},
		{`"max_completion_tokens":10,"enable_thinking":true`, 10, false, true, 0},
		{`"max_tokens":10,"enable_search":true`, 10, true, false, 1},
		{`"max_tokens":10,"enable_search":true,"search_options":{"search_strategy":"turbo"}`, 10, true, false, 1},
		{`"max_tokens":10,"enable_search":true,"search_options":{"search_strategy":"agent_max"}`, 10, true, false, 0},
	} {
		var r Request
		if err := Scan([]byte(`{"model":"m","input":{"prompt":"x"},"parameters":{`+c.parameters+`}}`), DashScopeText, &r); err != nil {
			t.Fatalf("%s: %v", c.parameters, err)
		}
		var b price.Bound
		if known := r.Bound(0, &b); known != c.known {
			t.Errorf("%s: a bound without a window: %v", c.parameters, known)
		}
		r.Bound(50_000, &b)
		if r.OutputBound(1000) != c.output || (b.InputTokens >= 50_000) != c.input || b.Searches != c.searches {
			t.Errorf("%s: output %d, %+v", c.parameters, r.OutputBound(1000), b)
		}
	}
}
