package relay_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenrelay/proxy/proxytest"
)

// begun is an answer of each protocol's stream that has begun, without its end; %s is an
// error in it.
var begun = map[string]string{
	"/chat/completions": `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up-model","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]}

data: {"error":{"message":%s,"type":"invalid_request_error","code":"bad"}}

`,
	"/responses": `event: response.created
data: {"type":"response.created","response":{"id":"resp_1","object":"response","created_at":1,"status":"in_progress","model":"up-model","output":[]}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":"hi"}

event: response.failed
data: {"type":"response.failed","response":{"id":"resp_1","object":"response","created_at":1,"status":"failed","model":"up-model","output":[],"error":{"code":"invalid_request_error","message":%s}}}

`,
	"/messages": `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"up-model","content":[],"stop_reason":null,"usage":{"input_tokens":5,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}

event: error
data: {"type":"error","error":{"type":"invalid_request_error","message":%s}}

`,
	":streamGenerateContent": `data: {"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"index":0}],"modelVersion":"up-model"}

data: {"error":{"code":400,"message":%s,"status":"INVALID_ARGUMENT"}}

`,
	"/generation": `id:1
event:result
:HTTP_STATUS/200
data:{"output":{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"null"}]},"usage":{"input_tokens":5,"output_tokens":1,"total_tokens":6},"request_id":"r"}

id:2
event:error
:HTTP_STATUS/400
data:{"code":"InvalidParameter","message":%s,"request_id":"r"}

`,
}

// C15, H7: an upstream that tells its host, its key and its model in an error that is the
// customer's own to know tells the customer the rest: as a whole answer, before a stream
// and inside one, in every client's protocol.
func TestRefusalsHideWhoRefuses(t *testing.T) {
	keys := map[string]string{"openai": "sekret-openai-01", "anthropic": "sekret-claude-02", "gemini": "sekret-gemini-03", "dashscope": "sekret-qwen-04"}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		said := fmt.Sprintf("%s:\ntoo long for %s (http://%s/x) with %s%s%s", r.Host, "up-model", r.Host, r.Header.Get("Authorization"), r.Header.Get("X-Api-Key"), r.Header.Get("X-Goog-Api-Key"))
		told, _ := json.Marshal(said)
		if strings.Contains(string(body), "amid the stream") {
			for end, text := range begun {
				if strings.HasSuffix(r.URL.Path, end) {
					w.Header().Set("Content-Type", "text/event-stream")
					_, _ = fmt.Fprintf(w, text, told)
					return
				}
			}
			t.Errorf("no stream for %s", r.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		switch {
		case strings.HasSuffix(r.URL.Path, "/messages"):
			_, _ = fmt.Fprintf(w, `{"type":"error","error":{"type":"invalid_request_error","message":%s},"request_id":"req_up"}`, told)
		case strings.Contains(r.URL.Path, "enerateContent"):
			_, _ = fmt.Fprintf(w, `{"error":{"code":400,"message":%s,"status":"INVALID_ARGUMENT"}}`, told)
		case strings.HasSuffix(r.URL.Path, "/generation"):
			_, _ = fmt.Fprintf(w, `{"code":"InvalidParameter","message":%s,"request_id":"up"}`, told)
		default:
			_, _ = fmt.Fprintf(w, `{"error":{"message":%s,"type":"invalid_request_error","param":%s,"code":"bad"}}`, told, told)
		}
	}))
	defer up.Close()
	var o proxytest.Options
	for protocol, key := range keys {
		o.Providers = append(o.Providers, proxytest.Provider{Slug: protocol, Protocol: protocol, Dialect: map[bool]string{true: "openai"}[protocol == "openai"], BaseURL: up.URL + "/v1", Keys: []string{key}})
		o.Models = append(o.Models, proxytest.Model{ID: "m-" + protocol, Routes: []proxytest.Route{{Provider: protocol, Model: "up-model"}}})
	}
	k := proxytest.New(t, o)
	host := strings.TrimPrefix(up.URL, "http://")
	for protocol, key := range keys {
		for _, c := range askers {
			for _, when := range []string{"whole", "before the stream", "amid the stream"} {
				stream := when != "whole"
				var header []string
				if c.name == "dashscope" && stream {
					header = qwenStream
				}
				k.HealAll()
				r := post(t, k, c.path("m-"+protocol, stream), c.body("m-"+protocol, when, "text", stream), header...)
				text := strings.ReplaceAll(string(r.body), `\/`, `/`)
				if amid := when == "amid the stream"; amid != (r.status == 200) || !strings.Contains(text, "[removed]") || !strings.Contains(text, "too long for m-"+protocol) {
					t.Errorf("%s from %s, %s: %d %s", c.name, protocol, when, r.status, r.body)
				}
				for _, secret := range []string{host, "127.0.0.1", key, "up-model"} {
					if strings.Contains(text, secret) {
						t.Errorf("%s from %s, %s: %q in %s", c.name, protocol, when, secret, r.body)
					}
				}
			}
		}
	}
	k.AtRest(t)
}
