package mockllm

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/bytedance/sonic"

	"tokenrelay/shared/aws"
)

// converse is Amazon Bedrock's Converse and ConverseStream: the model and the kind of
// answer stand in the path, a stream is made of binary frames.
type converse struct {
	model  string
	events bool
}

// dialectConverse stands where an OpenAI dialect would: errors and meter need a name.
var dialectConverse = &dialect{name: "bedrock", contentType: "application/vnd.amazon.eventstream", nl: "\n"}

// conversePath reads a path …/model/ID/converse or …/converse-stream.
func conversePath(path string) (converse, bool) {
	_, rest, ok := strings.Cut(path, "/model/")
	id, operation, _ := strings.Cut(rest, "/")
	model, err := url.PathUnescape(id)
	if !ok || err != nil || operation != "converse" && operation != "converse-stream" {
		return converse{}, false
	}
	return converse{model, operation == "converse-stream"}, true
}

func (converse) anthropic() bool { return false }

// block is a content block of a request, as far as the mock reads it.
type block struct {
	Text   *string         `json:"text"`
	Image  json.RawMessage `json:"image"`
	Result *struct {
		ID      string  `json:"toolUseId"`
		Content []block `json:"content"`
	} `json:"toolResult"`
	Use *struct {
		ID string `json:"toolUseId"`
	} `json:"toolUse"`
	Document json.RawMessage `json:"document"`
}

func (c converse) parse(a *ask, body []byte) error {
	var r struct {
		Messages []struct {
			Role    string  `json:"role"`
			Content []block `json:"content"`
		} `json:"messages"`
		System    []block `json:"system"`
		Inference struct {
			MaxTokens *int64 `json:"maxTokens"`
		} `json:"inferenceConfig"`
		Tools *struct {
			Tools []struct {
				Spec *struct {
					Name   string `json:"name"`
					Schema struct {
						JSON json.RawMessage `json:"json"`
					} `json:"inputSchema"`
				} `json:"toolSpec"`
			} `json:"tools"`
			Choice struct {
				Auto *struct{} `json:"auto"`
				Any  *struct{} `json:"any"`
				Tool *struct {
					Name string `json:"name"`
				} `json:"tool"`
			} `json:"toolChoice"`
		} `json:"toolConfig"`
		Additional struct {
			Thinking struct {
				Type string `json:"type"`
			} `json:"thinking"`
			Reasoning struct {
				Type string `json:"type"`
			} `json:"reasoningConfig"`
		} `json:"additionalModelRequestFields"`
		Output struct {
			Format struct {
				Structure struct {
					Schema struct {
						Schema string `json:"schema"`
					} `json:"jsonSchema"`
				} `json:"structure"`
			} `json:"textFormat"`
		} `json:"outputConfig"`
	}
	if err := sonic.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("cannot read the request: %w", short(err))
	}
	a.model, a.stream = c.model, c.events
	if len(r.Messages) == 0 || r.Messages[0].Role != "user" {
		return wording("A conversation must start with a user message. Try again with a conversation that starts with a user message.")
	}
	if r.Inference.MaxTokens != nil {
		a.maxTokens = *r.Inference.MaxTokens
	}
	a.thinking = r.Additional.Thinking.Type == "enabled" || r.Additional.Thinking.Type == "adaptive" || r.Additional.Reasoning.Type == "enabled"
	if s := r.Output.Format.Structure.Schema.Schema; s != "" {
		a.schema = json.RawMessage(s)
	}
	if len(r.System) > 0 {
		if err := a.blocks(r.System); err != nil {
			return err
		}
	}
	uses := false
	for i, m := range r.Messages {
		if i > 0 && m.Role == r.Messages[i-1].Role {
			return wording("A conversation must alternate between user and assistant roles.")
		}
		a.lastIsTool = false
		if err := a.blocks(m.Content); err != nil {
			return err
		}
		for _, b := range m.Content {
			uses = uses || b.Use != nil || b.Result != nil
			a.lastIsTool = a.lastIsTool || b.Result != nil
			if b.Text != nil && m.Role == "user" {
				if a.firstUser == "" {
					a.firstUser = *b.Text
				}
				a.lastUser = *b.Text
			}
		}
	}
	if r.Tools == nil {
		if uses {
			return wording("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
		}
		return nil
	}
	for _, t := range r.Tools.Tools {
		if t.Spec != nil {
			a.tools = append(a.tools, tool{t.Spec.Name, t.Spec.Schema.JSON})
			a.prompt += (int64(len(t.Spec.Name)+len(t.Spec.Schema.JSON)) + 3) / 4
		}
	}
	switch ch := r.Tools.Choice; {
	case ch.Tool != nil:
		a.toolChoice = ch.Tool.Name
	case ch.Any != nil:
		a.toolChoice = "required"
	case ch.Auto != nil:
		a.toolChoice = "auto"
	}
	return nil
}

// blocks counts a message, and holds what Bedrock refuses.
func (a *ask) blocks(list []block) error {
	var s strings.Builder
	images, documents, texts := int64(0), 0, 0
	for _, b := range list {
		if b.Text != nil {
			if strings.TrimSpace(*b.Text) == "" {
				return wording("The text field in the ContentBlock object is blank.")
			}
			texts++
			s.WriteString(*b.Text)
		}
		if b.Image != nil {
			images++
		}
		if b.Document != nil {
			documents++
		}
		if b.Result != nil {
			for _, in := range b.Result.Content {
				if in.Text != nil {
					s.WriteString(*in.Text)
				}
			}
		}
	}
	if documents > 0 && texts == 0 {
		return wording("A text block must be included when a document is.")
	}
	a.countMessage(s.String(), images)
	return nil
}

func (o *out) converseUsage(b []byte, u Units) []byte {
	b = append(b, `"usage":{`...)
	b = o.field(b, "inputTokens", u.Input, true)
	b = append(b, ',')
	b = o.field(b, "outputTokens", u.Output, false)
	b = append(b, ',')
	b = plain(b, "totalTokens", u.TotalInput()+u.Output)
	if written := u.CacheWrite + u.CacheWrite1h; u.CacheRead+written > 0 {
		for _, name := range [...]string{"cacheReadInputTokens", "cacheReadInputTokenCount"} {
			b = append(b, ',')
			b = plain(b, name, u.CacheRead)
		}
		b = append(b, ',')
		b = plain(b, "cacheWriteInputTokens", written)
		b = append(b, `,"cacheDetails":[{"ttl":"5m",`...)
		b = plain(b, "inputTokens", u.CacheWrite)
		b = append(b, `},{"ttl":"1h",`...)
		b = plain(b, "inputTokens", u.CacheWrite1h)
		b = append(b, "}]"...)
	}
	o.state(u)
	return append(b, '}')
}

func (c converse) buffered(o *out, w *answer) error {
	b := append(o.c.scratch[:0], `{"metrics":{"latencyMs":5},"output":{"message":{"content":[`...)
	comma := ""
	next := func() {
		b = append(b, comma...)
		comma = ","
	}
	if len(w.reasoning) > 0 {
		next()
		b = append(b, `{"reasoningContent":{"reasoningText":{"text":`...)
		b = appendQuoted(b, joined(w.reasoning))
		b = append(b, `,"signature":"bW9jaw=="}}}`...)
	}
	if len(w.pieces) > 0 {
		next()
		b = append(b, `{"text":`...)
		b = appendQuoted(b, joined(w.pieces))
		b = append(b, '}')
	}
	for _, x := range w.calls {
		next()
		b = append(append(append(b, `{"toolUse":{"toolUseId":"tooluse_`...), x.ID...), `","name":`...)
		b = appendQuoted(b, x.Name)
		b = append(append(append(b, `,"input":`...), x.Args...), "}}"...)
	}
	b = append(b, `],"role":"assistant"}},"stopReason":`...)
	b = appendQuoted(b, w.stopReason())
	if o.sc.Usage != "none" {
		b = append(b, ',')
		b = o.converseUsage(b, w.units)
	}
	b = append(b, '}')
	o.c.scratch = b
	o.tokens, o.think = w.units.Output-w.units.Reasoning, w.units.Reasoning
	return o.whole(statusOr200(o.sc.Status), "application/json", b, "")
}

// padding is the random padding of a frame, against those who measure sizes.
const padding = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

func (c converse) stream(o *out, w *answer) error {
	if err := o.begin(statusOr200(o.sc.Status), dialectConverse.contentType, -1, ""); err != nil {
		return err
	}
	n := 0
	emit := func(name, payload string, tokens, think int64) error {
		n++
		payload = payload[:len(payload)-1] + `,"p":"` + padding[:(n*7)%len(padding)] + `"}`
		b, err := aws.AppendFrame(o.c.scratch[:0], name, false, []byte(payload))
		if err != nil {
			return err
		}
		o.c.scratch = b
		return o.event(b, tokens, think)
	}
	if err := emit("messageStart", `{"role":"assistant"}`, 0, 0); err != nil {
		return err
	}
	index := 0
	at := func() string { return `{"contentBlockIndex":` + strconv.Itoa(index) }
	stop := func() error {
		err := emit("contentBlockStop", at()+"}", 0, 0)
		index++
		return err
	}
	pieces := func(list []string, open, shut string, think int64) error {
		for i := 0; i < len(list); i += w.perChunk {
			part := list[i:min(i+w.perChunk, len(list))]
			k := int64(len(part))
			if err := emit("contentBlockDelta", at()+`,"delta":`+open+quoted(joined(part))+shut+"}", k*(1-think), k*think); err != nil {
				return err
			}
		}
		return nil
	}
	if len(w.reasoning) > 0 {
		if err := pieces(w.reasoning, `{"reasoningContent":{"text":`, "}}", 1); err != nil {
			return err
		}
		if err := emit("contentBlockDelta", at()+`,"delta":{"reasoningContent":{"signature":"bW9jaw=="}}}`, 0, 0); err != nil {
			return err
		}
		if err := stop(); err != nil {
			return err
		}
	}
	if len(w.pieces) > 0 {
		if err := pieces(w.pieces, `{"text":`, "}", 0); err != nil {
			return err
		}
		if err := stop(); err != nil {
			return err
		}
	}
	for _, x := range w.calls {
		if err := emit("contentBlockStart", at()+`,"start":{"toolUse":{"toolUseId":"tooluse_`+x.ID+`","name":`+quoted(x.Name)+"}}}", 0, 0); err != nil {
			return err
		}
		half := len(x.Args) / 2
		for j, args := range [...]string{x.Args[:half], x.Args[half:]} {
			if err := emit("contentBlockDelta", at()+`,"delta":{"toolUse":{"input":`+quoted(args)+"}}}", int64(j)*(2+int64(len(x.Name)+len(x.Args)+3)/4), 0); err != nil {
				return err
			}
		}
		if err := stop(); err != nil {
			return err
		}
	}
	if err := emit("messageStop", `{"stopReason":`+quoted(w.stopReason())+"}", 0, 0); err != nil {
		return err
	}
	if o.sc.Usage != "none" {
		b := o.converseUsage([]byte(`{"metrics":{"latencyMs":5},`), w.units)
		if err := emit("metadata", string(b)+"}", 0, 0); err != nil {
			return err
		}
	}
	return o.finish()
}

// converseError is errorFor in Amazon's shape: the kind of the error stands in a header.
func converseError(name string, status, usual int) (int, string, string) {
	_, message := converseFault(name)
	switch name {
	case "account_empty", "model_not_found", "content_filter", "too_large", "unprocessable", "tool_use_failed", "bad_request":
		usual = 400
	case "invalid_key":
		usual = 403
	}
	return orStatus(status, usual), "application/json", `{"message":` + quoted(message) + `}`
}

// converseFault is an error's name and words.
func converseFault(name string) (kind, message string) {
	kind, message = "ValidationException", "1 validation error detected: Value at 'inferenceConfig.temperature' failed to satisfy constraint: Member must be less than or equal to 1"
	switch name {
	case "account_empty":
		message = "Operation not allowed for acct-mockcanary"
	case "invalid_key":
		kind, message = "UnrecognizedClientException", "The security token included in the request is invalid."
	case "permission":
		kind, message = "AccessDeniedException", "User: arn:aws:iam::123456789012:user/mockllm-canary is not authorized to perform: bedrock:InvokeModel"
	case "context_length":
		message = "Input is too long for requested model."
	case "content_filter":
		message = "Output blocked by content filtering policy"
	case "model_not_found":
		message = "The provided model identifier is invalid."
	case "rate_limit":
		kind, message = "ThrottlingException", "Too many requests, please wait before trying again."
	case "overloaded":
		kind, message = "ServiceUnavailableException", "Bedrock is unable to process your request."
	case "timeout":
		kind, message = "ModelTimeoutException", "The request took too long to process."
	case "server":
		kind, message = "InternalServerException", "The system encountered an unexpected error during processing. Try your request again."
	}
	return kind, message
}

// converseHead is the header that tells the kind of an error.
func converseHead(name string, status int) string {
	if name == "" {
		name = nameOf(status)
	}
	kind, _ := converseFault(name)
	return "x-amzn-ErrorType: " + kind + ":http://internal.amazon.com/coral/com.amazon.bedrock/\r\n"
}

// converseException is an error amid a stream.
func (o *out) converseException() []byte {
	kind, message := converseFault(o.sc.Error)
	b, _ := aws.AppendFrame(nil, strings.ToLower(kind[:1])+kind[1:], true, []byte(`{"message":`+quoted(message)+`}`))
	return b
}
