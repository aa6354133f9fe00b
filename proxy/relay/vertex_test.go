package relay_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

// serviceAccount is a key of Google's whose tokens come from the address.
func serviceAccount(t *testing.T, address string) string {
	t.Helper()
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "client_email": "relay@p.example", "private_key_id": "kid", "token_uri": address,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A service account is exchanged for a token once, whoever waits for it, and its token
// stands in every request; a snapshot with the same secret keeps it.
func TestVertexServiceAccount(t *testing.T) {
	var asked atomic.Int64
	release := make(chan struct{})
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		<-release
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"ya29.%d","token_type":"Bearer","expires_in":3600}`, n)
	}))
	defer tokens.Close()
	url, m := mock(t, mockllm.Options{})
	o := proxytest.Options{
		Providers: []proxytest.Provider{{Slug: "vertex", Protocol: "gemini", Dialect: "vertex", BaseURL: url + "/v1/projects/p/locations/l/publishers/google", Keys: []string{serviceAccount(t, tokens.URL)}}},
		Models:    []proxytest.Model{{ID: "g-vertex", Routes: []proxytest.Route{{Provider: "vertex", Model: "gemini-2.5-flash"}}}},
	}
	k := proxytest.New(t, o)
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			r := post(t, k, "/v1/chat/completions", chat("g-vertex", "keep=1;out=4", i%2 == 0))
			if r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	close(release)
	wait.Wait()
	k.Publish(t, &o, 2)
	if r := post(t, k, "/v1beta/models/g-vertex:generateContent", `{"contents":[{"role":"user","parts":[{"text":"mock:keep=1;out=3"}]}]}`); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, rec := range ended(m, mockFilter) {
		if !strings.Contains(rec.Extra.Head, "Authorization: Bearer ya29.1\r\n") || strings.Contains(rec.Extra.Head, "PRIVATE") {
			t.Errorf("head %s", rec.Extra.Head)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("%d tokens were fetched", n)
	}
	k.AtRest(t)
}

// An account without a token takes its key out and lets another upstream answer.
func TestVertexWithoutToken(t *testing.T) {
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
	}))
	defer tokens.Close()
	url, m := mock(t, mockllm.Options{})
	k := proxytest.New(t, proxytest.Options{
		Providers: []proxytest.Provider{
			{Slug: "vertex", Protocol: "gemini", Dialect: "vertex", BaseURL: url + "/first/v1", Keys: []string{serviceAccount(t, tokens.URL)}},
			{Slug: "other", Protocol: "gemini", Dialect: "gemini", BaseURL: url + "/second/v1beta", Keys: []string{"AIza"}},
		},
		Models: []proxytest.Model{
			{ID: "both", Routes: []proxytest.Route{{Provider: "vertex", Model: "g"}, {Provider: "other", Model: "g", Priority: 1}}},
			{ID: "alone", Routes: []proxytest.Route{{Provider: "vertex", Model: "g"}}},
		},
	})
	for range 2 {
		if r := post(t, k, "/v1/chat/completions", chat("both", "out=4", false)); r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if r := post(t, k, "/v1/chat/completions", chat("alone", "out=4", false)); r.status < 500 || strings.Contains(string(r.body), "invalid_grant") {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, rec := range ended(m, mockllm.Filter{}) {
		if rec.Lane != "second" {
			t.Errorf("%s was asked", rec.Path)
		}
	}
	recs := k.WaitRecords(t, 3)
	if a := recs[0].Attempts; recs[0].NumAttempts != 2 || a[0].Outcome != usage.OutcomeConnect || recs[1].NumAttempts != 1 {
		t.Errorf("attempts %d %v, then %d", recs[0].NumAttempts, a[:2], recs[1].NumAttempts)
	}
	k.AtRest(t)
}
