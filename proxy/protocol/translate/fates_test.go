package translate

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/openai"
)

// samples give each row of the table a request that has the member. base is
// overlaid by the sample.
var bases = map[chat.Protocol]string{
	chat.OpenAI:    `{"model":"m","messages":[{"role":"user","content":"hi"}]}`,
	chat.Messages:  `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`,
	chat.Gemini:    `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`,
	chat.DashScope: `{"model":"m","input":{"messages":[{"role":"user","content":"hi"}]}}`,
}

const (
	user   = `{"messages":[{"role":"user",`
	part   = `{"messages":[{"role":"user","content":[{"type":"text","text":"a"},`
	helper = `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b",`
	uses   = `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"i","name":"f","input":{}}]},{"role":"user","content":[`
	parts  = `{"contents":[{"role":"user","parts":[{"text":"a"},`
	said   = `{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[`
	then   = `]},{"role":"user","parts":[{"text":"b"}]}]}`
	called = `{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},{"role":"user","parts":[`
	fnDecl = `{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT","properties":{"type":{"type":"STRING"}}}`
	fnTool = `{"type":"function","function":{"name":"f"}}`
)

var samples = map[chat.Protocol]map[string]string{
	chat.OpenAI: {
		"model": `{}`, "messages": `{}`,
		"messages[].role":                              `{"messages":[{"role":"user","content":"a"},{"role":"developer","content":"late"}]}`,
		"messages[].content":                           `{}`,
		"messages[].name":                              user + `"content":"a","name":"n"}]}`,
		"messages[].tool_calls":                        helper + `"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}]}`,
		"messages[].tool_call_id":                      `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"r"}]}`,
		"messages[].function_call":                     helper + `"function_call":{"name":"f","arguments":"{}"}}]}`,
		"messages[].refusal":                           helper + `"refusal":"no"}]}`,
		"messages[].audio":                             helper + `"audio":{"id":"x"}}]}`,
		"messages[].annotations":                       helper + `"annotations":[{}]}]}`,
		"messages[].reasoning_content":                 helper + `"reasoning_content":"r"}]}`,
		"messages[].reasoning":                         helper + `"reasoning":"r"}]}`,
		"messages[].reasoning_details":                 helper + `"reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s","format":"anthropic-claude-v1","index":0}]}]}`,
		"messages[].content[].type=text":               part + `{"type":"text","text":"b"}]}]}`,
		"messages[].content[].type=refusal":            part + `{"type":"refusal","refusal":"b"}]}]}`,
		"messages[].content[].type=image_url":          part + `{"type":"image_url","image_url":{"url":"https://e.org/a.png"}}]}]}`,
		"messages[].content[].image_url.detail":        part + `{"type":"image_url","image_url":{"url":"https://e.org/a.png","detail":"high"}}]}]}`,
		"messages[].content[].type=file":               part + `{"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA"}}]}]}`,
		"messages[].content[].type=input_audio":        part + `{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]}`,
		"messages[].content[].type":                    part + `{"type":"video_url","video_url":{}}]}]}`,
		"messages[].content[].cache_control":           part + `{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}]}]}`,
		"messages[].content[].prompt_cache_breakpoint": part + `{"type":"text","text":"b","prompt_cache_breakpoint":{"mode":"explicit"}}]}]}`,
		"audio": `{"audio":{"voice":"v","format":"mp3"}}`, "frequency_penalty": `{"frequency_penalty":1}`,
		"function_call": `{"functions":[{"name":"f"}],"function_call":"auto"}`, "functions": `{"functions":[{"name":"f"}]}`,
		"logit_bias": `{"logit_bias":{"1":1}}`, "logprobs": `{"logprobs":true}`,
		"max_completion_tokens": `{"max_completion_tokens":9}`, "max_tokens": `{"max_tokens":9}`,
		"metadata": `{"metadata":{"a":"b"}}`, "modalities": `{"modalities":["text","audio"]}`, "moderation": `{"moderation":{"a":1}}`,
		"n": `{"n":2}`, "parallel_tool_calls": `{"parallel_tool_calls":false,"tools":[` + fnTool + `]}`, "prediction": `{"prediction":{"type":"content","content":"a"}}`,
		"presence_penalty": `{"presence_penalty":1}`, "prompt_cache_key": `{"prompt_cache_key":"k"}`, "prompt_cache_options": `{"prompt_cache_options":{}}`,
		"prompt_cache_retention": `{"prompt_cache_retention":"24h"}`, "reasoning_effort": `{"reasoning_effort":"low"}`,
		"response_format":   `{"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}}`,
		"safety_identifier": `{"safety_identifier":"u"}`, "seed": `{"seed":1}`, "service_tier": `{"service_tier":"auto"}`,
		"stop": `{"stop":"x"}`, "store": `{"store":true}`, "stream": `{"stream":true}`, "stream_options": `{"stream_options":{"include_usage":true}}`,
		"temperature": `{"temperature":0.5}`, "tool_choice": `{"tool_choice":"required","tools":[` + fnTool + `]}`, "tools": `{"tools":[` + fnTool + `]}`,
		"tools[].type=custom":     `{"tools":[{"type":"custom","custom":{"name":"f"}}]}`,
		"tools[].function.strict": `{"tools":[{"type":"function","function":{"name":"f","strict":true}}]}`,
		"top_k":                   `{"top_k":3}`, "top_logprobs": `{"top_logprobs":3}`, "top_p": `{"top_p":0.5}`, "user": `{"user":"u"}`,
		"verbosity": `{"verbosity":"low"}`, "web_search_options": `{"web_search_options":{"a":1}}`,
	},
	chat.Messages: {
		"model": `{}`, "messages": `{}`, "messages[].role": `{}`, "messages[].content": `{}`,
		"messages[].content[].type=text":               part + `{"type":"text","text":"b"}]}]}`,
		"messages[].content[].type=image":              part + `{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}`,
		"messages[].content[].type=document":           part + `{"type":"document","source":{"type":"text","media_type":"text/plain","data":"d"}}]}]}`,
		"messages[].content[].type=search_result":      part + `{"type":"search_result","title":"t","source":"s","content":[{"type":"text","text":"c"}]}]}]}`,
		"messages[].content[].type=tool_use":           helper[:len(helper)-len(`"content":"b",`)] + `"content":[{"type":"tool_use","id":"i","name":"f","input":{}}]},{"role":"user","content":"c"}]}`,
		"messages[].content[].type=tool_result":        uses + `{"type":"tool_result","tool_use_id":"i","is_error":true,"content":"c"}]}]}`,
		"messages[].content[].content[].type=image":    uses + `{"type":"tool_result","tool_use_id":"i","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}]}`,
		"messages[].content[].content[].type=document": uses + `{"type":"tool_result","tool_use_id":"i","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}}]}]}]}`,
		"messages[].content[].type=thinking":           helper[:len(helper)-len(`"content":"b",`)] + `"content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"i","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"i"}]}]}`,
		"messages[].content[].type=redacted_thinking":  helper[:len(helper)-len(`"content":"b",`)] + `"content":[{"type":"redacted_thinking","data":"t"}]},{"role":"user","content":"c"}]}`,
		"messages[].content[].type=server_tool_use":    helper[:len(helper)-len(`"content":"b",`)] + `"content":[{"type":"server_tool_use","id":"i","name":"web_search","input":{}}]},{"role":"user","content":"c"}]}`,
		"messages[].content[].type":                    part + `{"type":"container_upload","file_id":"f"}]}]}`,
		"messages[].content[].source.type":             part + `{"type":"document","source":{"type":"url","url":"https://e.org/a.pdf"}}]}]}`,
		"messages[].content[].cache_control":           part + `{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}]}]}`,
		"messages[].content[].citations":               part + `{"type":"document","citations":{"enabled":true},"source":{"type":"text","data":"d"}}]}]}`,
		"messages[].content[].context":                 part + `{"type":"document","context":"c","source":{"type":"text","data":"d"}}]}]}`,
		"cache_control":                                `{"cache_control":{"type":"ephemeral"}}`, "container": `{"container":"c"}`, "context_management": `{"context_management":{"edits":[]}}`,
		"inference_geo": `{"inference_geo":"us"}`, "max_tokens": `{"max_tokens":9}`, "mcp_servers": `{"mcp_servers":[{"type":"url"}]}`,
		"metadata": `{"metadata":{"user_id":"u"}}`, "output_config": `{"output_config":{"effort":"low"}}`, "service_tier": `{"service_tier":"auto"}`,
		"speed": `{"speed":"fast"}`, "stop_sequences": `{"stop_sequences":["x"]}`, "stream": `{"stream":true}`, "system": `{"system":"s"}`,
		"system[].cache_control": `{"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}]}`, "temperature": `{"temperature":0.5}`,
		"thinking.display": `{"thinking":{"type":"adaptive","display":"omitted"}}`,
		"thinking":         `{"thinking":{"type":"enabled","budget_tokens":2048}}`, "tool_choice": `{"tool_choice":{"type":"any"},"tools":[{"name":"f","input_schema":{}}]}`,
		"tools": `{"tools":[{"name":"f","input_schema":{}}]}`, "tools[].type": `{"tools":[{"type":"web_search_20250305","name":"web_search"}]}`,
		"tools[].cache_control":         `{"tools":[{"name":"f","input_schema":{},"cache_control":{"type":"ephemeral"}}]}`,
		"tools[].defer_loading":         `{"tools":[{"name":"f","input_schema":{},"defer_loading":true}]}`,
		"tools[].eager_input_streaming": `{"tools":[{"name":"f","input_schema":{},"eager_input_streaming":true}]}`,
		"tools[].input_examples":        `{"tools":[{"name":"f","input_schema":{},"input_examples":[{}]}]}`,
		"tools[].strict":                `{"tools":[{"name":"f","input_schema":{},"strict":true}]}`,
		"top_k":                         `{"top_k":3}`, "top_p": `{"top_p":0.5}`,
	},
	chat.Gemini: {
		"contents": `{}`, "contents[].role": `{}`, "tools": `{"tools":[` + fnDecl + `}]}]}`,
		"contents[].parts[].text":                   parts + `{"text":"b"}]}]}`,
		"contents[].parts[].inlineData":             parts + `{"inline_data":{"mime_type":"image/png","data":"AAAA"}}]}]}`,
		"contents[].parts[].fileData":               parts + `{"fileData":{"mimeType":"image/png","fileUri":"https://e.org/a.png"}}]}]}`,
		"contents[].parts[].functionCall":           said + `{"functionCall":{"name":"f","args":{"a":1}}}` + then,
		"contents[].parts[].functionResponse":       called + `{"functionResponse":{"name":"f","response":{"a":1}}}]}]}`,
		"contents[].parts[].functionResponse.parts": called + `{"functionResponse":{"name":"f","response":{"a":1},"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}}]}]}`,
		"contents[].parts[].thought":                said + `{"text":"t","thought":true},{"text":"c"}` + then,
		"contents[].parts[].thoughtSignature":       said + `{"text":"t","thoughtSignature":"AAAA"}` + then,
		"contents[].parts[].executableCode":         said + `{"executableCode":{"code":"1"}},{"text":"c"}` + then,
		"contents[].parts[].codeExecutionResult":    said + `{"codeExecutionResult":{"output":"1"}},{"text":"c"}` + then,
		"contents[].parts[].videoMetadata":          parts + `{"text":"c","videoMetadata":{"fps":1}}]}]}`,
		"systemInstruction":                         `{"systemInstruction":{"parts":[{"text":"s"}]}}`,
		"tools[].functionDeclarations":              `{"tools":[` + fnDecl + `}]}]}`,
		"tools[].functionDeclarations[].response":   `{"tools":[` + fnDecl + `,"response":{"type":"STRING"}}]}]}`,
		"tools[].functionDeclarations[].behavior":   `{"tools":[` + fnDecl + `,"behavior":"BLOCKING"}]}]}`,
		"tools[].googleSearch":                      `{"tools":[{"google_search":{}}]}`, "tools[].codeExecution": `{"tools":[{"codeExecution":{}}]}`,
		"tools[].urlContext": `{"tools":[{"urlContext":{}}]}`, "tools[].fileSearch": `{"tools":[{"fileSearch":{}}]}`,
		"toolConfig": `{"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}},"tools":[` + fnDecl + `}]}]}`,
		"toolConfig.functionCallingConfig.streamFunctionCallArguments": `{"toolConfig":{"functionCallingConfig":{"streamFunctionCallArguments":true}}}`,
		"toolConfig.retrievalConfig":                                   `{"toolConfig":{"retrievalConfig":{"languageCode":"de"}}}`,
		"safetySettings":                                               `{"safetySettings":[{"category":"c"}]}`, "cachedContent": `{"cachedContent":"cachedContents/x"}`,
		"serviceTier": `{"serviceTier":"standard"}`, "labels": `{"labels":{"a":"b"}}`, "generationConfig": `{"generationConfig":{}}`,
		"generationConfig.maxOutputTokens": `{"generationConfig":{"maxOutputTokens":9}}`, "generationConfig.temperature": `{"generationConfig":{"temperature":0.5}}`,
		"generationConfig.topP": `{"generationConfig":{"topP":0.5}}`, "generationConfig.topK": `{"generationConfig":{"top_k":4}}`,
		"generationConfig.seed": `{"generationConfig":{"seed":4}}`, "generationConfig.frequencyPenalty": `{"generationConfig":{"frequencyPenalty":1}}`,
		"generationConfig.presencePenalty": `{"generationConfig":{"presencePenalty":1}}`, "generationConfig.stopSequences": `{"generationConfig":{"stopSequences":["x"]}}`,
		"generationConfig.candidateCount": `{"generationConfig":{"candidateCount":2}}`, "generationConfig.responseLogprobs": `{"generationConfig":{"responseLogprobs":true}}`,
		"generationConfig.logprobs": `{"generationConfig":{"logprobs":3}}`, "generationConfig.responseMimeType": `{"generationConfig":{"responseMimeType":"text/x.enum"}}`,
		"generationConfig.responseSchema":     `{"generationConfig":{"responseMimeType":"application/json","responseSchema":{"type":"OBJECT"}}}`,
		"generationConfig.responseJsonSchema": `{"generationConfig":{"responseMimeType":"application/json","responseJsonSchema":{"type":"object"}}}`,
		"generationConfig.responseModalities": `{"generationConfig":{"responseModalities":["TEXT","IMAGE"]}}`, "generationConfig.speechConfig": `{"generationConfig":{"speechConfig":{"a":1}}}`,
		"generationConfig.mediaResolution": `{"generationConfig":{"mediaResolution":"MEDIA_RESOLUTION_LOW"}}`, "generationConfig.thinkingConfig": `{"generationConfig":{"thinkingConfig":{"thinkingBudget":2048,"includeThoughts":true}}}`,
	},
}

func init() { samples[chat.DashScope] = dashScopeSamples }

// samplesFor stand in the place of samples for one target.
var samplesFor = map[chat.Protocol]map[chat.Protocol]map[string]string{
	chat.DashScope: {
		chat.Messages: {
			"messages[].content[].type=document": part + `{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}}]}]}`,
		},
	},
	chat.Converse: {
		chat.OpenAI: {
			"messages[].content[].type=image_url":   part + `{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}`,
			"messages[].content[].image_url.detail": part + `{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"high"}}]}]}`,
		},
		chat.DashScope: {
			"input.messages[].content[].image": `{"input":{"messages":[{"role":"user","content":[{"text":"a"},{"image":"data:image/png;base64,AAAA"}]}]}}`,
		},
	},
	chat.Cohere: { // it does not go on with an answer that has begun
		chat.OpenAI: {
			"messages[].tool_calls":        helper + `"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"r"}]}`,
			"messages[].function_call":     helper + `"function_call":{"name":"f","arguments":"{}"}},{"role":"user","content":"c"}]}`,
			"messages[].refusal":           helper + `"refusal":"no"},{"role":"user","content":"c"}]}`,
			"messages[].reasoning_details": helper + `"reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s","format":"anthropic-claude-v1","index":0}]},{"role":"user","content":"c"}]}`,
		},
	},
	chat.Gemini: {
		chat.OpenAI: {
			"messages[].reasoning_details": helper + `"reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s","format":"google-gemini-v1","index":0}]}]}`,
		},
		chat.Messages: {
			"messages[].content[].type=thinking": uses[:len(uses)-len(`{"type":"tool_use","id":"i","name":"f","input":{}}]},{"role":"user","content":[`)] + `{"type":"thinking","thinking":"t","signature":"google-gemini-v1:s"}]},{"role":"user","content":"c"}]}`,
		},
	},
}

// dropsToo are the emulated and mapped rows whose sample is served by other means
// than the customer's, and named.
var dropsToo = map[string]bool{
	"Messagesmessages[].content[].content[].type=image": true, "Messagesmessages[].content[].content[].type=document": true,
	"Chat Completionsmessages[].role": true,
}

// inPlace are those of dropsToo that a target has a place for.
var inPlace = map[chat.Protocol][]string{
	chat.Converse: {"messages[].content[].content[].type=image", "messages[].content[].content[].type=document"},
	chat.Cohere:   {"messages[].role"},
}

func overlay(t testing.TB, base string, over ...string) []byte {
	t.Helper()
	m := map[string]json.RawMessage{}
	for _, s := range append([]string{base}, over...) {
		if err := json.Unmarshal([]byte(s), &m); err != nil {
			t.Fatalf("%v: %s", err, s)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func translated(from, to chat.Protocol, body []byte) (out []byte, dropped []string, param string) {
	var r chat.Request
	err := Request(from, body, &r)
	if err == nil {
		r.MaxTokens = 9000
		d := openai.OpenAI
		if strings.Contains(string(body), `"thinking","thinking"`) {
			d = openai.DeepSeek
		}
		out, err = AppendRequest(nil, &r, to, models[to], d)
	}
	if err != nil {
		return nil, nil, err.Param
	}
	return out, r.Dropped(), ""
}

// Every row of the table is what really happens.
func TestFates(t *testing.T) {
	for i := range chat.Table {
		if chat.Table[i].From == chat.Responses {
			continue // TestResponsesFates
		}
		for _, to := range targets(chat.Table[i].From) {
			fate(t, &chat.Table[i], to)
		}
	}
	for to := range chat.Exceptions {
		for i := range chat.Exceptions[to] {
			if row := &chat.Exceptions[to][i]; !slices.ContainsFunc(chat.Table, func(r chat.Row) bool { return r.From == row.From && r.Path == row.Path }) {
				t.Errorf("%v: an exception for %s, which the table does not have", row.From, row.Path)
			}
		}
	}
	for from, list := range samples {
		for path := range list {
			if chat.Find(from, from, path) == nil {
				t.Errorf("%s: a sample for %s, which the table does not have", from, path)
			}
		}
	}
}

// fate holds one row, or what stands in its place for the target.
func fate(t *testing.T, row *chat.Row, to chat.Protocol) {
	if row = chat.Find(row.From, to, row.Path); row == nil {
		t.Fatal("the table does not find its own rows")
	}
	t.Run(row.From.String()+"/"+to.String()+"/"+row.Path, func(t *testing.T) {
		sample, ok := samples[row.From][row.Path]
		if s := samplesFor[to][row.From][row.Path]; s != "" {
			sample = s
		}
		if !ok {
			t.Fatal("no sample for this row")
		}
		out, dropped, param := translated(row.From, to, overlay(t, bases[row.From], sample))
		named := slices.Contains(dropped, row.Path)
		switch row.Fate {
		case chat.Refused:
			want := row.Path
			if strings.HasSuffix(want, "[].type") && want != "tools[].type" {
				want = "type"
			}
			if param == "" || !strings.Contains(param, want) {
				t.Fatalf("refused %q; passed %s, dropped %v", param, out, dropped)
			}
		case chat.Dropped:
			if to == chat.DashScope && strings.HasSuffix(row.Path, ".detail") && strings.Contains(param, "image") {
				return // its image is refused
			}
			if param != "" || !named {
				t.Fatalf("refused %q, dropped %v", param, dropped)
			}
		default:
			if param != "" || named != (row.Fate == chat.Emulated && strings.HasPrefix(row.Note, "a message of") || dropsToo[row.From.String()+row.Path] && !slices.Contains(inPlace[to], row.Path)) || len(dropped) > 0 && !named {
				t.Fatalf("refused %q, dropped %v", param, dropped)
			}
		}
		if param == "" && !json.Valid(out) {
			t.Fatalf("no JSON: %s", out)
		}
	})
}

// Whatever top-level members a request has, known or not: each is mapped, named as
// dropped, or the request is refused by the name of one of them.
func TestNoSilentDrops(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for from, list := range samples {
		var paths []string
		for p := range list {
			if !strings.ContainsAny(p, "[.") {
				paths = append(paths, p)
			}
		}
		slices.Sort(paths)
		for range 3000 {
			var over []string
			for range rnd.IntN(4) + 1 {
				over = append(over, list[paths[rnd.IntN(len(paths))]])
			}
			unknown := []string{"zz", "x-y", "enable_thinking", "\\u0061b", "ключ", strings.Repeat("k", 80)}[rnd.IntN(6)]
			over = append(over, `{"`+unknown+`":1}`)
			body := overlay(t, bases[from], over...)
			to := targets(from)[rnd.IntN(len(targets(from)))]
			out, dropped, param := translated(from, to, body)
			var m map[string]json.RawMessage
			if json.Unmarshal(body, &m) != nil {
				t.Fatal("no JSON")
			}
			if param != "" {
				if _, ok := m[strings.FieldsFunc(param, func(r rune) bool { return r == '.' || r == '[' })[0]]; !ok {
					t.Fatalf("refused by %q, which the request does not have: %s", param, body)
				}
				continue
			}
			if !json.Valid(out) {
				t.Fatalf("no JSON: %s", out)
			}
			for key := range m {
				row := chat.Find(from, to, key)
				if row != nil && (row.Fate == chat.Mapped || row.Fate == chat.Emulated) || slices.Contains(dropped, key) {
					continue
				}
				if row == nil && slices.Contains(dropped, "?") {
					continue // a name that no header may carry
				}
				t.Fatalf("%s is lost: dropped %v of %s", key, dropped, body)
			}
		}
	}
}
