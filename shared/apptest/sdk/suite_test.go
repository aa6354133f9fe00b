package sdk

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// suiteTime is the most that a suite's program may take.
const suiteTime = 3 * time.Minute

// line is what a suite's program reports, one JSON object a line.
type line struct {
	Versions map[string]string `json:"versions"`
	Name     string            `json:"name"`
	OK       bool              `json:"ok"`
	Detail   string            `json:"detail"`
	MS       int64             `json:"ms"`
}

// suite runs a program and makes a subtest of each scenario that it reports. It must
// report exactly the wanted ones, once each.
func suite(t *testing.T, w *world, name string, wanted []string, dir, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), suiteTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	cmd.Env = environment("RELAY_SDK_PLAN=" + w.planFile(t, name))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]line{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Errorf("printed %q", lines.Text())
			continue
		}
		if l.Versions != nil {
			t.Logf("versions: %v", l.Versions)
			continue
		}
		if _, again := seen[l.Name]; again {
			t.Errorf("%s is reported twice", l.Name)
		}
		seen[l.Name] = l
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the suite ended with %v:\n%s", err, errs.String())
	}
	for _, name := range wanted {
		t.Run(name, func(t *testing.T) {
			l, ok := seen[name]
			switch {
			case !ok:
				t.Error("did not run")
			case !l.OK:
				t.Error(l.Detail)
			default:
				t.Logf("%d ms", l.MS)
			}
		})
		delete(seen, name)
	}
	for name := range seen {
		t.Errorf("%s ran and is not in the list of what must run", name)
	}
}

// What each suite must show. The lists are here and not in the suites, so that a
// scenario cannot get lost.
var (
	openAIScenarios = []string{
		"openai plain", "openai stream", "openai stream with usage", "openai tools", "openai tools stream", "openai models", "openai embeddings", "openai completions", "openai pinned base url",
		"openai 401 unknown key", "openai 401 disabled key", "openai 402", "openai 403 key scope", "openai 403 group",
		"openai 400 unknown model", "openai 400 from upstream", "openai 429", "openai 429 provider paused",
		"openai 502", "openai 502 stream", "openai 503 all down", "openai 503 no provider keys",
		"openai retries 429", "openai does not retry 402 and 403",
	}
	anthropicScenarios = []string{
		"anthropic plain", "anthropic stream", "anthropic tools", "anthropic tools stream", "anthropic models",
		"anthropic 401", "anthropic 402", "anthropic 403", "anthropic 400", "anthropic 429", "anthropic 502", "anthropic 502 stream", "anthropic 503",
		"anthropic retries 429", "anthropic does not retry 402 and 403",
	}
	responsesScenarios = []string{
		"responses plain", "responses stream", "responses tools", "responses structured", "responses stored", "responses typed errors",
	}
	besideScenarios = []string{
		"openai speech", "openai speech events", "openai transcription", "openai transcription text", "openai transcription stream", "openai translation",
		"openai images", "openai images edit", "openai images stream", "openai moderations", "responses input tokens", "anthropic count tokens",
	}
	// Models of providers of other protocols.
	crossedScenarios = []string{"openai other protocols", "anthropic other protocols", "responses other protocols"}
	pythonScenarios  = []string{"langchain other protocols", "langchain invoke", "langchain stream", "langchain tools", "langchain typed error", "requests"}
	nodeScenarios    = []string{"fetch stream"}
	geminiScenarios  = []string{
		"gemini plain", "gemini stream", "gemini thoughts", "gemini tools", "gemini tools stream", "gemini chat", "gemini structured output",
		"gemini picture", "gemini output cap", "gemini count tokens", "gemini embeddings", "gemini models", "gemini 401", "gemini 402", "gemini 403", "gemini 400",
		"gemini 429", "gemini 501", "gemini 502", "gemini 503",
	}
	dashScopeScenarios = []string{
		"dashscope plain", "dashscope text", "dashscope stream", "dashscope stream repeats", "dashscope thinking", "dashscope tools", "dashscope tools stream",
		"dashscope async", "dashscope 401", "dashscope 402", "dashscope 403", "dashscope 400", "dashscope 429", "dashscope 502", "dashscope 503",
		"dashscope error amid a stream",
	}
)

func list(parts ...[]string) []string {
	var all []string
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// S2-14, S3-3.
func testPython(t *testing.T, w *world, x *tools) {
	suite(t, w, "python", list(openAIScenarios, anthropicScenarios, responsesScenarios, besideScenarios, crossedScenarios, pythonScenarios), t.TempDir(), x.Python(t, "python", "requirements.txt"), "-B", filepath.Join(x.folder("python"), "suite.py"))
}

// testDashScope is DashScope's SDK against every kind of upstream. It wants many
// packages, which are kept apart from those of the others.
func testDashScope(t *testing.T, w *world, x *tools) {
	suite(t, w, "dashscope", dashScopeScenarios, t.TempDir(), x.Python(t, "python-dashscope", "native/requirements.txt"), "-B", filepath.Join(x.folder("python"), "native.py"))
}

func testNode(t *testing.T, w *world, x *tools) { node(t, w, x, "node", "openai") }

// The current openai major asks for a newer Node than long-term support distributions
// ship; it is run as well.
func testNodeNext(t *testing.T, w *world, x *tools) { node(t, w, x, "node-next", "openai-next") }

func node(t *testing.T, w *world, x *tools, name, openai string) {
	dir := x.scripts(t)
	for _, f := range []string{"harness.mjs", "suite.mjs"} {
		copyFile(t, filepath.Join(dir, f), filepath.Join(x.folder("node"), f))
	}
	suite(t, w, name, list(openAIScenarios, anthropicScenarios, responsesScenarios, besideScenarios, crossedScenarios, nodeScenarios), dir, "node", "suite.mjs", openai)
}

// testGemini is Google's SDK against every kind of upstream.
func testGemini(t *testing.T, w *world, x *tools) {
	dir := x.scripts(t)
	for _, f := range []string{"harness.mjs", "gemini.mjs"} {
		copyFile(t, filepath.Join(dir, f), filepath.Join(x.folder("node"), f))
	}
	suite(t, w, "gemini", geminiScenarios, dir, "node", "gemini.mjs")
}

func testGo(t *testing.T, w *world, x *tools) {
	suite(t, w, "go", list(openAIScenarios, responsesScenarios, crossedScenarios[:1]), t.TempDir(), x.Go(t, "current", ".", nil))
}

func testGoAlpha(t *testing.T, w *world, x *tools) {
	suite(t, w, "go-alpha", openAIScenarios, t.TempDir(), x.Go(t, "alpha", ".", nil))
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
