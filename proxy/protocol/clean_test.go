package protocol_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
)

const (
	awsKey, awsSecret = "AKIAEXAMPLE00000001", "wJalr+K7/MDENGexample"
	bearerToken       = "ya29.c.example-token"
)

func hiding(host string) *protocol.StreamConfig {
	return &protocol.StreamConfig{UpstreamModel: "up-1", ClientModel: "shown", Hidden: &protocol.Hidden{Host: host, Parts: []string{awsSecret, awsKey}, Token: bearerToken}}
}

// C15: what tells of the provider that served goes, however it is written, and what only
// looks alike stays.
func TestCleanHidesTheProvider(t *testing.T) {
	for _, c := range []struct{ host, raw, want string }{
		{"openai.com", `Ask api.openai.com about it.`, `Ask [removed] about it.`},
		{"openai.com", `Ask API.OpenAI.com, or help.openai.com.`, `Ask [removed], or [removed].`},
		{"openai.com", `openai.com:443 refused`, `[removed] refused`},
		{"openai.com", `(api.openai.com/v1/chat?x=1)`, `([removed])`},
		{"openai.com", `https:\/\/api.openai.com\/v1 is away`, `[removed] is away`},
		{"openai.com", `a line\napi.openai.com\tand more`, "a line\n[removed]\tand more"},
		{"openai.com", `api\u002eopenai\u002ecom and \u0061pi.openai.com`, `[removed] and [removed]`},
		{"openai.com", `user@api.openai.com`, `user@[removed]`},
		{"openai.com", `api.openai.com.`, `[removed].`},
		{"openai.com", `api.openai.com.evil.example`, `[removed]`},
		{"openai.com", `éapi.openai.com`, `é[removed]`},
		{"openai.com", `notopenai.com openai.community openai-x.com OpenAI`, `notopenai.com openai.community openai-x.com OpenAI`},
		{"azure.com", `The resource my-resource.openai.azure.com has no such deployment`, `The resource [removed] has no such deployment`},
		{"10.1.2.3", `dial 10.1.2.3:8080: refused`, `dial [removed]: refused`},
		{"10.1.2.3", `10.1.2.3 and 10.1.2.33 and 110.1.2.3`, `[removed] and 10.1.2.33 and 110.1.2.3`},
		{"fd00::12", `[fd00::12]:80, FD00::12, fd00::123`, `[[removed]]:80, [removed], fd00::123`},
		{"vllm", `vllm:8000 is away; vllm is a word, vllm: too`, `[removed] is away; vllm is a word, vllm: too`},
		{"", `api.openai.com`, `api.openai.com`},
		{"x.ai", `Credential=AKIAEXAMPLE00000001/2026, secret wJalr+K7\/MDENGexample.`, `Credential=[removed]/2026, secret [removed].`},
		{"x.ai", `token:ya29.c.example-token`, `token:[removed]`},
		{"x.ai", `xyzAKIAEXAMPLE00000001`, `xyz[removed]`},
		{"x.ai", `The model up-1 or\nup-1, not up-10`, "The model shown or\nshown, not up-10"},
		{"x.ai", `a\nsk-live-1234 and s\k-live-1234`, "a\n[removed] and s k-live-1234"},
	} {
		out := protocol.AppendClean(nil, []byte(c.raw), hiding(c.host))
		var got string
		if err := json.Unmarshal(out, &got); err != nil || got != c.want {
			t.Errorf("%s: %s became %s, want %q (%v)", c.host, c.raw, out, c.want, err)
		}
	}
	if out := protocol.AppendClean([]byte("x"), []byte(`api.openai.com sk-secret`), &protocol.StreamConfig{}); string(out) != `x"api.openai.com [removed]"` {
		t.Errorf("with nothing to hide: %s", out)
	}
}

// The texts of an error inside a stream are cleaned, what the model said is not.
func TestCleanEvent(t *testing.T) {
	for _, c := range [][2]string{
		{
			"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"x\",\"message\":\"ask api.openai.com\",\"more\":[\"openai.com\"]},\"request_id\":\"req_0123\"}\n\n",
			"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"x\",\"message\":\"ask [removed]\",\"more\":[\"[removed]\"]},\"request_id\":\"[removed]\"}\n\n",
		},
		{
			`data: {"id":"c","model":"up-1","error": "see openai.com","choices":[{"delta":{"content":"openai.com","error":"no"}}]}`,
			`data: {"id":"c","model":"up-1","error": "see [removed]","choices":[{"delta":{"content":"openai.com","error":"no"}}]}`,
		},
		{
			`data: {"type":"response.failed","response":{"output":[{"text":"openai.com"}],"error":{"code":"c","message":"at openai.com \"q\" \\"},"instructions":"openai.com"}}`,
			`data: {"type":"response.failed","response":{"output":[{"text":"openai.com"}],"error":{"code":"c","message":"at [removed] \"q\" \\"},"instructions":"openai.com"}}`,
		},
		{`data: {"type":"error","message":"api.openai.com","code":null}`, `data: {"type":"error","message":"[removed]","code":null}`},
		{": a \"comment\ndata: {\"error\":\"openai.com\"}\n\n", ": a \"comment\ndata: {\"error\":\"[removed]\"}\n\n"},
		{"\n,\r\n{\"error\":{\"message\":\"openai.com\"}}", "\n,\r\n{\"error\":{\"message\":\"[removed]\"}}"},
		{`data: {"error":{"message":"openai.com`, `data: {"error":{"message":"openai.com`},
		{`"`, `"`},
		{`"\`, `"\`},
		{`}]"a":`, `}]"a":`},
	} {
		if got := protocol.AppendCleanEvent(nil, []byte(c[0]), hiding("openai.com")); string(got) != c[1] {
			t.Errorf("%q became\n%q, want\n%q", c[0], got, c[1])
		}
	}
}

var forbidden = regexp.MustCompile(`(?i)(^|[^\w-])hidden-provider\.example($|[^\w-])`)

// FuzzClean: whatever a provider says, the client gets one JSON string without its host,
// its key and the name of its model.
func FuzzClean(f *testing.F) {
	for _, s := range []string{`see api.hidden-provider.example:1/x`, `\u0068idden-provider.example`, `hid\den-provider.example`, "hidden-provider.example\xff", `AKIAEX\u0041MPLE00000001`, `..hidden-provider.example..x`, `sk-AKIAEXAMPLE00000001`, `the-up\stream`, `\`, `\u00`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		cfg := hiding("hidden-provider.example")
		out := protocol.AppendClean(nil, raw, cfg)
		var text string
		if err := json.Unmarshal(out, &text); err != nil {
			t.Fatalf("%q became %q: %v", raw, out, err)
		}
		if forbidden.MatchString(text) || strings.Contains(text, awsKey) || strings.Contains(text, awsSecret) || strings.Contains(text, bearerToken) {
			t.Fatalf("%q became %q", raw, text)
		}
		ev := append(append([]byte(`data: {"error":{"message":`), out...), "}}\n\n"...)
		if got := protocol.AppendCleanEvent(nil, ev, cfg); !json.Valid(got[len("data: "):]) || forbidden.Match(got) {
			t.Fatalf("the event %q became %q", ev, got)
		}
		protocol.AppendCleanEvent(nil, raw, cfg)
	})
}
