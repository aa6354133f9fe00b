package sdk

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The documented samples, as they are printed, with the relay in the place of
// https://relay.example (or http://127.0.0.1:8000, where the sample prints that) and
// a real key where YOUR_API_KEY stands or in the variable that the sample reads. S2
// asks for Claude on the Chat path: those answers are translated.
//
// A sample must end well and print what want matches; every variable that a document
// uses for the key is set.
var samples = []struct {
	name, file string
	want       string // regular expression over the whole output
	code       int    // exit code
	before     string // what the document leaves out
	decode     func(string) string
}{
	{name: "S0 curl", file: "s0.sh", want: chatAnswer},
	{name: "S0 curl Messages stream", file: "s0-messages.sh", want: messagesStream},
	{name: "S0 Python", file: "s0.py", want: someText, before: "import os\n"},
	{name: "S0 Node", file: "s0.mjs", want: someText},
	{name: "S0 Node Anthropic stream", file: "s0-anthropic.mjs", want: someText},
	{name: "S1 curl Chat", file: "s1-chat.sh", want: chatAnswer},
	{name: "S1 curl Messages", file: "s1-messages.sh", want: messageAnswer},
	{name: "S2 curl", file: "s2.sh", want: chatAnswer},
	{name: "S2 curl stream", file: "s2-stream.sh", want: chatStream},
	{name: "S2 Python", file: "s2.py", want: someText},
	{name: "S2 Node", file: "s2.mjs", want: someText},
	{name: "S3 curl", file: "s3.sh", want: chatAnswer},
	{name: "S3 Python", file: "s3.py", want: someText},
	{name: "S3 Python stream", file: "s3-stream.py", want: someText},
	{name: "S3 Node", file: "s3.mjs", want: someText},
	{name: "S3 Node stream", file: "s3-stream.mjs", want: someText},
	{name: "S4 curl", file: "s4.sh", want: chatAnswer},
	// Its quotes end early: curl sends no Content-Type and takes the two values for
	// further addresses, which it cannot resolve.
	{name: "S4 curl stream", file: "s4-stream.sh", want: chatStream, code: 6},
	{name: "S4 Python requests", file: "s4.py", want: `^200 \{'id': 'chatcmpl-.*'choices': \[\{`},
	// Its chunks are byte arrays, whose toString gives the numbers.
	{name: "S4 Node fetch stream", file: "s4.mjs", want: chatStream, decode: numbers},
	{name: "S4 LangChain", file: "s4-langchain.py", want: someText},
}

const (
	chatAnswer     = `^\{"id":"chatcmpl-.*"object":"chat.completion".*"content":"[^"]+.*"total_tokens":\d+`
	chatStream     = `(?s)^data: \{"id":"chatcmpl-.*"delta":\{.*"content":"[^"]+.*data: \[DONE\]\n\n$`
	messageAnswer  = `^\{.*"type":"message".*"text":"[^"]+.*"output_tokens":\d+`
	messagesStream = `(?s)^event: message_start\ndata: \{.*"text_delta".*event: message_stop\ndata: \{"type":"message_stop"\s*\}\n\n$`
	someText       = `(?s)^[^{}]{8,}$`
)

// S0-3, S2-7, S3-5, S3-7, S4-22.
func testSamples(t *testing.T, w *world, x *tools) {
	p := w.plans["samples"]
	python, scripts := x.Python(t, "python", "requirements.txt"), x.scripts(t)
	fill := strings.NewReplacer("https://relay.example", p.URL, "http://127.0.0.1:8000", p.URL, "YOUR_API_KEY", p.Keys["ok"], "YOUR_PROXY_API_KEY", p.Keys["ok"])
	dir := filepath.Join(x.folder("sdk"), "testdata/samples")
	env := environment(
		"TOKEN_RELAY_KEY="+p.Keys["ok"], "TOKEN_RELAY_API_KEY="+p.Keys["ok"], "TOKENROUTE_API_KEY="+p.Keys["ok"], "APP_API_KEY="+p.Keys["ok"], "BASE_URL="+p.URL,
		"CURL_HOME="+filepath.Join(x.folder("sdk"), "testdata/curl"),
	)
	used := map[string]bool{}
	for _, s := range samples {
		used[s.file] = true
		t.Run(s.name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, s.file))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(scripts, s.file)
			if err := os.WriteFile(file, []byte(s.before+fill.Replace(string(text))), 0o600); err != nil {
				t.Fatal(err)
			}
			program, args := "", []string{file}
			switch filepath.Ext(file) {
			case ".sh":
				program = "bash"
			case ".py":
				program, args = python, append([]string{"-B"}, args...)
			case ".mjs":
				program = "node"
			}
			out := run(t, env, s.code, program, args...)
			if s.decode != nil {
				out = s.decode(out)
			}
			expect(t, out, s.want)
		})
	}
	t.Run("S3 Go", func(t *testing.T) {
		printed := filepath.Join(x.folder("gosdk"), "alpha/printed/main.go")
		text, err := os.ReadFile(printed)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(fill.Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
		expect(t, run(t, env, 0, x.Go(t, "alpha", "./printed", map[string]string{printed: file})), someText)
	})
	readme(t, x, env, fill.Replace, python, scripts)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !used[f.Name()] {
			t.Errorf("%s is a sample that nothing runs", f.Name())
		}
	}
}

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// readme runs the README's own snippets.
func readme(t *testing.T, x *tools, env []string, fill func(string) string, python, scripts string) {
	page, err := os.ReadFile(filepath.Join(x.root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, m := range fence.FindAllStringSubmatch(string(page), -1) {
		language, text := m[1], fill(m[2])
		if language == "" && strings.HasPrefix(text, "curl ") {
			language = "curl"
		}
		name := "README " + language + " " + strconv.Itoa(seen[language])
		file := filepath.Join(scripts, strings.ReplaceAll(name, " ", "-"))
		var program []string
		want := someText
		switch language {
		case "curl":
			file, want, program = file+".sh", `^\{.*(chat\.completion|"success":true)`, []string{"bash"}
		case "python":
			file, program = file+".py", []string{python, "-B"}
		case "js":
			file, program = file+".mjs", []string{"node"}
		case "go":
			file += ".go"
		default:
			continue
		}
		seen[language]++
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if language == "go" {
				main := filepath.Join(x.folder("gosdk"), "current/readme/main.go") // exists in the overlay only
				program = []string{x.Go(t, "current", "./readme", map[string]string{main: file})}
			} else {
				program = append(program, file)
			}
			expect(t, run(t, env, 0, program[0], program[1:]...), want)
		})
	}
	for _, language := range []string{"curl", "python", "js", "go"} {
		if seen[language] == 0 {
			t.Errorf("the README has no snippet in %s", language)
		}
	}
}

// run gives what a program prints; it must end with the exit code.
func run(t *testing.T, env []string, code int, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = t.TempDir(), env, 5*time.Second
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Errorf("ended with %v, want exit code %d\n%s", err, code, errs.String())
	}
	return out.String()
}

func expect(t *testing.T, out, want string) {
	t.Helper()
	if !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("printed %.2000q, want a match of %s", out, want)
	}
}

// numbers is the text of a list of byte values, which is joined by nothing where one
// chunk ends and the next begins.
func numbers(list string) string {
	var b strings.Builder
	for field := range strings.SplitSeq(list, ",") {
		for field != "" {
			// Between chunks two numbers touch: the text is ASCII, and a chunk ends with a
			// newline (10).
			digits := field
			if rest, ok := strings.CutPrefix(field, "10"); ok && len(field) > 3 {
				digits, field = "10", rest
			} else {
				field = ""
			}
			n, err := strconv.Atoi(digits)
			if err != nil || n > 255 {
				return list
			}
			b.WriteByte(byte(n))
		}
	}
	return b.String()
}

// overlayFile tells the go command which files stand for which.
func overlayFile(t *testing.T, replace map[string]string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
