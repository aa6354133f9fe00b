// Package hook asks a server of a customer's own what it thinks of a request. Where that
// server stands is the customer's choice, so nothing is reached that only this machine or
// its network can reach.
package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"
	"unicode"
)

// Action is what a webhook says.
type Action string

// The actions.
const (
	Allow Action = "allow"
	Flag  Action = "flag"
	Block Action = "block"
)

// Answer is a webhook's judgement.
type Answer struct {
	Action Action `json:"action"`
	Reason string `json:"reason"` // of a block, at most maxReason printable characters
}

const (
	maxAnswer = 64 << 10
	maxReason = 200
)

// Header carries the signature: "t=" and the time in unix seconds, ",v1=" and the
// HMAC-SHA256 of that time, a full stop and the body, in hex.
const Header = "X-Relay-Signature"

// ErrAddress says that a webhook's name leads to an address that is not to be reached.
var ErrAddress = errors.New("the webhook leads to a private address")

var errAnswer = errors.New("the webhook's answer cannot be read")

// Caller asks webhooks. It is safe for concurrent use.
type Caller struct {
	client *http.Client
	http   *http.Transport
}

// New makes a Caller. With private, addresses of own networks are reached too.
func New(private bool) *Caller {
	d := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	if !private {
		// Asked of every address that is really connected to, whatever its name said
		// before, so that a name that changes its mind gains nothing.
		d.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !Public(ap.Addr()) {
				return ErrAddress
			}
			return nil
		}
	}
	t := &http.Transport{
		DialContext: d.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConns: 256, MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 16 << 10,
	} // no Proxy: it would be asked instead of the address
	return &Caller{http: t, client: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Close ends idle connections.
func (c *Caller) Close() { c.http.CloseIdleConnections() }

// Ask posts body, signed with secret, and reads what is said. ctx limits the whole. An
// answer that is not a 200 with a known action is an error: it is no judgement.
func (c *Caller) Ask(ctx context.Context, url string, secret, body []byte, now time.Time) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("cannot ask a webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "token-relay")
	req.Header.Set(Header, Sign(secret, body, now))
	resp, err := c.client.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("cannot ask a webhook: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return Answer{}, fmt.Errorf("%w: status %d", errAnswer, resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return Answer{}, fmt.Errorf("cannot read a webhook's answer: %w", err)
	}
	var a Answer
	if len(text) > maxAnswer || json.Unmarshal(text, &a) != nil {
		return Answer{}, errAnswer
	}
	switch a.Action {
	case Allow, Flag, Block:
	default:
		return Answer{}, errAnswer
	}
	a.Reason = printable(a.Reason)
	return a, nil
}

// printable is a reason as customers may read it.
func printable(s string) string {
	var b []rune
	for _, r := range s {
		if len(b) == maxReason {
			break
		}
		if unicode.IsPrint(r) {
			b = append(b, r)
		}
	}
	return string(b)
}

// Sign is the value of Header.
func Sign(secret, body []byte, now time.Time) string {
	at := strconv.FormatInt(now.Unix(), 10)
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(at))
	m.Write([]byte{'.'})
	m.Write(body)
	return "t=" + at + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

// kept are networks that are nobody's on the Internet, or that lead back to a machine
// itself, besides those that netip names.
var kept = func() (list []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16", "fec0::/10",
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}()

// Public reports whether an address is of the Internet at large: not private, loopback,
// link-local (where clouds keep their metadata), multicast, or one that stands for
// another.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range kept {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
