package fleet

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/store/storetest"
)

// indiscreet is a provider that tells everything it knows in every error: the credential it
// was sent, its own model's name, its address. The text of the request says the status.
func indiscreet(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told := fmt.Sprintf("%s %s of canary-upstream-model, see http://%s/canary-supplier", r.Header.Get("Authorization"), r.Header.Get("x-api-key"), r.Host)
		w.Header().Set("x-canary", told)
		w.Header().Set("Content-Type", "application/json")
		status := 200
		if _, after, ok := strings.Cut(string(body), "canary status "); ok {
			_, _ = fmt.Sscanf(after, "%d", &status)
		}
		switch {
		case strings.Contains(string(body), "canary stream"):
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"canary-upstream-model\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":null}]}\n\ndata: {\"error\":{\"message\":%q,\"type\":\"server_error\"}}\n\n", told)
		case status == 200:
			_, _ = io.WriteString(w, `{"id":"c","object":"chat.completion","created":1,"model":"canary-upstream-model","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}`)
		default:
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"type":"error","error":{"message":%q,"type":"invalid_request_error","code":"bad","param":null}}`, told)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// G7, H7, S4-11, S1-B7: every secret that goes into the relay is looked for in everything that comes out
// of it: answers, logs, metrics, files, and all rows of the database. No customer reads the
// name of an upstream, or of its model, or a supplier's cost.
func TestSecretsStayInsideG7H7(t *testing.T) {
	provider := indiscreet(t)
	const smtp = "canary-smtp-password-5c1d"
	catalogue := strings.Replace(apptest.TestCatalogue, "models:\n", `  - {name: canary-supplier, protocol: openai, base_url: "`+provider.URL+`/v1", keys: [{name: main, secret: sk-canary-provider-file-8e21}]}
  - {name: canary-claude, protocol: anthropic, base_url: "`+provider.URL+`/v1", keys: [{name: main, secret: sk-canary-provider-claude-77aa}]}
models:
  - {id: leaky, context_tokens: 200000, max_output_tokens: 1000, routes: [{provider: canary-supplier, model: canary-upstream-model, cost: {input: "0.123457", output: "0.5"}}], price: PRICE}
  - {id: leaky-claude, context_tokens: 200000, max_output_tokens: 1000, routes: [{provider: canary-claude, model: canary-upstream-model}], price: PRICE}
`, 1)
	s := apptest.Start(t, apptest.Options{Catalogue: catalogue, AdminEnv: []string{"RELAY_SMTP_URL=smtp://mail:" + smtp + "@127.0.0.1:9"}})
	p := s.Proxy(0)
	s.CreateClient("acme", "10")
	key := s.CreateKey("acme")
	var person struct{ Password string }
	s.MustCLI(&person, "user", "create", "owner@example.com", "--client", "acme")
	secrets := map[string]string{
		"the provider's key of the file": "sk-canary-provider-file-8e21", "the key of the other provider": "sk-canary-provider-claude-77aa", "a provider's key by the API": "sk-canary-provider-api-4411",
		"a provider's key that was refused": "sk-canary-provider-refused-90", "the customer's key": key.Token, "the operator's token": s.OperatorToken, "the key of keys": s.SecretKey,
		"the password of mails": smtp, "a password": person.Password, "a password that was wrong": "canary-wrong-password-31",
	}
	var told strings.Builder   // what anybody reads
	var public strings.Builder // what a customer reads
	ask := func(base, token, method, path, body string, header ...string) *apptest.Response {
		t.Helper()
		r := apptest.Request{Method: method, Path: path, Body: body}
		if token != "" {
			r = r.With("Authorization", "Bearer "+token)
		}
		if body != "" {
			r = r.With("Content-Type", "application/json")
		}
		for i := 0; i+1 < len(header); i += 2 {
			r = r.With(header[i], header[i+1])
		}
		got, err := apptest.Fetch(t.Context(), base, r)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return got
	}
	note := func(r *apptest.Response, customer bool) {
		text := fmt.Sprintf("%v\n%s\n", r.Header, r.Body)
		told.WriteString(text)
		if customer {
			public.WriteString(text)
		}
	}
	operate := func(method, path, body string, statuses ...int) *apptest.Response {
		t.Helper()
		r := ask(s.AdminURLs[0], s.OperatorToken, method, path, body)
		if len(statuses) > 0 && r.Status != statuses[0] {
			t.Errorf("%s %s: %d %s", method, path, r.Status, r.Body)
		}
		return r
	}

	// A second key of the provider, one that is refused, and a test of both kinds of failure.
	note(operate("POST", "/admin/v1/providers/canary-supplier/keys", `{"name":"second","secret":"sk-canary-provider-api-4411"}`, 201), false)
	note(operate("POST", "/admin/v1/providers/canary-supplier/keys", `{"name":"second","secret":"sk-canary-provider-refused-90","more":1}`, 400), false)
	note(operate("POST", "/admin/v1/catalog", `{"providers":[{"name":"x","protocol":"none","base_url":"http://127.0.0.1:9","keys":[{"name":"a","secret":"sk-canary-provider-refused-90"}]}]}`, 400), false)
	note(operate("POST", "/admin/v1/providers/canary-supplier/keys/second/test", `{"model":"canary status 401"}`), false)

	// Passwords, right and wrong; the session's own answer may carry its cookie.
	note(ask(s.AdminURLs[0], "", "POST", "/console/api/session", `{"email":"owner@example.com","password":"canary-wrong-password-31"}`, "Sec-Fetch-Site", "same-origin"), true)
	in := ask(s.AdminURLs[0], "", "POST", "/console/api/session", fmt.Sprintf(`{"email":"owner@example.com","password":%q}`, person.Password), "Sec-Fetch-Site", "same-origin")
	cookie, _, _ := strings.Cut(in.Header.Get("Set-Cookie"), ";")
	_, session, ok := strings.Cut(cookie, "=")
	if in.Status != 200 || !ok || len(session) < 20 {
		t.Fatalf("no session: %d %v %s", in.Status, in.Header, in.Body)
	}
	secrets["a session"] = session
	note(ask(s.AdminURLs[0], "", "GET", "/openapi/v1/client", "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin"), true)

	// Keys by the customer, each shown once: those answers are not searched.
	var made struct {
		Data struct{ ID, Token string }
	}
	for name, path := range map[string]string{"a key that was made": "", "a key that was copied": "/copy", "a key that was rotated": "/rotate"} {
		base := "/openapi/v1/api-keys"
		if path != "" {
			base += "/" + s.CreateKey("acme").ID + path
		}
		r := ask(p.URL, key.Token, "POST", base, `{"name":"canary"}`)
		if json.Unmarshal(r.Body, &made) != nil || len(made.Data.Token) < 40 {
			t.Fatalf("%s: %d %s", base, r.Status, r.Body)
		}
		secrets[name] = made.Data.Token
	}
	var code struct {
		Data struct{ Items []struct{ Code string } }
	}
	voucher := operate("POST", "/admin/v1/vouchers", `{"amount":"1"}`, 201)
	if json.Unmarshal(voucher.Body, &code) != nil || len(code.Data.Items) != 1 {
		t.Fatalf("%s", voucher.Body)
	}
	secrets["a voucher"] = code.Data.Items[0].Code
	for range 2 {
		note(ask(p.URL, key.Token, "POST", "/openapi/v1/redeem", fmt.Sprintf(`{"code":%q}`, code.Data.Items[0].Code)), true)
	}

	// Every kind of failure of an upstream that tells what it was sent.
	var last string
	for _, status := range []int{200, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529} {
		for _, stream := range []string{"", `"stream":true`} {
			more := []string{`"max_tokens":100`}
			if stream != "" {
				more = append(more, stream)
			}
			text := fmt.Sprintf("canary status %d", status)
			r := p.Do(apptest.Chat(key.Token, "leaky", text, more...))
			note(r, true)
			if status == 200 && stream == "" {
				if last = r.ID(); r.Status != 200 {
					t.Fatalf("%d %s", r.Status, r.Body)
				}
			}
			if status != 200 { // its answer is Chat's, which Messages' reader refuses
				note(p.Do(apptest.Messages(key.Token, "leaky-claude", text)), true)
			}
		}
	}
	note(p.Do(apptest.Chat(key.Token, "leaky", "canary stream", `"stream":true`)), true)
	note(p.Do(apptest.Chat(key.Token+"x", "leaky", "hello")), true)
	note(p.Do(apptest.Request{Path: "/v1/chat/completions?key=" + key.Token, Body: `{"model":"leaky"}`}), true)
	note(p.Do(apptest.Request{Path: "/v1beta/models/leaky:generateContent?key=" + key.Token, Body: `{"contents":[{"parts":[{"text":"canary status 500"}]}]}`}), true)
	note(p.Do(apptest.Chat(s.OperatorToken, "leaky", "hello")), true)
	note(ask(p.URL, key.Token, "GET", "/admin/v1/clients", ""), true)
	s.Settled()

	// Everything that customers and operators read.
	for _, token := range []string{key.Token, s.OperatorToken} {
		document := map[bool]string{true: "/openapi.json", false: "/admin/v1/openapi.json"}[token == key.Token]
		var doc struct{ Paths map[string]map[string]any }
		if err := json.Unmarshal(ask(p.URL, token, "GET", document, "").Body, &doc); err != nil {
			t.Fatal(err)
		}
		read := 0
		for path, methods := range doc.Paths {
			if methods["get"] == nil {
				continue
			}
			path = strings.NewReplacer("{request_id}", last, "{transaction_id}", last+"-c", "{api_key_id}", key.ID, "{model}", "leaky", "{resource_id}", "model:leaky",
				"{client_id}", "acme", "{provider}", "canary-supplier", "{group}", "default", "{audit_id}", "1").Replace(path)
			r := ask(p.URL, token, "GET", path, "")
			if r.Status == 200 {
				read++
			}
			note(r, token == key.Token)
		}
		if read < 25 {
			t.Errorf("only %d reads of %s were answered", read, document)
		}
	}
	for _, path := range []string{"/status.json", "/console/api/models", "/console/api/session"} {
		note(ask(p.URL, "", "GET", path, ""), true)
	}
	out, errs, _ := s.CLI("export")
	places := map[string]string{"answers": told.String(), "the export": out + errs}
	for _, q := range append([]*apptest.Process{p.Process}, s.Admins...) {
		places["the log of "+q.Name] = q.Log()
	}
	for name, url := range map[string]string{"the proxy's metrics": p.InternalURL + "/metrics", "admin's metrics": s.Admins[0].InternalURL() + "/metrics"} {
		r, err := apptest.Fetch(t.Context(), url, apptest.Request{Method: "GET"})
		if err != nil || r.Status != 200 {
			t.Fatalf("%s: %v", name, err)
		}
		places[name] = string(r.Body)
	}
	// The journal has records of calls, no words of them.
	files, err := filepath.Glob(filepath.Join(p.DataDir, "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no journal: %v, %v", files, err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			places["the file "+filepath.Base(f)] = string(b)
		}
	}
	type table struct{ Name string }
	rows := 0
	for _, tab := range storetest.Rows[table](t, s.DatabaseURL, `SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`) {
		var b strings.Builder
		for _, r := range storetest.Rows[table](t, s.DatabaseURL, fmt.Sprintf(`SELECT coalesce(t::text, '') FROM %q t`, tab.Name)) {
			rows++
			b.WriteString(r.Name + "\n")
		}
		places["the table "+tab.Name] = b.String()
	}
	if rows < 100 {
		t.Errorf("only %d rows were read", rows)
	}
	for place, text := range places {
		for what, secret := range secrets {
			if len(secret) < 10 {
				t.Fatalf("%s is too short to be found: %q", what, secret)
			}
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s is in %s: …%s…", what, place, text[max(0, i-200):min(len(text), i+len(secret)+100)])
			}
		}
	}
	for _, name := range []string{"canary-upstream-model", "canary-supplier", "canary-claude", "127.0.0.1:" + provider.URL[strings.LastIndex(provider.URL, ":")+1:], "0.123457", "sk-canary"} {
		if i := strings.Index(public.String(), name); i >= 0 {
			text := public.String()
			t.Errorf("a customer reads %q: …%s…", name, text[max(0, i-300):min(len(text), i+100)])
		}
	}
	s.Audit()
}
