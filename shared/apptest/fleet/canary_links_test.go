package fleet

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"tokenrelay/shared/apptest"
)

// links has people enter by links: one for another password and an invitation, opened,
// refused, used, and used again. It returns the links' secrets and those of the sessions
// that they began. What is shown once is not noted.
func links(t *testing.T, s *apptest.Stack, ask func(base, token, method, path, body string, header ...string) *apptest.Response, note func(*apptest.Response, bool), operate func(method, path, body string, statuses ...int) *apptest.Response) map[string]string {
	t.Helper()
	admin := s.AdminURLs[0]
	var users struct {
		Data struct {
			Items []struct {
				ID    int64
				Email string
			}
		}
	}
	id := ""
	if err := json.Unmarshal(operate("GET", "/admin/v1/users", "", 200).Body, &users); err != nil {
		t.Fatal(err)
	}
	for _, u := range users.Data.Items {
		if u.Email == "owner@example.com" {
			id = strconv.FormatInt(u.ID, 10)
		}
	}
	secrets := map[string]string{}
	for what, link := range map[string]struct{ page, use, made string }{
		"a reset link":  {"/console/reset", "/console/api/reset/use", string(operate("POST", "/admin/v1/users/"+id+"/reset", "", 200).Body)},
		"an invitation": {"/console/invitation", "/console/api/invitation/use", string(operate("POST", "/admin/v1/invitations", `{"email":"invited@example.com","role":"support"}`, 201).Body)},
	} {
		var made struct{ Data struct{ Link string } }
		if err := json.Unmarshal([]byte(link.made), &made); err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(made.Data.Link)
		if err != nil || u.Path != link.page || len(u.Query().Get("token")) < 20 {
			t.Fatalf("%s: %s", what, link.made)
		}
		token := u.Query().Get("token")
		secrets[what] = token
		post := func(path, password string) *apptest.Response {
			return ask(admin, "", "POST", path, fmt.Sprintf(`{"token":%q,"password":%q}`, token, password), "Sec-Fetch-Site", "same-origin")
		}
		note(ask(s.Proxies[0].URL, "", "GET", link.page+"?token="+token, "", "Accept", "text/html"), true)
		note(ask(admin, "", "POST", "/console/api/invitation", fmt.Sprintf(`{"token":%q}`, token), "Sec-Fetch-Site", "same-origin"), true)
		note(ask(admin, "", "POST", link.use+"?token="+token, `{}`, "Sec-Fetch-Site", "same-origin"), true)
		note(post(link.use, "short"), true)
		in := post(link.use, "canary-password-by-link-8830")
		cookie, _, _ := strings.Cut(in.Header.Get("Set-Cookie"), ";")
		_, session, ok := strings.Cut(cookie, "=")
		if in.Status != 200 || !ok || len(session) < 20 {
			t.Fatalf("%s: %d %s", what, in.Status, in.Body)
		}
		secrets["the session of "+what] = session
		again := post(link.use, "canary-password-by-link-8830")
		if again.Status < 400 {
			t.Errorf("%s twice: %d", what, again.Status)
		}
		note(again, true)
		// The operator's cookie is not the customer's to send, and is told to nobody either.
		for _, path := range []string{"/openapi/v1/client", "/admin/v1/overview"} {
			note(ask(admin, "", "GET", path, "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin"), false)
		}
	}
	// By mail, which cannot be sent here: it waits in the database.
	note(ask(admin, "", "POST", "/console/api/reset", `{"email":"owner@example.com"}`, "Sec-Fetch-Site", "same-origin"), true)
	return secrets
}
