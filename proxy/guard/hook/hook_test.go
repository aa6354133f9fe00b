package hook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// H9: what a customer names is reached only if it is of the Internet at large.
func TestPublic(t *testing.T) {
	for _, a := range []string{"8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"} {
		if !Public(netip.MustParseAddr(a)) {
			t.Errorf("%s is public", a)
		}
	}
	for _, a := range []string{
		"127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "198.18.0.1", "224.0.0.1", "255.255.255.255", "192.0.0.192",
		"::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2001::1", "fec0::1",
	} {
		if Public(netip.MustParseAddr(a)) {
			t.Errorf("%s is not public", a)
		}
	}
}

// The address is judged when it is connected to, so names that lead inside are not
// followed, whatever they are.
func TestNothingInsideIsReached(t *testing.T) {
	reached := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached++
		_, _ = io.WriteString(w, `{"action":"allow"}`)
	}))
	defer s.Close()
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	c := New(false)
	defer c.Close()
	for _, url := range []string{s.URL, "http://localhost" + port, "http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port, "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/"} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := c.Ask(ctx, url, []byte("secret"), []byte("{}"), time.Now()); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v", url, err)
		}
		cancel()
	}
	if reached != 0 {
		t.Errorf("reached %d times", reached)
	}
}

// What is sent is signed; what is said must be a known action with status 200. Redirects
// are not followed.
func TestAsk(t *testing.T) {
	secret, body, now := []byte("0123456789abcdef"), []byte(`{"texts":["hi"]}`), time.Unix(1_700_000_000, 0)
	answer, status := "", 200
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) != string(body) || r.Method != "POST" || r.Header.Get(Header) != Sign(secret, body, now) || !strings.HasPrefix(r.Header.Get(Header), "t=1700000000,v1=") || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v %s", r.Method, r.Header, b)
		}
		if status == 302 {
			w.Header().Set("Location", "/other")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer s.Close()
	c := New(true)
	defer c.Close()
	for _, tc := range []struct {
		status int
		answer string
		want   Answer
		bad    bool
	}{
		{200, `{"action":"allow"}`, Answer{Action: Allow}, false},
		{200, `{"action":"flag","more":1}`, Answer{Action: Flag}, false},
		{200, `{"action":"block","reason":"no\nway"}`, Answer{Block, "noway"}, false},
		{200, `{"action":"block","reason":"` + strings.Repeat("x", 300) + `"}`, Answer{Block, strings.Repeat("x", 200)}, false},
		{200, `{"action":"ALLOW"}`, Answer{}, true},
		{200, `{}`, Answer{}, true},
		{200, ``, Answer{}, true},
		{500, `{"action":"allow"}`, Answer{}, true},
		{204, ``, Answer{}, true},
		{302, `{"action":"allow"}`, Answer{}, true},
		{200, `{"action":"allow"}` + strings.Repeat(" ", maxAnswer), Answer{}, true},
	} {
		status, answer = tc.status, tc.answer
		a, err := c.Ask(t.Context(), s.URL, secret, body, now)
		if a != tc.want || (err != nil) != tc.bad {
			t.Errorf("%d %.60s: %+v %v", tc.status, tc.answer, a, err)
		}
	}
	if Sign(secret, body, now) == Sign([]byte("another secret 1"), body, now) || Sign(secret, body, now) == Sign(secret, body, now.Add(time.Second)) {
		t.Error("the signature is of neither secret nor time")
	}
}
