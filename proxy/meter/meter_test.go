package meter

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tokenrelay/shared/peek"
	"tokenrelay/shared/usage"
)

// C8 … C10: which figures count at the end.
func TestFinal(t *testing.T) {
	const rep, part, est, none = usage.SourceReported, usage.SourcePartial, usage.SourceEstimated, usage.SourceNone
	units := func(in, out int64) usage.Units { // as billed: the request itself is one, too
		return usage.Units{usage.Input: in, usage.Output: out, usage.Request: 1}
	}
	nothing := usage.Units{}
	searched := func(n int64) usage.Units {
		return usage.Units{usage.Input: 5, usage.Output: 5, usage.Searches: n, usage.Request: 1}
	}
	seen := Count{ASCII: 400} // 100 tokens by the default family
	for _, tt := range []struct {
		name    string
		end     End
		units   usage.Units
		source  usage.Source
		suspect bool
	}{
		{"believed", End{Reported: units(50, 110), Source: rep, Counted: seen, OutputBegan: true, InputBound: 100, OutputCap: 200}, units(50, 110), rep, false},
		{"believed without limits", End{Reported: units(50, 110), Source: rep, Counted: seen, OutputBegan: true}, units(50, 110), rep, false},
		{"n choices", End{Reported: units(50, 350), Source: rep, Counted: seen, OutputBegan: true, OutputCap: 200, Choices: 2}, units(50, 350), rep, false},
		{"C8 nothing reported", End{Source: est, Counted: seen, OutputBegan: true, InputEstimate: 40, InputBound: 100, OutputCap: 200}, units(40, 100), est, false},
		{"C8 estimate within the bound", End{Source: est, Counted: seen, OutputBegan: true, InputEstimate: 400, InputBound: 100, OutputCap: 30}, units(100, 30), est, false},
		{"C8 nothing produced", End{Source: est, InputEstimate: 40}, nothing, none, false},
		{"C8 input reported, cut before output", End{Reported: units(50, 0), Source: part}, nothing, none, false},
		{"C8 input reported, output counted", End{Reported: units(50, 1), Source: part, Counted: seen, OutputBegan: true}, units(50, 100), part, false},
		{"C9 huge output", End{Reported: units(50, 1e12), Source: rep, Counted: seen, OutputBegan: true, OutputCap: 200}, units(50, 100), part, true},
		{"C9 above the cap", End{Reported: units(50, 201), Source: rep, Counted: seen, OutputBegan: true, OutputCap: 200}, units(50, 100), part, true},
		{"C9 more tokens than bytes", End{Reported: units(50, 400+257), Source: rep, Counted: seen, OutputBegan: true, OutputCap: 2000}, units(50, 100), part, true},
		{"C9 hidden output may exceed its bytes", End{Reported: units(50, 1500), Source: rep, Counted: seen, OutputBegan: true, OutputCap: 2000, Hidden: true}, units(50, 1500), rep, false},
		{"C10 hidden output above the cap", End{Reported: units(50, 3000), Source: rep, Counted: seen, OutputBegan: true, OutputCap: 2000, Hidden: true}, units(50, 3000), rep, false},
		{"C9 hidden output far above the cap", End{Reported: units(50, 30000), Source: rep, Counted: seen, OutputBegan: true, OutputCap: 2000, Hidden: true}, units(50, 100), part, true},
		{"C9 no output claimed", End{Reported: units(50, 0), Source: rep, Counted: seen, OutputBegan: true}, units(50, 100), part, true},
		{"C9 impossible figure", End{Reported: units(50, 60), Source: rep, Impossible: true, Counted: seen, OutputBegan: true}, units(50, 100), part, true},
		{"C9 nothing but impossible figures", End{Source: est, Impossible: true, Counted: seen, OutputBegan: true, InputEstimate: 7}, units(7, 100), est, true},
		{"C10 input above the bound, within the window", End{Reported: units(101, 60), Source: rep, Counted: seen, OutputBegan: true, InputBound: 100, Context: 1000, InputEstimate: 30}, units(101, 60), rep, false},
		{"C9 input above the window", End{Reported: units(1001, 60), Source: rep, Counted: seen, OutputBegan: true, InputBound: 100, Context: 1000, InputEstimate: 30}, units(30, 60), part, true},
		{"C9 cached input above the window", End{Reported: usage.Units{usage.CacheRead: 1001, usage.Output: 60}, Source: rep, Counted: seen, OutputBegan: true, InputBound: 100, Context: 1000, InputEstimate: 30}, units(30, 60), part, true},
		{"server tools read the window several times", End{Reported: units(3000, 60), Source: rep, Counted: seen, OutputBegan: true, InputBound: 4000, Context: 1000, InputEstimate: 30}, units(3000, 60), rep, false},
		{"C9 no input claimed", End{Reported: units(0, 60), Source: rep, Counted: seen, OutputBegan: true, InputEstimate: 30}, units(30, 60), part, true},
		{"C9 all wrong", End{Reported: units(1e12, 1e12), Source: rep, Counted: seen, OutputBegan: true, InputBound: 100, OutputCap: 200, InputEstimate: 30}, units(30, 100), est, true},
		{"C9 searches", End{Reported: usage.Units{usage.Input: 5, usage.Output: 5, usage.Searches: 1e9}, Source: rep, Counted: seen, OutputBegan: true}, units(5, 5), rep, true},
		{"searches within the request's limit", End{Reported: searched(3), Source: rep, Counted: seen, OutputBegan: true, Most: usage.Units{usage.Searches: 3}}, searched(3), rep, false},
		{"C9 more searches than the request allows", End{Reported: searched(9), Source: rep, Counted: seen, OutputBegan: true, Most: usage.Units{usage.Searches: 3}}, searched(3), rep, true},
		{"searches of an answer without usage", End{Reported: searched(2), Source: est, Counted: seen, OutputBegan: true, InputEstimate: 5, OutputCap: 5, Most: usage.Units{usage.Searches: 3}}, searched(2), est, false},
		{"nothing is billed, nor the request", End{Reported: usage.Units{usage.Input: 50}, Source: rep, Free: true}, usage.Units{usage.Input: 50}, rep, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, source, flags := Final(&tt.end)
			if got != tt.units || source != tt.source || (flags&usage.FlagUsageSuspect != 0) != tt.suspect {
				t.Errorf("got %v %v flags %b, want %v %v suspect %v", got, source, flags, tt.units, tt.source, tt.suspect)
			}
		})
	}
}

// C9: whatever a provider says, the units are counts, within the input's bound or the
// window and at most twice the cap, and flagged unless they are the provider's own.
func TestFinalProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.Int64Range(0, 5000), rapid.Int64Range(0, 1<<40))
		e := End{
			Source: usage.Source(rapid.IntRange(0, 3).Draw(t, "source")), Impossible: rapid.Bool().Draw(t, "impossible"),
			Counted: Count{ASCII: n.Draw(t, "ascii"), Three: n.Draw(t, "three")}, Hidden: rapid.Bool().Draw(t, "hidden"),
			OutputBegan: rapid.Bool().Draw(t, "began"), InputEstimate: n.Draw(t, "estimate"),
			InputBound: rapid.Int64Range(1, 5000).Draw(t, "bound"), Context: rapid.Int64Range(1, 5000).Draw(t, "context"), OutputCap: rapid.Int64Range(1, 5000).Draw(t, "cap"), Choices: rapid.Int64Range(0, 4).Draw(t, "n"),
		}
		e.Free = rapid.IntRange(0, 9).Draw(t, "free") == 0
		for _, c := range limited {
			e.Most[c] = rapid.Int64Range(0, 50).Draw(t, "most")
		}
		for c := range usage.Request { // which nobody reports
			if rapid.Bool().Draw(t, "set") {
				e.Reported[c] = n.Draw(t, "units")
			}
		}
		units, source, flags := Final(&e)
		in, out := sides(&units)
		most := e.OutputCap * max(1, e.Choices)
		if in > max(e.InputBound, e.Context) || out > 2*most+slack {
			t.Fatalf("input %d of %d, output %d of %d", in, e.InputBound, out, most)
		}
		for c, v := range units {
			if v < 0 {
				t.Fatalf("class %d: %d", c, v)
			}
		}
		if e.Source == usage.SourceReported && source != usage.SourceReported && flags&usage.FlagUsageSuspect == 0 {
			t.Fatal("reported figures replaced without a flag")
		}
		if source == usage.SourceNone && units != (usage.Units{}) {
			t.Fatal("units from nowhere")
		}
		if billed := source != usage.SourceNone && !e.Free; billed != (units[usage.Request] == 1) {
			t.Fatalf("%d requests, source %s, free %v", units[usage.Request], source, e.Free)
		}
		for _, c := range limited {
			if most := e.Most[c]; most > 0 && units[c] > most && !e.Free {
				t.Fatalf("%d %s, the request allows %d", units[c], c, most)
			}
		}
	})
}

// The length of what is counted is the length of the text.
func TestCount(t *testing.T) {
	for _, s := range []string{"", "plain", "é", "中文", "😀", `a"b\c/`, "line\nbreak\ttab", "mixed é 中 😀 end"} {
		raw, _ := json.Marshal(s)
		var c Count
		c.AddJSON(raw[1 : len(raw)-1])
		if c.Bytes() != int64(len(s)) {
			t.Errorf("%q: %d bytes, counted %d", s, len(s), c.Bytes())
		}
		var ascii []byte // as encoders that escape everything write it
		for _, r := range s {
			if r > 0xffff {
				r -= 0x10000
				ascii = append(ascii, `\u`...)
				ascii = append(ascii, hexOf(0xd800+r>>10)...)
				ascii = append(ascii, `\u`...)
				ascii = append(ascii, hexOf(0xdc00+r&0x3ff)...)
				continue
			}
			ascii = append(ascii, `\u`...)
			ascii = append(ascii, hexOf(r)...)
		}
		c = Count{}
		c.AddJSON(ascii)
		if c.Bytes() != int64(len(s)) {
			t.Errorf("%s: counted %d bytes, want %d", ascii, c.Bytes(), len(s))
		}
	}
	var c Count
	c.AddJSON([]byte("\xff\xc3\\"))
	c.AddJSON([]byte(`\u12`))
}

func hexOf(r rune) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15]})
}

// The lexer counts string values and nothing else, in any pieces.
func TestLexer(t *testing.T) {
	text := `data: {"id":"12","delta":{"text":"abc \"\u00e9\u4e2d\\","n":5,"list":["xy"],"empty":""}}`
	want := int64(len("12") + len(`abc "é中\`) + len("xy"))
	for size := 1; size < len(text); size++ {
		var l Lexer
		var c Count
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			l.Count(&c, []byte(rest[:n]))
			rest = rest[n:]
		}
		if c.Bytes() != want {
			t.Errorf("pieces of %d: counted %d, want %d", size, c.Bytes(), want)
		}
	}
}

func TestFamily(t *testing.T) {
	for name, want := range map[string]Family{
		"gpt-5.2": FamilyOpenAI, "openai/gpt-oss-120b": FamilyOpenAI, "o3-mini": FamilyOpenAI, "claude-sonnet-4.5": FamilyAnthropic, "gemini-2.5-pro": FamilyGemini,
		"deepseek-chat": FamilyDeepSeek, "deepseek-r1-distill-llama": FamilyDeepSeek, "qwen3-235b-a22b": FamilyQwen, "mistral-large": FamilyMistral, "glm-4.6": FamilyGLM,
		"kimi-k2-thinking": FamilyKimi, "grok-4": FamilyGrok, "meta-llama/x": FamilyLlama, "unheard-of": FamilyDefault, "": FamilyDefault,
	} {
		if got := FamilyOf(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for f := range numFamilies + 2 {
		if n := f.Tokens(&Count{ASCII: 4000}); n < 800 || n > 1300 {
			t.Errorf("family %d: %d tokens for 4,000 bytes of English", f, n)
		}
		if f.Tokens(&Count{}) != 0 || f.Tokens(&Count{ASCII: 1}) != 1 {
			t.Errorf("family %d: rounding", f)
		}
	}
}

// What stands around the text of a request is not charged as input where the input is
// estimated: with the text alone at four bytes a token the estimate is never above.
func TestEstimateInputLeavesTheJSONOut(t *testing.T) {
	for _, text := range []string{"", "hi", strings.Repeat("lorem ", 50), strings.Repeat("lorem ", 5000)} {
		for _, n := range []int{1, 2, 20} {
			body := `{"model":"some-model","stream":true,"messages":[`
			for i := range n {
				if i > 0 {
					body += ","
				}
				body += `{"role":"user","content":"` + text + `"}`
			}
			body += `],"max_tokens":100}`
			var r peek.Request
			if err := peek.Scan([]byte(body), peek.OpenAIChat, &r); err != nil {
				t.Fatal(err)
			}
			got, most := EstimateInput(FamilyDefault, &r), int64(n*(4+(len(text)+3)/4))
			if got < 1 || got > most || got < most*3/4-int64(5*n)-20 {
				t.Errorf("%d messages of %d bytes: %d, the provider would say about %d", n, len(text), got, most)
			}
		}
	}
}
