package translate

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func inputs(t *testing.T, pattern string) (names []string, bodies [][]byte) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(list) == 0 {
		t.Fatal("no inputs", err)
	}
	for _, p := range list {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		names, bodies = append(names, filepath.Base(p)), append(bodies, b)
	}
	return names, bodies
}

// One request of each kind, as every upstream gets it, and what was dropped.
func TestGoldenRequests(t *testing.T) {
	upstreams := map[chat.Protocol][]struct {
		name, model string
		dialect     openai.Dialect
	}{
		chat.Messages:  {{"claude-4.5", "claude-sonnet-4-5-20250929", 0}, {"claude-4.7", "claude-opus-4-7", 0}},
		chat.OpenAI:    {{"openai", "gpt-5.2", openai.OpenAI}, {"gpt-4o", "gpt-4o", openai.OpenAI}, {"deepseek", "deepseek-chat", openai.DeepSeek}, {"mistral", "mistral-large", openai.Mistral}, {"qwen", "qwen3-max", openai.Qwen}},
		chat.DashScope: {{"dashscope", "qwen-plus", 0}},
		chat.Gemini:    {{"gemini-2.5", "gemini-2.5-pro", 0}, {"gemini-3", "gemini-3.1-flash-preview", 0}},
		chat.Converse:  {{"bedrock-claude-4.5", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 0}, {"bedrock-claude-4.7", "anthropic.claude-opus-4-7-v1:0", 0}, {"bedrock-nova-2", "us.amazon.nova-2-lite-v1:0", 0}, {"bedrock-gpt-oss", "openai.gpt-oss-120b-1:0", 0}},
		chat.Cohere:    {{"cohere", "command-a-reasoning-08-2025", 0}},
	}
	for _, from := range sources() {
		names, bodies := inputs(t, "*."+short[from]+".json")
		for i, body := range bodies {
			var r chat.Request
			if err := Request(from, body, &r); err != nil {
				t.Fatalf("%s: %v", names[i], err)
			}
			r.Stream = r.Stream || from == chat.Gemini || from == chat.DashScope
			for _, target := range targets(from) {
				for _, to := range upstreams[target] {
					r.MaxTokens = 12_000
					out, err := AppendRequest(nil, &r, target, to.model, to.dialect)
					if err != nil {
						golden(t, strings.TrimSuffix(names[i], ".json")+"."+to.name, []byte("refused: "+err.Param+"\n"))
						continue
					}
					text := indent(out) + "\nx-relay-dropped: " + string(r.AppendDropped(nil)) + "\n"
					golden(t, strings.TrimSuffix(names[i], ".json")+"."+to.name, []byte(text))
				}
			}
		}
	}
}

// One stream of each kind, whole, byte by byte, and cut once at every byte boundary:
// the same output always.
func TestGoldenStreams(t *testing.T) {
	for _, from := range upstreamFormats() {
		names, bodies := inputs(t, "*."+short[from]+".sse")
		for i, body := range bodies {
			for _, to := range goldens(from) {
				out, _, _ := run(t, from, to, openai.OpenAI, body, true, true, 0)
				for cut := 1; cut < len(body); cut++ {
					again, _, _ := run(t, from, to, openai.OpenAI, body, true, true, cut)
					if !bytes.Equal(out, again) {
						t.Fatalf("%s: writes of %d bytes give\n%s\nwant\n%s", names[i], cut, again, out)
					}
					if cut == 64 && testing.Short() {
						break
					}
				}
				golden(t, names[i]+suffix(from, to), out)
			}
		}
	}
}

// Whole answers.
func TestGoldenAnswers(t *testing.T) {
	for _, from := range upstreamFormats() {
		names, bodies := inputs(t, "*."+short[from]+".answer.json")
		for i, body := range bodies {
			for _, to := range goldens(from) {
				out, _, _ := run(t, from, to, openai.OpenAI, body, false, true, 0)
				golden(t, names[i]+suffix(from, to), []byte(indent(out)+"\n"))
			}
		}
	}
}

// goldens are the customers that the answers of an upstream have golden files for: those
// of Responses have tests of their own.
func goldens(from chat.Protocol) (list []chat.Protocol) {
	for _, to := range customers(from) {
		if to != chat.Responses {
			list = append(list, to)
		}
	}
	return list
}

// suffix tells the target in the name of a golden file; Chat and Messages were there
// first and have none.
func suffix(from, to chat.Protocol) string {
	if from+to == chat.OpenAI+chat.Messages && from < chat.Converse {
		return ""
	}
	return "." + short[to]
}
