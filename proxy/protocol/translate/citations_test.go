package translate

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
)

const (
	citedChat     = `{"id":"c","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"message":{"role":"assistant","content":"It rains.","annotations":[{"type":"url_citation","url_citation":{"url":"https://e.org/a","title":"A \"b\"","start_index":0,"end_index":9}},{"type":"url_citation","url_citation":{"url":"https://e.org/c","title":"C"}}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`
	citedMessages = `{"id":"m","type":"message","role":"assistant","model":"up","content":[{"type":"text","text":"Look: "},{"type":"text","text":"It rains.","citations":[{"type":"web_search_result_location","url":"https://e.org/a","title":"A \"b\"","encrypted_index":"x","cited_text":"rain"},{"type":"web_search_result_location","url":"https://e.org/c","title":"C","encrypted_index":"y","cited_text":"rain"}]},{"type":"text","text":" Bye."}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}`
)

type cited struct{ Type, URL, Title string }

// The citations of a whole answer stand with its text in every format, with their addresses
// and titles.
func TestCitationsOfWholeAnswers(t *testing.T) {
	want := []cited{{"", "https://e.org/a", `A "b"`}, {"", "https://e.org/c", "C"}}
	hold := func(name, kind string, got []cited, out []byte) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: %d citations: %s", name, len(got), out)
		}
		for i, c := range got {
			if c.URL != want[i].URL || c.Title != want[i].Title || c.Type != kind {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
	out, _, err := start(chat.OpenAI, chat.Messages).Buffered(nil, []byte(citedChat))
	var m struct {
		Content []struct {
			Text      string
			Citations []cited
		}
	}
	if err != nil || json.Unmarshal(out, &m) != nil || len(m.Content) != 1 || m.Content[0].Text != "It rains." {
		t.Fatalf("%v %s", err, out)
	}
	hold("Messages", "web_search_result_location", m.Content[0].Citations, out)

	out, _, err = start(chat.Messages, chat.OpenAI).Buffered(nil, []byte(citedMessages))
	var c struct {
		Choices []struct {
			Message struct {
				Content     string
				Annotations []struct {
					Type string
					URL  struct {
						URL, Title string
						Start      int `json:"start_index"`
						End        int `json:"end_index"`
					} `json:"url_citation"`
				}
			}
		}
	}
	if err != nil || json.Unmarshal(out, &c) != nil {
		t.Fatalf("%v %s", err, out)
	}
	var got []cited
	for _, a := range c.Choices[0].Message.Annotations {
		got = append(got, cited{a.Type, a.URL.URL, a.URL.Title})
		if text := c.Choices[0].Message.Content; text[a.URL.Start:a.URL.End] != "It rains." {
			t.Errorf("%d to %d of %q", a.URL.Start, a.URL.End, text)
		}
	}
	hold("Chat", "url_citation", got, out)

	out, _, err = start(chat.Messages, chat.Responses).Buffered(nil, []byte(citedMessages))
	var r struct {
		Output []struct {
			Content []struct{ Annotations []cited }
		}
	}
	if err != nil || json.Unmarshal(out, &r) != nil || len(r.Output) != 1 {
		t.Fatalf("%v %s", err, out)
	}
	got = nil
	for _, p := range r.Output[0].Content {
		got = append(got, p.Annotations...)
	}
	hold("Responses", "url_citation", got, out)
}

const probableChat = `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"It"},"logprobs":{"content":[{"token":"It","logprob":-0.5,"bytes":[73,116],"top_logprobs":[{"token":"It","logprob":-0.5,"bytes":null}]}]}}]}

data: {"choices":[{"index":0,"delta":{"content":" rains"},"logprobs":{"content":[
data: {"token":" ra","logprob":-1},{"token":"ins","logprob":-2}]}}]}

data: {"choices":[{"index":0,"delta":{"content":"."},"logprobs":{"content":[{"token":}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}

data: [DONE]

`

// The probabilities of tokens reach a client of Responses with the piece of text that they
// are of, and once more, all together, where the text ends. What is no JSON reaches nobody.
func TestLogprobsOfResponses(t *testing.T) {
	out, _, _ := run(t, chat.OpenAI, chat.Responses, openai.Custom, []byte(probableChat), true, true, 0)
	type token struct {
		Token   string
		Logprob float64
	}
	var told, done, final []token
	_, datas := events(t, out)
	for _, d := range datas {
		var e struct {
			Type     string
			Logprobs []token
			Response struct {
				Output []struct {
					Content []struct{ Logprobs []token }
				}
			}
		}
		if err := json.Unmarshal(d, &e); err != nil {
			t.Fatalf("%v: %s", err, d)
		}
		switch e.Type {
		case "response.output_text.delta":
			told = append(told, e.Logprobs...)
		case "response.output_text.done":
			done = e.Logprobs
		case "response.completed":
			final = e.Response.Output[0].Content[0].Logprobs
		}
	}
	for name, list := range map[string][]token{"deltas": told, "done": done, "response": final} {
		text := ""
		for _, x := range list {
			text += x.Token
		}
		if text != "It rains" || list[0].Logprob != -0.5 || list[2].Logprob != -2 {
			t.Errorf("%s: %v in %s", name, list, out)
		}
	}
	if !strings.Contains(string(out), `"bytes":[73,116],"top_logprobs":[`) {
		t.Errorf("bytes or alternatives are lost: %s", out)
	}
}

// Both members of Responses that ask for probabilities reach targets that tell them.
func TestLogprobsAskedByResponses(t *testing.T) {
	for i, body := range []string{`{"include":["message.output_text.logprobs"]}`, `{"top_logprobs":2}`, `{"include":["message.output_text.logprobs"],"top_logprobs":2}`} {
		for n, up := range upstreams {
			out, dropped, param := responded(overlay(t, responsesBase, body), n)
			switch up.to {
			case chat.OpenAI, chat.DashScope, chat.Gemini:
				name := map[chat.Protocol]string{chat.OpenAI: `"logprobs":true`, chat.DashScope: `"logprobs":true`, chat.Gemini: `"responseLogprobs":true`}[up.to]
				if param != "" || len(dropped) > 0 || !strings.Contains(string(out), name) {
					t.Errorf("%d for %s: refused %q, dropped %v: %s", i, up.model, param, dropped, out)
				}
			default:
				if want := [...]string{"include", "top_logprobs", "top_logprobs"}[i]; param != want {
					t.Errorf("%d for %s: refused %q", i, up.model, param)
				}
			}
		}
	}
}
