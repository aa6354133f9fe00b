package openai

import (
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/peek"
)

// D8, rulings 3.7: the request's model, wherever and however it is written, the
// usage option, and the cap.
func TestAppendRequest(t *testing.T) {
	usage := protocol.Edit{Model: "up", IncludeUsage: true}
	capped := protocol.Edit{Model: "up", MaxTokens: 1024, MaxTokensField: "max_tokens"}
	for _, tt := range []struct {
		body string
		edit protocol.Edit
		want string
	}{
		{`{"model":"x","messages":[]}`, protocol.Edit{Model: "x"}, `{"model":"x","messages":[]}`},
		{`{"messages":[],"model":"a-longer-name"}`, protocol.Edit{Model: "up"}, `{"messages":[],"model":"up"}`},
		{` { "model" : "x" , "messages":[] } `, protocol.Edit{Model: "a-longer-name"}, ` { "model" : "a-longer-name" , "messages":[] } `},
		{`{"mod\u0065l":"\u0078","messages":[{"model":"x"}]}`, protocol.Edit{Model: "up"}, `{"mod\u0065l":"up","messages":[{"model":"x"}]}`},
		{`{"model":"x","messages":[]}`, protocol.Edit{Model: `a"b\`}, `{"model":"a\"b\\","messages":[]}`},
		{`{"model":"x","messages":[],"stream":true}`, usage, `{"model":"up","stream_options":{"include_usage":true},"messages":[],"stream":true}`},
		{`{"model":"x","messages":[],"stream":false}`, usage, `{"model":"up","messages":[],"stream":false}`},
		{`{"model":"x","messages":[]}`, usage, `{"model":"up","messages":[]}`},
		{`{"model":"x","messages":[],"stream":true,"stream_options":null}`, usage, `{"model":"up","messages":[],"stream":true,"stream_options":{"include_usage":true}}`},
		{`{"stream_options":{},"model":"x","messages":[],"stream":true}`, usage, `{"stream_options":{"include_usage":true},"model":"up","messages":[],"stream":true}`},
		{`{"stream_options":{ "include_obfuscation":false},"model":"x","messages":[],"stream":true}`, usage, `{"stream_options":{"include_usage":true, "include_obfuscation":false},"model":"up","messages":[],"stream":true}`},
		{`{"model":"x","messages":[],"stream":true,"stream_options":{"include_usage":false}}`, usage, `{"model":"up","messages":[],"stream":true,"stream_options":{"include_usage":true}}`},
		{`{"model":"x","messages":[],"stream":true,"stream_options":{"include_usage":null}}`, usage, `{"model":"up","messages":[],"stream":true,"stream_options":{"include_usage":true}}`},
		{`{"model":"x","messages":[],"stream":true,"stream_options":{"include_usage":true}}`, usage, `{"model":"up","messages":[],"stream":true,"stream_options":{"include_usage":true}}`},
		{`{"model":"x","messages":[]}`, capped, `{"model":"up","max_tokens":1024,"messages":[]}`},
		{`{"model":"x","messages":[],"max_tokens":9}`, capped, `{"model":"up","messages":[],"max_tokens":1024}`},
		{`{"model":"x","max_completion_tokens":9,"messages":[]}`, protocol.Edit{Model: "up", MaxTokens: 5}, `{"model":"up","max_completion_tokens":5,"messages":[]}`},
		{
			`{"model":"x","messages":[],"stream":true}`,
			protocol.Edit{Model: "up", IncludeUsage: true, MaxTokens: 7, MaxTokensField: "max_tokens"},
			`{"model":"up","stream_options":{"include_usage":true},"max_tokens":7,"messages":[],"stream":true}`,
		},
	} {
		var r peek.Request
		if err := peek.Scan([]byte(tt.body), peek.OpenAIChat, &r); err != nil {
			t.Fatalf("%s: %v", tt.body, err)
		}
		if got := string(AppendRequest(nil, []byte(tt.body), &r, &tt.edit)); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.body, got, tt.want)
		}
	}
}

// FuzzRequest: what is admitted stays JSON and differs in the listed places only.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"x","messages":[],"stream":true,"stream_options":{}}`), "up", int64(0), true)
	f.Add([]byte(`{"max_tokens":3,"messages":[{"content":"é\ud83d\ude00"}],"mod\u0065l":"x"}`), "a\"b", int64(7), false)
	f.Fuzz(func(t *testing.T, body []byte, model string, most int64, include bool) {
		var r peek.Request
		if peek.Scan(body, peek.OpenAIChat, &r) != nil || !plain(model) || repeats(body) {
			return
		}
		checkEdit(t, body, &r, &protocol.Edit{Model: model, IncludeUsage: include, MaxTokens: max(0, most), MaxTokensField: "max_tokens"})
	})
}

// plain limits model ids to what the catalogue allows and a little more.
func plain(model string) bool {
	for _, c := range []byte(model) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return model != "" && len(model) < 100
}
