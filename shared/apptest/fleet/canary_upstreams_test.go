package fleet

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
	"testing"
)

// indiscreet is a provider that tells everything it knows in every error: the credential it
// was sent, its own model's name, its address. The text of the request says the status. It
// is the token endpoint of service accounts, too, and a customer's webhook.
type indiscreet struct {
	*httptest.Server
	mu         sync.Mutex
	assertions []string // that service accounts have signed
	signatures int      // that the webhook has got
}

const canaryToken = "ya29.canary-access-token-19af" // what a service account is exchanged for

func newIndiscreet(t *testing.T) *indiscreet {
	p := new(indiscreet)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/token", "/token-refusing":
			p.token(w, r)
		case "/guard":
			p.guard(w, r)
		default:
			p.answer(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *indiscreet) token(w http.ResponseWriter, r *http.Request) {
	assertion := r.FormValue("assertion")
	p.mu.Lock()
	p.assertions = append(p.assertions, assertion)
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/token" {
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, canaryToken)
		return
	}
	w.WriteHeader(400)
	_, _ = fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"not %s"}`, assertion[max(0, len(assertion)-120):])
}

// guard judges by what the request says, and tells what it was sent.
func (p *indiscreet) guard(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	signature := r.Header.Get("X-Relay-Signature")
	p.mu.Lock()
	if signature != "" {
		p.signatures++
	}
	p.mu.Unlock()
	switch {
	case strings.Contains(string(body), "canary guard fails"):
		http.Error(w, signature, 500)
	case strings.Contains(string(body), "canary guard blocks"):
		_, _ = fmt.Fprintf(w, `{"action":"block","reason":%q}`, signature)
	default:
		_, _ = io.WriteString(w, `{"action":"allow"}`)
	}
}

func (p *indiscreet) answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	told := fmt.Sprintf("%s %s %s of canary-upstream-model at %s, see http://%s/canary-supplier", r.Header.Get("Authorization"), r.Header.Get("x-api-key"), r.Header.Get("X-Amz-Security-Token"), r.Host, r.Host)
	w.Header().Set("x-canary", told)
	w.Header().Set("Content-Type", "application/json")
	status := 200
	if _, after, ok := strings.Cut(string(body), "canary status "); ok {
		_, _ = fmt.Sscanf(after, "%d", &status)
	}
	switch {
	case strings.Contains(string(body), "canary stream"):
		kind := "server_error"
		if strings.Contains(string(body), "canary stream of the customer's") {
			kind = "invalid_request_error"
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"canary-upstream-model\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":null}]}\n\ndata: {\"error\":{\"message\":%q,\"type\":%q}}\n\n", told, kind)
	case status == 200:
		_, _ = io.WriteString(w, `{"id":"c","object":"chat.completion","created":1,"model":"canary-upstream-model","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}`)
	default:
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"type":"error","message":%q,"error":{"message":%q,"type":"invalid_request_error","code":"bad","param":null}}`, told, told)
	}
}

// serviceAccount is a key of Google's whose tokens come from the address, and a line of
// its private key, which stands alike in the file and in what it says.
func serviceAccount(t *testing.T, email, address string) (account, line string) {
	t.Helper()
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	b, err := json.Marshal(map[string]string{"type": "service_account", "client_email": email, "private_key_id": "canary-private-key-id-90", "token_uri": address, "private_key": text})
	if err != nil {
		t.Fatal(err)
	}
	return string(b), strings.Split(text, "\n")[7]
}
