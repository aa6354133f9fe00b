// Package probe asks a provider for one token, to see whether a credential works. It
// speaks each protocol in its plainest form: what it tells operators is whether the
// account answers, not whether the relay translates.
package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tokenrelay/shared/aws"
	"tokenrelay/shared/azure"
	"tokenrelay/shared/vertex"
)

// Timeout is how long a provider may take.
const Timeout = 8 * time.Second

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// Ask is one test.
type Ask struct {
	Protocol string // of catalogfile.Protocols
	Dialect  string
	BaseURL  string
	Options  map[string]string
	Secret   string
	Model    string // the provider's own name
}

// Result is how it went. Nothing of the answer is in it but what an error says, and that
// without the secret.
type Result struct {
	OK         bool   `json:"ok"`
	Model      string `json:"model"`
	HTTPStatus int    `json:"http_status" doc:"0: no answer came"`
	LatencyMS  int64  `json:"latency_ms"`
	Message    string `json:"message" doc:"what went wrong, in the provider's words where it said so"`
}

// ErrProtocol says that no question is known for a protocol.
var ErrProtocol = errors.New("credentials of this protocol cannot be tested this way: send a request to /v1/{provider}/… instead")

// Prober makes tests.
type Prober struct{ client *http.Client }

// New returns a prober that follows no redirects: a credential goes to the host that the
// operator named and to no other.
func New() *Prober {
	return &Prober{client: &http.Client{
		Timeout:       Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Do makes one test. An error is a fault of the ask; what the provider does wrong is in
// the result.
func (p *Prober) Do(ctx context.Context, a *Ask) (*Result, error) {
	out := &Result{Model: a.Model}
	req, err := a.request(ctx)
	var unauthorized *unauthorizedError
	if errors.As(err, &unauthorized) {
		out.Message = a.clean(unauthorized.Error())
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	start := time.Now()
	resp, err := p.client.Do(req)
	out.LatencyMS = time.Since(start).Milliseconds()
	if err != nil {
		out.Message = a.clean(plain(err))
		return out, nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	out.LatencyMS, out.HTTPStatus = time.Since(start).Milliseconds(), resp.StatusCode
	switch {
	case err != nil:
		out.Message = a.clean(plain(err))
	case resp.StatusCode/100 != 2:
		out.Message = a.clean(message(body, resp.Status))
	case !json.Valid(body):
		out.Message = "the answer is not JSON"
	default:
		out.OK = true
	}
	return out, nil
}

// request is the plainest question of a protocol.
func (a *Ask) request(ctx context.Context) (*http.Request, error) {
	chat := map[string]any{"model": a.Model, "messages": []any{map[string]string{"role": "user", "content": "Hi"}}}
	header := map[string]string{"Authorization": "Bearer " + a.Secret}
	path, body := "/chat/completions", any(chat)
	switch a.Protocol {
	case "openai":
		if a.Dialect == "azure" || a.Options["auth"] == "api-key" {
			header = map[string]string{"api-key": a.Secret}
		}
		// Newer models of OpenAI refuse the old name of the cap, others do not know the new one.
		chat[map[bool]string{true: "max_completion_tokens", false: "max_tokens"}[a.Dialect == "openai" || a.Dialect == "azure"]] = 1
	case "anthropic":
		path, header = "/messages", map[string]string{"x-api-key": a.Secret, "anthropic-version": "2023-06-01"}
		chat["max_tokens"] = 1
	case "gemini":
		path = "/models/" + url.PathEscape(a.Model) + ":generateContent"
		if a.Dialect != "vertex" && a.Options["auth"] != "bearer" {
			header = map[string]string{"x-goog-api-key": a.Secret}
		}
		if a.Dialect == "vertex" && vertex.IsAccount(a.Secret) {
			token, err := a.token(ctx)
			if err != nil {
				return nil, err
			}
			header = map[string]string{"Authorization": "Bearer " + token}
		}
		body = map[string]any{
			"contents":         []any{map[string]any{"role": "user", "parts": []any{map[string]string{"text": "Hi"}}}},
			"generationConfig": map[string]int{"maxOutputTokens": 1},
		}
	case "dashscope":
		path = "/services/aigc/text-generation/generation"
		body = map[string]any{
			"model": a.Model, "input": map[string]any{"messages": chat["messages"]}, "parameters": map[string]any{"max_tokens": 1, "result_format": "message"},
		}
	case "cohere":
		path = "/chat"
		chat["max_tokens"] = 1
	case "bedrock":
		path = string(aws.AppendConversePath(nil, a.Model, false))
		body = map[string]any{
			"messages":        []any{map[string]any{"role": "user", "content": []any{map[string]string{"text": "Hi"}}}},
			"inferenceConfig": map[string]int{"maxTokens": 1},
		}
	default:
		return nil, ErrProtocol
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("cannot write the test: %w", err)
	}
	address := strings.TrimSuffix(a.BaseURL, "/") + path
	if a.Dialect == "azure" {
		address = string(azure.AppendPath([]byte(strings.TrimSuffix(a.BaseURL, "/")), a.Model, path, a.Options["api_version"]))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("cannot ask the provider: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	if a.Protocol == "bedrock" {
		if err := a.sign(req, raw); err != nil {
			return nil, err
		}
	}
	return req, nil
}

// sign puts the signature of Amazon's own signer in the place of the bearer token, where
// the secret is one to sign with.
func (a *Ask) sign(req *http.Request, body []byte) error {
	c, ok := aws.ParseSecret(a.Secret)
	if !ok {
		return nil
	}
	region := a.Options["region"]
	if region == "" {
		region = aws.Region(req.URL.Hostname())
	}
	var s aws.Signer
	fields, err := s.AppendFields(nil, &c, req.URL.String(), body, region, "bedrock", time.Now())
	if err != nil {
		return fmt.Errorf("cannot sign the test: %w", err)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(fields), "\r\n"), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	return nil
}

// unauthorizedError is what a service account's token endpoint has against it: a result
// of the test, not a fault of the ask.
type unauthorizedError struct{ err error }

func (e *unauthorizedError) Error() string { return e.err.Error() }

// token exchanges the service account for what is sent.
func (a *Ask) token(ctx context.Context) (string, error) {
	account, err := vertex.Parse(a.Secret)
	if err == nil {
		var token string
		if token, _, err = account.Fetch(ctx, nil); err == nil {
			return token, nil
		}
	}
	return "", &unauthorizedError{err}
}

// message is what an error body says: {"error":{"message"}}, {"error":"…"}, {"message"}.
func message(body []byte, status string) string {
	var e struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
	}
	if json.Unmarshal(body, &e) == nil {
		var inner struct {
			Message string `json:"message"`
		}
		var text string
		switch {
		case json.Unmarshal(e.Error, &inner) == nil && inner.Message != "":
			return inner.Message
		case json.Unmarshal(e.Error, &text) == nil && text != "":
			return text
		case e.Message != "":
			return e.Message
		}
	}
	return status
}

// plain is a fault of the network without the address, which the operator knows.
func plain(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return "no answer in time"
	}
	return err.Error()
}

// clean takes the credential out of what a provider says (some repeat it) and cuts it.
func (a *Ask) clean(text string) string {
	text = strings.ReplaceAll(text, a.Secret, "***")
	if c, ok := aws.ParseSecret(a.Secret); ok && a.Protocol == "bedrock" {
		for _, part := range [...]string{c.Secret, c.Session, c.KeyID} {
			if part != "" {
				text = strings.ReplaceAll(text, part, "***")
			}
		}
	}
	if r := []rune(text); len(r) > 500 {
		text = string(r[:500]) + "…"
	}
	return strings.ToValidUTF8(text, "�")
}
