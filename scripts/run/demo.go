package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"tokenrelay/shared/config"
)

const (
	demoClient    = "demo"
	demoCredit    = "10"
	operatorEmail = "operator@example.com"
)

// demo makes the demo client with its key and the operator's account, once.
func (l *launcher) demo(ctx context.Context, fresh bool) error {
	keyed := l.kept[config.RunDemoKey] != "" && !fresh && l.accepted(ctx)
	manned := !fresh && l.kept[config.RunOperatorPassword] != ""
	if keyed && manned {
		return nil
	}
	// The client and its credit are one step, so that a start that was broken off
	// here does not credit twice.
	if _, err := l.command(ctx, "", "client", "create", demoClient, "--credit", demoCredit, "--json"); err != nil && !exists(err) {
		return err
	}
	// The operator also belongs to the demo client: one sign-in sees both sides.
	if !manned {
		if err := l.operator(ctx); err != nil {
			return err
		}
	}
	if keyed {
		return nil
	}
	out, err := l.command(ctx, "", "key", "create", "--client", demoClient, "--name", "make run", "--json")
	if err != nil {
		return err
	}
	var key struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(out, &key); err != nil || key.Token == "" {
		return fmt.Errorf("cannot read the new key: %w", err)
	}
	l.kept[config.RunDemoKey] = key.Token
	return l.keep()
}

// accepted asks the proxy whether it knows the kept key: the database may be another
// one than last time.
func (l *launcher) accepted(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url()+"/v1/models", nil)
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+l.kept[config.RunDemoKey])
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return true // not a reason to make keys
	}
	_ = res.Body.Close()
	return res.StatusCode != http.StatusUnauthorized
}

func (l *launcher) operator(ctx context.Context) error {
	password := l.kept[config.RunOperatorPassword]
	if password == "" {
		password = base64.RawURLEncoding.EncodeToString(random(15))
	}
	_, err := l.command(ctx, password+"\n", "user", "create", operatorEmail, "--operator", "--client", demoClient)
	if exists(err) {
		return nil // with a password that this folder does not know
	}
	if err != nil {
		return err
	}
	l.kept[config.RunOperatorEmail], l.kept[config.RunOperatorPassword] = operatorEmail, password
	return l.keep()
}

func (l *launcher) url() string { return "http://" + reachable(l.proxy.Listen) }

// examples are a chat model per provider for the curl line, the first that can be
// used; Anthropic's has its own path.
var examples = []struct{ provider, model string }{
	{"openai", "gpt-5-mini"},
	{"deepseek", "deepseek-chat"},
	{"mistral", "mistral-small"},
	{"dashscope", "qwen-plus"},
	{"moonshot", "kimi-k2.6"},
	{"zai", "glm-4.6"},
	{"xai", "grok-4.3"},
	{"groq", "llama-3.1-8b-instant"},
	{"anthropic", "claude-haiku-4.5"},
	{"gemini", "gemini-2.5-flash"},
}

// curl is a line that works when pasted.
func (l *launcher) curl(mock bool) string {
	for _, e := range examples {
		if !mock && !l.realProviders()[e.provider] {
			continue
		}
		path, more := "/v1/chat/completions", ""
		if e.provider == "anthropic" {
			path, more = "/v1/messages", `"max_tokens":256,`
		}
		return "curl " + l.url() + path + ` -H "Authorization: Bearer ` + l.kept[config.RunDemoKey] + `" -H "Content-Type: application/json" -d '{"model":"` +
			e.model + `",` + more + `"messages":[{"role":"user","content":"Hi in one sentence"}]}'`
	}
	return ""
}

func (l *launcher) banner(mock bool, took time.Duration) {
	if !l.ours {
		writeOut("\nToken Relay is running on a database with a catalogue of its own, which is left as it is.\n\n  URL        " + l.url() +
			"\n  Logs       " + filepath.Join(l.data, "log") + "\n\nA key: bin/admin key create --client NAME --name TEXT\n")
		return
	}
	password := l.kept[config.RunOperatorPassword]
	signIn := l.kept[config.RunOperatorEmail] + "  " + password
	if password == "" {
		signIn = operatorEmail + " (its password was set elsewhere)"
	}
	providers := "the mock provider (no provider key is set; answers are made up)"
	if !mock {
		var names []string
		for _, e := range examples {
			if l.realProviders()[e.provider] {
				names = append(names, e.provider)
			}
		}
		providers = strings.Join(names, ", ")
	}
	lines := []string{
		"",
		"Token Relay is running (started in " + took.Round(10*time.Millisecond).String() + ")",
		"",
		"  URL        " + l.url(),
		"  Console    " + l.url() + "/console",
		"  Sign-in    " + signIn,
		"  Demo key   " + l.kept[config.RunDemoKey],
		"  Providers  " + providers,
		"  Logs       " + filepath.Join(l.data, "log"),
		"",
		"Try it:",
		"",
		l.curl(mock),
		"",
		"Ctrl-C stops everything and keeps the data in " + l.data + ".",
		"",
	}
	writeOut(strings.Join(lines, "\n"))
}
