package mockllm

import (
	"strconv"
	"strings"
)

// errorStatus names the errors that can be scripted, with their usual status.
// Where providers differ, errorFor corrects it.
var errorStatus = map[string]int{
	"account_empty": 429, "invalid_key": 401, "context_length": 400, "model_not_found": 404, "content_filter": 400,
	"rate_limit": 429, "overloaded": 503, "permission": 403, "server": 500, "timeout": 504, "bad_request": 400,
	"unprocessable": 422, "too_large": 413, "tool_use_failed": 400, "html": 502, "empty": 503,
}

var statusError = map[int]string{
	400: "bad_request", 401: "invalid_key", 402: "account_empty", 403: "permission", 404: "model_not_found",
	408: "timeout", 413: "too_large", 422: "unprocessable", 429: "rate_limit", 500: "server", 502: "html",
	503: "overloaded", 504: "timeout", 529: "overloaded",
}

// Canaries are the words in error texts and headers of the mock that name the
// operator's account. None may ever reach a client of the relay.
var Canaries = []string{"org-mockcanary", "proj_mockcanary", "acct-mockcanary", "sk-mockcan", "req_mockcanary", "mockllm-canary"}

// nameOf is the error that a status alone asks for.
func nameOf(status int) string {
	switch name := statusError[status]; {
	case name != "":
		return name
	case status < 500:
		return "bad_request"
	}
	return "server"
}

// errorFor gives status, content type and body of a scripted error in the
// provider's own shape (protocols 9: the same class looks different everywhere).
func errorFor(d *dialect, anthropic bool, name string, status int, model, key string) (int, string, string) {
	if name == "" {
		name = nameOf(status)
	}
	usual := errorStatus[name]
	if d == dialectGemini && name != "html" && name != "empty" {
		return geminiError(name, status, usual, model)
	}
	if d == dialectDashScope && name != "html" && name != "empty" {
		return dashScopeError(name, status, usual, model)
	}
	if d == dialectCohere && name != "html" && name != "empty" {
		return cohereError(name, status, usual, model)
	}
	if d == dialectConverse && name != "html" && name != "empty" {
		return converseError(name, status, usual)
	}
	var message, typ, code string
	param := "null"
	switch name {
	case "html":
		return orStatus(status, usual), "text/html", "<html><head><title>502 Bad Gateway</title></head><body><center>mockllm-canary edge</center></body></html>\n"
	case "empty":
		return orStatus(status, usual), "", ""
	case "account_empty":
		message, typ, code = "You exceeded your current quota of org-mockcanary, please check your plan and billing details.", "insufficient_quota", "insufficient_quota"
		switch d.name {
		case "deepseek":
			usual, message, typ, code = 402, "Insufficient Balance", "unknown_error", "invalid_request_error"
		case "kimi":
			usual, typ, code = 429, "exceeded_current_quota_error", ""
		}
	case "invalid_key":
		message, typ, code = "Incorrect API key provided: sk-mockcan***"+key+". You can find your API key in organization org-mockcanary.", "invalid_request_error", "invalid_api_key"
		if d.name == "deepseek" {
			typ, code = "authentication_error", "invalid_request_error"
		}
	case "context_length":
		message, typ, code, param = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. Please reduce the length of the messages.", "invalid_request_error", "context_length_exceeded", `"messages"`
	case "model_not_found":
		message, typ, code = "The model `"+model+"` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"
	case "content_filter":
		message, typ, code, param = "The response was filtered due to the prompt triggering the provider's content management policy.", "invalid_request_error", "content_filter", `"prompt"`
	case "rate_limit":
		message, typ, code = "Rate limit reached for "+model+" in organization org-mockcanary on requests per min (RPM): Limit 3, Used 3, Requested 1.", "requests", "rate_limit_exceeded"
	case "overloaded":
		message, typ, code = "The engine is currently overloaded, please try again later.", "server_error", "overloaded"
	case "permission":
		message, typ, code = "Project proj_mockcanary is not permitted to use this.", "permission_error", "permission_denied"
	case "timeout":
		message, typ, code = "The server took too long to answer.", "server_error", "timeout"
	case "too_large":
		message, typ, code = "The request is too large.", "invalid_request_error", "request_too_large"
	case "unprocessable":
		message, typ, code = "Input should be a valid value.", "invalid_request_error", "unprocessable_entity"
	case "tool_use_failed":
		message, typ, code = "Failed to call a function. Please adjust your prompt.", "invalid_request_error", "tool_use_failed"
	case "bad_request":
		message, typ, code, param = "Invalid value for 'temperature': expected a number between 0 and 2.", "invalid_request_error", "invalid_value", `"temperature"`
	default:
		message, typ, code = "The server had an error while processing your request (request id req_mockcanary).", "server_error", "server_error"
	}
	q := quoted
	const jsonType = "application/json"
	if anthropic {
		switch name {
		case "account_empty":
			usual, typ, message = 400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing of acct-mockcanary to upgrade or purchase credits."
		case "invalid_key":
			typ, message = "authentication_error", "invalid x-api-key"
		case "context_length":
			typ, message = "invalid_request_error", "prompt is too long: 210001 tokens > 200000 maximum"
		case "model_not_found":
			typ, message = "not_found_error", "model: "+model
		case "rate_limit":
			typ, message = "rate_limit_error", "This request would exceed the rate limit for your organization (acct-mockcanary) of 3 requests per minute."
		case "overloaded":
			usual, typ, message = 529, "overloaded_error", "Overloaded"
		case "permission":
			typ = "permission_error"
		case "timeout":
			typ = "timeout_error"
		case "too_large":
			typ = "request_too_large"
		case "server":
			typ = "api_error"
		default:
			typ = "invalid_request_error"
		}
		return orStatus(status, usual), jsonType, `{"type":"error","error":{"type":` + q(typ) + `,"message":` + q(message) + `},"request_id":"req_mockcanary"}`
	}
	s := orStatus(status, usual)
	switch d.name {
	case "mistral":
		switch name {
		case "invalid_key":
			return s, jsonType, `{"detail":"Invalid API Key"}`
		case "unprocessable":
			return s, jsonType, `{"detail":[{"loc":["body","messages"],"msg":"field required","type":"value_error.missing"}]}`
		}
		return s, jsonType, `{"object":"error","message":` + q(message) + `,"type":` + q(typ) + `,"param":null,"code":` + q(code) + `}`
	case "xai":
		if name == "invalid_key" {
			s = orStatus(status, 400)
			message, code = "Incorrect API key provided: sk-mockcan***"+key+". You can obtain an API key from the console of acct-mockcanary.", "invalid-argument"
		}
		return s, jsonType, `{"code":` + q(code) + `,"error":` + q(message) + `}`
	case "qwen":
		switch name {
		case "account_empty":
			return orStatus(status, 400), jsonType, `{"error":{"message":"Access denied, please make sure your account acct-mockcanary is in good standing.","type":"Arrearage","param":null,"code":"Arrearage"},"request_id":"req_mockcanary"}`
		case "content_filter":
			return s, jsonType, `{"error":{"message":"Output data may contain inappropriate content.","type":"data_inspection_failed","param":null,"code":"data_inspection_failed"},"request_id":"req_mockcanary"}`
		}
		return s, jsonType, `{"error":{"message":` + q(message) + `,"type":` + q(typ) + `,"param":null,"code":` + q(code) + `},"request_id":"req_mockcanary"}`
	case "glm":
		switch name {
		case "account_empty":
			return s, jsonType, `{"error":{"code":"1113","message":"Insufficient balance or no resource package of acct-mockcanary. Please recharge."}}`
		case "rate_limit":
			code = "1302"
		case "invalid_key":
			code = "1000"
		case "model_not_found":
			code = "1211"
		default:
			code = "1210"
		}
		return s, jsonType, `{"error":{"code":` + q(code) + `,"message":` + q(message) + `}}`
	case "kimi":
		switch name {
		case "content_filter":
			typ = "content_filter"
		case "invalid_key":
			typ = "incorrect_api_key_error"
		case "rate_limit":
			typ = "rate_limit_reached_error"
		case "overloaded":
			s, typ = orStatus(status, 429), "engine_overloaded_error"
		}
		return s, jsonType, `{"error":{"message":` + q(message) + `,"type":` + q(typ) + `}}`
	case "openrouter", "perplexity":
		if name == "account_empty" {
			s = orStatus(status, 402)
		}
		return s, jsonType, `{"error":{"code":` + strconv.Itoa(s) + `,"message":` + q(message) + `,"metadata":{"provider_name":"mockllm-canary"}},"user_id":"acct-mockcanary"}`
	case "gemini":
		if name == "invalid_key" {
			return orStatus(status, 400), jsonType, `[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","metadata":{"service":"mockllm-canary"}}]}}]`
		}
	case "groq":
		if name == "tool_use_failed" {
			return s, jsonType, `{"error":{"message":` + q(message) + `,"type":"invalid_request_error","code":"tool_use_failed","failed_generation":"{}"}}`
		}
	}
	codeJSON := "null"
	if code != "" {
		codeJSON = q(code)
	}
	return s, jsonType, `{"error":{"message":` + q(message) + `,"type":` + q(typ) + `,"param":` + param + `,"code":` + codeJSON + `}}`
}

func orStatus(status, usual int) int {
	if status != 0 {
		return status
	}
	return usual
}

// quoted gives s as a JSON string.
func quoted(s string) string { return string(appendQuoted(nil, s)) }

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as a JSON string, leaving everything but quotes,
// backslashes and control characters as it is.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = appendEscaped(dst, s)
	return append(dst, '"')
}

func appendEscaped(dst []byte, s string) []byte {
	for {
		i := strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' })
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		switch c := s[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		s = s[i+1:]
	}
}
