package sdk

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// runnable are the languages of the documentation whose snippets are programs; the
// others are output, configuration, or commands that install things.
var runnable, shown = []string{"bash", "python", "js", "go"}, []string{"text", "json", "yaml"}

var (
	docFence = regexp.MustCompile("(?ms)^```(\\S*) ?([^\n]*)\n(.*?)^```$")
	failure  = regexp.MustCompile(`"error"\s*:\s*\{|"success"\s*:\s*false|^curl: `)
)

// testDocs runs every snippet of docs/site as its reader would, with this relay's address
// in the place of the printed one. A snippet whose fence says `fails` shows an error,
// one that says `operator` has the operator's settings and the admin program, one that
// says `native` needs DashScope's SDK.
func testDocs(t *testing.T, w *world, x *tools) {
	p := w.plans["docs"]
	python, native, scripts := x.Python(t, "python", "requirements.txt"), x.Python(t, "python-dashscope", "native/requirements.txt"), x.scripts(t)
	customer := environment("TOKEN_RELAY_KEY="+p.Keys["ok"], "CURL_HOME="+filepath.Join(x.folder("sdk"), "testdata/curl"))
	operator := append(w.OperatorEnv(), "CURL_HOME="+filepath.Join(x.folder("sdk"), "testdata/curl"))
	pages, err := filepath.Glob(filepath.Join(x.root, "docs/site/*/*.md"))
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages of documentation, %v", len(pages), err)
	}
	w.operator(t, "/admin/v1/clients", `{"name":"default","credit":"1"}`)
	seen := map[string]int{}
	for _, page := range pages {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(page)) + "-" + strings.TrimSuffix(filepath.Base(page), ".md")
		for i, m := range docFence.FindAllStringSubmatch(string(raw), -1) {
			language, marks, code := m[1], strings.Fields(regexp.MustCompile(`title="[^"]*"`).ReplaceAllString(m[2], "")), m[3]
			if slices.Contains(shown, language) {
				continue
			}
			if !slices.Contains(runnable, language) {
				t.Errorf("%s has a snippet in %q, which nothing runs", name, language)
				continue
			}
			seen[language]++
			t.Run(name+" "+strconv.Itoa(i)+" "+language, func(t *testing.T) {
				t.Parallel()
				file := filepath.Join(scripts, name+"-"+strconv.Itoa(i)+map[string]string{"bash": ".sh", "python": ".py", "js": ".mjs", "go": ".go"}[language])
				if err := os.WriteFile(file, []byte(strings.ReplaceAll(code, "http://127.0.0.1:8000", p.URL)), 0o600); err != nil {
					t.Fatal(err)
				}
				env, program := customer, []string{}
				switch language {
				case "bash":
					program = []string{"bash", "-e", file}
				case "python":
					program = []string{python, "-B", file}
				case "js":
					program = []string{"node", file}
				case "go":
					program = []string{x.Go(t, "current", "./docs", map[string]string{filepath.Join(x.folder("gosdk"), "current/docs/main.go"): file})}
				}
				if slices.Contains(marks, "native") {
					program[0] = native
				}
				if slices.Contains(marks, "operator") {
					env = operator
				}
				out := run(t, env, 0, program[0], program[1:]...)
				if strings.TrimSpace(out) == "" {
					t.Error("printed nothing")
				}
				if wrong := slices.Contains(marks, "fails"); failure.MatchString(out) != wrong {
					t.Errorf("an error is expected: %v; printed %.2000s", wrong, out)
				}
			})
		}
	}
	for _, language := range runnable {
		if seen[language] == 0 {
			t.Errorf("the documentation has no snippet in %s", language)
		}
	}
}
