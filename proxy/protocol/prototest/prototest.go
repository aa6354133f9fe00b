// Package prototest is for the tests of the wire lanes: recorded and hand-written
// exchanges from folders of one form, and an independent oracle, built on
// encoding/json, of what the relay may change in an answer (D8).
package prototest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"tokenrelay/shared/usage"
)

// Case is one exchange.
type Case struct {
	Name     string
	Protocol string
	Provider string
	Stream   bool
	Status   int
	Features []string
	Model    string // as the answer says it
	Request  []byte // body, re-encoded
	Body     []byte // the answer, byte for byte
	Usage    *Usage // nil when the provider reported none
}

// Usage is the normal form of what the provider reported.
type Usage struct {
	InputTotal    int64 `json:"input_total"`
	InputUncached int64 `json:"input_uncached"`
	CacheRead     int64 `json:"cache_read"`
	CacheWrite    int64 `json:"cache_write"`
	CacheWrite1h  int64 `json:"cache_write_1h"`
	OutputTotal   int64 `json:"output_total"`
	HiddenOutput  int64 `json:"hidden_output"`
	Reasoning     int64 `json:"reasoning"`
	InputAudio    int64 `json:"input_audio"`
	OutputAudio   int64 `json:"output_audio"`
	Extra         []struct {
		Input      int64 `json:"input_uncached"`
		CacheRead  int64 `json:"cache_read"`
		CacheWrite int64 `json:"cache_write"`
		Output     int64 `json:"output"`
	} `json:"extra_iterations"`
	Server struct {
		Searches int64 `json:"web_search_requests"`
	} `json:"server_tool_use"`
}

// Recordings reads the cases of one protocol from the folder that RECORDINGS
// names, or from ../shared/recordings beside the project. Where neither is there
// it says so in one line and returns none.
func Recordings(t testing.TB, protocol string) []Case {
	dir := os.Getenv("RECORDINGS")
	if dir == "" {
		root, err := os.Getwd()
		for err == nil {
			if _, e := os.Stat(filepath.Join(root, "go.mod")); e == nil {
				break
			}
			if filepath.Dir(root) == root {
				break
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "..", "shared", "recordings")
	}
	if _, err := os.Stat(dir); err != nil {
		fmt.Printf("%s: no recordings at %s; set RECORDINGS to replay them\n", protocol, dir)
		return nil
	}
	return Read(t, dir, protocol)
}

// Read reads the cases of one protocol below dir.
func Read(t testing.TB, dir, protocol string) (list []Case) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "case.json"))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(paths)
	for _, path := range paths {
		var j struct {
			Protocol, Provider, Model string
			Stream                    bool
			Status                    int
			Features                  []string
			Usage                     struct {
				Raw      json.RawMessage
				Expected *Usage
			}
			Expect struct{ Model string }
		}
		decode(t, path, &j)
		if j.Protocol != protocol {
			continue
		}
		var q struct{ Body json.RawMessage }
		decode(t, filepath.Join(filepath.Dir(path), "request.json"), &q)
		body, err := os.ReadFile(filepath.Join(filepath.Dir(path), "response.body"))
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, q.Body); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		c := Case{
			Name: filepath.Base(filepath.Dir(path)), Protocol: j.Protocol, Provider: j.Provider, Stream: j.Stream,
			Status: j.Status, Features: j.Features, Model: j.Expect.Model, Request: compact.Bytes(), Body: body,
		}
		if string(j.Usage.Raw) != "null" {
			c.Usage = j.Usage.Expected
		}
		if c.Usage != nil && c.Protocol == "openai.responses" {
			c.Usage.Server.Searches = c.searched()
		}
		if c.Usage != nil && strings.HasPrefix(c.Protocol, "gemini.") {
			var raw struct{ CacheTokensDetails []modality }
			if len(j.Usage.Raw) > 0 {
				decodeBytes(t, j.Usage.Raw, &raw)
			}
			for _, d := range raw.CacheTokensDetails {
				if d.Modality == "AUDIO" {
					c.Usage.InputAudio -= d.TokenCount // what is cached is billed as that
				}
			}
			c.Usage.Server.Searches = c.grounded(t)
		}
		if c.Usage != nil && c.Protocol == "dashscope.text" {
			var raw struct {
				Plugins struct{ Search struct{ Count int64 } }
			}
			if len(j.Usage.Raw) > 0 && json.Unmarshal(j.Usage.Raw, &raw) == nil {
				c.Usage.Server.Searches = raw.Plugins.Search.Count
			}
		}
		list = append(list, c)
	}
	return list
}

type modality struct {
	Modality   string
	TokenCount int64
}

// grounded counts the different searches that a Gemini answer tells of.
func (c *Case) grounded(t testing.TB) int64 {
	seen := map[string]bool{}
	for _, line := range bytes.Split(c.Body, []byte("\r\n")) {
		data, stream := bytes.CutPrefix(line, []byte("data: "))
		if c.Stream && !stream {
			continue
		}
		if !c.Stream {
			data = c.Body
		}
		var v struct {
			Candidates []struct {
				GroundingMetadata struct{ WebSearchQueries []string }
			}
		}
		decodeBytes(t, data, &v)
		for _, x := range v.Candidates {
			for _, q := range x.GroundingMetadata.WebSearchQueries {
				if q != "" {
					seen[q] = true
				}
			}
		}
		if !c.Stream {
			break
		}
	}
	return int64(len(seen))
}

func decodeBytes(t testing.TB, b []byte, v any) {
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
}

func decode(t testing.TB, path string, v any) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Compare says how units differ from what the provider reported, "" if they agree.
func (u *Usage) Compare(got usage.Units) string {
	var extra usage.Units
	for _, x := range u.Extra {
		extra[usage.Input] += x.Input
		extra[usage.CacheRead] += x.CacheRead
		extra[usage.CacheWrite] += x.CacheWrite
		extra[usage.Output] += x.Output
	}
	var diff []string
	check := func(what string, got, want int64) {
		if got != want {
			diff = append(diff, fmt.Sprintf("%s %d, want %d", what, got, want))
		}
	}
	check("cache_read", got[usage.CacheRead], u.CacheRead+extra[usage.CacheRead])
	check("cache_write", got[usage.CacheWrite]+got[usage.CacheWrite1h], u.CacheWrite+extra[usage.CacheWrite])
	check("cache_write_1h", got[usage.CacheWrite1h], u.CacheWrite1h)
	check("uncached", got[usage.Input]+got[usage.AudioIn]+got[usage.ImageIn], u.InputUncached+extra[usage.Input])
	check("audio in", got[usage.AudioIn], u.InputAudio)
	check("audio out", got[usage.AudioOut], u.OutputAudio)
	check("output", got[usage.Output]+got[usage.AudioOut]+got[usage.ImageOut], u.OutputTotal+u.HiddenOutput+extra[usage.Output])
	check("searches", got[usage.Searches], u.Server.Searches)
	return strings.Join(diff, "; ")
}

// Rules say what the oracle changes in one JSON text.
type Rules struct {
	Model     map[string]bool // paths of members that hold a model name
	NewModel  string          // "" = leave
	Cut       map[string]bool // paths of members to cut, array indexes as []
	CutPrefix []string        // path prefixes of members to cut
}

// Apply makes the same changes as the relay by another way: encoding/json's tokens
// and their offsets.
func (r *Rules) Apply(text []byte) []byte {
	type frame struct {
		object bool
		path   string
		key    string
		isKey  bool
		kept   bool
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	type edit struct {
		from, to int
		with     string
	}
	var edits []edit
	var stack []frame
	skipDepth, cutFrom := -1, 0
	for {
		before := int(dec.InputOffset())
		tok, err := dec.Token()
		if err != nil {
			break
		}
		after := int(dec.InputOffset())
		top := len(stack) - 1
		if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
			stack = stack[:top]
			if skipDepth == len(stack) {
				edits = append(edits, edit{from: cutFrom, to: after})
				skipDepth = -1
			}
			if n := len(stack) - 1; n >= 0 && stack[n].object {
				stack[n].isKey = true
			}
			continue
		}
		if top >= 0 && stack[top].object && stack[top].isKey {
			stack[top].key, stack[top].isKey = tok.(string), false
			path := stack[top].path + "." + stack[top].key
			cut := r.Cut[path]
			for _, p := range r.CutPrefix {
				cut = cut || strings.HasPrefix(path, p)
			}
			if cut && skipDepth < 0 {
				skipDepth = len(stack)
				cutFrom = before // the comma before the name, if there is one
				if !stack[top].kept {
					// First: from its name to the next name.
					cutFrom = -(before + 1)
				}
			} else if skipDepth < 0 {
				stack[top].kept = true
			}
			continue
		}
		path := ""
		if top >= 0 {
			path = stack[top].path + "[]"
			if stack[top].object {
				path = stack[top].path + "." + stack[top].key
			}
		}
		if d, ok := tok.(json.Delim); ok {
			stack = append(stack, frame{object: d == '{', path: path, isKey: d == '{'})
			continue
		}
		if s, ok := tok.(string); ok && r.NewModel != "" && r.Model[path] && skipDepth < 0 {
			q, _ := json.Marshal(s)
			at := bytes.LastIndex(text[:after], q)
			nw, _ := json.Marshal(r.NewModel)
			edits = append(edits, edit{from: at, to: after, with: string(nw)})
		}
		if top >= 0 && stack[top].object {
			stack[top].isKey = true
			if skipDepth == len(stack) {
				edits = append(edits, edit{from: cutFrom, to: after})
				skipDepth = -1
			}
		}
	}
	var out []byte
	pos := 0
	for _, e := range edits {
		if e.from < 0 { // first member: keep up to its name, drop through the comma
			e.from = -e.from - 1
			for text[e.from] != '"' {
				e.from++
			}
			for e.to < len(text) && text[e.to] != ',' && text[e.to] != '}' {
				e.to++
			}
			if text[e.to] == ',' {
				e.to++
				for text[e.to] == ' ' || text[e.to] == '\n' {
					e.to++
				}
			}
		}
		out = append(out, text[pos:e.from]...)
		out = append(out, e.with...)
		pos = e.to
	}
	return append(out, text[pos:]...)
}
