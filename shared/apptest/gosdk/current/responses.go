package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

func text(s string) responses.ResponseNewParamsInputUnion {
	return responses.ResponseNewParamsInputUnion{OfString: openai.String(s)}
}

func request(model, s string) responses.ResponseNewParams {
	return responses.ResponseNewParams{Model: model, Input: text(s)}
}

func respond(params responses.ResponseNewParams) *responses.Response {
	r, err := client("ok").Responses.New(ctx, params)
	if err != nil {
		failf("%v", err)
	}
	return r
}

func refuses(params responses.ResponseNewParams, status int) {
	_, err := client("ok").Responses.New(ctx, params)
	isStatus(err, status)
}

func isStatus(err error, status int) {
	var e *openai.Error
	if !errors.As(err, &e) || e.StatusCode != status {
		failf("got %v, want %d", err, status)
	}
}

func events(params responses.ResponseNewParams) (list []responses.ResponseStreamEventUnion, err error) {
	s := client("ok").Responses.NewStreaming(ctx, params)
	defer func() { _ = s.Close() }()
	for s.Next() {
		list = append(list, s.Current())
	}
	return list, s.Err()
}

// responsesScenarios are Responses by a provider that speaks it, and translated.
func responsesScenarios() []scenario {
	m := p.Models
	both := []string{m.Chat, m.Claude}
	parameters := map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}}
	flat := []responses.ToolUnionParam{{OfFunction: &responses.FunctionToolParam{Name: "get_weather", Parameters: parameters, Strict: openai.Bool(false)}}}
	return []scenario{
		{"responses plain", func() {
			for _, model := range both {
				params := request(model, "hello mock:out=12")
				params.Instructions, params.MaxOutputTokens = openai.String("Be brief."), openai.Int(100)
				params.Metadata = shared.Metadata{"k": "v"}
				r := respond(params)
				equal(r.Model, model, "model")
				equal(r.Status, "completed", "status")
				check(r.OutputText() != "", "no text")
				equal(r.Usage.OutputTokens, 12, "output_tokens")
				equal(r.Usage.TotalTokens, r.Usage.InputTokens+12, "total_tokens")
				params = request(model, "hello mock:out=50")
				params.MaxOutputTokens = openai.Int(16)
				r = respond(params)
				equal(r.Status, "incomplete", "status")
				equal(r.IncompleteDetails.Reason, "max_output_tokens", "reason")
			}
		}},
		{"responses stream", func() {
			for _, model := range both {
				plain := respond(request(model, "hello mock:out=12"))
				list, err := events(request(model, "hello mock:out=12"))
				must(err)
				said := ""
				for i, e := range list {
					equal(e.SequenceNumber, int64(i), "sequence number")
					if e.Type == "response.output_text.delta" {
						said += e.Delta
					}
				}
				equal(said, plain.OutputText(), "text")
				equal(list[0].Type, "response.created", "first event")
				last := list[len(list)-1]
				equal(last.Type, "response.completed", "last event")
				equal(last.Response.OutputText(), said, "the last event's text")
				equal(last.Response.Usage.OutputTokens, 12, "output_tokens")
			}
		}},
		{"responses tools", func() {
			for _, model := range both {
				params := request(model, weather+" mock:tools=1;reasoning=2")
				params.Tools = flat
				r := respond(params)
				at := slices.IndexFunc(r.Output, func(o responses.ResponseOutputItemUnion) bool { return o.Type == "function_call" })
				check(at >= 0, "no call")
				call := r.Output[at].AsFunctionCall()
				equal(call.Name, "get_weather", "name")
				check(cities(call.Arguments), call.Arguments)
				input := responses.ResponseInputParam{responses.ResponseInputItemParamOfMessage(weather, responses.EasyInputMessageRoleUser)}
				for _, o := range r.Output {
					input = append(input, param.Override[responses.ResponseInputItemUnionParam](json.RawMessage(o.RawJSON())))
				}
				done := responses.ResponseInputItemParamOfFunctionCallOutput("21 degrees")
				done.OfFunctionCallOutput.CallID = openai.String(call.CallID)
				input = append(input, done)
				check(respond(responses.ResponseNewParams{Model: model, Tools: flat, Input: responses.ResponseNewParamsInputUnion{OfInputItemList: input}}).OutputText() != "", "no answer to the tool's result")
			}
		}},
		{"responses structured", func() {
			for _, model := range both {
				params := request(model, "give")
				params.Text.Format = responses.ResponseFormatTextConfigParamOfJSONSchema("n", map[string]any{
					"type": "object", "properties": map[string]any{"a": map[string]any{"type": "integer"}}, "required": []string{"a"}, "additionalProperties": false,
				})
				var v struct{ A int }
				must(json.Unmarshal([]byte(respond(params).OutputText()), &v))
				equal(v.A, 1, "a")
			}
		}},
		{"responses stored", func() {
			c := client("ok")
			for _, model := range both {
				first := respond(request(model, "My name is Ada. mock:out=5"))
				again, err := c.Responses.Get(ctx, first.ID, responses.ResponseGetParams{})
				must(err)
				equal(again.OutputText(), first.OutputText(), "text")
				params := request(model, "And now?")
				params.PreviousResponseID = openai.String(first.ID)
				second := respond(params)
				check(second.Usage.InputTokens > first.Usage.TotalTokens, "what was said before was not read")
				items, err := c.Responses.InputItems.List(ctx, second.ID, responses.InputItemListParams{})
				must(err)
				equal(len(items.Data), 1, "input items")
				_, err = c.Responses.Cancel(ctx, first.ID)
				isStatus(err, http.StatusBadRequest)
				must(c.Responses.Delete(ctx, first.ID))
				_, err = c.Responses.Get(ctx, first.ID, responses.ResponseGetParams{})
				isStatus(err, http.StatusNotFound)
				refuses(params, http.StatusNotFound)
			}
		}},
		{"responses typed errors", func() {
			_, err := client("broke").Responses.New(ctx, request(m.Chat, "hello"))
			refused(err, 402, "insufficient_quota", "insufficient_balance")
			params := request(m.Chat, "hello")
			params.Background = openai.Bool(true)
			_, err = client("ok").Responses.New(ctx, params)
			equal(refused(err, 400, "invalid_request_error", "invalid_request").Param, "background", "param")
			for _, model := range both {
				_, err := events(request(model, "hello mock:out=50;error_at=12;error=server"))
				check(err != nil, "a broken stream is no error")
			}
		}},
	}
}
