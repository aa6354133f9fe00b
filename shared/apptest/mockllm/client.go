package mockllm

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client reads the meter of a mock provider in another process.
type Client struct {
	URL  string       // http://127.0.0.1:PORT
	HTTP *http.Client // nil: http.DefaultClient
}

func (c *Client) do(method, path string, q url.Values, body string, dst any) (int, error) {
	target := c.URL + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("cannot ask the mock provider: %w", err)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("cannot ask the mock provider: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, fmt.Errorf("cannot read the mock provider's answer: %w", err)
	}
	if dst != nil && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(b, dst); err != nil {
			return 0, fmt.Errorf("cannot read the mock provider's answer: %w", err)
		}
		return resp.StatusCode, nil
	}
	if resp.StatusCode != 200 {
		return resp.StatusCode, fmt.Errorf("mock provider: %s: %s", path, strings.TrimSpace(string(b)))
	}
	return resp.StatusCode, nil
}

func (f Filter) values() url.Values {
	q := url.Values{}
	for k, v := range map[string]string{"id": f.Marker, "id_prefix": f.MarkerPrefix, "model": f.Model, "lane": f.Lane, "end": f.End} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if f.Status != 0 {
		q.Set("status", strconv.Itoa(f.Status))
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}

// Requests gives the matching records, oldest first.
func (c *Client) Requests(f Filter) ([]Record, error) {
	var list []Record
	_, err := c.do("GET", "/meter/requests", f.values(), "", &list)
	return list, err
}

// Wait waits until n matching requests have ended.
func (c *Client) Wait(f Filter, n int, timeout time.Duration) ([]Record, error) {
	q := f.values()
	q.Set("n", strconv.Itoa(n))
	q.Set("timeout", timeout.String())
	var list []Record
	status, err := c.do("GET", "/meter/wait", q, "", &list)
	if err == nil && status != 200 {
		err = fmt.Errorf("mock provider: %d of %d requests had ended after %s", len(list), n, timeout)
	}
	return list, err
}

// Summary gives the sums since the last reset.
func (c *Client) Summary() (Summary, error) {
	var s Summary
	_, err := c.do("GET", "/meter/summary", nil, "", &s)
	return s, err
}

// Reset forgets all records, sums and failure counts.
func (c *Client) Reset() error {
	_, err := c.do("POST", "/meter/reset", nil, "", nil)
	return err
}

// Script gives a lane its standing script; "" takes it away.
func (c *Client) Script(lane, script string) error {
	_, err := c.do("PUT", "/script/"+lane, nil, script, nil)
	return err
}

// Kept gives head and body of a request that was sent with keep=1.
func (c *Client) Kept(id string) (Detail, error) {
	var d struct{ Head, Body string }
	_, err := c.do("GET", "/meter/body", url.Values{"id": {id}}, "", &d)
	return Detail{Head: d.Head, Body: []byte(d.Body)}, err
}
