package api

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/admin/session"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// personOf makes an account with a role and a session, without the time a password takes.
func (w *world) personOf(email string, clientID int64, role store.Role) *browser {
	w.t.Helper()
	u, err := w.db.CreateUser(w.t.Context(), "test", store.User{
		Email: email, PasswordHash: "none", ClientID: clientID, Role: role, Operator: slices.Contains(store.OperatorRoles, role),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	token := "session-of-" + email
	if err := w.db.CreateSession(w.t.Context(), sha256.Sum256([]byte(token)), u.ID, time.Hour); err != nil {
		w.t.Fatal(err)
	}
	return &browser{
		w: w, cookie: "relay_session=" + token, guard: session.Guard(token), header: map[string]string{"Sec-Fetch-Site": "same-origin"},
	}
}

// G8, H7: every route × every role × two tenants. The routes come from the table. What a
// role may not is 403 before anything is looked at; what it may is never another tenant's.
func TestRoleMatrix(t *testing.T) {
	w := newWorld(t)
	a, b := w.tenant("Tenant A", "", 10*money.USD), w.tenant("Tenant B", "", 10*money.USD)
	theirs := w.used(b, "alpha", usage.Success, "", time.Now(), 10, 10)
	var conversation report.Conversation
	w.expect(w.call(b, "POST", "/openapi/v1/conversations", `{"title":"of Tenant B"}`), 201, &conversation)
	foreign := map[string]string{
		"api_key_id": b.key.PublicID, "request_id": theirs.ID.String(), "transaction_id": theirs.ID.String() + "-c", "conversation_id": conversation.ID,
	}
	w.personOf("owner@b.example.com", b.ID, store.RoleOwner)
	theirPeople, err := w.db.Users(t.Context(), store.UserFilter{ClientID: b.ID})
	if err != nil {
		t.Fatal(err)
	}
	invited, _, err := w.manage.Invite(t.Context(), "test", b.ID, "guest@b.example.com", store.RoleMember)
	if err != nil {
		t.Fatal(err)
	}
	foreign["user_id"], foreign["invitation_id"] = rowText(theirPeople[0].ID), rowText(invited.ID)
	people := map[store.Role]*browser{}
	for _, role := range store.CustomerRoles {
		people[role] = w.personOf(string(role)+"@a.example.com", a.ID, role)
	}
	for _, role := range store.OperatorRoles {
		people[role] = w.personOf(string(role)+"@example.com", 0, role)
	}
	// What nobody has: an operator that may do something does it to nothing.
	nobody := func(path string) string {
		for segment := range strings.SplitSeq(path, "/") {
			if name, ok := strings.CutPrefix(segment, ":"); ok {
				path = strings.Replace(path, segment, map[bool]string{true: "999999", false: "nobody"}[strings.HasSuffix(name, "_id") && name != "client_id"], 1)
			}
		}
		return path
	}
	calls, allowed, denied, leaks := 0, 0, 0, 0
	for _, r := range Routes() {
		if r.audience == public {
			continue
		}
		for _, role := range slices.Concat(store.CustomerRoles, store.OperatorRoles) {
			isOperator := slices.Contains(store.OperatorRoles, role)
			path := nobody(r.Path)
			if r.audience == customer {
				path = r.Path
				for name, id := range foreign {
					path = strings.ReplaceAll(path, ":"+name, id)
				}
				path = strings.NewReplacer(":model", "alpha", ":resource_id", "model:alpha").Replace(path)
			}
			body := ""
			if r.Request != nil {
				body = "{}"
			}
			got := people[role].call(r.Method, path, body)
			calls++
			where := fmt.Sprintf("%s as %s: %s %s: %d %s", r.ID, role, r.Method, path, got.Status, clip(got.Raw, 200))
			switch {
			case isOperator != (r.audience == operator):
				if got.Status != 401 {
					t.Errorf("%s, want 401: not of this audience", where)
				}
			case !r.mayCall(role):
				denied++
				if got.Status != 403 || got.code() != "role_not_allowed" {
					t.Errorf("%s, want 403 role_not_allowed", where)
				}
			default:
				allowed++
				if got.Status == 401 || got.Status == 403 && got.code() == "role_not_allowed" || got.Status >= 500 {
					t.Errorf("%s, want it allowed", where)
				}
				if r.audience == customer && (strings.Contains(got.Raw, "Tenant B") || strings.Contains(got.Raw, "b.example.com")) || r.audience == customer && got.Status/100 == 2 && strings.Contains(path, b.key.PublicID) {
					leaks++
					t.Errorf("%s: another tenant's", where)
				}
			}
		}
	}
	if k, err := w.db.KeyByPublicID(t.Context(), b.ID, b.key.PublicID); err != nil || k.Status != store.KeyActive || k.Name != b.key.Name {
		t.Errorf("tenant B's key is %+v, %v", k, err)
	}
	if after, err := w.db.Users(t.Context(), store.UserFilter{ClientID: b.ID}); err != nil || len(after) != 1 || after[0].Role != store.RoleOwner || !after[0].Active {
		t.Errorf("tenant B's people are %+v, %v", after, err)
	}
	t.Logf("%d calls: %d allowed, %d refused, %d leaks", calls, allowed, denied, leaks)
	if calls < 800 || denied < 70 {
		t.Errorf("only %d calls and %d refusals were tried", calls, denied)
	}
}

// What the roles are for, stated apart from the table: a new route that is opened to a
// role by mistake fails here.
func TestRolesKeepTheirHandsOff(t *testing.T) {
	harmless := []string{"/openapi/v1/balance/check", "/admin/v1/models/:model/price-preview"} // POSTs that change nothing
	hands := map[store.Role][]string{                                                          // what each may change, by the beginning of the path
		store.RoleReadOnly: {},
		store.RoleMember:   {"/openapi/v1/api-keys", "/openapi/v1/conversations", "/openapi/v1/context/", "/openapi/v1/security/", "/openapi/v1/routing/"},
		store.RoleBilling:  {"/openapi/v1/redeem", "/openapi/v1/balance/", "/openapi/v1/client/profile"},
		store.RoleSupport:  {"/admin/v1/clients", "/admin/v1/api-keys", "/admin/v1/providers/:provider/pause", "/admin/v1/providers/:provider/reactivate"},
		store.RoleFinance:  {"/admin/v1/clients/:client_id", "/admin/v1/vouchers", "/admin/v1/models/:model/price"},
	}
	never := map[store.Role][]string{
		store.RoleSupport: {"/credit", "/refunds"},
		store.RoleFinance: {"/api-keys"},
	}
	for _, r := range Routes() {
		if r.audience == public || r.Method == "GET" || slices.Contains(harmless, r.Path) {
			continue
		}
		for role, may := range hands {
			if slices.Contains(store.OperatorRoles, role) != (r.audience == operator) || !r.mayCall(role) {
				continue
			}
			if !slices.ContainsFunc(may, func(p string) bool { return strings.HasPrefix(r.Path, p) }) ||
				slices.ContainsFunc(never[role], func(s string) bool { return strings.HasSuffix(r.Path, s) }) {
				t.Errorf("%s may %s %s", role, r.Method, r.Path)
			}
		}
	}
}
