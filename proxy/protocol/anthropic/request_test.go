package anthropic

import (
	"bytes"
	"encoding/json"
	"testing"

	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/peek"
)

// FuzzRequest: what is admitted stays JSON, names the upstream's model, and is otherwise
// what it was.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"x","max_tokens":3,"messages":[],"stream":true}`), int64(0))
	f.Add([]byte(`{"max_tokens": 3 ,"messages":[{"content":"é\ud83d\ude00"}],"mod\u0065l":"x"}`), int64(7))
	f.Fuzz(func(t *testing.T, body []byte, most int64) {
		var r peek.Request
		if peek.Scan(body, peek.AnthropicMessages, &r) != nil {
			return
		}
		out := AppendRequest(nil, body, &r, &protocol.Edit{Model: "up", MaxTokens: max(0, most), MaxTokensField: "max_tokens"})
		var was, is map[string]json.RawMessage
		if json.Unmarshal(out, &is) != nil || json.Unmarshal(body, &was) != nil {
			t.Fatalf("%q became %q", body, out)
		}
		if string(is["model"]) != `"up"` || len(is) != len(was) {
			t.Fatalf("%q became %q", body, out)
		}
		for k, v := range was {
			if k != "model" && k != "max_tokens" && !bytes.Equal(v, is[k]) {
				t.Fatalf("%s of %q became %q", k, body, is[k])
			}
		}
	})
}
