package api

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/shared/obs"
	"tokenrelay/shared/reqid"
)

// reply is a response as a test reads it.
type reply struct {
	Status int
	Header http.Header
	Raw    string
	Body   struct {
		RequestID string          `json:"request_id"`
		Success   *bool           `json:"success"`
		Data      json.RawMessage `json:"data"`
		Code      *string         `json:"code"`
		Message   *string         `json:"message"`
	}
}

// code is the envelope's code, "" for null.
func (r *reply) code() string {
	if r.Body.Code == nil {
		return ""
	}
	return *r.Body.Code
}

// send makes a request and, for JSON, checks that the answer is the envelope with
// exactly its five members (S1-B6).
func send(t *testing.T, app *fiber.App, method, path, key, body string) *reply {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	return do(t, app, req)
}

func do(t *testing.T, app *fiber.App, req *http.Request) *reply {
	t.Helper()
	resp, err := app.Test(req, 20_000)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	r := &reply{Status: resp.StatusCode, Header: resp.Header, Raw: string(raw)}
	if !strings.HasSuffix(req.URL.Path, "openapi.json") {
		documented(t, req, r)
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") || strings.HasSuffix(req.URL.Path, "openapi.json") {
		return r
	}
	d := json.NewDecoder(strings.NewReader(r.Raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&r.Body); err != nil {
		t.Fatalf("%s %s: %d %s is no envelope: %v", req.Method, req.URL, r.Status, raw, err)
	}
	if r.Body.Success == nil || *r.Body.Success != (r.Status < 400) || *r.Body.Success != (r.Body.Code == nil) || *r.Body.Success != (r.Body.Message == nil) {
		t.Errorf("%s %s: %d %s: success, code and message disagree", req.Method, req.URL, r.Status, raw)
	}
	if r.Body.RequestID == "" || r.Body.RequestID != resp.Header.Get("x-request-id") {
		t.Errorf("%s %s: request_id %q, header %q", req.Method, req.URL, r.Body.RequestID, resp.Header.Get("x-request-id"))
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %s: Cache-Control is %q", req.Method, req.URL, resp.Header.Get("Cache-Control"))
	}
	return r
}

func TestUnknownPathsAndMethods(t *testing.T) {
	app := bare()
	for _, tc := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/openapi/v1/nothing", 404, "not_found"},
		{"GET", "/openapi/v1/Client", 404, "not_found"},  // case-sensitive
		{"GET", "/openapi/v1/client/", 404, "not_found"}, // strict
		{"GET", "/openapi//v1/client", 404, "not_found"},
		{"GET", "/openapi/v1/../v1/client", 404, "not_found"},
		{"GET", "/OPENAPI/v1/client", 404, "not_found"},
		{"PUT", "/openapi/v1/client", 405, "method_not_allowed"},
		{"GET", "/", 404, "not_found"},
		{"GET", "/console/usage", 404, "not_found"},
		{"GET", "/status", 404, "not_found"},
		{"GET", "/admin/v1/proxies", 401, "invalid_api_key"},
	} {
		r := send(t, app, tc.method, tc.path, "", "")
		if r.Status != tc.status || r.code() != tc.code || r.Header.Get("x-relay-error") != tc.code {
			t.Errorf("%s %s: %d %s (%s), want %d %s", tc.method, tc.path, r.Status, r.Raw, r.Header.Get("x-relay-error"), tc.status, tc.code)
		}
	}
}

// The data plane's request id is kept, anything else is replaced by a new one.
func TestRequestID(t *testing.T) {
	app := bare()
	const forwarded = "req_01JD4M4M4M4M4M4M4M4M4M4M4M"
	for _, given := range []string{forwarded, "", "abc", "req_", "req_\"><script>", strings.Repeat("x", 500)} {
		req := httptest.NewRequest("GET", "/openapi/v1/client", nil)
		if given != "" {
			req.Header.Set("x-request-id", given)
		}
		r := do(t, app, req)
		if _, err := reqid.Parse(r.Body.RequestID); err != nil {
			t.Errorf("given %q: request_id %q is no request id", given, r.Body.RequestID)
		}
		if (r.Body.RequestID == given) != (given == forwarded) {
			t.Errorf("given %q: request_id %q", given, r.Body.RequestID)
		}
	}
}

func TestCredentials(t *testing.T) {
	app := bare()
	const foreign = "not a key"
	for _, tc := range []struct {
		name    string
		headers [][2]string
		status  int
		code    string
	}{
		{"none", nil, 401, "invalid_api_key"},
		{"basic", [][2]string{{"Authorization", "Basic dXNlcjpwYXNz"}}, 401, "invalid_api_key"},
		{"empty bearer", [][2]string{{"Authorization", "Bearer "}}, 401, "invalid_api_key"},
		{"blank in key", [][2]string{{"Authorization", "Bearer " + foreign}}, 401, "invalid_api_key"},
		{"twice", [][2]string{{"Authorization", "Bearer a"}, {"Authorization", "Bearer b"}}, 400, "invalid_request"}, // D14
		{"x-api-key twice", [][2]string{{"x-api-key", "a"}, {"x-api-key", "b"}}, 400, "invalid_request"},
		{"wrong crc", [][2]string{{"x-api-key", "tsk_" + strings.Repeat("a", 55)}}, 401, "invalid_api_key"},
		{"huge", [][2]string{{"x-api-key", strings.Repeat("a", 4000)}}, 401, "invalid_api_key"},
	} {
		req := httptest.NewRequest("GET", "/openapi/v1/client", nil)
		for _, h := range tc.headers {
			req.Header[http.CanonicalHeaderKey(h[0])] = append(req.Header[http.CanonicalHeaderKey(h[0])], h[1])
		}
		r := do(t, app, req)
		if r.Status != tc.status || r.code() != tc.code {
			t.Errorf("%s: %d %s, want %d %s", tc.name, r.Status, r.Raw, tc.status, tc.code)
		}
		if r.Status == 401 && r.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: WWW-Authenticate is %q", tc.name, r.Header.Get("WWW-Authenticate"))
		}
	}
}

// A handler that panics answers 500 in the envelope and says nothing of the cause.
func TestPanicIs500(t *testing.T) {
	app := bare()
	app.Get("/boom", func(*fiber.Ctx) error { panic("secret cause") })
	r := send(t, app, "GET", "/boom", "", "")
	if r.Status != 500 || r.code() != "proxy_error" || strings.Contains(r.Raw, "secret cause") {
		t.Errorf("a panic answered %d %s", r.Status, r.Raw)
	}
}

func TestNotReadyIs503(t *testing.T) {
	d := Deps{Log: obs.Discard(), Metrics: obs.NewMetrics(false), Ready: func() bool { return false }}
	r := send(t, New(d), "GET", "/openapi/v1/client", "k", "")
	if r.Status != 503 || r.Header.Get("Retry-After") != "1" {
		t.Errorf("before the schema is there: %d %s, Retry-After %q", r.Status, r.Raw, r.Header.Get("Retry-After"))
	}
}
