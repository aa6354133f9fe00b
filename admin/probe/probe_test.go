package probe_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenrelay/admin/probe"
	"tokenrelay/shared/apptest/mockllm"
)

func mock(t *testing.T) string {
	t.Helper()
	s, err := mockllm.New(mockllm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return "http://" + l.Addr().String()
}

// A test of a key for Bedrock is signed as the relay signs: the mock works the signature
// out for itself. What a refusal says is told without the credentials.
func TestBedrockIsSigned(t *testing.T) {
	url := mock(t)
	ask := func(secret, model string) *probe.Result {
		t.Helper()
		r, err := probe.New().Do(context.Background(), &probe.Ask{
			Protocol: "bedrock", BaseURL: url + "/first", Options: map[string]string{"region": mockllm.Region}, Secret: secret, Model: model,
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, model := range []string{"anthropic.claude-v1:0", "arn:aws:bedrock:us-1:2:profile/x"} {
		if r := ask(mockllm.AccessKeyID+":"+mockllm.SecretAccessKey, model); !r.OK {
			t.Errorf("%s: %+v", model, r)
		}
	}
	if r := ask("bedrock-api-key", "anthropic.claude-v1:0"); !r.OK {
		t.Errorf("a bearer token: %+v", r)
	}
	r := ask(mockllm.AccessKeyID+":canary-secret", "anthropic.claude-v1:0")
	if r.OK || r.HTTPStatus != 403 || r.Message == "" || strings.Contains(r.Message, "canary") || strings.Contains(r.Message, mockllm.AccessKeyID) {
		t.Errorf("a wrong secret: %+v", r)
	}
}

// A service account of Vertex AI is exchanged for a token first, at the address that it
// names; one that is refused there is the result of the test.
func TestVertexAccount(t *testing.T) {
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	refuse := false
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"account not found"}`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"ya29.probe","token_type":"Bearer","expires_in":3600}`)
	}))
	defer tokens.Close()
	asked := ""
	google := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path + " " + r.Header.Get("Authorization") + r.Header.Get("x-goog-api-key")
		_, _ = io.WriteString(w, `{"candidates":[]}`)
	}))
	defer google.Close()
	secret, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "relay@p.example", "token_uri": tokens.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &probe.Ask{Protocol: "gemini", Dialect: "vertex", BaseURL: google.URL + "/v1/projects/p", Secret: string(secret), Model: "g"}
	r, err := probe.New().Do(t.Context(), a)
	if err != nil || !r.OK || asked != "/v1/projects/p/models/g:generateContent Bearer ya29.probe" {
		t.Errorf("%+v %v, asked %q", r, err, asked)
	}
	asked, refuse = "", true
	r, err = probe.New().Do(t.Context(), a)
	if err != nil || r.OK || r.HTTPStatus != 0 || !strings.Contains(r.Message, "invalid_grant") || asked != "" {
		t.Errorf("%+v %v, asked %q", r, err, asked)
	}
	a.Secret = "ya29.mine"
	if r, err = probe.New().Do(t.Context(), a); err != nil || !r.OK || !strings.HasSuffix(asked, "Bearer ya29.mine") {
		t.Errorf("%+v %v, asked %q", r, err, asked)
	}
}
