package translate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/shared/peek"
)

// node is an object, or a leaf, of a request.
type node struct {
	path string // names only: a.b[].c
	set  func(v any)
	was  any
	keys map[string]any // of an object
}

// nodes are all objects and leaves of a value.
func nodes(v any, path string, set func(any)) (list []node) {
	switch x := v.(type) {
	case map[string]any:
		list = append(list, node{path: path, keys: x})
		for k, e := range x {
			list = append(list, nodes(e, strings.TrimPrefix(path+"."+k, "."), func(v any) { x[k] = v })...)
		}
	case []any:
		for i, e := range x {
			list = append(list, nodes(e, path+"[]", func(v any) { x[i] = v })...)
		}
	default:
		list = append(list, node{path: path, set: set, was: v})
	}
	return list
}

// bodiesOf are the requests of a format that the table's tests have, and the large ones.
func bodiesOf(t *testing.T, from chat.Protocol) (list [][]byte) {
	t.Helper()
	base, from2 := bases[from], samples[from]
	if from == chat.Responses {
		base, from2 = responsesBase, responsesSamples
	}
	var paths []string
	for p := range from2 {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		list = append(list, overlay(t, base, from2[p]))
	}
	name := short[from]
	if from == chat.Responses {
		name = "responses"
	}
	_, large := inputs(t, "*."+name+".json")
	return append(list, large...)
}

// asked translates a body for each format of upstreams; f gets what came of it.
func asked(t *testing.T, from chat.Protocol, body []byte, f func(to chat.Protocol, out string, dropped []string, param string)) {
	t.Helper()
	shape := shapes[from]
	if from == chat.Responses {
		shape = peek.OpenAIResponses
	}
	var p peek.Request
	if peek.Scan(body, shape, &p) != nil {
		return // refused before, by the name of a member: peek's own tests have that
	}
	for _, to := range targets(from) {
		var r chat.Request
		var out []byte
		err := Request(from, body, &r)
		if err == nil {
			r.MaxTokens = 9000
			out, err = AppendRequest(nil, &r, to, models[to], openai.DeepSeek)
		}
		if err != nil {
			if err.Status != 400 || err.Param == "" {
				t.Fatalf("refused with %+v: %s", err, body)
			}
			f(to, "", nil, err.Param)
			continue
		}
		f(to, string(out), r.Dropped(), "")
	}
}

// A member that nobody knows, in any object of any request: it is named as dropped, the
// request is refused, or the object is passed on as it is (schemas, arguments), but the
// member is never lost without a word.
func TestUnknownLeaves(t *testing.T) {
	tried, lost := 0, map[string]bool{}
	for from := range chat.NumProtocols {
		if formats[from].decode == nil {
			continue
		}
		for _, body := range bodiesOf(t, from) {
			var v any
			if err := json.Unmarshal(body, &v); err != nil {
				t.Fatal(err)
			}
			for _, n := range nodes(v, "", nil) {
				if n.keys == nil {
					continue
				}
				n.keys["zz_unknown"] = "mark-7919"
				b, err := json.Marshal(v)
				delete(n.keys, "zz_unknown")
				if err != nil {
					t.Fatal(err)
				}
				asked(t, from, b, func(to chat.Protocol, out string, dropped []string, param string) {
					tried++
					if n.path == "metadata" && from == chat.Responses {
						return // free by its nature, and in the answer
					}
					if param != "" || strings.Contains(out, "mark-7919") || named(dropped, n.path, "zz_unknown") {
						return
					}
					lost[fmt.Sprintf("%v for %v: %s", from, to, n.path)] = true
				})
			}
		}
	}
	report(t, "unknown members", tried, lost)
}

// named reports whether a member, or an object around it, is told as dropped.
func named(dropped []string, path, key string) bool {
	full := strings.TrimPrefix(path+"."+key, ".")
	return slices.ContainsFunc(dropped, func(d string) bool {
		if strings.HasSuffix(d, key) {
			return true
		}
		// The object is dropped with all that is in it: by its path, by its kind, or as
		// the last message that the customer began.
		d, _, _ = strings.Cut(d, "type=")
		if d == "messages[-1]" || d != "" && strings.HasPrefix(full, strings.TrimSuffix(d, ".")) {
			return true
		}
		if d == "contents[].parts[].thought" { // the flag tells of the whole part
			return path == "contents[].parts[]"
		}
		return strings.EqualFold(d, strings.ReplaceAll(full, "_", "")) // Gemini's other spelling
	})
}

// elsewhere are the leaves that have done their work, or whose kind has no place at the
// other format, and why nobody is told.
var elsewhere = map[string]string{
	"model": "the upstream has a name of its own", "max_tokens": "the hold's cap is sent", "max_completion_tokens": "the hold's cap is sent",
	"maxOutputTokens": "the hold's cap is sent", "max_output_tokens": "the hold's cap is sent",
	"type": "it says what the object is", "format": "it says who signed", "index": "its place says the same", "id": "the relay's answers have ids of its own",
	"summary": "what the model shows is shown", "status": "what is sent back is complete", "include[]": "what the relay always sends", "name": "calls say it, schemas of answers need none",
	"thought_signature": "a proof goes to its maker only", "signature": "a proof goes to its maker only", "reasoning_content": "the same text is signed besides",
	"thinking": "the proof is sent back without its text", "filename": "data in a part have no name there", "media_type": "a text has none",
	"thinking_budget": "by the scale", "thinkingBudget": "by the scale", "budget_tokens": "by the scale",
	"temperature": "3 is beyond the range", "topP": "3 is beyond the range", "top_p": "3 is beyond the range",
}

// Every leaf of every request, given a value of its own: it reaches the upstream, it or
// what it is in is named as dropped, or the request is refused.
func TestMarkedLeaves(t *testing.T) {
	tried, lost := 0, map[string]bool{}
	for from := range chat.NumProtocols {
		if formats[from].decode == nil {
			continue
		}
		for _, body := range bodiesOf(t, from) {
			var v any
			if err := json.Unmarshal(body, &v); err != nil {
				t.Fatal(err)
			}
			for _, n := range nodes(v, "", nil) {
				if n.keys != nil {
					continue
				}
				var mark any
				shown := "mark7919"
				switch n.was.(type) {
				case string:
					mark = shown
				case float64:
					mark, shown = 3, "3"
				default:
					continue
				}
				n.set(mark)
				b, err := json.Marshal(v)
				n.set(n.was)
				if err != nil {
					t.Fatal(err)
				}
				asked(t, from, b, func(to chat.Protocol, out string, dropped []string, param string) {
					tried++
					at := strings.LastIndexByte(n.path, '.')
					key := n.path[at+1:]
					top, _, _ := strings.Cut(n.path, ".")
					if row := chat.Find(from, to, top); row != nil && row.Fate == chat.Emulated {
						return // the relay does it
					}
					if param != "" || strings.Contains(out, shown) || named(dropped, n.path[:max(0, at)], key) || elsewhere[key] != "" || n.path == "messages[].reasoning_details[].text" {
						return
					}
					lost[fmt.Sprintf("%v for %v: %s", from, to, n.path)] = true
				})
			}
		}
	}
	report(t, "marked leaves", tried, lost)
}

func report(t *testing.T, what string, tried int, lost map[string]bool) {
	t.Helper()
	var list []string
	for l := range lost {
		list = append(list, l)
	}
	slices.Sort(list)
	for _, l := range list {
		t.Errorf("%s: lost without a word: %s", what, l)
	}
	if tried < 1000 {
		t.Errorf("%d %s were tried", tried, what)
	}
	fmt.Printf("%d %s were tried\n", tried, what)
}
