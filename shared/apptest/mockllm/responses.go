package mockllm

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/bytedance/sonic"
)

// responses is OpenAI Responses: an answer is a list of items (a reasoning item, a
// message, calls of functions), a stream tells of each its beginning, its pieces and
// its whole, and ends with the whole response. Who has a response made can go on from
// it with the same key: openai, azure and xai keep them.
type responses struct{}

func (responses) anthropic() bool { return false }

func (responses) parse(a *ask, body []byte) error {
	var r struct {
		Model           string          `json:"model"`
		Input           json.RawMessage `json:"input"`
		Instructions    string          `json:"instructions"`
		Previous        string          `json:"previous_response_id"`
		Stream          bool            `json:"stream"`
		Store           *bool           `json:"store"`
		MaxOutputTokens *int64          `json:"max_output_tokens"`
		StreamOptions   *struct {
			IncludeObfuscation *bool `json:"include_obfuscation"`
		} `json:"stream_options"`
		Tools      json.RawMessage `json:"tools"`
		ToolChoice json.RawMessage `json:"tool_choice"`
		Text       struct {
			Format struct {
				Type   string          `json:"type"`
				Schema json.RawMessage `json:"schema"`
			} `json:"format"`
		} `json:"text"`
		TopLogprobs *int64   `json:"top_logprobs"`
		Include     []string `json:"include"`
		Reasoning   *struct {
			Effort string `json:"effort"`
		} `json:"reasoning"`
		User             string          `json:"user"`
		SafetyIdentifier string          `json:"safety_identifier"`
		Messages         json.RawMessage `json:"messages"`
		MaxTokens        json.RawMessage `json:"max_tokens"`
	}
	if err := sonic.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("cannot read the request: %w", short(err))
	}
	switch {
	case r.Model == "" || len(r.Input) == 0:
		return errors.New("you must provide a model and input")
	case r.Messages != nil || r.MaxTokens != nil:
		return errors.New("unsupported parameter: messages, max_tokens")
	}
	a.previous, a.keeps = r.Previous, r.Store == nil || *r.Store
	a.model, a.stream, a.userIDs = r.Model, r.Stream, [3]string{r.User, r.SafetyIdentifier}
	a.obfuscate = r.StreamOptions == nil || r.StreamOptions.IncludeObfuscation == nil || *r.StreamOptions.IncludeObfuscation
	a.thinking = r.Reasoning != nil && r.Reasoning.Effort != "" && r.Reasoning.Effort != "none" && r.Reasoning.Effort != "minimal"
	if r.TopLogprobs != nil && slices.Contains(r.Include, "message.output_text.logprobs") {
		a.logprobs = *r.TopLogprobs
	}
	if r.MaxOutputTokens != nil {
		a.maxTokens = *r.MaxOutputTokens
	}
	if r.Instructions != "" {
		a.countMessage(r.Instructions, 0)
	}
	if err := readItems(a, r.Input); err != nil {
		return err
	}
	if len(r.Tools) > 2 {
		a.prompt += (int64(len(r.Tools)) + 3) / 4
		var tools []struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
		}
		if err := sonic.Unmarshal(r.Tools, &tools); err != nil {
			return fmt.Errorf("cannot read tools: %w", short(err))
		}
		for _, t := range tools {
			if t.Name != "" {
				a.tools = append(a.tools, tool{t.Name, t.Parameters})
			}
		}
	}
	if len(r.ToolChoice) > 0 {
		var named struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(r.ToolChoice, &a.toolChoice) != nil && json.Unmarshal(r.ToolChoice, &named) == nil {
			a.toolChoice = named.Name
		}
	}
	switch r.Text.Format.Type {
	case "json_object":
		a.schema = json.RawMessage(`{"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"]}`)
	case "json_schema":
		a.schema = r.Text.Format.Schema
	}
	return nil
}

// readItems reads the input: a text, or a list of items.
func readItems(a *ask, input json.RawMessage) error {
	if input[0] == '"' {
		s, _, _, err := text(input)
		a.firstUser, a.lastUser = s, s
		a.countMessage(s, 0)
		return err
	}
	var items []struct {
		Type      string          `json:"type"`
		Role      string          `json:"role"`
		Content   json.RawMessage `json:"content"`
		Output    json.RawMessage `json:"output"`
		CallID    string          `json:"call_id"`
		Arguments string          `json:"arguments"`
	}
	if err := sonic.Unmarshal(input, &items); err != nil {
		return fmt.Errorf("cannot read input: %w", short(err))
	}
	for i, m := range items {
		content := m.Content
		if m.Type == "function_call_output" {
			content = m.Output
		}
		s, images, _, err := text(content)
		if err != nil {
			return fmt.Errorf("cannot read input[%d]: %w", i, short(err))
		}
		a.countMessage(s+m.Arguments, images)
		if m.Role == "user" {
			if a.firstUser == "" {
				a.firstUser = s
			}
			a.lastUser = s
		}
		a.lastIsTool = m.Type == "function_call_output"
	}
	return nil
}

// items is the output of an answer; all of them complete.
func (responses) items(w *answer) (list []string) {
	if len(w.reasoning) > 0 {
		list = append(list, `{"id":"rs_`+w.id+`","type":"reasoning","summary":[{"type":"summary_text","text":`+quoted(joined(w.reasoning))+`}],"encrypted_content":"bW9jaw=="}`)
	}
	if len(w.pieces) > 0 || len(w.calls) == 0 {
		list = append(list, `{"id":"msg_`+w.id+`","type":"message","status":"completed","role":"assistant","content":[`+w.textPart(w.pieces)+`]}`)
	}
	for _, c := range w.calls {
		list = append(list, callItem(c, c.Args, "completed"))
	}
	return list
}

func (w *answer) textPart(pieces []string) string {
	logs := []byte("[]")
	if w.a.logprobs >= 0 {
		logs = w.a.logprobsList(nil, pieces)
	}
	return `{"type":"output_text","text":` + quoted(joined(pieces)) + `,"annotations":[],"logprobs":` + string(logs) + `}`
}

func callItem(c call, args, status string) string {
	return `{"id":"fc_` + c.ID + `","type":"function_call","status":"` + status + `","call_id":"call_` + c.ID + `","name":` + quoted(c.Name) + `,"arguments":` + quoted(args) + `}`
}

// object is the response as it stands.
func (h responses) object(o *out, w *answer, status string, items []string, usage bool) []byte {
	b := append([]byte(nil), `{"id":"resp_`...)
	b = append(b, w.id...)
	b = append(b, `","object":"response","created_at":`...)
	b = strconv.AppendInt(b, created, 10)
	b = append(append(append(b, `,"status":"`...), status...), `","error":null,"incomplete_details":`...)
	switch {
	case status != "incomplete":
		b = append(b, "null"...)
	case w.finish == "length":
		b = append(b, `{"reason":"max_output_tokens"}`...)
	default:
		b = append(b, `{"reason":"content_filter"}`...)
	}
	if o.dial.name == "openrouter" {
		b = append(b, `,"provider":"mockllm-canary"`...)
	}
	b = append(b, `,"max_output_tokens":`...)
	if w.a.maxTokens < 0 {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendInt(b, w.a.maxTokens, 10)
	}
	b = append(b, `,"model":`...)
	b = appendQuoted(b, w.a.model)
	b = append(b, `,"output":[`...)
	for i, item := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, item...)
	}
	b = append(b, `],"parallel_tool_calls":true,"previous_response_id":null,"store":`...)
	b = strconv.AppendBool(b, w.a.keeps)
	b = append(b, `,"temperature":1.0,"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":`...)
	if !usage || o.sc.Usage == "none" {
		return append(b, `null,"metadata":{}}`...)
	}
	b = h.usage(o, b, w.units)
	o.state(w.units)
	return append(b, `,"metadata":{}}`...)
}

func (responses) usage(o *out, b []byte, u Units) []byte {
	b = o.field(append(b, '{'), "input_tokens", u.TotalInput(), true)
	b = append(b, `,"input_tokens_details":{`...)
	b = plain(b, "cached_tokens", u.CacheRead)
	if n := u.CacheWrite + u.CacheWrite1h; n > 0 {
		b = plain(append(b, ','), "cache_write_tokens", n)
	}
	b = o.field(append(b, `},`...), "output_tokens", u.Output, false)
	b = append(b, `,"output_tokens_details":{`...)
	b = plain(b, "reasoning_tokens", u.Reasoning)
	b = plain(append(b, `},`...), "total_tokens", u.TotalInput()+u.Output)
	switch o.dial.name {
	case "openrouter":
		b = append(b, `,"cost":0.000837,"is_byok":false,"cost_details":{"upstream_inference_cost":0.000837}`...)
	case "xai":
		b = append(b, `,"num_sources_used":0,"cost_in_usd_ticks":1466250`...)
	}
	return append(b, '}')
}

// status is how the response ended.
func (responses) status(w *answer) string {
	switch w.finish {
	case "length", "content_filter":
		return "incomplete"
	}
	return "completed"
}

func (h responses) buffered(o *out, w *answer) error {
	b := h.object(o, w, h.status(w), h.items(w), true)
	o.tokens, o.think = w.units.Output-w.units.Reasoning, w.units.Reasoning
	return o.whole(statusOr200(o.sc.Status), "application/json", b, "")
}

func (h responses) stream(o *out, w *answer) error {
	if err := o.begin(statusOr200(o.sc.Status), o.dial.contentType, -1, ""); err != nil {
		return err
	}
	o.items = true
	number := 0
	var failed error
	emit := func(kind, members string, tokens, think int64) {
		if failed != nil {
			return
		}
		b := o.c.scratch[:0]
		if o.dial.name != "openrouter" {
			b = append(append(append(b, "event: "...), kind...), '\n')
		}
		b = append(append(append(b, `data: {"type":"`...), kind...), `",`...)
		b = append(b, members...)
		b = append(b, `,"sequence_number":`...)
		b = append(strconv.AppendInt(b, int64(number), 10), "}\n\n"...)
		number++
		o.c.scratch = b
		failed = o.event(b, tokens, think)
	}
	if o.dial.comment != "" && o.sc.Comments != 0 {
		failed = o.comment(o.dial.comment)
	}
	for _, kind := range []string{"response.created", "response.in_progress"} {
		emit(kind, `"response":`+string(h.object(o, w, "in_progress", nil, false)), 0, 0)
	}
	items, index := h.items(w), 0
	at := func(id string) string {
		return `"item_id":` + quoted(id) + `,"output_index":` + strconv.Itoa(index)
	}
	item := func(kind, v string, tokens int64) {
		emit(kind, `"output_index":`+strconv.Itoa(index)+`,"item":`+v, tokens, 0)
	}
	pieces := func(list []string, each func(s string, n int64)) {
		for from := 0; from < len(list); from += w.perChunk {
			part := list[from:min(from+w.perChunk, len(list))]
			each(joined(part), int64(len(part)))
		}
	}
	if len(w.reasoning) > 0 {
		id := "rs_" + w.id
		item("response.output_item.added", `{"id":"`+id+`","type":"reasoning","summary":[]}`, 0)
		emit("response.reasoning_summary_part.added", at(id)+`,"summary_index":0,"part":{"type":"summary_text","text":""}`, 0, 0)
		pieces(w.reasoning, func(s string, n int64) {
			emit("response.reasoning_summary_text.delta", at(id)+`,"summary_index":0,"delta":`+quoted(s), 0, n)
		})
		emit("response.reasoning_summary_text.done", at(id)+`,"summary_index":0,"text":`+quoted(joined(w.reasoning)), 0, 0)
		emit("response.reasoning_summary_part.done", at(id)+`,"summary_index":0,"part":{"type":"summary_text","text":`+quoted(joined(w.reasoning))+`}`, 0, 0)
		item("response.output_item.done", items[index], 0)
		index++
	}
	if len(w.pieces) > 0 || len(w.calls) == 0 {
		id := "msg_" + w.id
		item("response.output_item.added", `{"id":"`+id+`","type":"message","status":"in_progress","role":"assistant","content":[]}`, 0)
		emit("response.content_part.added", at(id)+`,"content_index":0,"part":`+w.textPart(nil), 0, 0)
		pad := 0
		pieces(w.pieces, func(s string, n int64) {
			emit("response.output_text.delta", string(o.padding([]byte(at(id)+`,"content_index":0,"delta":`+quoted(s)+`,"logprobs":[]`), &pad)), n, 0)
		})
		emit("response.output_text.done", at(id)+`,"content_index":0,"text":`+quoted(joined(w.pieces))+`,"logprobs":[]`, 0, 0)
		emit("response.content_part.done", at(id)+`,"content_index":0,"part":`+w.textPart(w.pieces), 0, 0)
		item("response.output_item.done", items[index], 0)
		index++
	}
	for _, c := range w.calls {
		id := "fc_" + c.ID
		item("response.output_item.added", callItem(c, "", "in_progress"), 2+int64(len(c.Name)+len(c.Args)+3)/4)
		for args := c.Args; args != ""; {
			n := min(len(args), 5)
			emit("response.function_call_arguments.delta", at(id)+`,"delta":`+quoted(args[:n]), 0, 0)
			args = args[n:]
		}
		emit("response.function_call_arguments.done", at(id)+`,"arguments":`+quoted(c.Args), 0, 0)
		item("response.output_item.done", items[index], 0)
		index++
	}
	status := h.status(w)
	emit("response."+status, `"response":`+string(h.object(o, w, status, items, true)), 0, 0)
	if failed == nil && o.dial.name == "openrouter" {
		failed = o.event([]byte("data: [DONE]\n\n"), 0, 0)
	}
	if failed != nil {
		return failed
	}
	return o.finish()
}
