package apierr

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"tokenrelay/shared/money"
)

// interface 7, line by line.
func TestCatalogueIsTheInterface(t *testing.T) {
	want := map[int]string{
		401: "invalid_api_key key_disabled key_expired",
		402: "insufficient_balance max_charge_exceeded",
		403: "monthly_cap_reached model_not_allowed group_not_allowed ip_not_allowed key_quota_reached role_not_allowed",
		400: "content_blocked unknown_model_pricing invalid_request",
		413: "body_too_large",
		429: "rate_limited_ip rate_limited_rpm rate_limited_tpm rate_limited_group rate_limited_concurrency rate_limited_daily provider_paused",
		502: "upstream_error",
		503: "no_healthy_upstream no_provider_keys money_unavailable policy_unavailable draining overloaded",
		408: "request_timeout", 409: "idempotency_conflict price_changed", 415: "unsupported_encoding",
		504: "upstream_timeout", 404: "not_found", 405: "method_not_allowed", 501: "not_implemented",
		431: "headers_too_large", 500: "proxy_error",
	}
	n := 0
	for status, codes := range want {
		for _, code := range strings.Fields(codes) {
			n++
			if !Code(code).Known() || Code(code).Status() != status {
				t.Errorf("%s has status %d, want %d", code, Code(code).Status(), status)
			}
		}
	}
	if len(Entries()) != n || len(entries) != n {
		t.Errorf("%d errors (%d codes), want %d", len(Entries()), len(entries), n)
	}
	if Code("nonsense").Known() || Code("nonsense").Status() != 500 {
		t.Error("an unknown code is known")
	}
	for _, e := range Entries() {
		if e.When == "" || (e.Text == "") != (e.limit != "") {
			t.Errorf("%s lacks a text", e.Code)
		}
	}
}

// S2-13: this body, to the byte, and nothing more.
func TestRateLimitBodyIsLiteral(t *testing.T) {
	for code, limit := range map[Code]string{
		RateLimitedIP: "ip", RateLimitedRPM: "rpm", RateLimitedTPM: "tpm", RateLimitedGroup: "group",
		RateLimitedConc: "concurrency", RateLimitedDaily: "daily",
	} {
		for seconds, text := range map[int]string{12: "12", 1: "1", 60: "60", 61: "61", 86400: "86400", 0: "1", -4: "1"} {
			e := RateLimit(code, seconds)
			want := `{"error":{"message":"Rate limit exceeded (` + limit + `). Retry after ` + text + `s.","type":"rate_limit_error","code":429}}`
			if got := string(Append(nil, ShapeOpenAI, e, []byte("req_1"))); got != want {
				t.Errorf("%s", got)
			}
			if e.Status != 429 || e.Code != code || e.RetryAfter < 1 {
				t.Errorf("%+v", e)
			}
		}
	}
	paused := string(Append(nil, ShapeOpenAI, ErrProviderPaused, nil))
	if !regexp.MustCompile(`^\{"error":\{"message":"[^"]*paused[^"]*","type":"rate_limit_error","code":429\}\}$`).MatchString(paused) { // S4-18
		t.Error(paused)
	}
}

// C7: one text for the wordings of four documents.
func TestBalanceTextNamesNeedAndAvailable(t *testing.T) {
	e := NotEnough(3_375_000, -1)
	const want = `Insufficient credit balance: balance too low for this request's reservation ceiling (need $0.003375, available $-0.000000001).`
	if got := string(e.AppendMessage(nil, nil)); got != want || e.Status != 402 {
		t.Errorf("%d %s", e.Status, got)
	}
	if got := string(Append(nil, ShapeOpenAI, e, nil)); !strings.Contains(got, `"type":"insufficient_quota","code":402`) { // S2-10
		t.Error(got)
	}
	var reused Error
	reused.Param = "old"
	reused.SetNotEnough(money.USD, 0)
	if reused.Param != "" || !strings.Contains(reused.Error(), "need $1, available $0") {
		t.Errorf("%+v", reused)
	}
}

func TestTextsThatTheDocumentsPromise(t *testing.T) {
	for want, e := range map[string]*Error{
		"monthly spend cap reached": ErrMonthlyCapReached,          // S0-15, C8
		"Unknown model pricing":     UnknownModel("gpt-0"),         // S4-19, C10
		"No active API keys":        ErrNoProviderKeys,             // S4-20, C12
		"Proxy error":               ErrProxyError,                 // S4-21
		"balance too low":           NotEnough(1, 0),               // S0-14
		"group":                     GroupDenied("m"),              // S3-12
		"not supported yet":         ErrNotImplemented,             // S2-15
		"'gpt-0'":                   UnknownModel("gpt-0"),         //
		"Paused":                    New(ProviderPaused, "Paused"), //
	} {
		if got := string(e.AppendMessage(nil, nil)); !strings.Contains(got, want) {
			t.Errorf("%s: %q does not say %q", e.Code, got, want)
		}
	}
	if got := string(UnknownModel("x").AppendMessage(nil, nil)); !strings.HasPrefix(got, "Unknown model pricing") {
		t.Error(got)
	}
	if e := UnknownModel("x"); e.Param != "model" || e.Status != 400 {
		t.Errorf("%+v", e)
	}
	long := UnknownModel(strings.Repeat("m", 10_000))
	if n := len(long.AppendMessage(nil, nil)); n > 300 {
		t.Errorf("an echo of %d bytes", n)
	}
	if got := string(ErrProxyError.AppendMessage(nil, []byte("req_7"))); got != "Proxy error (request req_7)." {
		t.Error(got)
	}
	if got := string(ErrNoProviderKeys.AppendMessage(nil, nil)); got != "No active API keys" {
		t.Error(got)
	}
}

// C15 and interface 7: members, types and order of every shape.
func TestShapes(t *testing.T) {
	id := []byte("req_01ARYZ6S41TSV4RRFFQ69G5FAV")
	e := Invalid("max_tokens", `must be "positive"`)
	for shape, want := range map[Shape]string{
		ShapeOpenAI:    `{"error":{"message":"must be \"positive\"","type":"invalid_request_error","code":400,"param":"max_tokens","relay_code":"invalid_request"}}`,
		ShapeAnthropic: `{"type":"error","error":{"type":"invalid_request_error","message":"must be \"positive\""},"request_id":"req_01ARYZ6S41TSV4RRFFQ69G5FAV"}`,
		ShapeDashScope: `{"code":"InvalidParameter","message":"must be \"positive\"","request_id":"req_01ARYZ6S41TSV4RRFFQ69G5FAV"}`,
		ShapeGemini:    `{"error":{"code":400,"message":"must be \"positive\"","status":"INVALID_ARGUMENT"}}`,
		ShapeEnvelope:  `{"request_id":"req_01ARYZ6S41TSV4RRFFQ69G5FAV","success":false,"data":null,"code":"invalid_request","message":"must be \"positive\""}`,
	} {
		if got := string(Append(nil, shape, e, id)); got != want {
			t.Errorf("shape %d:\n%s\n%s", shape, got, want)
		}
	}
	if got := string(Append([]byte("x"), ShapeOpenAI, ErrInvalidAPIKey, id)); !strings.HasPrefix(got, `x{"error":{"message":"Invalid API key`) ||
		!strings.Contains(got, `"code":401,"param":null,"relay_code":"invalid_api_key"`) {
		t.Error(got)
	}
}

func TestTypesPerStatus(t *testing.T) { // interface 7, last paragraph
	for _, c := range []struct {
		status                       int
		openAI, anthropic, dashScope string
	}{
		{401, "authentication_error", "authentication_error", "InvalidApiKey"},
		{402, "insufficient_quota", "billing_error", "Arrearage"},
		{403, "permission_error", "permission_error", "AccessDenied"},
		{400, "invalid_request_error", "invalid_request_error", "InvalidParameter"},
		{413, "invalid_request_error", "invalid_request_error", "InvalidParameter"},
		{415, "invalid_request_error", "invalid_request_error", "InvalidParameter"},
		{431, "invalid_request_error", "invalid_request_error", "InvalidParameter"},
		{429, "rate_limit_error", "rate_limit_error", "Throttling.RateQuota"},
		{502, "upstream_error", "api_error", "InternalError"},
		{500, "server_error", "api_error", "InternalError"},
		{503, "server_error", "api_error", "InternalError"},
		{504, "server_error", "api_error", "InternalError"},
	} {
		k := kindOf(c.status)
		if k.openAI != c.openAI || k.anthropic != c.anthropic || k.dashScope != c.dashScope {
			t.Errorf("%d: %+v", c.status, k)
		}
	}
}

func TestStreamErrors(t *testing.T) {
	e := New(UpstreamError, "cut")
	id := []byte("req_1")
	for shape, want := range map[Shape]string{
		ShapeOpenAI:    "data: {\"error\":{\"message\":\"cut\",\"type\":\"upstream_error\",\"code\":502,\"param\":null,\"relay_code\":\"upstream_error\"}}\n\n",
		ShapeAnthropic: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"cut\"},\"request_id\":\"req_1\"}\n\n",
		ShapeDashScope: "event:error\n:HTTP_STATUS/502\ndata:{\"code\":\"InternalError\",\"message\":\"cut\",\"request_id\":\"req_1\"}\n\n",
		ShapeGemini:    "data: {\"error\":{\"code\":502,\"message\":\"cut\",\"status\":\"UNAVAILABLE\"}}\n\n",
	} {
		if got := string(AppendStreamError(nil, shape, e, id)); got != want {
			t.Errorf("shape %d:\n%q\n%q", shape, got, want)
		}
	}
}

// Whatever the text, the body is one JSON value that says it, and an event is one
// event.
func checkRendering(t *testing.T, message, param string, id []byte) {
	t.Helper()
	for shape := ShapeOpenAI; shape <= ShapeEnvelope; shape++ {
		e := &Error{Code: InvalidRequest, Status: 400, Message: message, Param: param}
		body := Append(nil, shape, e, id)
		if !json.Valid(body) {
			t.Fatalf("shape %d of %q is no JSON: %s", shape, message, body)
		}
		if message != "" && !bytes.Contains(flatten(t, body), flatten(t, appendJSON(nil, message))) {
			t.Fatalf("shape %d lost %q: %s", shape, message, body)
		}
		event := AppendStreamError(nil, shape, e, id)
		if bytes.Count(event, []byte("\n\n")) != 1 || bytes.ContainsRune(event, '\r') {
			t.Fatalf("shape %d of %q is not one event: %q", shape, message, event)
		}
	}
	var back string
	if err := json.Unmarshal(appendJSON(nil, message), &back); err != nil || back != strings.ToValidUTF8(message, "\ufffd") && !invalidRun(message) {
		t.Fatalf("%q became %q, %v", message, back, err)
	}
}

// invalidRun says that the text has bytes that are no UTF-8: ToValidUTF8 replaces a
// run of them by one character, the renderer each.
func invalidRun(s string) bool { return strings.ToValidUTF8(s, "") != s }

func flatten(t *testing.T, body []byte) []byte {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Trim(out, `"`)
}

func TestTextsAreEscaped(t *testing.T) {
	for _, s := range []string{
		"", "plain", `"quotes" and \backslash`, "line\nfeed\r\n\ttab", "\x00\x01\x1f\x7f", "ключ 🔑", "\xff\xfe broken",
		"\u2028\u2029", "</script>", "data: x\n\ndata: y", strings.Repeat("long ", 200), "\xe2\x80", "\ufffd",
	} {
		checkRendering(t, s, s, []byte(s))
	}
}

func FuzzRendering(f *testing.F) {
	f.Add("message", "param", []byte("req_1"))
	f.Add("\xff\"\\\n", "\u2028", []byte{0})
	f.Fuzz(func(t *testing.T, message, param string, id []byte) { checkRendering(t, message, param, id) })
}

func TestErrorsAreErrors(t *testing.T) {
	cause := errors.New("connection refused by 10.0.0.1")
	e := ErrUpstreamError.WithCause(cause)
	if !errors.Is(e, cause) || ErrUpstreamError.Cause != nil {
		t.Error("the cause is lost, or the shared error was changed")
	}
	for shape := ShapeOpenAI; shape <= ShapeEnvelope; shape++ {
		if bytes.Contains(Append(nil, shape, e, nil), []byte("10.0.0.1")) {
			t.Errorf("shape %d shows the cause to the client", shape)
		}
	}
	if !strings.Contains(e.Error(), "10.0.0.1") || !strings.HasPrefix(e.Error(), "upstream_error: ") {
		t.Error(e.Error())
	}
	if e := ErrOverloaded.WithRetryAfter(9).WithParam("p"); e.RetryAfter != 9 || e.Param != "p" || ErrOverloaded.RetryAfter == 9 {
		t.Errorf("%+v, %+v", e, ErrOverloaded)
	}
	if e := Newf(InvalidRequest, "%d", 7); e.Message != "7" || e.Status != 400 {
		t.Errorf("%+v", e)
	}
	unknown := &Error{Code: "nonsense", Status: 500}
	if !json.Valid(Append(nil, ShapeOpenAI, unknown, nil)) {
		t.Error("an error outside the catalogue is no JSON")
	}
}

// interface 6: retry-after on every 503 that can say when.
func TestSharedErrorsHaveTheirStatus(t *testing.T) {
	for _, e := range []*Error{ErrNoHealthyUpstream, ErrMoneyUnavailable, ErrDraining, ErrOverloaded} {
		if e.Status != 503 || e.RetryAfter < 1 {
			t.Errorf("%+v", e)
		}
	}
	if !reflect.DeepEqual(*New(KeyExpired, ""), *ErrKeyExpired) {
		t.Error("a shared error differs from a new one")
	}
}

func TestErrorsPageIsUpToDate(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, AppendMarkdown(nil)) {
		t.Error("docs/errors.md is stale: run go generate ./shared/apierr")
	}
}
