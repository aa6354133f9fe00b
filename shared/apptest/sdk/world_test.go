package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/catalogfile"
)

// plan is what a suite's program is told.
type plan struct {
	URL    string            `json:"url"`
	Keys   map[string]string `json:"keys"`
	Models models            `json:"models"`
}

// models show one behaviour each. Those that fail are for one scenario of one suite
// each: failures open the breaker of their route.
type models struct {
	Chat         string   `json:"chat"`
	Claude       string   `json:"claude"`    // an alias
	ClaudeID     string   `json:"claude_id"` // its model as listed
	Gemini       string   `json:"gemini"`    // served by Google
	Gemini3      string   `json:"gemini_3"`  // the same, and wants signatures back
	Qwen         string   `json:"qwen"`      // served by DashScope itself
	Paused       string   `json:"paused"`
	Down         string   `json:"down"`
	DownClaude   string   `json:"down_claude"`
	Keyless      string   `json:"keyless"`
	Broken       []string `json:"broken"`
	BrokenClaude []string `json:"broken_claude"`
}

// suites have a customer, keys and broken models of their own, so that they can run
// side by side.
var suites = []string{"python", "node", "node-next", "go", "go-alpha", "bodies", "samples", "gemini", "dashscope", "docs", "replay"}

const brokenEach = 2

// catalogue is the shipped one with the mock provider behind every provider, as the
// launcher does it without provider keys, and models that show faults.
func catalogue(mock string) *catalogfile.File {
	f := catalogfile.Default()
	for i := range f.Providers {
		p := &f.Providers[i]
		p.BaseURL = mock + "/" + p.Name + "/v1"
		p.Keys = []catalogfile.ProviderKey{{Name: "main", Secret: "sk-mock-" + p.Name}}
	}
	// Models of other units are shipped without a price.
	for id, p := range map[string]catalogfile.Prices{
		"tts-1": {"characters": "15"}, "gpt-4o-mini-tts": {"input": "0.6", "audio_out": "12"}, "whisper-1": {"seconds": "0.0001"},
		"gpt-4o-transcribe": {"input": "2.5", "audio_in": "6", "output": "10"}, "gpt-image-1": {"input": "5", "image_in": "10", "image_out": "40"},
	} {
		f.Models[slices.IndexFunc(f.Models, func(m catalogfile.Model) bool { return m.ID == id })].Price = p
	}
	provider := func(name, protocol, url string) {
		f.Providers = append(f.Providers, catalogfile.Provider{Name: name, Protocol: protocol, Dialect: protocol, BaseURL: url, Keys: []catalogfile.ProviderKey{{Name: "main", Secret: "sk-mock-" + name}}})
	}
	model := func(id, provider string) {
		f.Models = append(f.Models, catalogfile.Model{
			ID: id, ContextTokens: 128000, MaxOutputTokens: 16384,
			Routes: []catalogfile.Route{{Provider: provider, Model: "upstream-" + id}},
			Price:  catalogfile.Prices{"input": "1", "output": "2"},
		})
	}
	const nobody = "http://127.0.0.1:9/v1"
	provider("paused", "openai", mock+"/paused/v1")
	provider("down", "openai", nobody)
	provider("down-claude", "anthropic", nobody)
	provider("keyless", "openai", mock+"/keyless/v1")
	f.Providers[len(f.Providers)-1].Keys = nil
	provider("native", "dashscope", mock+"/native/api/v1")
	model("test-qwen", "native")
	model("test-paused", "paused")
	model("test-keyless", "keyless")
	for _, s := range suites {
		model(down(s), "down")
		model(downClaude(s), "down-claude")
		for i := range brokenEach {
			model(broken(s, i), "openai")
			model(brokenClaude(s, i), "anthropic")
		}
	}
	f.Groups = append(f.Groups, catalogfile.Group{Name: "narrow", Models: []string{"gpt-4o-mini"}, Multiplier: "1"})
	return f
}

func down(suite string) string          { return "test-down-" + suite }
func downClaude(suite string) string    { return "test-down-claude-" + suite }
func broken(suite string, i int) string { return fmt.Sprintf("test-broken-%s-%d", suite, i) }
func brokenClaude(suite string, i int) string {
	return fmt.Sprintf("test-broken-claude-%s-%d", suite, i)
}

// world is the running relay and what the suites are told.
type world struct {
	*apptest.Stack
	plans map[string]plan
	dir   string
}

func newWorld(t *testing.T, wanted []string) *world {
	t.Helper()
	recordings, recorded := "", false
	if slices.Contains(wanted, "replay") {
		recordings, recorded = fixtures.Recordings()
	}
	s := apptest.Start(t, apptest.Options{Catalogue: "-", Recordings: recordings})
	f := catalogue(s.MockURL)
	if recorded {
		if err := replayCatalogue(f, s.MockURL, recordings); err != nil {
			t.Fatal(err)
		}
	}
	s.Apply(string(catalogfile.Marshal(f)))
	s.WaitReady()
	w := &world{Stack: s, plans: map[string]plan{}, dir: t.TempDir()}
	w.operator(t, "/admin/v1/providers/paused/pause", "")
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, name := range wanted {
		wg.Go(func() {
			p := w.customer(t, name)
			mu.Lock()
			defer mu.Unlock()
			w.plans[name] = p
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	w.waitPaused(t, wanted[0])
	return w
}

// operator calls the operator's API; it may be called from any goroutine.
func (w *world) operator(t *testing.T, path, body string) map[string]any {
	t.Helper()
	var r *http.Response
	req, err := http.NewRequest("POST", w.AdminURLs[0]+path, strings.NewReader(body))
	if err == nil {
		req.Header.Set("Authorization", "Bearer "+w.OperatorToken)
		req.Header.Set("Content-Type", "application/json")
		r, err = apptest.HTTP.Do(req)
	}
	if err != nil {
		t.Errorf("POST %s: %v", path, err)
		return nil
	}
	defer func() { _ = r.Body.Close() }()
	var answer struct {
		Data map[string]any `json:"data"`
	}
	var raw bytes.Buffer
	_, _ = raw.ReadFrom(r.Body)
	if r.StatusCode/100 != 2 || json.Unmarshal(raw.Bytes(), &answer) != nil {
		t.Errorf("POST %s: %d %s", path, r.StatusCode, raw.String())
	}
	return answer.Data
}

// customer makes the wallets and keys of one suite.
func (w *world) customer(t *testing.T, suite string) plan {
	rich, broke, narrow := "rich-"+suite, "broke-"+suite, "narrow-"+suite
	for _, c := range []struct{ name, credit, group string }{{rich, "1000", "default"}, {broke, "0", "default"}, {narrow, "10", "narrow"}} {
		w.operator(t, "/admin/v1/clients", fmt.Sprintf(`{"name":%q,"credit":%q,"group":%q}`, c.name, c.credit, c.group))
	}
	p := plan{URL: w.Proxy(0).URL, Keys: map[string]string{}, Models: models{
		Chat: "gpt-5.4-mini", Claude: "claude-sonnet-4.5", ClaudeID: "claude-sonnet-4-5", Gemini: "gemini-2.5-flash", Gemini3: "gemini-3-flash-preview", Qwen: "test-qwen", Paused: "test-paused", Down: down(suite), DownClaude: downClaude(suite), Keyless: "test-keyless",
	}}
	for i := range brokenEach {
		p.Models.Broken = append(p.Models.Broken, broken(suite, i))
		p.Models.BrokenClaude = append(p.Models.BrokenClaude, brokenClaude(suite, i))
	}
	for _, k := range []struct{ name, client, more string }{
		{"ok", rich, ``},
		{"disabled", rich, ``},
		{"broke", broke, ``},
		{"narrow", narrow, ``},
		{"scoped", rich, `,"allowed_model_ids":["gpt-4o-mini"]`},
		{"rpm_openai", rich, `,"rpm":1`},
		{"rpm_anthropic", rich, `,"rpm":1`},
		{"tpm_openai", rich, `,"tpm":60000`},
		{"tpm_anthropic", rich, `,"tpm":60000`},
	} {
		key := w.operator(t, "/admin/v1/clients/"+k.client+"/api-keys", fmt.Sprintf(`{"name":%q%s}`, k.name, k.more))
		p.Keys[k.name], _ = key["token"].(string)
		if p.Keys[k.name] == "" {
			t.Errorf("no token for %s: %v", k.name, key)
		}
		if k.name == "disabled" {
			w.operator(t, fmt.Sprintf("/admin/v1/api-keys/%v/disable", key["id"]), "")
		}
	}
	return p
}

// waitPaused waits until the proxy knows the last thing that was set.
func (w *world) waitPaused(t *testing.T, suite string) {
	t.Helper()
	apptest.Eventually(t, 5*time.Second, "the paused provider is known to the proxy", func() bool {
		r := w.Proxy(0).Do(apptest.Chat(w.plans[suite].Keys["ok"], "test-paused", "hello"))
		return r.Code() == "provider_paused"
	})
}

// planFile writes a suite's plan where its program reads it.
func (w *world) planFile(t *testing.T, suite string) string {
	t.Helper()
	b, err := json.Marshal(w.plans[suite])
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.dir, suite+".json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
