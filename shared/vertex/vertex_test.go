package vertex_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenrelay/shared/vertex"
)

const tokenURI = "https://tokens.example/token"

var pair = func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}()

func accountJSON(change func(map[string]string)) string {
	der, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		panic(err)
	}
	m := map[string]string{
		"type": "service_account", "client_email": "relay@p.example", "private_key_id": "kid-1", "token_uri": tokenURI,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
	if change != nil {
		change(m)
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// endpoint is a token endpoint that checks what it is asked with.
type endpoint struct {
	t      *testing.T
	asked  atomic.Int64
	answer func(n int64) (status int, body string)
	takes  time.Duration
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	n := e.asked.Add(1)
	if err := r.ParseForm(); err != nil || r.URL.String() != tokenURI || r.Form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		e.t.Errorf("%v %s %v", err, r.URL, r.Form)
	}
	parts := strings.Split(r.Form.Get("assertion"), ".")
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || rsa.VerifyPKCS1v15(&pair.PublicKey, crypto.SHA256, sum[:], sig) != nil {
		e.t.Errorf("the assertion's signature is wrong: %v", err)
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	for _, want := range []string{`"iss":"relay@p.example"`, `"aud":"` + tokenURI + `"`, "cloud-platform"} {
		if err != nil || !strings.Contains(string(claims), want) {
			e.t.Errorf("claims %s, want %s (%v)", claims, want, err)
		}
	}
	select {
	case <-time.After(e.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	status, body := 200, fmt.Sprintf(`{"access_token":"ya29.%d","token_type":"Bearer","expires_in":3600}`, n)
	if e.answer != nil {
		status, body = e.answer(n)
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func source(t *testing.T, e *endpoint) *vertex.Source {
	t.Helper()
	e.t = t
	a, err := vertex.Parse(accountJSON(nil))
	if err != nil {
		t.Fatal(err)
	}
	return vertex.NewSource(a, e)
}

func TestParse(t *testing.T) {
	for name, change := range map[string]func(map[string]string){
		"type":   func(m map[string]string) { m["type"] = "authorized_user" },
		"email":  func(m map[string]string) { delete(m, "client_email") },
		"no key": func(m map[string]string) { delete(m, "private_key") },
		"key":    func(m map[string]string) { m["private_key"] = "canary-key" },
		"pem": func(m map[string]string) {
			m["private_key"] = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n"
		},
		"no address":  func(m map[string]string) { m["token_uri"] = "canary-uri" },
		"other words": func(m map[string]string) { m["token_uri"] = "file:///canary" },
	} {
		if _, err := vertex.Parse(accountJSON(change)); err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "Y2Fu") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := vertex.Parse(`{"canary"`); err == nil || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
	if _, err := vertex.Parse(accountJSON(nil)); err != nil {
		t.Error(err)
	}
	for secret, want := range map[string]bool{" \n{}": true, "ya29.token": false, "": false, "AIza{": false} {
		if vertex.IsAccount(secret) != want {
			t.Errorf("%q", secret)
		}
	}
}

// Who has a token never waits, not even while the endpoint does not answer; the next one
// is there before the first has ended, and was asked for once.
func TestRefreshIsBesideRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{takes: 2 * time.Second}
		s := source(t, e)
		if got := s.Token(time.Now()); got != "" {
			t.Fatalf("a token from nowhere: %q", got)
		}
		for range 3 {
			go func() {
				if got, err := s.Wait(t.Context()); got != "ya29.1" || err != nil {
					t.Errorf("%q %v", got, err)
				}
			}()
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		end := time.Now().Add(time.Hour)
		for n := 0; time.Now().Before(end); n++ {
			before := time.Now()
			got := s.Token(before)
			if got == "" || time.Since(before) != 0 {
				t.Fatalf("%q after %v, waited %v", got, time.Since(before), time.Since(before))
			}
			time.Sleep(500 * time.Millisecond)
		}
		if got := s.Token(time.Now()); got != "ya29.2" || e.asked.Load() != 2 {
			t.Errorf("%q after %d fetches", got, e.asked.Load())
		}
	})
}

// A failing endpoint is asked every few seconds, and the token that holds is used on.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answer: func(n int64) (int, string) {
			if n == 2 || n == 3 {
				return 503, "busy"
			}
			return 200, fmt.Sprintf(`{"access_token":"ya29.%d","expires_in":600}`, n)
		}}
		s := source(t, e)
		if _, err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(451 * time.Second) // three quarters of its life
		for range 40 {
			if got := s.Token(time.Now()); got == "" {
				t.Fatal("no token while one holds")
			}
			time.Sleep(300 * time.Millisecond)
		}
		if got := s.Token(time.Now()); got != "ya29.4" || e.asked.Load() != 4 {
			t.Errorf("%q after %d fetches", got, e.asked.Load())
		}
	})
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{answer: func(int64) (int, string) {
			return 400, `{"error":"invalid_grant","error_description":"Invalid grant: account not found"}`
		}}
		s := source(t, e)
		for range 2 { // the second answer is from memory
			_, err := s.Wait(t.Context())
			var refused *vertex.RefusedError
			if !errors.As(err, &refused) || refused.Status != 400 || !strings.HasPrefix(refused.Why, "invalid_grant") || e.asked.Load() != 1 {
				t.Fatalf("%v after %d", err, e.asked.Load())
			}
		}
		e.answer = func(int64) (int, string) { return 200, `{"access_token":"a\nb"}` }
		time.Sleep(6 * time.Second)
		if got, err := s.Wait(t.Context()); got != "" || err == nil {
			t.Errorf("%q, which no header may hold", got)
		}
		e.answer, e.takes = nil, time.Minute
		time.Sleep(6 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(time.Minute) // the fetch gives up by itself
	})
}

// A token that an upstream does not take any more is given up once; a new one is not.
func TestUpstreamRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := source(t, &endpoint{})
		first, err := s.Wait(t.Context())
		if err != nil || s.Refused(first, time.Now()) {
			t.Fatalf("%v: a new token was given up", err)
		}
		time.Sleep(2 * time.Minute)
		if !s.Refused(first, time.Now()) {
			t.Error("an old one was not")
		}
		second, err := s.Wait(t.Context())
		if err != nil || second == first || !s.Refused(first, time.Now()) || s.Refused(second, time.Now()) {
			t.Errorf("%q %v", second, err)
		}
	})
}

func TestTokenAllocatesNothing(t *testing.T) {
	s := source(t, &endpoint{})
	if _, err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() { _ = s.Token(now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
