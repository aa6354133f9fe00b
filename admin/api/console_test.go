package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// browser is a person's browser: it keeps the cookie and knows the guard.
type browser struct {
	w      *world
	cookie string
	guard  string
	header map[string]string // sent with every request
}

const personPassword = "correct horse battery"

// person makes an account and signs it in.
func (w *world) person(email, client string, operator bool) *browser {
	w.t.Helper()
	if _, err := w.manage.CreateUser(w.t.Context(), "test", manage.NewUser{Email: email, Client: client, Operator: operator, Password: personPassword}); err != nil {
		w.t.Fatal(err)
	}
	b := &browser{w: w, header: map[string]string{"Sec-Fetch-Site": "same-origin"}}
	var v visitor
	w.expect(b.call("POST", "/console/api/session", `{"email":"`+email+`","password":"`+personPassword+`"}`), 200, &v)
	if v.User == nil || v.User.Email != email || v.User.Operator != operator || v.User.ClientName != client || v.Guard == "" {
		w.t.Fatalf("signed in as %+v", v)
	}
	b.guard = v.Guard
	return b
}

func (b *browser) call(method, path, body string) *reply {
	b.w.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if b.cookie != "" {
		req.Header.Set("Cookie", b.cookie)
	}
	if b.guard != "" {
		req.Header.Set("X-Relay-Guard", b.guard)
	}
	for name, value := range b.header {
		req.Header.Set(name, value)
	}
	r := do(b.w.t, b.w.app, req)
	for _, c := range (&http.Response{Header: r.Header}).Cookies() {
		b.cookie = c.Name + "=" + c.Value
	}
	return r
}

// A person of a customer sees and does what the customer's keys may, and nothing of
// anybody else's.
func TestSessionIsTheCustomer(t *testing.T) {
	w := newWorld(t)
	a, b := w.tenant("Tenant A", "", 10*money.USD), w.tenant("Tenant B", "", 10*money.USD)
	theirs := w.used(b, "alpha", usage.Success, "", time.Now(), 10, 10)
	ann := w.person("ann@example.com", "Tenant A", false)

	var balance report.CustomerBalance
	w.expect(ann.call("GET", "/openapi/v1/balance", ""), 200, &balance)
	if balance.Balance != 10*money.USD {
		t.Errorf("balance %+v", balance)
	}
	var made createdKey
	w.expect(ann.call("POST", "/openapi/v1/api-keys", `{"name":"laptop"}`), 201, &made)
	var list keyList
	w.get(a, "/openapi/v1/api-keys", &list)
	if len(list.Items) != 2 || list.Items[1].ID != made.ID {
		t.Errorf("the customer's keys are %+v", list.Items)
	}
	rows, err := w.db.AuditLog(t.Context(), store.AuditFilter{Limit: 1})
	if err != nil || len(rows) != 1 || rows[0].Actor != "user:ann@example.com" {
		t.Errorf("the audit log says %+v, %v", rows, err)
	}
	for _, path := range []string{"/openapi/v1/api-keys/" + b.key.PublicID, "/openapi/v1/traces/" + theirs.ID.String()} {
		if r := ann.call("GET", path, ""); r.Status != 404 {
			t.Errorf("%s of another tenant: %d", path, r.Status)
		}
	}
	if r := ann.call("GET", "/admin/v1/proxies", ""); r.Status != 401 {
		t.Errorf("a customer at the operator API: %d", r.Status)
	}
	// A key in a header decides alone, so that a page cannot borrow the browser's session.
	ann.header["Authorization"] = "Bearer tsk_nonsense"
	if r := ann.call("GET", "/openapi/v1/balance", ""); r.Status != 401 {
		t.Errorf("a bad key beside a good session: %d", r.Status)
	}
}

func TestSessionOfAnOperator(t *testing.T) {
	w := newWorld(t)
	op := w.person("op@example.com", "", true)
	var c operatorClient
	w.expect(op.call("POST", "/admin/v1/clients", `{"name":"Acme"}`), 201, &c)
	if r := op.call("GET", "/openapi/v1/balance", ""); r.Status != 401 {
		t.Errorf("an operator who is no customer has a balance: %d", r.Status)
	}
}

// G11: the cookie is out of reach of scripts and of other sites, and a change needs what
// only a page of the console has.
func TestSessionGuardG11(t *testing.T) {
	w := newWorld(t)
	w.tenant("Tenant A", "", 10*money.USD)
	ann := w.person("ann@example.com", "Tenant A", false)
	fresh := &browser{w: w, header: map[string]string{}}
	r := fresh.call("POST", "/console/api/session", `{"email":"ann@example.com","password":"`+personPassword+`"}`)
	cookie := strings.ToLower(r.Header.Get("Set-Cookie"))
	for _, want := range []string{"relay_session=", "httponly", "samesite=lax", "path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %q has no %s", cookie, want)
		}
	}
	if strings.Contains(cookie, "domain") {
		t.Errorf("the cookie %q goes to other hosts", cookie)
	}
	for name, header := range map[string]map[string]string{
		"no guard":          {"X-Relay-Guard": ""},
		"a wrong guard":     {"X-Relay-Guard": "x"},
		"another site":      {"Sec-Fetch-Site": "cross-site"},
		"a sibling":         {"Sec-Fetch-Site": "same-site"},
		"another origin":    {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
		"the origin null":   {"Sec-Fetch-Site": "", "Origin": "null"},
		"a prefix of ours":  {"Sec-Fetch-Site": "", "Origin": "http://relay.example.evil.example"},
		"the guard of none": {"X-Relay-Guard": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NM"},
	} {
		other := &browser{w: w, cookie: ann.cookie, guard: ann.guard, header: header}
		if r := other.call("POST", "/openapi/v1/api-keys", `{"name":"stolen"}`); r.Status != 400 {
			t.Errorf("a change with %s: %d %s", name, r.Status, r.Raw)
		}
		if r := other.call("DELETE", "/console/api/session", ""); r.Status != 400 {
			t.Errorf("a sign-out with %s: %d %s", name, r.Status, r.Raw)
		}
	}
	for name, header := range map[string]map[string]string{
		"our origin":                 {"Origin": "http://relay.example"},
		"the host that it was for":   {"Origin": "http://example.com"}, // httptest's Host
		"no page at all":             {},
		"the address bar of browser": {"Sec-Fetch-Site": "none"},
	} {
		same := &browser{w: w, cookie: ann.cookie, guard: ann.guard, header: header}
		if r := same.call("POST", "/openapi/v1/api-keys", `{"name":"mine"}`); r.Status != 201 {
			t.Errorf("a change with %s: %d %s", name, r.Status, r.Raw)
		}
	}
	foreign := &browser{w: w, header: map[string]string{"Sec-Fetch-Site": "cross-site"}}
	if r := foreign.call("POST", "/console/api/session", `{"email":"ann@example.com","password":"`+personPassword+`"}`); r.Status != 400 || r.Header.Get("Set-Cookie") != "" {
		t.Errorf("another site signs a visitor in: %d", r.Status)
	}
}

// G11: the session that was there before a sign-in is over, and so is one that was
// signed out, on the server.
func TestSessionsEndG11(t *testing.T) {
	w := newWorld(t)
	w.tenant("Tenant A", "", 10*money.USD)
	ann := w.person("ann@example.com", "Tenant A", false)
	before := *ann
	w.expect(ann.call("POST", "/console/api/session", `{"email":"ann@example.com","password":"`+personPassword+`"}`), 200, nil)
	if ann.cookie == before.cookie {
		t.Fatal("a sign-in kept the id of the session before it")
	}
	if r := before.call("GET", "/openapi/v1/balance", ""); r.Status != 401 {
		t.Errorf("the session before a sign-in: %d", r.Status)
	}
	var v visitor
	w.expect(ann.call("GET", "/console/api/session", ""), 200, &v)
	ann.guard = v.Guard
	again := *ann
	w.expect(ann.call("DELETE", "/console/api/session", ""), 200, nil)
	if r := again.call("GET", "/openapi/v1/balance", ""); r.Status != 401 {
		t.Errorf("a session after its sign-out: %d", r.Status)
	}
	w.expect(ann.call("GET", "/console/api/session", ""), 200, &v)
	if v.User != nil {
		t.Errorf("after the sign-out %+v is signed in", v.User)
	}
}

// Behind TLS the cookie is one that no other host can have set.
func TestCookieNameWithTLS(t *testing.T) {
	for url, want := range map[string]string{"https://relay.example": "__Host-relay_session", "http://127.0.0.1:8000": "relay_session"} {
		a := &api{Deps: Deps{PublicURL: url}}
		if a.cookieName() != want || a.secure() != strings.HasPrefix(want, "__Host-") {
			t.Errorf("%s: %s", url, a.cookieName())
		}
	}
}

// S3-10, S4-8: whoever is not signed in reads the list prices, and no more.
func TestListPricesArePublic(t *testing.T) {
	w := newWorld(t)
	var list modelList
	w.expect(send(t, w.app, "GET", "/console/api/models", "", ""), 200, &list)
	if len(list.Items) != 3 || list.Items[0].ID != "alpha" || list.Items[0].Price.Prices["output"] != "10" {
		t.Errorf("list prices %+v", list.Items)
	}
}

func TestChangePasswordInTheConsole(t *testing.T) {
	w := newWorld(t)
	w.tenant("Tenant A", "", 10*money.USD)
	ann := w.person("ann@example.com", "Tenant A", false)
	before := *ann
	if r := ann.call("PUT", "/console/api/password", `{"old_password":"wrong","new_password":"another good one"}`); r.Status != 400 {
		t.Errorf("a wrong old password: %d", r.Status)
	}
	w.expect(ann.call("PUT", "/console/api/password", `{"old_password":"`+personPassword+`","new_password":"another good one"}`), 200, nil)
	if r := before.call("GET", "/openapi/v1/balance", ""); r.Status != 401 {
		t.Errorf("a session from before the change: %d", r.Status)
	}
	if r := ann.call("GET", "/openapi/v1/balance", ""); r.Status != 200 {
		t.Errorf("the session of the change: %d", r.Status)
	}
}

// G11: a person sees where the account is signed in, ends one session or all others, and
// none of anybody else.
func TestSessionsAreListedAndEnded(t *testing.T) {
	w := newWorld(t)
	w.tenant("Tenant A", "", 0)
	w.tenant("Tenant B", "", 0)
	ann := w.person("ann@example.com", "Tenant A", false)
	bob := w.person("bob@example.com", "Tenant B", false)
	var theirs sessionList
	w.expect(bob.call("GET", "/console/api/sessions", ""), 200, &theirs)
	again := func() *browser {
		b := w.stranger()
		b.header["User-Agent"] = "Phone\t of Ann"
		var v visitor
		w.expect(b.call("POST", "/console/api/session", `{"email":"ann@example.com","password":"`+personPassword+`"}`), 200, &v)
		b.guard = v.Guard
		return b
	}
	phone, tablet := again(), again()
	var list sessionList
	r := ann.call("GET", "/console/api/sessions", "")
	w.expect(r, 200, &list)
	if len(list.Items) != 3 || list.Items[1].Agent != "Phone of Ann" || list.Items[1].IP == "" || list.Items[0].Current || !list.Items[2].Current || !list.Items[0].ExpiresAt.After(list.Items[0].CreatedAt) {
		t.Fatalf("sessions %+v", list.Items)
	}
	if _, token, _ := strings.Cut(phone.cookie, "="); strings.Contains(r.Raw, token) {
		t.Error("the list has a token")
	}
	path := func(s signedSession) string { return "/console/api/sessions/" + string(rowText(s.ID)) }
	for name, refused := range map[string]*reply{
		"of somebody else": ann.call("DELETE", path(theirs.Items[0]), ""),
		"that asks":        ann.call("DELETE", path(list.Items[2]), ""),
		"without a guard":  (&browser{w: w, cookie: ann.cookie, header: ann.header}).call("DELETE", path(list.Items[1]), ""),
		"all, no guard":    (&browser{w: w, cookie: ann.cookie, header: ann.header}).call("DELETE", "/console/api/sessions", ""),
		"of no number":     ann.call("DELETE", "/console/api/sessions/x", ""),
	} {
		if refused.Status != 404 && refused.Status != 400 {
			t.Errorf("ending the session %s: %d %s", name, refused.Status, refused.Raw)
		}
	}
	w.expect(ann.call("DELETE", path(list.Items[1]), ""), 200, &list)
	if r := phone.call("GET", "/openapi/v1/balance", ""); r.Status != 401 || len(list.Items) != 2 {
		t.Errorf("a session that was ended: %d, %+v", r.Status, list)
	}
	w.expect(ann.call("DELETE", "/console/api/sessions", ""), 200, &list)
	if r := tablet.call("GET", "/openapi/v1/balance", ""); r.Status != 401 || len(list.Items) != 1 || !list.Items[0].Current {
		t.Errorf("another session: %d, %+v", r.Status, list)
	}
	for name, b := range map[string]*browser{"ann": ann, "bob": bob} {
		if r := b.call("GET", "/openapi/v1/balance", ""); r.Status != 200 {
			t.Errorf("the session of %s: %d", name, r.Status)
		}
	}
	if r := w.stranger().call("GET", "/console/api/sessions", ""); r.Status != 401 {
		t.Errorf("the sessions of nobody: %d", r.Status)
	}
}
