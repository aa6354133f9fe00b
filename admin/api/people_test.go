package api

import (
	"net/url"
	"strings"
	"testing"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// stranger is a browser without an account.
func (w *world) stranger() *browser {
	return &browser{w: w, header: map[string]string{"Sec-Fetch-Site": "same-origin"}}
}

// letters are the mails that wait, opened.
func (w *world) letters() []store.Mail {
	w.t.Helper()
	list, err := w.db.DueMails(w.t.Context(), w.box, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func tokenOf(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil || u.Query().Get("token") == "" || u.Scheme+"://"+u.Host != "http://relay.example" {
		t.Fatalf("link %q: %v", link, err)
	}
	return u.Query().Get("token")
}

// S3-2: an owner invites, the link makes an account once, the owner changes its role and
// switches it off; nobody else may, and no key may.
func TestPeopleOfACustomer(t *testing.T) {
	w := newWorld(t)
	a, b := w.tenant("Tenant A", "", money.USD), w.tenant("Tenant B", "", money.USD)
	owner, other := w.personOf("owner@a.example.com", a.ID, store.RoleOwner), w.personOf("owner@b.example.com", b.ID, store.RoleOwner)
	var in invitation
	w.expect(owner.call("POST", "/openapi/v1/invitations", `{"email":"Ann@example.com","role":"member"}`), 201, &in)
	if r := w.call(a, "POST", "/openapi/v1/invitations", `{"email":"eve@example.com","role":"owner"}`); r.Status != 403 {
		t.Errorf("a key invites: %d %s", r.Status, r.Raw)
	}
	mails := w.letters()
	if len(mails) != 1 || mails[0].To != "ann@example.com" || !strings.Contains(mails[0].Text, in.Link) || !in.Mailed {
		t.Fatalf("mails %+v", mails)
	}
	token := tokenOf(t, in.Link)
	ann := w.stranger()
	var look invited
	w.expect(ann.call("POST", "/console/api/invitation", `{"token":"`+token+`"}`), 200, &look)
	if look.Email != "ann@example.com" || look.ClientName != "Tenant A" || look.Role != "member" {
		t.Errorf("the invitation says %+v", look)
	}
	foreign := w.stranger()
	foreign.header["Sec-Fetch-Site"] = "cross-site"
	if r := foreign.call("POST", "/console/api/invitation/use", `{"token":"`+token+`","password":"`+personPassword+`"}`); r.Status != 400 {
		t.Errorf("another site's page uses the link: %d %s", r.Status, r.Raw)
	}
	var v visitor
	w.expect(ann.call("POST", "/console/api/invitation/use", `{"token":"`+token+`","password":"`+personPassword+`"}`), 200, &v)
	if v.User.Email != "ann@example.com" || v.User.Role != "member" || v.User.ClientName != "Tenant A" || ann.cookie == "" {
		t.Errorf("signed in as %+v", v.User)
	}
	ann.guard = v.Guard
	if r := w.stranger().call("POST", "/console/api/invitation/use", `{"token":"`+token+`","password":"another password 1"}`); r.Status != 404 {
		t.Errorf("the link twice: %d %s", r.Status, r.Raw)
	}
	if r := ann.call("POST", "/openapi/v1/invitations", `{"email":"eve@example.com","role":"owner"}`); r.Status != 403 {
		t.Errorf("a member invites: %d", r.Status)
	}
	var members memberList
	w.expect(ann.call("GET", "/openapi/v1/members", ""), 200, &members)
	if len(members.Items) != 2 || members.Items[1].Role != "member" {
		t.Fatalf("members %+v", members)
	}
	path := "/openapi/v1/members/" + string(rowText(members.Items[1].ID))
	if r := other.call("PATCH", path, `{"active":false}`); r.Status != 404 {
		t.Errorf("another tenant's owner: %d %s", r.Status, r.Raw)
	}
	if r := ann.call("PATCH", path, `{"role":"owner"}`); r.Status != 403 {
		t.Errorf("a member makes itself owner: %d", r.Status)
	}
	w.expect(owner.call("PATCH", path, `{"role":"billing"}`), 200, nil)
	if r := ann.call("POST", "/openapi/v1/api-keys", `{"name":"x"}`); r.Status != 403 {
		t.Errorf("the new role is not in force: %d", r.Status)
	}
	w.expect(owner.call("PATCH", path, `{"active":false}`), 200, nil)
	if r := ann.call("GET", "/openapi/v1/members", ""); r.Status != 401 {
		t.Errorf("an account that is switched off: %d", r.Status)
	}
	if r := owner.call("PATCH", "/openapi/v1/members/"+rowText(members.Items[0].ID), `{"role":"member"}`); r.Status != 400 {
		t.Errorf("the last owner goes: %d %s", r.Status, r.Raw)
	}
	w.expect(owner.call("POST", "/openapi/v1/invitations", `{"email":"late@example.com","role":"owner"}`), 201, &in)
	w.expect(owner.call("DELETE", "/openapi/v1/invitations/"+rowText(in.ID), ""), 200, &in)
	if in.State != "revoked" {
		t.Errorf("invitation %+v", in)
	}
}

func rowText(id int64) string { return *rowCursor(id) }

// S3-2: strangers register while it is open, into the group that operators say; a taken
// address is refused.
func TestRegistration(t *testing.T) {
	w := newWorld(t)
	w.expect(w.operate("PATCH", "/admin/v1/registration", `{"group":"small"}`), 200, nil)
	var v visitor
	one := w.stranger()
	w.expect(one.call("POST", "/console/api/register", `{"name":"New Corp","email":"new@example.com","password":"`+personPassword+`"}`), 200, &v)
	if v.User == nil || v.User.Role != "owner" || v.User.ClientName != "New Corp" {
		t.Errorf("registered %+v", v.User)
	}
	c, err := w.db.ClientByName(t.Context(), "New Corp")
	if err != nil || c.Group != "small" {
		t.Errorf("client %+v, %v", c, err)
	}
	var balance struct{ Balance money.Amount }
	w.expect(one.call("GET", "/openapi/v1/balance", ""), 200, &balance)
	if balance.Balance != 0 {
		t.Errorf("a stranger has %s", balance.Balance)
	}
	if r := w.stranger().call("POST", "/console/api/register", `{"name":"Other","email":"NEW@example.com","password":"`+personPassword+`"}`); r.Status != 400 {
		t.Errorf("a taken address: %d %s", r.Status, r.Raw)
	}
	w.expect(w.operate("PATCH", "/admin/v1/registration", `{"open":false}`), 200, nil)
	if r := w.stranger().call("POST", "/console/api/register", `{"name":"Late","email":"late@example.com","password":"`+personPassword+`"}`); r.Status != 403 {
		t.Errorf("registration is closed: %d %s", r.Status, r.Raw)
	}
	limited := 0
	for range 6 {
		if w.stranger().call("POST", "/console/api/register", `{"name":"Late","email":"late@example.com","password":"`+personPassword+`"}`).Status == 429 {
			limited++
		}
	}
	if limited == 0 {
		t.Error("registration is not limited")
	}
}

// G10: a link by mail sets another password, once, and ends every session; the answer does
// not tell who has an account.
func TestPasswordReset(t *testing.T) {
	w := newWorld(t)
	w.tenant("Tenant A", "", 0)
	ann := w.person("ann@example.com", "Tenant A", false)
	known, unknown := w.stranger().call("POST", "/console/api/reset", `{"email":"ann@example.com"}`), w.stranger().call("POST", "/console/api/reset", `{"email":"nobody@example.com"}`)
	if known.Status != 200 || string(known.Body.Data) != string(unknown.Body.Data) {
		t.Errorf("known %d %s, unknown %d %s", known.Status, known.Raw, unknown.Status, unknown.Raw)
	}
	mails := w.letters()
	if len(mails) != 1 || mails[0].To != "ann@example.com" {
		t.Fatalf("mails %+v", mails)
	}
	at := strings.Index(mails[0].Text, "http://relay.example/console/reset?token=")
	link, _, _ := strings.Cut(mails[0].Text[at:], "\n")
	token := tokenOf(t, link)
	if r := w.stranger().call("POST", "/console/api/reset/use", `{"token":"`+token+`","password":"short"}`); r.Status != 400 {
		t.Errorf("a short password: %d %s", r.Status, r.Raw)
	}
	w.expect(w.stranger().call("POST", "/console/api/reset/use", `{"token":"`+token+`","password":"quite another one"}`), 200, nil)
	if r := ann.call("GET", "/openapi/v1/client", ""); r.Status != 401 {
		t.Errorf("the old session lives: %d", r.Status)
	}
	w.expect(w.stranger().call("POST", "/console/api/session", `{"email":"ann@example.com","password":"quite another one"}`), 200, nil)
	if r := w.stranger().call("POST", "/console/api/reset/use", `{"token":"`+token+`","password":"quite another one"}`); r.Status != 404 {
		t.Errorf("the link twice: %d %s", r.Status, r.Raw)
	}
	var link2 resetLink
	var users operatorUsers
	w.expect(w.operate("GET", "/admin/v1/users?email=ANN", ""), 200, &users)
	w.expect(w.operate("POST", "/admin/v1/users/"+rowText(users.Items[0].ID)+"/reset", ""), 200, &link2)
	tokenOf(t, link2.Link)
}

// Operators make accounts of every kind; the last admin stays.
func TestAccountsByOperators(t *testing.T) {
	w := newWorld(t)
	w.tenant("Tenant A", "", 0)
	var u operatorUser
	w.expect(w.operate("POST", "/admin/v1/users", `{"email":"fin@example.com","role":"finance","password":"`+personPassword+`"}`), 201, &u)
	if !u.Operator || u.Role != "finance" {
		t.Errorf("user %+v", u)
	}
	if r := w.operate("POST", "/admin/v1/users", `{"email":"x@example.com","role":"finance","client":"Tenant A","password":"`+personPassword+`"}`); r.Status != 400 {
		t.Errorf("a customer's person as an operator: %d %s", r.Status, r.Raw)
	}
	admin := w.personOf("root@example.com", 0, store.RoleAdmin)
	var list operatorUsers
	w.expect(admin.call("GET", "/admin/v1/users?role=admin", ""), 200, &list)
	if r := admin.call("PATCH", "/admin/v1/users/"+rowText(list.Items[0].ID), `{"role":"support"}`); r.Status != 400 {
		t.Errorf("the last admin goes: %d %s", r.Status, r.Raw)
	}
	w.expect(admin.call("PATCH", "/admin/v1/users/"+rowText(u.ID), `{"role":"admin"}`), 200, &u)
	w.expect(admin.call("PATCH", "/admin/v1/users/"+rowText(list.Items[0].ID), `{"role":"support"}`), 200, nil)
	var in invitation
	w.expect(w.operate("POST", "/admin/v1/invitations", `{"email":"new@example.com","role":"support"}`), 201, &in)
	var v visitor
	w.expect(w.stranger().call("POST", "/console/api/invitation/use", `{"token":"`+tokenOf(t, in.Link)+`","password":"`+personPassword+`"}`), 200, &v)
	if !v.User.Operator || v.User.Role != "support" {
		t.Errorf("invited %+v", v.User)
	}
}
