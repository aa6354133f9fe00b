package fleet

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/store/storetest"
)

// G7, H7, S4-11, S1-B7: every secret that goes into the relay is looked for in everything that comes out
// of it: answers, logs, metrics, files, and all rows of the database. No customer reads the
// name of an upstream, or of its model, or a supplier's cost.
func TestSecretsStayInsideG7H7(t *testing.T) {
	provider := newIndiscreet(t)
	account, privateKey := serviceAccount(t, "canary-account@canary.example", provider.URL+"/token")
	refusedAccount, refusedKey := serviceAccount(t, "canary-refused@canary.example", provider.URL+"/token-refusing")
	const smtp = "canary-smtp-password-5c1d"
	catalogue := strings.Replace(apptest.TestCatalogue, "models:\n", `  - {name: canary-supplier, protocol: openai, base_url: "`+provider.URL+`/v1", keys: [{name: main, secret: sk-canary-provider-file-8e21}]}
  - {name: canary-claude, protocol: anthropic, base_url: "`+provider.URL+`/v1", keys: [{name: main, secret: sk-canary-provider-claude-77aa}]}
  - {name: canary-vertex, protocol: gemini, dialect: vertex, base_url: "`+provider.URL+`/v1/projects/canary-project/locations/l/publishers/google", keys: [{name: main, secret: '`+account+`'}]}
  - {name: canary-bedrock, protocol: bedrock, options: {region: eu-1}, base_url: "`+provider.URL+`", keys: [{name: main, secret: "AKIACANARY0000000001:canary-aws-secret-5519/+a:canary-aws-session-7120"}]}
models:
  - {id: leaky, context_tokens: 200000, max_output_tokens: 1000, routes: [{provider: canary-supplier, model: canary-upstream-model, cost: {input: "0.123457", output: "0.5"}}], price: PRICE}
  - {id: leaky-claude, context_tokens: 200000, max_output_tokens: 1000, routes: [{provider: canary-claude, model: canary-upstream-model}], price: PRICE}
  - {id: leaky-gemini, context_tokens: 200000, max_output_tokens: 1000, routes: [{provider: canary-vertex, model: canary-upstream-model}], price: PRICE}
  - {id: leaky-nova, context_tokens: 200000, max_output_tokens: 1000, routes: [{provider: canary-bedrock, model: canary-upstream-model}], price: PRICE}
`, 1)
	s := apptest.Start(t, apptest.Options{Catalogue: catalogue, ProxyEnv: []string{"RELAY_PRIVATE_WEBHOOKS=on"}, AdminEnv: []string{"RELAY_SMTP_URL=smtp://mail:" + smtp + "@127.0.0.1:9"}})
	p := s.Proxy(0)
	s.CreateClient("acme", "10")
	key := s.CreateKey("acme")
	var person struct{ Password string }
	s.MustCLI(&person, "user", "create", "owner@example.com", "--client", "acme")
	secrets := map[string]string{
		"the provider's key of the file": "sk-canary-provider-file-8e21", "the key of the other provider": "sk-canary-provider-claude-77aa", "a provider's key by the API": "sk-canary-provider-api-4411",
		"a provider's key that was refused": "sk-canary-provider-refused-90", "the customer's key": key.Token, "the operator's token": s.OperatorToken, "the key of keys": s.SecretKey,
		"the password of mails": smtp, "a password": person.Password, "a password that was wrong": "canary-wrong-password-31",
		"a service account's key": privateKey, "the key of a service account that is refused": refusedKey, "a service account's token": canaryToken,
		"a session of AWS": "canary-aws-session-7120", "a secret of AWS": "canary-aws-secret-5519/+a", "another secret of AWS": "canary-aws-secret-rotated-13", "a service account that was not taken": "canary-not-a-key-2216",
		"the secret of a webhook": "canary-webhook-secret-4477", "a webhook's secret that was refused": "canary-webhook-refused-6691", "a password by a link": "canary-password-by-link-8830",
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

	entered := links(t, s, ask, note, operate)
	for what, secret := range entered {
		secrets[what] = secret
	}

	// Credentials that are more than a word: a service account, one that Google refuses, keys of AWS.
	note(operate("POST", "/admin/v1/providers/canary-vertex/keys", fmt.Sprintf(`{"name":"refused","secret":%q}`, refusedAccount), 201), false)
	note(operate("POST", "/admin/v1/providers/canary-vertex/keys", fmt.Sprintf(`{"name":"bad","secret":%q}`, strings.ReplaceAll(account, privateKey, "canary-not-a-key-2216")), 400), false)
	note(operate("POST", "/admin/v1/providers/canary-vertex/keys/refused/test", `{"model":"m"}`, 200), false)
	note(operate("POST", "/admin/v1/providers/canary-vertex/keys/main/test", `{"model":"canary-upstream-model"}`, 200), false)
	note(operate("POST", "/admin/v1/providers/canary-bedrock/keys/main/test", `{"model":"canary status 400"}`, 200), false)

	// A customer's webhook: its secret, set, refused, and used.
	webhook := func(body string, status int) {
		t.Helper()
		r := ask(p.URL, key.Token, "PATCH", security, `{"content_safety":{"webhook":`+body+`}}`)
		if r.Status != status {
			t.Errorf("%s: %d %s", body, r.Status, r.Body)
		}
		note(r, true)
	}
	webhook(`{"url":"ftp://x","secret":"canary-webhook-refused-6691"}`, 400)
	webhook(`{"secret":"canary-webhook-refused-6691"}`, 400)
	webhook(`{"secret":["canary-webhook-refused-6691"]}`, 400)
	webhook(`{"url":"http://x.example","secret":"canary-webhook-refused-6691","more":1}`, 400)
	webhook(fmt.Sprintf(`{"url":%q,"secret":"canary-webhook-secret-4477","on_failure":"refuse"}`, strings.Replace(provider.URL, "127.0.0.1", "localhost", 1)+"/guard"), 200)
	apptest.Eventually(t, 5*time.Second, "the webhook is asked", func() bool {
		r := p.Do(apptest.Chat(key.Token, "mock-chat", "canary guard blocks"))
		note(r, true)
		return r.Code() == "content_blocked"
	})
	note(p.Do(apptest.Chat(key.Token, "mock-chat", "canary guard fails")), true)

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
	// Those that are passed on come first: by the others keys and routes are left alone.
	passed := 0
	for _, status := range []int{200, 400, 413, 422, 401, 402, 403, 404, 408, 429, 500, 502, 503, 529} {
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
				for _, model := range []string{"leaky-gemini", "leaky-nova"} {
					r := p.Do(apptest.Chat(key.Token, model, text, more...))
					if note(r, true); r.Status == status && strings.Contains(string(r.Body), "[removed]") {
						passed++
					}
				}
			}
		}
	}
	if passed < 12 {
		t.Errorf("only %d refusals of the providers with more than a word for a key were passed on", passed)
	}
	note(p.Do(apptest.Chat(key.Token, "leaky", "canary stream", `"stream":true`)), true)
	note(p.Do(apptest.Chat(key.Token, "leaky", "canary stream of the customer's", `"stream":true`)), true)
	note(operate("POST", "/admin/v1/providers/canary-bedrock/keys/main/rotate", `{"secret":"AKIACANARY0000000002:canary-aws-secret-rotated-13"}`, 200), false)
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
	provider.mu.Lock()
	if provider.signatures < 3 || len(provider.assertions) < 2 {
		t.Errorf("%d signatures and %d assertions", provider.signatures, len(provider.assertions))
	}
	for i, a := range provider.assertions {
		secrets[fmt.Sprintf("assertion %d", i)] = a[len(a)-100:] // of its signature
	}
	provider.mu.Unlock()
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
	for _, name := range []string{"canary-upstream-model", "canary-supplier", "canary-claude", "127.0.0.1:" + provider.URL[strings.LastIndex(provider.URL, ":")+1:], "0.123457", "sk-canary", "canary-vertex", "canary-bedrock", "canary-account", "canary-project", "canary-private", "AKIACANARY"} {
		if i := strings.Index(public.String(), name); i >= 0 {
			text := public.String()
			t.Errorf("a customer reads %q: …%s…", name, text[max(0, i-300):min(len(text), i+100)])
		}
	}
	s.Audit()
}
