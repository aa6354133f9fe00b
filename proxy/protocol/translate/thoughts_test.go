package translate

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
)

// What an Anthropic model signed comes back to it as it was signed, through Chat
// clients that join the pieces of a stream by index (as OpenAI's SDKs do: texts are
// put together whatever they mean) and through those that keep them apart; another
// provider's proofs do not.
func TestThoughtsComeBack(t *testing.T) {
	body, err := os.ReadFile("testdata/thinking-tools.messages.sse")
	if err != nil {
		t.Fatal(err)
	}
	out, _, _ := run(t, chat.Messages, chat.OpenAI, openai.OpenAI, body, true, false, 0)
	var apart []map[string]any
	joined := map[float64]map[string]any{}
	_, datas := events(t, out)
	for _, d := range datas {
		var c struct {
			Choices []struct {
				Delta struct {
					Details []map[string]any `json:"reasoning_details"`
				}
			}
		}
		_ = json.Unmarshal(d, &c)
		for _, ch := range c.Choices {
			for _, x := range ch.Delta.Details {
				apart = append(apart, x)
				i := x["index"].(float64)
				if joined[i] == nil {
					joined[i] = map[string]any{}
				}
				for k, v := range x {
					if s, ok := v.(string); ok && k != "type" {
						before, _ := joined[i][k].(string)
						v = before + s
					}
					joined[i][k] = v
				}
			}
		}
	}
	const want = `{"type":"thinking","thinking":"Hm, \"so\".","signature":"c2ln"},{"type":"redacted_thinking","data":"ZW5j"}`
	for name, details := range map[string]any{"apart": apart, "joined": []any{joined[0], joined[1]}} {
		b, _ := json.Marshal(details)
		request := fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"x","reasoning_details":%s},{"role":"user","content":"c"}]}`, b)
		back, _, param := translated(chat.OpenAI, chat.Messages, []byte(request))
		if param != "" || !strings.Contains(string(back), want) {
			t.Errorf("%s: %s\nbecame %s", name, request, back)
		}
		foreign := strings.ReplaceAll(request, "anthropic-claude-v1", "openai-responses-v1")
		if back, _, _ = translated(chat.OpenAI, chat.Messages, []byte(foreign)); strings.Contains(string(back), "thinking") {
			t.Errorf("%s: a foreign proof went out: %s", name, back)
		}
	}
}
