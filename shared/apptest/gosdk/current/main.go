// Command current drives a relay with the current major version of openai-go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/shared"
)

var (
	p   = load()
	ctx = context.Background()
)

func client(key string, more ...option.RequestOption) *openai.Client {
	if token, ok := p.Keys[key]; ok {
		key = token
	}
	c := openai.NewClient(append([]option.RequestOption{option.WithAPIKey(key), option.WithBaseURL(p.URL + "/v1"), option.WithMaxRetries(0)}, more...)...)
	return &c
}

func ask(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
}

func chat(c *openai.Client, params openai.ChatCompletionNewParams) *openai.ChatCompletion {
	r, err := c.Chat.Completions.New(ctx, params)
	if err != nil {
		failf("%v", err)
	}
	return r
}

func read(s *ssestream.Stream[openai.ChatCompletionChunk]) (chunks []openai.ChatCompletionChunk) {
	defer func() { _ = s.Close() }()
	for s.Next() {
		chunks = append(chunks, s.Current())
	}
	must(s.Err())
	return chunks
}

// refused gives the typed error of a call that must be refused so.
func refused(err error, status int, kind, code string) *openai.Error {
	var e *openai.Error
	if !errors.As(err, &e) {
		failf("got %v, want a typed error", err)
	}
	equal(e.StatusCode, status, "status")
	equal(e.Type, kind, "type")
	equal(e.Response.Header.Get("x-relay-error"), code, "x-relay-error")
	check(isRequestID(e.Response.Header.Get("x-request-id")), "no x-request-id")
	return e
}

func fails(c *openai.Client, params openai.ChatCompletionNewParams) error {
	_, err := c.Chat.Completions.New(ctx, params)
	return err
}

func failsStream(c *openai.Client, params openai.ChatCompletionNewParams) error {
	s := c.Chat.Completions.NewStreaming(ctx, params)
	for s.Next() {
	}
	return s.Err()
}

func counted(n *atomic.Int64) option.RequestOption {
	return option.WithMiddleware(func(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
		n.Add(1)
		return next(r)
	})
}

func tools(params openai.ChatCompletionNewParams) openai.ChatCompletionNewParams {
	params.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
		Name: "get_weather", Description: param.NewOpt("Weather of a city"),
		Parameters: shared.FunctionParameters{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}},
	})}
	return params
}

func main() {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/openai/openai-go/v3" {
				version = m.Version
			}
		}
	}
	m := p.Models
	harness(append(responsesScenarios(), []scenario{
		{"openai plain", func() {
			var raw *http.Response
			r, err := client("ok").Chat.Completions.New(ctx, ask(m.Chat, hello), option.WithResponseInto(&raw))
			must(err)
			equal(r.Model, m.Chat, "model")
			check(r.Choices[0].Message.Content != "", "no content")
			equal(r.Choices[0].FinishReason, "stop", "finish_reason")
			equal(r.Usage.CompletionTokens, 12, "completion_tokens")
			check(isRequestID(raw.Header.Get("x-request-id")), "no x-request-id")
		}},
		{"openai stream", func() {
			var text strings.Builder
			chunks := read(client("ok").Chat.Completions.NewStreaming(ctx, ask(m.Chat, hello)))
			for _, c := range chunks {
				text.WriteString(c.Choices[0].Delta.Content) // unguarded
				equal(c.Model, m.Chat, "model")
			}
			check(len(chunks) >= 12, fmt.Sprint(len(chunks), " chunks"))
			equal(text.String(), chat(client("ok"), ask(m.Chat, hello)).Choices[0].Message.Content, "text")
		}},
		{"openai stream with usage", func() {
			params := ask(m.Chat, hello)
			params.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
			acc := openai.ChatCompletionAccumulator{}
			chunks := read(client("ok").Chat.Completions.NewStreaming(ctx, params))
			for i, c := range chunks {
				check(acc.AddChunk(c), "the accumulator refuses a chunk")
				equal(len(c.Choices) == 0, i == len(chunks)-1, "an empty chunk, and only at the end")
			}
			equal(acc.Usage.CompletionTokens, 12, "completion_tokens")
		}},
		{"openai tools", func() {
			r := chat(client("ok"), tools(ask(m.Chat, weather+" mock:tools=1")))
			equal(r.Choices[0].FinishReason, "tool_calls", "finish_reason")
			call := r.Choices[0].Message.ToolCalls[0]
			equal(call.Function.Name, "get_weather", "name")
			check(cities(call.Function.Arguments), call.Function.Arguments)
			params := tools(ask(m.Chat, weather))
			params.Messages = append(params.Messages, r.Choices[0].Message.ToParam(), openai.ToolMessage(`{"celsius": 21}`, call.ID))
			r = chat(client("ok"), params)
			equal(r.Choices[0].FinishReason, "stop", "finish_reason")
			check(r.Choices[0].Message.Content != "", "no answer to the tool's result")
		}},
		{"openai tools stream", func() {
			acc := openai.ChatCompletionAccumulator{}
			for _, c := range read(client("ok").Chat.Completions.NewStreaming(ctx, tools(ask(m.Chat, weather+" mock:tools=1")))) {
				check(acc.AddChunk(c), "the accumulator refuses a chunk")
			}
			call := acc.Choices[0].Message.ToolCalls[0]
			equal(call.Function.Name, "get_weather", "name")
			check(cities(call.Function.Arguments), call.Function.Arguments)
			equal(acc.Choices[0].FinishReason, "tool_calls", "finish_reason")
		}},
		{"openai models", func() {
			c := client("ok")
			page, err := c.Models.List(ctx)
			must(err)
			seen := map[string]bool{}
			for _, model := range page.Data {
				seen[model.ID] = true
			}
			check(seen[m.Chat] && seen[m.ClaudeID], "a model is not listed")
			one, err := c.Models.Get(ctx, m.Chat)
			must(err)
			equal(one.ID, m.Chat, "id")
		}},
		{"openai embeddings", func() {
			c := client("ok")
			r, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{
				Model: "text-embedding-3-small", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"the sea", "the land"}}, Dimensions: openai.Int(32),
			})
			must(err)
			equal(len(r.Data), 2, "vectors")
			equal(len(r.Data[1].Embedding), 32, "dimensions")
			equal(r.Model, "text-embedding-3-small", "model")
			equal(r.Usage.PromptTokens, 4, "prompt_tokens")
		}},
		{"openai completions", func() {
			c := client("ok")
			ask := openai.CompletionNewParams{
				Model: openai.CompletionNewParamsModel(m.Chat), MaxTokens: openai.Int(50),
				Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("hello mock:out=4")},
			}
			whole, err := c.Completions.New(ctx, ask)
			must(err)
			equal(whole.Usage.CompletionTokens, 4, "completion_tokens")
			s, text := c.Completions.NewStreaming(ctx, ask), ""
			for s.Next() {
				for _, choice := range s.Current().Choices {
					text += choice.Text
				}
			}
			must(s.Err())
			equal(text, whole.Choices[0].Text, "text")
		}},
		{"openai pinned base url", func() {
			check(chat(client("ok", option.WithBaseURL(p.URL+"/v1/openai")), ask(m.Chat, hello)).Choices[0].Message.Content != "", "no content")
		}},
		{"openai 401 unknown key", func() {
			for _, key := range []string{p.Keys["ok"][:len(p.Keys["ok"])-6] + "000000", "sk-nothing"} {
				refused(fails(client(key), ask(m.Chat, hello)), 401, "authentication_error", "invalid_api_key")
			}
		}},
		{"openai 401 disabled key", func() {
			refused(fails(client("disabled"), ask(m.Chat, hello)), 401, "authentication_error", "key_disabled")
		}},
		{"openai 402", func() {
			e := refused(fails(client("broke"), ask(m.Chat, hello)), 402, "insufficient_quota", "insufficient_balance")
			check(strings.HasPrefix(e.Message, "Insufficient credit balance: balance too low"), e.Message)
		}},
		{"openai 403 key scope", func() {
			refused(fails(client("scoped"), ask(m.Chat, hello)), 403, "permission_error", "model_not_allowed")
		}},
		{"openai 403 group", func() {
			refused(fails(client("narrow"), ask(m.Chat, hello)), 403, "permission_error", "group_not_allowed")
		}},
		{"openai 400 unknown model", func() {
			e := refused(fails(client("ok"), ask("no-such-model", hello)), 400, "invalid_request_error", "unknown_model_pricing")
			equal(e.Param, "model", "param")
		}},
		{"openai 400 from upstream", func() {
			var e *openai.Error
			check(errors.As(fails(client("ok"), ask(m.Chat, "hello mock:error=context_length")), &e), "no typed error")
			equal(e.StatusCode, 400, "status")
			equal(e.Type, "invalid_request_error", "type")
		}},
		{"openai 429", func() {
			c := client("rpm_openai")
			chat(c, ask(m.Chat, hello))
			e := refused(fails(c, ask(m.Chat, hello)), 429, "rate_limit_error", "rate_limited_rpm")
			after := e.Response.Header.Get("retry-after")
			n, err := strconv.Atoi(after)
			check(err == nil && n >= 1 && n <= 61, "retry-after "+after)
			var body struct {
				Message, Type string
				Code          int
			}
			must(json.Unmarshal([]byte(e.RawJSON()), &body))
			equal(body.Message, "Rate limit exceeded (rpm). Retry after "+after+"s.", "message")
			equal(body.Code, 429, "code")
		}},
		{"openai 429 provider paused", func() {
			refused(fails(client("ok"), ask(m.Paused, hello)), 429, "rate_limit_error", "provider_paused")
		}},
		{"openai 502", func() {
			refused(fails(client("ok"), ask(m.Broken[0], "hello mock:status=500")), 502, "upstream_error", "upstream_error")
		}},
		{"openai 502 stream", func() {
			refused(failsStream(client("ok"), ask(m.Broken[1], "hello mock:status=500")), 502, "upstream_error", "upstream_error")
		}},
		{"openai 503 all down", func() {
			// 502 while the only route is tried, 503 once its breaker is open.
			for range 10 {
				err := fails(client("ok"), ask(m.Down, hello))
				var e *openai.Error
				if errors.As(err, &e) && e.StatusCode == 502 {
					continue
				}
				refused(err, 503, "server_error", "no_healthy_upstream")
				return
			}
			failf("never 503")
		}},
		{"openai 503 no provider keys", func() {
			e := refused(fails(client("ok"), ask(m.Keyless, hello)), 503, "server_error", "no_provider_keys")
			check(strings.Contains(e.Message, "No active API keys"), e.Message)
		}},
		{"openai retries 429", func() {
			// The first request keeps the whole minute of tokens as long as it runs.
			first := ask(m.Chat, "hello mock:out=60;gap=1s")
			first.MaxTokens = openai.Int(60000)
			s := client("tpm_openai").Chat.Completions.NewStreaming(ctx, first)
			check(s.Next(), "the first request has no answer")
			defer func() { _ = s.Close() }()
			var n atomic.Int64
			second := ask(m.Chat, hello)
			second.MaxTokens = openai.Int(3000)
			start := time.Now()
			chat(client("tpm_openai", option.WithMaxRetries(2), counted(&n)), second)
			equal(n.Load(), 2, "requests")
			check(time.Since(start) >= time.Second, "the retry did not wait")
		}},
		{"openai other protocols", func() {
			for _, model := range []string{m.Claude, m.Gemini, m.Qwen} {
				r := chat(client("ok"), ask(model, "hello mock:out=12;in=40;cached=5"))
				same := func(u openai.CompletionUsage) {
					equal(u.PromptTokens, 40, model+": prompt_tokens")
					equal(u.CompletionTokens, 12, model+": completion_tokens")
					equal(u.PromptTokensDetails.CachedTokens, 5, model+": cached_tokens")
				}
				same(r.Usage)
				params := ask(model, "hello mock:out=12;in=40;cached=5")
				params.StreamOptions.IncludeUsage = openai.Bool(true)
				var sum openai.ChatCompletionAccumulator
				for _, c := range read(client("ok").Chat.Completions.NewStreaming(ctx, params)) {
					check(sum.AddChunk(c), model+": a chunk of another answer")
				}
				same(sum.Usage)
				equal(sum.Choices[0].Message.Content, r.Choices[0].Message.Content, model+": text")
			}
		}},
		{"openai does not retry 402 and 403", func() {
			for key, status := range map[string]int{"broke": 402, "scoped": 403} {
				var n atomic.Int64
				var e *openai.Error
				check(errors.As(fails(client(key, option.WithMaxRetries(2), counted(&n)), ask(m.Chat, hello)), &e), "no typed error")
				equal(e.StatusCode, status, "status")
				equal(n.Load(), 1, "requests")
			}
		}},
	}...), map[string]string{"openai-go": version})
}
