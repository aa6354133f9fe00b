package api

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenrelay/shared/money"
	"tokenrelay/shared/stored"
)

// plain sends one request whose answer is not the envelope.
func (w *world) plain(token, method, path string) *reply {
	w.t.Helper()
	req := httptest.NewRequest(method, path, nil)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := w.app.Test(req, 20_000)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return &reply{Status: resp.StatusCode, Header: resp.Header, Raw: string(raw)}
}

// What a customer does with a kept response, in OpenAI's shapes; another customer's is
// the same 404 as none.
func TestStoredResponses(t *testing.T) {
	w := newWorld(t)
	a, b := w.tenant("Tenant A", "", money.USD), w.tenant("Tenant B", "", money.USD)
	answer := `{"id":"resp_1","object":"response","status":"completed","output":[]}`
	kept, err := w.stored.Keep(t.Context(), &stored.Response{ClientID: a.ID, KeyID: a.key.ID, ID: "resp_1", Turn: stored.Turn{
		Input: []byte(`[{"role":"user","content":"one"},{"role":"user","content":"two"}]`), Answer: []byte(answer),
	}})
	if !kept || err != nil {
		t.Fatal(kept, err)
	}
	if r := w.plain(a.token, "GET", "/v1/responses/resp_1"); r.Status != 200 || string(r.Raw) != answer {
		t.Errorf("%d %s", r.Status, r.Raw)
	}
	r := w.plain(a.token, "GET", "/v1/responses/resp_1/input_items?limit=1&order=asc")
	var list struct {
		Data []struct{ ID, Type, Role string }
		More bool `json:"has_more"`
	}
	if err := json.Unmarshal([]byte(r.Raw), &list); err != nil || r.Status != 200 || len(list.Data) != 1 || !list.More || list.Data[0].Role != "user" {
		t.Errorf("%d %s", r.Status, r.Raw)
	}
	for path, want := range map[string]int{
		"GET /v1/responses/resp_1?stream=true": 400, "GET /v1/responses/resp_1/input_items?limit=0": 400, "GET /v1/responses/resp_1/input_items?order=up": 400,
		"POST /v1/responses/resp_1/cancel": 400, "GET /v1/responses/none": 404, "POST /v1/responses/none/cancel": 404, "GET /v1/responses/a%20b": 404, "GET /v1/responses/%00": 404,
	} {
		method, path, _ := strings.Cut(path, " ")
		r := w.plain(a.token, method, path)
		var e struct {
			Error struct {
				Message, Type string
				Code          any
			}
		}
		if err := json.Unmarshal([]byte(r.Raw), &e); err != nil || r.Status != want || e.Error.Message == "" || e.Error.Type != "invalid_request_error" {
			t.Errorf("%s: %d %s", path, r.Status, r.Raw)
		}
	}
	for _, path := range []string{"GET /v1/responses/%s", "DELETE /v1/responses/%s", "POST /v1/responses/%s/cancel", "GET /v1/responses/%s/input_items"} {
		method, path, _ := strings.Cut(path, " ")
		theirs := w.plain(b.token, method, strings.Replace(path, "%s", "resp_1", 1))
		nobodys := w.plain(b.token, method, strings.Replace(path, "%s", "resp_none", 1))
		if theirs.Status != 404 || string(theirs.Raw) != string(nobodys.Raw) {
			t.Errorf("%s of another tenant: %d %s", path, theirs.Status, theirs.Raw)
		}
		if r := w.plain("", method, strings.Replace(path, "%s", "resp_1", 1)); r.Status != 401 {
			t.Errorf("%s without a key: %d", path, r.Status)
		}
	}
	if r := w.plain(a.token, "DELETE", "/v1/responses/resp_1"); r.Status != 200 || string(r.Raw) != `{"id":"resp_1","object":"response","deleted":true}` {
		t.Errorf("%d %s", r.Status, r.Raw)
	}
	if r := w.plain(a.token, "GET", "/v1/responses/resp_1"); r.Status != 404 {
		t.Errorf("%d %s", r.Status, r.Raw)
	}
}
