package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/config"
)

func testLauncher(env ...string) *launcher {
	l := &launcher{env: map[string]string{"RELAY_SECRET_KEY": "k"}, kept: map[string]string{config.RunDemoKey: "tsk_x"}, proxy: &config.Proxy{Listen: "0.0.0.0:8000"}}
	for i := 0; i < len(env); i += 2 {
		l.env[env[i]] = env[i+1]
	}
	return l
}

// interface 1: these ten, and no others.
func TestProviderKeys(t *testing.T) {
	want := []string{
		"ANTHROPIC_API_KEY", "DASHSCOPE_API_KEY", "DEEPSEEK_API_KEY", "GEMINI_API_KEY", "GROQ_API_KEY",
		"MISTRAL_API_KEY", "MOONSHOT_API_KEY", "OPENAI_API_KEY", "XAI_API_KEY", "ZAI_API_KEY",
	}
	if got := slices.Sorted(maps.Keys(providerOf)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// interface 3: all providers point to mockllm when no key is set; with some set the
// others have no keys and answer no_provider_keys.
func TestWantedCatalogue(t *testing.T) {
	f := testLauncher().wanted("127.0.0.1:8004")
	for _, p := range f.Providers {
		if p.BaseURL != "http://127.0.0.1:8004/"+p.Name+"/v1" || len(p.Keys) != 1 || strings.Contains(p.Keys[0].Secret, ":") {
			t.Errorf("with the mock: %+v", p)
		}
	}
	f = testLauncher("GROQ_API_KEY", "gsk").wanted("")
	for _, p := range f.Providers {
		if (len(p.Keys) == 1) != (p.Name == "groq") || !strings.HasPrefix(p.BaseURL, "https://") {
			t.Errorf("with groq's key: %+v", p)
		}
	}
	if _, err := catalogfile.Parse(catalogfile.Marshal(f)); err != nil {
		t.Errorf("what is applied is no catalogue: %v", err)
	}
}

func TestFingerprint(t *testing.T) {
	a := testLauncher("GROQ_API_KEY", "one")
	b := testLauncher("GROQ_API_KEY", "two")
	c := testLauncher("GROQ_API_KEY", "one", "RELAY_SECRET_KEY", "other")
	f := func(l *launcher) string { return l.fingerprint(l.wanted("")) }
	if f(a) != f(testLauncher("GROQ_API_KEY", "one")) {
		t.Error("not stable")
	}
	if f(a) == f(b) {
		t.Error("a changed provider key goes unnoticed")
	}
	if f(a) == f(c) {
		t.Error("the fingerprint is not keyed")
	}
}

func TestCurl(t *testing.T) {
	f := func(want string, mock bool, env ...string) {
		t.Helper()
		got := testLauncher(env...).curl(mock)
		for _, part := range strings.Split(want, " … ") {
			if !strings.Contains(got, part) {
				t.Errorf("%s lacks %s", got, part)
			}
		}
	}
	f(`curl http://127.0.0.1:8000/v1/chat/completions … "Authorization: Bearer tsk_x" … "model":"gpt-5-mini"`, true)
	f(`/v1/chat/completions … "model":"qwen-plus"`, false, "DASHSCOPE_API_KEY", "x")
	f(`/v1/messages … "model":"claude-haiku-4.5","max_tokens":256`, false, "ANTHROPIC_API_KEY", "x")
	// Every example is a model of its provider.
	shipped := catalogfile.Default()
	for _, e := range examples {
		i := slices.IndexFunc(shipped.Models, func(m catalogfile.Model) bool { return m.ID == e.model || slices.Contains(m.Aliases, e.model) })
		if i < 0 || shipped.Models[i].Routes[0].Provider != e.provider {
			t.Errorf("%s is no model of %s", e.model, e.provider)
		}
	}
}

// Children other than operator commands do not see the providers' keys.
func TestChildEnvironment(t *testing.T) {
	l := testLauncher("OPENAI_API_KEY", "sk", "PATH", "/bin")
	if got := l.environ(false); slices.Contains(got, "OPENAI_API_KEY=sk") || !slices.Contains(got, "PATH=/bin") {
		t.Errorf("a server gets %v", got)
	}
	if got := l.environ(true); !slices.Contains(got, "OPENAI_API_KEY=sk") {
		t.Errorf("a command gets %v", got)
	}
}

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8000": "127.0.0.1:8000", ":8000": "127.0.0.1:8000", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "127.0.0.1:1", "relay:80": "relay:80",
	} {
		if got := reachable(listen); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}

func TestExists(t *testing.T) {
	if !exists(&commandError{text: `admin client create: The client "demo" exists already.`, err: errors.New("exit status 1")}) {
		t.Error("not seen")
	}
	if exists(errors.New("exists already")) || exists(nil) {
		t.Error("seen where it is not")
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(strings.Repeat("a line that is not the last\n", 1000)+"the last\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(tail(path), "\n")
	if len(got) != 15 || got[14] != "    the last" {
		t.Errorf("got %q", got)
	}
	if tail(path+".none") != "" {
		t.Error("a log that is not there has lines")
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path); err == nil || !strings.Contains(err.Error(), "another make run") {
		t.Errorf("locked twice: %v", err)
	}
	unlock()
	again, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
