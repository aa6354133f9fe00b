package relay_test

import (
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/apptest/mockllm"
)

// D8: texts that name files of the account that all customers share do not reach
// DashScope's OpenAI-compatible address, whatever they are spelled like; another
// provider takes them as the text they are.
func TestFilesOfTheAccountInTexts(t *testing.T) {
	url, meter := mock(t, mockllm.Options{})
	k := proxytest.New(t, proxytest.Options{
		Providers: []proxytest.Provider{
			{Slug: "compatible", Protocol: "openai", Dialect: "qwen", BaseURL: url + "/first/openai/v1", Keys: []string{"sk-first"}},
			{Slug: "openai", Protocol: "openai", Dialect: "openai", BaseURL: url + "/second/openai/v1", Keys: []string{"sk-second"}},
		},
		Models: []proxytest.Model{
			{ID: "qwen-a", Routes: []proxytest.Route{{Provider: "compatible", Model: "up-qwen"}}},
			{ID: "gpt-a", Routes: []proxytest.Route{{Provider: "openai", Model: "up-gpt"}}},
		},
	})
	for _, text := range []string{`fileid://file-fe-1`, `file\u0069d://file-fe-1`, `a, fileid:\/\/file-fe-1,fileid://file-fe-2`} {
		for path, body := range map[string]string{
			"/v1/chat/completions": `{"model":"MODEL","max_tokens":10,"messages":[{"role":"system","content":"` + text + `"},{"role":"user","content":"hi"}]}`,
			"/v1/messages":         `{"model":"MODEL","max_tokens":10,"system":"` + text + `","messages":[{"role":"user","content":"hi"}]}`,
		} {
			if r := post(t, k, path, strings.ReplaceAll(body, "MODEL", "qwen-a")); r.status != 404 || r.header.Get("X-Relay-Error") != string(apierr.NotFound) {
				t.Errorf("%s %s: %d %s", path, text, r.status, r.body)
			}
			if r := post(t, k, path, strings.ReplaceAll(body, "MODEL", "gpt-a")); r.status != 200 {
				t.Errorf("%s %s at another provider: %d %s", path, text, r.status, r.body)
			}
		}
	}
	if r := post(t, k, "/v1/chat/completions", `{"model":"qwen-a","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}`); r.status != 200 {
		t.Errorf("without files: %d %s", r.status, r.body)
	}
	if n := len(meter.Requests(mockFilter)); n != 7 {
		t.Errorf("%d requests reached a provider, want 6 of the other one and 1 without files", n)
	}
	k.AtRest(t)
}
