// Package vertex is the only door to Google's way to ask for access: a service account's
// key, which an operator has as a file of JSON, and the bearer tokens that it is
// exchanged for.
package vertex

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"
)

// scope is what a token may be used for: Google has none for Vertex AI alone.
const scope = "https://www.googleapis.com/auth/cloud-platform"

// fetchTimeout is how long the token endpoint may take.
const fetchTimeout = 10 * time.Second

// Account is a service account's key.
type Account struct{ conf jwt.Config }

// IsAccount reports whether a provider's secret is meant as a service account: no other
// secret is an object of JSON.
func IsAccount(secret string) bool {
	return strings.HasPrefix(strings.TrimLeft(secret, " \t\r\n"), "{")
}

// Parse reads a service account's key. The error goes on a sentence about the secret, and
// never shows any of it.
func Parse(secret string) (*Account, error) {
	var f struct {
		Type     string `json:"type"`
		Email    string `json:"client_email"`
		KeyID    string `json:"private_key_id"`
		Key      string `json:"private_key"`
		TokenURI string `json:"token_uri"`
	}
	if json.Unmarshal([]byte(secret), &f) != nil {
		return nil, errors.New("begins as JSON and is none")
	}
	if f.Type != "service_account" {
		return nil, errors.New(`is JSON whose type is not "service_account": other credentials of Google are not supported`)
	}
	for _, m := range [...]struct{ name, value string }{{"client_email", f.Email}, {"private_key", f.Key}, {"token_uri", f.TokenURI}} {
		if m.value == "" {
			return nil, fmt.Errorf("is a service account without %s", m.name)
		}
	}
	if u, err := url.Parse(f.TokenURI); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("is a service account whose token_uri is no address")
	}
	block, _ := pem.Decode([]byte(f.Key))
	if block == nil {
		return nil, errors.New("is a service account whose private_key is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	if _, ok := key.(*rsa.PrivateKey); err != nil || !ok {
		return nil, errors.New("is a service account whose private_key is no RSA key")
	}
	return &Account{jwt.Config{
		Email: f.Email, PrivateKey: []byte(f.Key), PrivateKeyID: f.KeyID, Scopes: []string{scope}, TokenURL: f.TokenURI,
	}}, nil
}

// RefusedError says that the token endpoint does not take the account: asking again
// does not help before an operator has done something.
type RefusedError struct {
	Status int
	Why    string // the endpoint's own word for it, "" if it gave none
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the token endpoint refuses the service account: status %d %s", e.Status, e.Why)
}

// Fetch asks for a token, over transport, nil = the network. expires is when it ends.
func (a *Account) Fetch(ctx context.Context, transport http.RoundTripper) (token string, expires time.Time, err error) {
	if transport == nil {
		// One request an hour: no connection is kept for it.
		transport = &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	}
	client := &http.Client{
		Transport: transport, Timeout: fetchTimeout,
		// The signed assertion goes to the host that the key names and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t, err := a.conf.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, client)).Token()
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) {
		status := answered.Response.StatusCode
		if status/100 == 4 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
			return "", time.Time{}, &RefusedError{status, word(answered.Body)}
		}
		return "", time.Time{}, fmt.Errorf("cannot fetch a token: status %d", status)
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("cannot fetch a token: %w", err)
	}
	if !printable(t.AccessToken) {
		return "", time.Time{}, errors.New("cannot fetch a token: the endpoint gave none")
	}
	if t.Expiry.IsZero() {
		t.Expiry = time.Now().Add(time.Hour) // as long as Google's live
	}
	return t.AccessToken, t.Expiry, nil
}

// printable reports whether a token can stand in a header.
func printable(token string) bool {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return token != ""
}

// maxWord is how long a word of a token endpoint may be, in bytes: a longer one may be a
// piece of what was sent.
const maxWord = 40

// word is what a token endpoint says of an error, as OAuth has it.
func word(body []byte) string {
	var e struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	words := strings.Fields(e.Error + " " + e.Description)
	for i, w := range words {
		if len(w) > maxWord {
			words[i] = "[removed]"
		}
	}
	text := strings.Join(words, " ")
	return strings.ToValidUTF8(text[:min(len(text), 200)], "")
}
