package matrixtest

import (
	"encoding/json"

	"tokenrelay/proxy/protocol/chat"
)

// request is a question in a client's format.
type request struct {
	path, body string
	stream     bool
	events     bool // DashScope asks for a stream in its head
}

// question is a question in no format. Its zero members are not asked for.
type question struct {
	text     string // of the user, with the mock's script
	system   string
	image    string // base64 of a picture
	tools    bool   // weather(city), time()
	history  bool   // weather was called and has answered
	thinking bool
	schema   bool // {"answer": string}
	answers  int
	logprobs bool
	custom   bool // a tool whose input is free text
	stream   bool
}

type object = map[string]any

// The conversation of a question with history: arguments that must not be touched, and
// a result.
const (
	callArgs   = `{"city":"Bern","n":12345678901234567890}`
	callResult = "mild-7731"
	maxTokens  = 6000
	budget     = 2048
)

var (
	citySchema   = object{"type": "object", "properties": object{"city": object{"type": "string"}}, "required": []string{"city"}}
	emptySchema  = object{"type": "object", "properties": object{}}
	answerSchema = object{"type": "object", "properties": object{"answer": object{"type": "string"}}, "required": []string{"answer"}, "additionalProperties": false}
)

// ask puts a question into a client's format.
func ask(p chat.Protocol, model string, q *question) *request {
	r := &request{stream: q.stream}
	var body object
	switch p {
	case chat.OpenAI:
		r.path, body = "/v1/chat/completions", askChat(q)
	case chat.Messages:
		r.path, body = "/v1/messages", askMessages(q)
	case chat.Responses:
		r.path, body = "/v1/responses", askResponses(q)
	case chat.Gemini:
		r.path, body = "/v1beta/models/"+model+":generateContent", askGemini(q)
		if q.stream {
			r.path = "/v1beta/models/" + model + ":streamGenerateContent?alt=sse"
		}
	case chat.DashScope:
		r.path, body, r.events = "/api/v1/services/aigc/text-generation/generation", askDashScope(q), q.stream
	}
	if p != chat.Gemini {
		body["model"] = model
	}
	if q.stream && p != chat.Gemini && p != chat.DashScope {
		body["stream"] = true
	}
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	r.body = string(b)
	return r
}

// chatMessages are messages as Chat Completions and DashScope have them.
func chatMessages(q *question, picture func(data string) object) (list []any) {
	if q.system != "" {
		list = append(list, object{"role": "system", "content": q.system})
	}
	var content any = q.text
	if q.image != "" {
		content = []any{picture(""), picture(q.image)}
	}
	list = append(list, object{"role": "user", "content": content})
	if q.history {
		list = append(list,
			object{"role": "assistant", "content": "", "tool_calls": []any{object{"id": "call_1", "type": "function", "function": object{"name": "weather", "arguments": callArgs}}}},
			object{"role": "tool", "tool_call_id": "call_1", "content": callResult})
	}
	return list
}

func chatTools() []any {
	return []any{
		object{"type": "function", "function": object{"name": "weather", "description": "of a city", "parameters": citySchema}},
		object{"type": "function", "function": object{"name": "time", "parameters": emptySchema}},
	}
}

func askChat(q *question) object {
	m := object{"max_completion_tokens": maxTokens, "messages": chatMessages(q, func(data string) object {
		if data == "" {
			return object{"type": "text", "text": q.text}
		}
		return object{"type": "image_url", "image_url": object{"url": "data:image/png;base64," + data}}
	})}
	if q.tools {
		m["tools"] = chatTools()
	}
	if q.thinking {
		m["reasoning_effort"] = "low"
	}
	if q.schema {
		m["response_format"] = object{"type": "json_schema", "json_schema": object{"name": "answer", "strict": true, "schema": answerSchema}}
	}
	if q.answers > 0 {
		m["n"] = q.answers
	}
	if q.logprobs {
		m["logprobs"], m["top_logprobs"] = true, 2
	}
	if q.custom {
		m["tools"] = []any{object{"type": "custom", "custom": object{"name": "shell", "description": "a command"}}}
	}
	if q.stream {
		m["stream_options"] = object{"include_usage": true}
	}
	return m
}

func askMessages(q *question) object {
	m := object{"max_tokens": maxTokens}
	if q.system != "" {
		m["system"] = q.system
	}
	var content any = q.text
	if q.image != "" {
		content = []any{object{"type": "text", "text": q.text}, object{"type": "image", "source": object{"type": "base64", "media_type": "image/png", "data": q.image}}}
	}
	list := []any{object{"role": "user", "content": content}}
	if q.history {
		list = append(list,
			object{"role": "assistant", "content": []any{object{"type": "tool_use", "id": "call_1", "name": "weather", "input": json.RawMessage(callArgs)}}},
			object{"role": "user", "content": []any{object{"type": "tool_result", "tool_use_id": "call_1", "content": callResult}}})
	}
	m["messages"] = list
	if q.tools {
		m["tools"] = []any{object{"name": "weather", "description": "of a city", "input_schema": citySchema}, object{"name": "time", "input_schema": emptySchema}}
	}
	if q.thinking {
		m["thinking"] = object{"type": "enabled", "budget_tokens": budget}
	}
	if q.schema {
		m["output_config"] = object{"format": object{"type": "json_schema", "schema": answerSchema}}
	}
	return m
}

func askResponses(q *question) object {
	m := object{"max_output_tokens": maxTokens}
	if q.system != "" {
		m["instructions"] = q.system
	}
	var content any = q.text
	if q.image != "" {
		content = []any{object{"type": "input_text", "text": q.text}, object{"type": "input_image", "image_url": "data:image/png;base64," + q.image}}
	}
	list := []any{object{"role": "user", "content": content}}
	if q.history {
		list = append(list,
			object{"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": callArgs},
			object{"type": "function_call_output", "call_id": "call_1", "output": callResult})
	}
	m["input"] = list
	if q.tools {
		m["tools"] = []any{object{"type": "function", "name": "weather", "description": "of a city", "parameters": citySchema}, object{"type": "function", "name": "time", "parameters": emptySchema}}
	}
	if q.thinking {
		m["reasoning"] = object{"effort": "low", "summary": "auto"}
	}
	if q.schema {
		m["text"] = object{"format": object{"type": "json_schema", "name": "answer", "strict": true, "schema": answerSchema}}
	}
	if q.logprobs {
		m["top_logprobs"], m["include"] = 2, []string{"message.output_text.logprobs"}
	}
	if q.custom {
		m["tools"] = []any{object{"type": "custom", "name": "shell", "description": "a command"}}
	}
	return m
}

func askGemini(q *question) object {
	config := object{"maxOutputTokens": maxTokens}
	parts := []any{object{"text": q.text}}
	if q.image != "" {
		parts = append(parts, object{"inlineData": object{"mimeType": "image/png", "data": q.image}})
	}
	list := []any{object{"role": "user", "parts": parts}}
	if q.history {
		list = append(list,
			object{"role": "model", "parts": []any{object{"functionCall": object{"id": "call_1", "name": "weather", "args": json.RawMessage(callArgs)}}}},
			object{"role": "user", "parts": []any{object{"functionResponse": object{"id": "call_1", "name": "weather", "response": object{"result": callResult}}}}})
	}
	m := object{"contents": list, "generationConfig": config}
	if q.system != "" {
		m["systemInstruction"] = object{"parts": []any{object{"text": q.system}}}
	}
	if q.tools {
		m["tools"] = []any{object{"functionDeclarations": []any{object{"name": "weather", "description": "of a city", "parametersJsonSchema": citySchema}, object{"name": "time", "parametersJsonSchema": emptySchema}}}}
	}
	if q.thinking {
		config["thinkingConfig"] = object{"thinkingBudget": budget, "includeThoughts": true}
	}
	if q.schema {
		config["responseMimeType"], config["responseJsonSchema"] = "application/json", answerSchema
	}
	if q.answers > 0 {
		config["candidateCount"] = q.answers
	}
	if q.logprobs {
		config["responseLogprobs"], config["logprobs"] = true, 2
	}
	return m
}

func askDashScope(q *question) object {
	p := object{"result_format": "message", "max_tokens": maxTokens, "incremental_output": true}
	m := object{"parameters": p, "input": object{"messages": chatMessages(q, func(data string) object {
		if data == "" {
			return object{"text": q.text}
		}
		return object{"image": "data:image/png;base64," + data}
	})}}
	if q.tools {
		p["tools"] = chatTools()
	}
	if q.thinking {
		p["enable_thinking"], p["thinking_budget"] = true, budget
	}
	if q.schema {
		p["response_format"] = object{"type": "json_schema", "json_schema": object{"name": "answer", "schema": answerSchema}}
	}
	if q.answers > 0 {
		p["n"] = q.answers
	}
	if q.logprobs {
		p["logprobs"], p["top_logprobs"] = true, 2
	}
	return m
}
