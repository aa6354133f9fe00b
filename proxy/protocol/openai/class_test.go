package openai

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/proxy/protocol"
)

// C15, C16, C14, D11: what an upstream's error means, by its body (protocols 9).
func TestErrorClass(t *testing.T) {
	type row struct {
		name   string
		status int
		after  string
		body   string
		fault  protocol.Fault
		key    protocol.KeyFault
		cool   int
		pass   int // status passed on, 0 = not
	}
	for _, tt := range []row{
		{"openai 401", 401, "", `{"error":{"message":"Incorrect API key provided: sk-abc***xyz.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`, protocol.FaultKey, protocol.KeyPermanent, 0, 0},
		{"mistral 401", 401, "", `{"detail":"Invalid API Key"}`, protocol.FaultKey, protocol.KeyPermanent, 0, 0},
		{"xai 400", 400, "", `{"code":"invalid-argument","error":"Incorrect API key provided: xa***"}`, protocol.FaultKey, protocol.KeyPermanent, 0, 0},
		{"gemini 400", 400, "", `[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]`, protocol.FaultKey, protocol.KeyPermanent, 0, 0},
		{"403", 403, "", `{"error":{"message":"Country not supported"}}`, protocol.FaultKey, protocol.KeyPermanent, 0, 0},
		{"openai quota 429", 429, "3", `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`, protocol.FaultAccount, protocol.KeyPermanent, 0, 0},
		{"glm 1113", 429, "", `{"error":{"code":"1113","message":"..."}}`, protocol.FaultAccount, protocol.KeyPermanent, 0, 0},
		{"deepseek 402", 402, "", `{"error":{"message":"Insufficient Balance"}}`, protocol.FaultAccount, protocol.KeyPermanent, 0, 0},
		{"kimi 403", 403, "", `{"error":{"type":"exceeded_current_quota_error","message":"suspended"}}`, protocol.FaultAccount, protocol.KeyPermanent, 0, 0},
		{"dashscope 400 arrearage", 400, "", `{"code":"Arrearage","message":"Access denied, overdue payment"}`, protocol.FaultAccount, protocol.KeyPermanent, 0, 0},
		{"model not found 404", 404, "", `{"error":{"message":"The model does not exist","type":"invalid_request_error","code":"model_not_found"}}`, protocol.FaultModelMissing, protocol.KeyFine, 0, 0},
		{"plain 404", 404, "", `not found`, protocol.FaultModelMissing, protocol.KeyFine, 0, 0},
		{"no access to model", 403, "", `{"error":{"message":"Project does not have access to model gpt-5","code":"model_not_found"}}`, protocol.FaultModelMissing, protocol.KeyFine, 0, 0},
		{"429", 429, "12", `{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}`, protocol.FaultRateLimited, protocol.KeyTransient, 12, 0},
		{"429 fraction", 429, "17.4", ``, protocol.FaultRateLimited, protocol.KeyTransient, 18, 0},
		{"429 silent", 429, "", ``, protocol.FaultRateLimited, protocol.KeyTransient, 5, 0},
		{"429 retryDelay", 429, "", `{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED","details":[{"@type":"t","retryDelay":"34.07s"}]}}`, protocol.FaultRateLimited, protocol.KeyTransient, 35, 0},
		{"429 date in the past", 429, "Mon, 02 Jan 2006 15:04:05 GMT", ``, protocol.FaultRateLimited, protocol.KeyTransient, 5, 0},
		{"openrouter 429", 429, "", `{"error":{"code":429,"message":"Provider returned error","metadata":{"provider_name":"G"}}}`, protocol.FaultRateLimited, protocol.KeyTransient, 5, 0},
		{"context length", 400, "", `{"error":{"message":"This model's maximum context length is 8 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`, protocol.FaultClient, protocol.KeyFine, 0, 400},
		{"mistral 422", 422, "", `{"detail":[{"loc":["body"],"msg":"extra fields","type":"x"}]}`, protocol.FaultClient, protocol.KeyFine, 0, 422},
		{"413", 413, "", `<html>`, protocol.FaultClient, protocol.KeyFine, 0, 413},
		{"content filter", 400, "", `{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter"}}`, protocol.FaultPolicy, protocol.KeyFine, 0, 400},
		{"dashscope inspection", 400, "", `{"code":"DataInspectionFailed","message":"Input data may contain inappropriate content."}`, protocol.FaultPolicy, protocol.KeyFine, 0, 400},
		{"groq tool", 400, "", `{"error":{"message":"Failed to call a function","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"x"}}`, protocol.FaultModel, protocol.KeyFine, 0, 400},
		{"500", 500, "", `{"error":{"message":"x"}}`, protocol.FaultServer, protocol.KeyFine, 0, 0},
		{"503 with wait", 503, "9", ``, protocol.FaultServer, protocol.KeyFine, 9, 0},
		{"529", 529, "", ``, protocol.FaultServer, protocol.KeyFine, 0, 0},
		{"cdn page with 400", 400, "", `<html>Bad gateway</html>`, protocol.FaultServer, protocol.KeyFine, 0, 0},
		{"redirect", 302, "", ``, protocol.FaultServer, protocol.KeyFine, 0, 0},
		{"204", 204, "", ``, protocol.FaultServer, protocol.KeyFine, 0, 0},
		{"in the stream, a code", 0, "", `{"id":"g","error":{"code":502,"message":"Provider disconnected"}}`, protocol.FaultServer, protocol.KeyFine, 0, 0},
		{"in the stream, client", 0, "", `{"error":{"code":400,"message":"Token limit reached"}}`, protocol.FaultClient, protocol.KeyFine, 0, 400},
		{"in the stream, unknown", 0, "", `{"error":{"message":"x"}}`, protocol.FaultServer, protocol.KeyFine, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := ErrorClass(tt.status, []byte(tt.after), []byte(tt.body), OpenAI)
			want := protocol.Class{Fault: tt.fault, Key: tt.key, CoolSeconds: tt.cool, PassOn: tt.pass > 0, Status: tt.pass}
			want.Failover = tt.fault != protocol.FaultClient && tt.fault != protocol.FaultPolicy
			if c != want {
				t.Errorf("got %+v, want %+v", c, want)
			}
		})
	}
}

// C15: nothing of ours or of the upstream's names reaches the client.
func TestPassedErrorIsClean(t *testing.T) {
	body := `{"error":{"message":"The model ` + "`gpt-up-2025`" + ` in organization org-SecretOrg1 of proj_SecretProj with key sk-proj-Secret***Key. Call \"x\" \u00e9 exceeded; see https://platform.openai.com/docs?x=1. gpt-up-2025-mini stays","type":"invalid_request_error","param":"messages[3]","code":"context_length_exceeded"},"request_id":"upstream-req"}`
	out := AppendPassedError(nil, []byte(body), &protocol.StreamConfig{UpstreamModel: "gpt-up-2025", ClientModel: "alias"})
	var e struct {
		Error struct {
			Message, Type, Param, Code string
		}
	}
	if err := json.Unmarshal(out, &e); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	want := "The model `alias` in organization [removed] of [removed] with key [removed]. Call \"x\" é exceeded; see [removed]. gpt-up-2025-mini stays"
	if e.Error.Message != want || e.Error.Param != "messages[3]" || e.Error.Code != "context_length_exceeded" || e.Error.Type != "invalid_request_error" {
		t.Errorf("%s", out)
	}
	for _, canary := range []string{"Secret", "upstream-req", "openai.com"} {
		if strings.Contains(string(out), canary) {
			t.Errorf("%s leaks: %s", canary, out)
		}
	}
	if out := AppendPassedError(nil, []byte("<html>"), &protocol.StreamConfig{}); !json.Valid(out) {
		t.Errorf("%s", out)
	}
}

// FuzzPassedError: any body becomes valid JSON.
func FuzzPassedError(f *testing.F) {
	f.Add([]byte(`{"error":{"message":"a \u00e9 \"","code":5}}`))
	f.Add([]byte("{\"message\":\"\xff\x01\\q\"}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		ErrorClass(400, nil, body, OpenAI)
		if out := AppendPassedError(nil, body, &protocol.StreamConfig{UpstreamModel: "up", ClientModel: "a\"b"}); !json.Valid(out) {
			t.Fatalf("%q", out)
		}
	})
}
