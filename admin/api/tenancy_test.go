package api

import (
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// G8, G-24: for every route that names an object, the other tenant's object is the
// same 404 as one that never was, and nothing of it changes. The routes come from
// the table, so a new one is in the matrix by itself; one whose kind of object this
// test does not know fails.
func TestTenantMatrix(t *testing.T) {
	w := newWorld(t)
	a := w.tenant("Tenant A", "", 10*money.USD)
	b := w.tenant("Tenant B", "", 10*money.USD)
	objects := func(n *tenant) map[string]string {
		rec := w.used(n, "alpha", usage.Success, "", time.Now(), 10, 10)
		var conversation report.Conversation
		w.expect(w.call(n, "POST", "/openapi/v1/conversations", `{"title":"of `+n.Name+`"}`), 201, &conversation)
		return map[string]string{"api_key_id": n.key.PublicID, "request_id": rec.ID.String(), "transaction_id": rec.ID.String() + "-c", "conversation_id": conversation.ID}
	}
	own := map[*tenant]map[string]string{a: objects(a), b: objects(b)}
	never := map[string]string{"api_key_id": "AAAAAAAAAAAA", "request_id": "req_01JD4M4M4M4M4M4M4M4M4M4M4M", "transaction_id": "req_01JD4M4M4M4M4M4M4M4M4M4M4M-c", "conversation_id": "conv_01JD4M4M4M4M4M4M4M4M4M4M4M"}
	// Objects that belong to everybody.
	shared := map[string]bool{"model": true, "resource_id": true}

	keyBefore := w.call(b, "GET", "/openapi/v1/api-keys/"+b.key.PublicID, "").Body.Data
	tried := 0
	for _, r := range Routes() {
		name := param(r.Path)
		if r.audience != customer || name == "" || shared[name] {
			continue
		}
		if r.person { // for people: TestRoleMatrix
			if got := w.call(a, r.Method, strings.Replace(r.Path, ":"+name, "1", 1), ""); got.Status != 403 {
				t.Errorf("%s %s with a key: %d %s, want 403", r.Method, r.Path, got.Status, got.Raw)
			}
			continue
		}
		if never[name] == "" {
			t.Errorf("%s %s: the test knows no object of kind %s", r.Method, r.Path, name)
			continue
		}
		body := ""
		if r.Request != nil {
			body = `{"name":"stolen"}`
			if name == "conversation_id" {
				body = `{"title":"stolen"}`
			}
		}
		for caller, victim := range map[*tenant]*tenant{a: b, b: a} {
			tried++
			path := strings.Replace(r.Path, ":"+name, own[victim][name], 1)
			theirs := w.call(caller, r.Method, path, body)
			nobodys := w.call(caller, r.Method, strings.Replace(r.Path, ":"+name, never[name], 1), body)
			if theirs.Status != 404 || theirs.code() != "not_found" {
				t.Errorf("%s %s of another tenant: %d %s, want 404", r.Method, path, theirs.Status, theirs.Raw)
			}
			if theirs.Status != nobodys.Status || *theirs.Body.Message != *nobodys.Body.Message {
				t.Errorf("%s %s: another tenant's object (%s) differs from none (%s)", r.Method, path, theirs.Raw, nobodys.Raw)
			}
		}
	}
	if tried < 10 {
		t.Errorf("the matrix tried %d calls only", tried)
	}
	if after := w.call(b, "GET", "/openapi/v1/api-keys/"+b.key.PublicID, "").Body.Data; string(after) != string(keyBefore) {
		t.Errorf("tenant B's key changed from %s to %s", keyBefore, after)
	}
	// Lists hold the caller's own rows only.
	for caller, victim := range map[*tenant]*tenant{a: b, b: a} {
		for _, r := range Routes() {
			if r.audience != customer || r.Method != "GET" || param(r.Path) != "" || r.person {
				continue
			}
			got := w.call(caller, "GET", r.Path, "")
			for _, foreign := range []string{own[victim]["api_key_id"], own[victim]["request_id"], victim.Name} {
				if got.Status != 200 || strings.Contains(got.Raw, foreign) {
					t.Errorf("%s: %d, shows %q of another tenant: %s", r.Path, got.Status, foreign, got.Raw)
				}
			}
		}
	}
	// A customer's key opens nothing of the operator's.
	for _, r := range Routes() {
		if r.audience == operator {
			if got := w.call(a, r.Method, r.Path, ""); got.Status != 401 {
				t.Errorf("%s %s with a customer key: %d %s, want 401", r.Method, r.Path, got.Status, got.Raw)
			}
		}
	}
}

// param is the name of a path's parameter, "" without one.
func param(path string) string {
	for segment := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(segment, ":"); ok {
			return name
		}
	}
	return ""
}
