package usage_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tokenrelay/shared/usage"
)

func read(t *testing.T, form usage.Form, events ...string) *usage.Reader {
	t.Helper()
	r := new(usage.Reader)
	r.Reset(form)
	for _, ev := range events {
		if !r.Event([]byte(ev)) {
			t.Fatalf("%s was not read", ev)
		}
	}
	return r
}

// C9: a figure that can be no count is none, and is seen.
func TestImpossibleFigures(t *testing.T) {
	body := map[usage.Form]string{
		usage.FormChat:          `{"usage":{"prompt_tokens":%s,"completion_tokens":4}}`,
		usage.FormGeminiChat:    `{"usage":{"prompt_tokens":4,"completion_tokens":%s}}`,
		usage.FormEmbeddings:    `{"usage":{"prompt_tokens":%s,"total_tokens":4}}`,
		usage.FormResponses:     `{"response":{"usage":{"input_tokens":4,"input_tokens_details":{"cached_tokens":%s},"output_tokens":4}}}`,
		usage.FormTranscription: `{"usage":{"type":"tokens","input_tokens":%s,"output_tokens":4}}`,
		usage.FormSpeech:        `{"usage":{"input_tokens":4,"output_tokens":%s}}`,
		usage.FormImages:        `{"usage":{"input_tokens":%s,"output_tokens":4}}`,
		usage.FormMessages:      `{"usage":{"input_tokens":4,"cache_creation":{"ephemeral_1h_input_tokens":%s},"output_tokens":4}}`,
		usage.FormGemini:        `{"usageMetadata":{"promptTokenCount":4,"thoughtsTokenCount":%s}}`,
		usage.FormDashScope:     `{"usage":{"input_tokens":%s,"output_tokens":4}}`,
		usage.FormConverse:      `{"usage":{"inputTokens":4,"cacheReadInputTokens":%s,"outputTokens":4}}`,
		usage.FormCohere:        `{"usage":{"billed_units":{"input_tokens":4,"output_tokens":%s}}}`,
		usage.FormRerank:        `{"meta":{"billed_units":{"search_units":%s,"input_tokens":4}}}`,
	}
	for form := usage.FormChat; form <= usage.FormRerank; form++ {
		for _, bad := range []string{"-1", "1.5", "1e3", `"7"`, "1099511627777", "99999999999999999999", "true", "[3]"} {
			r := read(t, form, fmt.Sprintf(body[form], bad))
			u, source := r.Units()
			if !r.Notes().Impossible || source != usage.SourceReported || u.TotalInput()+u.TotalOutput()+u[usage.Searches] != 4 &&
				u.TotalInput()+u.TotalOutput() != 8 {
				t.Errorf("form %d, %s: %v %s, impossible %v", form, bad, u, source, r.Notes().Impossible)
			}
		}
		r := read(t, form, fmt.Sprintf(body[form], "null"))
		if _, source := r.Units(); r.Notes().Impossible || source != usage.SourceReported {
			t.Errorf("form %d: null is no impossible figure", form)
		}
	}
}

// What cannot be read leaves what was read before as it was.
func TestBrokenEventsLeaveNoTrace(t *testing.T) {
	good := `{"usage":{"prompt_tokens":7,"completion_tokens":2}}`
	for _, bad := range []string{
		"", "[DONE]", "  ", "null", `"usage"`, `[{"usage":{"prompt_tokens":9}}]`, `{"usage":{"prompt_tokens":9}`,
		`{"usage":{"prompt_tokens":9}}}`, `{"usage":{"prompt_tokens":9},}`, `{"usage":{"prompt_tokens" 9}}`,
		`{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens"}}}`, `{"usage":{"prompt_tokens":9}} x`,
	} {
		r := read(t, usage.FormChat, good)
		if r.Event([]byte(bad)) {
			t.Errorf("%q was read", bad)
		}
		if u, source := r.Units(); u[usage.Input] != 7 || u[usage.Output] != 2 || source != usage.SourceReported {
			t.Errorf("%q left %v %s", bad, u, source)
		}
	}
	r := read(t, usage.FormGemini, `{"usageMetadata":{"promptTokenCount":7}}`)
	if r.Whole([]byte(`[{"usageMetadata":{"promptTokenCount":9}},{"usageMetadata":{]`)) {
		t.Error("half a list was read")
	}
	if u, _ := r.Units(); u[usage.Input] != 7 {
		t.Errorf("half a list left %v", u)
	}
}

// The last usage counts, and never the sum of several; an empty one says nothing.
func TestLaterUsageStandsForEarlier(t *testing.T) {
	chunk := `{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":%d,"prompt_tokens_details":%s}}`
	r := read(t, usage.FormChat, fmt.Sprintf(chunk, 2, `{"cached_tokens":5}`), fmt.Sprintf(chunk, 6, "null"), `{"choices":[],"usage":{}}`, `{"choices":[],"usage":{"total_tokens":3}}`, `{"choices":[],"usage":null}`)
	if u, _ := r.Units(); u[usage.Input] != 8 || u[usage.CacheRead] != 0 || u[usage.Output] != 6 || r.Notes().Impossible {
		t.Errorf("%v", u)
	}
	if r = read(t, usage.FormChat, fmt.Sprintf(chunk, 6, "{}"), fmt.Sprintf(chunk, 2, "{}")); !r.Notes().Impossible {
		t.Error("an output that shrank was not seen")
	}
	r = read(t, usage.FormGemini, `{"usageMetadata":{"thoughtsTokenCount":5}}`, `{"usageMetadata":{"trafficType":"ON_DEMAND"}}`)
	if u, source := r.Units(); u[usage.Output] != 5 || source != usage.SourceReported {
		t.Errorf("nothing but thoughts: %v %s", u, source)
	}
	// Messages overlays, member by member.
	r = read(t, usage.FormMessages, `{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_read_input_tokens":4,"output_tokens":1}}}`)
	if u, source := r.Units(); u[usage.Input] != 10 || u[usage.Output] != 0 || source != usage.SourcePartial {
		t.Errorf("after the opening: %v %s", u, source)
	}
	if !r.Event([]byte(`{"type":"message_delta","usage":{"input_tokens":12,"cache_read_input_tokens":null,"output_tokens":9}}`)) {
		t.Fatal("not read")
	}
	if u, source := r.Units(); u[usage.Input] != 12 || u[usage.CacheRead] != 4 || u[usage.Output] != 9 || source != usage.SourceReported {
		t.Errorf("after the end: %v %s", u, source)
	}
	// A last event that says no output says nothing of the end: the opening's is a
	// running figure.
	r = read(t, usage.FormMessages, `{"message":{"usage":{"input_tokens":10,"output_tokens":1}}}`, `{"type":"message_delta","usage":{"input_tokens":11}}`)
	if u, source := r.Units(); u[usage.Input] != 11 || u[usage.Output] != 0 || source != usage.SourcePartial {
		t.Errorf("after an end without output: %v %s", u, source)
	}
	// Reset forgets.
	r.Reset(usage.FormMessages)
	if u, source := r.Units(); !u.IsZero() || source != usage.SourceNone || r.Others() != 0 {
		t.Errorf("after Reset: %v %s", u, source)
	}
	var zero usage.Reader
	if u, source := zero.Units(); !u.IsZero() || source != usage.SourceNone || zero.Notes() != (usage.Notes{}) {
		t.Errorf("the zero value: %v %s", u, source)
	}
}

// Where the provider's searches are told.
func TestSearches(t *testing.T) {
	search := `{"type":"response.output_item.done","item":{"type":"web_search_call","action":{"type":"search"}}}`
	for _, tt := range []struct {
		name   string
		form   usage.Form
		events []string
		want   int64
	}{
		{"Perplexity", usage.FormChat, []string{`{"usage":{"prompt_tokens":1,"num_search_queries":3}}`}, 3},
		{"xAI, sources", usage.FormChat, []string{`{"usage":{"prompt_tokens":1,"num_sources_used":2}}`}, 2},
		{"a cut stream's items", usage.FormResponses, []string{
			search, strings.Replace(search, "done", "added", 1), search, strings.Replace(search, `"search"`, `"open_page"`, 1),
			`{"type":"response.failed","response":{"output":[],"usage":{"input_tokens":5,"output_tokens":1}}}`,
		}, 2},
		{"items once and again at the end", usage.FormResponses, []string{
			search, `{"type":"response.completed","response":{"output":[{"type":"web_search_call"}],"usage":{"input_tokens":5,"output_tokens":1}}}`,
		}, 1},
		{"usage before items", usage.FormResponses, []string{
			`{"output":[{"type":"web_search_call"}],"usage":{"input_tokens":5,"output_tokens":1,"server_side_tool_usage_details":{"web_search_calls":2,"x_search_calls":1}}}`,
		}, 3},
		{"Gemini, the last event alone", usage.FormGemini, []string{
			`{"candidates":[{"groundingMetadata":{"webSearchQueries":["a"]}}],"usageMetadata":{"promptTokenCount":1}}`,
			`{"candidates":[{"groundingMetadata":{"webSearchQueries":["a","b"]}}],"usageMetadata":{"promptTokenCount":1}}`,
		}, 2},
	} {
		if u, _ := read(t, tt.form, tt.events...).Units(); u[usage.Searches] != tt.want {
			t.Errorf("%s: %d searches, want %d", tt.name, u[usage.Searches], tt.want)
		}
	}
}

// A total that is not the sum is told (protocols 12.8).
func TestMismatch(t *testing.T) {
	for text, want := range map[string]bool{
		`{"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}}`:                                                    false,
		`{"usage":{"prompt_tokens":8,"completion_tokens":2}}`:                                                                      false,
		`{"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":11}}`:                                                    true,
		`{"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":9}}`:                                                     true,
		`{"usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":17,"completion_tokens_details":{"reasoning_tokens":7}}}`: false,
	} {
		if got := read(t, usage.FormChat, text).Notes().Mismatch; got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// The output of other models is told apart up to as many as are kept, and never lost.
func TestOtherModels(t *testing.T) {
	var list []string
	for i := range 6 {
		list = append(list, fmt.Sprintf(`{"type":"advisor_message","model":"m%d","input_tokens":10,"output_tokens":1}`, i))
	}
	list = append(list, `{"type":"advisor_message","model":"`+strings.Repeat("m", 65)+`","input_tokens":10,"output_tokens":1}`, list[0])
	r := read(t, usage.FormMessages, `{"usage":{"input_tokens":5,"output_tokens":2,"iterations":[`+strings.Join(list, ",")+`]}}`)
	if u, _ := r.Units(); u[usage.Input] != 85 || u[usage.Output] != 10 {
		t.Errorf("in all %v", u)
	}
	model, units := r.Other(0)
	if r.Others() != 4 || string(model) != "m0" || units[usage.Input] != 20 || units[usage.Output] != 2 {
		t.Errorf("%d others, the first %s %v", r.Others(), model, units)
	}
}

// Classes are disjoint whatever a provider says of the parts: their sums are its own
// input and output.
func TestPartsNeverAddUpToMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func(name string) int64 { return rapid.Int64Range(0, 40).Draw(t, name) }
		in, out, read, write, audio, image, tool := n("in"), n("out"), n("read"), n("write"), n("audio"), n("image"), n("tool")
		for form, body := range map[usage.Form]string{
			usage.FormChat:      fmt.Sprintf(`{"usage":{"prompt_tokens":%d,"completion_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d,"cache_write_tokens":%d,"audio_tokens":%d,"image_tokens":%d},"completion_tokens_details":{"audio_tokens":%d,"image_tokens":%d}}}`, in+tool, out+read, read, write, audio, image, audio, image),
			usage.FormResponses: fmt.Sprintf(`{"usage":{"input_tokens":%d,"output_tokens":%d,"input_tokens_details":{"cached_tokens":%d,"cache_write_tokens":%d,"audio_tokens":%d}}}`, in+tool, out+read, read, write, audio),
			usage.FormImages:    fmt.Sprintf(`{"usage":{"input_tokens":%d,"output_tokens":%d,"input_tokens_details":{"image_tokens":%d},"output_tokens_details":{"image_tokens":%d}}}`, in+tool, out+read, image, audio),
			usage.FormGemini:    fmt.Sprintf(`{"usageMetadata":{"promptTokenCount":%d,"toolUsePromptTokenCount":%d,"candidatesTokenCount":%d,"thoughtsTokenCount":%d,"cachedContentTokenCount":%d,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":%d},{"modality":"IMAGE","tokenCount":%d}],"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":%d}],"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":%d}]}}`, in, tool, out, read, read, audio, image, write, image),
			usage.FormDashScope: fmt.Sprintf(`{"usage":{"input_tokens":%d,"output_tokens":%d,"image_tokens":%d,"audio_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d}}}`, in+tool, out+read, image, audio, read),
		} {
			var r usage.Reader
			r.Reset(form)
			if !r.Event([]byte(body)) {
				t.Fatalf("%s was not read", body)
			}
			u, _ := r.Units()
			for c := range usage.NumClasses {
				if u[c] < 0 {
					t.Fatalf("%s: %d of %s", body, u[c], c)
				}
			}
			if u.TotalInput() != in+tool || u.TotalOutput() != out+read {
				t.Fatalf("%s: %v is %d in and %d out, want %d and %d", body, u, u.TotalInput(), u.TotalOutput(), in+tool, out+read)
			}
		}
	})
}
