package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/catalogfile"
)

// replayed are the protocols whose recorded answers the official SDKs read through the
// relay, and the relay's names for them.
var replayed = map[string]string{
	"openai.chat": "openai", "openai.completions": "openai", "openai.responses": "openai", "openai.embeddings": "openai",
	"anthropic.messages": "anthropic", "gemini.generate": "gemini", "gemini.stream": "gemini",
}

// replayCatalogue adds a model for each recorded case, in the order in which the program
// that replays them counts.
func replayCatalogue(f *catalogfile.File, mock, dir string) error {
	cases, err := fixtures.Load(dir)
	if err != nil {
		return err
	}
	byID := map[string]*fixtures.Case{}
	for _, c := range cases {
		byID[c.ID] = c
	}
	folders, err := filepath.Glob(filepath.Join(dir, "*", "case.json")) // sorted
	if err != nil {
		return err
	}
	for i, file := range folders {
		c := byID[filepath.Base(filepath.Dir(file))]
		if c == nil || replayed[c.Protocol] == "" {
			continue
		}
		protocol := replayed[c.Protocol]
		// Each has a provider of its own: what an error says of its key is said of no other.
		name := fmt.Sprintf("replay-%d", i)
		base := "/v1"
		if protocol == "gemini" {
			base = "/v1beta"
		}
		p := catalogfile.Provider{Name: name, Protocol: protocol, BaseURL: mock + "/" + name + base, Keys: []catalogfile.ProviderKey{{Name: "main", Secret: "sk-mock-replay"}}}
		if protocol == "openai" {
			p.Dialect = c.Provider
		}
		f.Providers = append(f.Providers, p)
		f.Models = append(f.Models, catalogfile.Model{
			ID: name, ContextTokens: 1_000_000, MaxOutputTokens: 100_000,
			Routes: []catalogfile.Route{{Provider: name, Model: "case:" + c.ID}},
			Price:  catalogfile.Prices{"input": "0.01", "cache_read": "0.01", "cache_write": "0.01", "output": "0.01", "audio_in": "0.01", "audio_out": "0.01", "searches": "0.001"},
		})
	}
	return nil
}

// testReplay: the official SDKs read every recorded answer through the relay as they read
// it from the provider; no case is worse than without the relay.
func testReplay(t *testing.T, w *world, x *tools) {
	dir, ok := fixtures.Recordings()
	if !ok {
		fmt.Println("no recordings folder: set RECORDINGS=DIR to read recorded answers through the relay with the official SDKs")
		return
	}
	scripts := x.scripts(t)
	copyFile(t, filepath.Join(scripts, "replay.mjs"), filepath.Join(dir, "replay/replay.mjs"))
	copyFile(t, filepath.Join(scripts, "through.mjs"), filepath.Join(x.folder("node"), "through.mjs"))
	p := w.plans["replay"]
	b, err := json.Marshal(map[string]string{"url": p.URL, "token": p.Keys["ok"]})
	if err != nil {
		t.Fatal(err)
	}
	plan := filepath.Join(t.TempDir(), "plan.json")
	if err := os.WriteFile(plan, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cases, err := fixtures.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	// run gives what failed by case.
	run := func(env []string, args ...string) map[string]string {
		ctx, cancel := context.WithTimeout(t.Context(), suiteTime)
		defer cancel()
		out, err := command(ctx, scripts, env, "node", append(args, "replay.mjs", dir)...)
		if err != nil {
			t.Fatal(err)
		}
		failed := map[string]string{}
		lines := strings.Split(string(out), "\n")
		for i, l := range lines {
			if id, ok := strings.CutPrefix(l, "- "); ok {
				detail := ""
				if i+1 < len(lines) {
					detail = strings.TrimSpace(lines[i+1])
				}
				failed[strings.TrimSpace(id)] = detail
			}
		}
		if !strings.Contains(string(out), "openai.chat") {
			t.Fatalf("nothing was replayed: %s", out)
		}
		return failed
	}
	direct := run(environment())
	through := run(environment("RELAY_REPLAY_PLAN="+plan), "--import", "./through.mjs")
	read := 0
	for _, c := range cases {
		if c.Status != 200 || replayed[c.Protocol] == "" || c.Method == "GET" || c.Has("error_in_stream") || c.Has("malformed_on_purpose") || c.Provider == "broken" {
			continue // what becomes of errors is the relay's own affair
		}
		read++
		// What the provider says that it costs us is taken out of the usage.
		if why, bad := through[c.ID]; bad && direct[c.ID] == "" && (!bytes.Contains(c.Body, []byte(`"cost`)) || !strings.HasPrefix(why, "usage: ") || strings.Contains(why, " | ")) {
			t.Errorf("%s: %s", c.ID, why)
		}
	}
	fmt.Printf("%d recorded answers read by the official SDKs through the relay; %d cases differ without it, %d with it\n", read, len(direct), len(through))
}
