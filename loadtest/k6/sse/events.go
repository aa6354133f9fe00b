package sse

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"
)

// Reading is what one stream gave. Times are milliseconds.
type Reading struct {
	Status     int               `js:"status"`
	Headers    map[string]string `js:"headers"` // names in lower case
	Error      string            `js:"error"`   // why the stream broke off, "" if it ended as HTTP should
	Body       string            `js:"body"`    // of an answer that is no stream
	Events     int               `js:"events"`  // with data
	Comments   int               `js:"comments"`
	Tokens     int               `js:"tokens"` // events with content
	Text       string            `js:"text"`
	Finish     string            `js:"finish"`     // the finish or stop reason
	Terminated bool              `js:"terminated"` // [DONE] or message_stop was the last event
	Fault      string            `js:"fault"`      // an error event amid the stream, or an event that is no JSON
	Input      int64             `js:"input"`      // tokens, as the usage says; -1: no usage
	Output     int64             `js:"output"`
	FirstToken float64           `js:"firstToken"` // from the request to the first content, 0: none came
	Duration   float64           `js:"duration"`
	Gaps       []float64         `js:"gaps"` // between contents
}

// Complete says whether the stream came to its proper end: the protocol's last event,
// a reason to stop, HTTP's own end, and no fault.
func (r *Reading) Complete() bool {
	return r.Status == 200 && r.Error == "" && r.Fault == "" && r.Terminated && r.Finish != ""
}

// chunk is what the two protocols say in an event, as far as it matters here.
type chunk struct {
	Type    string          `json:"type"`
	Error   json.RawMessage `json:"error"`
	Choices []struct {
		Delta struct {
			Content   string          `json:"content"`
			Reasoning string          `json:"reasoning_content"`
			Tools     json.RawMessage `json:"tool_calls"`
		} `json:"delta"`
		Finish string `json:"finish_reason"`
	} `json:"choices"`
	Delta struct {
		Text     string `json:"text"`
		Thinking string `json:"thinking"`
		JSON     string `json:"partial_json"`
		Stop     string `json:"stop_reason"`
	} `json:"delta"`
	Message struct {
		Usage *counts `json:"usage"`
	} `json:"message"`
	Usage *counts `json:"usage"`
}

type counts struct {
	Prompt     *int64 `json:"prompt_tokens"`
	Completion *int64 `json:"completion_tokens"`
	Input      *int64 `json:"input_tokens"`
	Output     *int64 `json:"output_tokens"`
}

func (r *Reading) usage(c *counts) {
	if c == nil {
		return
	}
	for _, p := range []*int64{c.Prompt, c.Input} {
		if p != nil {
			r.Input = *p
		}
	}
	for _, p := range []*int64{c.Completion, c.Output} {
		if p != nil {
			r.Output = *p
		}
	}
}

var errAfterEnd = errors.New("an event after the last one")

// read reads a stream to its end. now gives the time since the request began.
func (r *Reading) read(body io.Reader, now func() time.Duration) {
	r.Input, r.Output = -1, -1
	var text strings.Builder
	var last time.Duration
	br := bufio.NewReaderSize(body, 16<<10)
	var data []string
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.Error = err.Error()
			} else if line != "" || len(data) > 0 {
				r.Error = "the stream ended amid an event"
			}
			break
		}
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, ":"):
			r.Comments++
		case strings.HasPrefix(line, "data:"):
			data = append(data, strings.TrimPrefix(line[len("data:"):], " "))
		case line == "" && len(data) > 0:
			at := now()
			content := r.event(strings.Join(data, "\n"))
			data = data[:0]
			if content == "" {
				continue
			}
			text.WriteString(content)
			if r.Tokens++; r.Tokens == 1 {
				r.FirstToken = millis(at)
			} else {
				r.Gaps = append(r.Gaps, millis(at-last))
			}
			last = at
		}
	}
	r.Text = text.String()
}

// event takes in one event and gives the content that it carries.
func (r *Reading) event(data string) string {
	r.Events++
	if r.Terminated && r.Fault == "" {
		r.Fault = errAfterEnd.Error()
	}
	if data == "[DONE]" {
		r.Terminated = true
		return ""
	}
	var c chunk
	if err := json.Unmarshal([]byte(data), &c); err != nil {
		if r.Fault == "" {
			r.Fault = "no JSON: " + data[:min(len(data), 200)]
		}
		return ""
	}
	if len(c.Error) > 0 && string(c.Error) != "null" && r.Fault == "" {
		r.Fault = string(c.Error)
	}
	r.usage(c.Usage)
	r.usage(c.Message.Usage)
	content := c.Delta.Text + c.Delta.Thinking + c.Delta.JSON
	if c.Delta.Stop != "" {
		r.Finish = c.Delta.Stop
	}
	for _, choice := range c.Choices {
		content += choice.Delta.Reasoning + choice.Delta.Content
		if len(choice.Delta.Tools) > 0 && string(choice.Delta.Tools) != "null" {
			content += string(choice.Delta.Tools)
		}
		if choice.Finish != "" {
			r.Finish = choice.Finish
		}
	}
	if c.Type == "message_stop" {
		r.Terminated = true
	}
	return content
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
