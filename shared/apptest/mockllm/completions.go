package mockllm

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/bytedance/sonic"
)

// completions is OpenAI Completions, the older form with a prompt. Every prompt is
// answered n times with the same text.
type completions struct{}

func (completions) anthropic() bool { return false }

func (completions) parse(a *ask, body []byte) error {
	var r struct {
		Model         string          `json:"model"`
		Prompt        json.RawMessage `json:"prompt"`
		Stream        bool            `json:"stream"`
		StreamOptions *struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
		MaxTokens *int64 `json:"max_tokens"`
		N         *int64 `json:"n"`
		User      string `json:"user"`
	}
	if err := sonic.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("cannot read the request: %w", short(err))
	}
	if r.Model == "" || len(r.Prompt) == 0 {
		return errors.New("you must provide a model and a prompt")
	}
	texts, err := readTexts(r.Prompt)
	if err != nil {
		return err
	}
	a.model, a.stream, a.userIDs[0], a.firstUser, a.lastUser = r.Model, r.Stream, r.User, texts[0], texts[0]
	a.wantUsage = r.StreamOptions != nil && r.StreamOptions.IncludeUsage
	if r.MaxTokens != nil {
		a.maxTokens = *r.MaxTokens
	}
	if r.N != nil {
		a.n = *r.N
	}
	a.n *= int64(len(texts))
	for _, t := range texts {
		a.prompt += (int64(len(t)) + 3) / 4
	}
	return nil
}

func (completions) head(dst []byte, w *answer) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendQuoted(dst, "cmpl-"+w.id)
	dst = append(dst, `,"object":"text_completion","created":`...)
	dst = strconv.AppendInt(dst, created, 10)
	dst = append(dst, `,"model":`...)
	dst = appendQuoted(dst, w.a.model)
	return append(dst, `,"choices":[`...)
}

func (completions) choice(dst []byte, text string, i int, finish string) []byte {
	dst = append(dst, `{"text":`...)
	dst = appendQuoted(dst, text)
	dst = append(dst, `,"index":`...)
	dst = strconv.AppendInt(dst, int64(i), 10)
	dst = append(dst, `,"logprobs":null,"finish_reason":`...)
	if finish == "" {
		return append(dst, "null}"...)
	}
	return append(appendQuoted(dst, finish), '}')
}

func (h completions) buffered(o *out, w *answer) error {
	b := h.head(nil, w)
	for i := range int(w.a.n) {
		if i > 0 {
			b = append(b, ',')
		}
		b = h.choice(b, joined(w.pieces), i, w.finish)
	}
	b = append(b, ']')
	if o.sc.Usage != "none" {
		b = o.chatUsage(append(b, `,"usage":`...), w.units)
		o.state(w.units)
	}
	o.tokens, o.think = w.units.Output-w.units.Reasoning, w.units.Reasoning
	return o.whole(statusOr200(o.sc.Status), "application/json", append(b, '}'), "")
}

func (h completions) stream(o *out, w *answer) error {
	if err := o.begin(statusOr200(o.sc.Status), o.dial.contentType, -1, ""); err != nil {
		return err
	}
	emit := func(choices []byte, more string, tokens int64) error {
		b := append(append(h.head([]byte("data: "), w), choices...), ']')
		return o.event(append(append(b, more...), "}\n\n"...), tokens, 0)
	}
	for at, p := range w.pieces {
		finish := ""
		if at == len(w.pieces)-1 {
			finish = w.finish
		}
		for i := range int(w.a.n) {
			if err := emit(h.choice(nil, p, i, finish), "", 1); err != nil {
				return err
			}
		}
	}
	if o.sc.Usage != "none" && w.a.wantUsage {
		o.state(w.units)
		if err := emit(nil, `,"usage":`+string(o.chatUsage(nil, w.units)), 0); err != nil {
			return err
		}
	}
	if err := o.event([]byte("data: [DONE]\n\n"), 0, 0); err != nil {
		return err
	}
	return o.finish()
}
