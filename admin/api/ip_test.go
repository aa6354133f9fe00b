package api

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// D15: X-Forwarded-For counts only from a trusted peer, and then its right-most
// hop that is not one.
func TestClientIP(t *testing.T) {
	app := fiber.New()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tc := range []struct {
		peer string
		xff  []string
		want string
	}{
		{"203.0.113.7", nil, "203.0.113.7"},
		{"203.0.113.7", []string{"1.2.3.4"}, "203.0.113.7"},
		{"10.1.1.1", []string{"1.2.3.4"}, "1.2.3.4"},
		{"10.1.1.1", []string{"6.6.6.6, 1.2.3.4"}, "1.2.3.4"},
		{"10.1.1.1", []string{"6.6.6.6", "1.2.3.4"}, "1.2.3.4"},
		{"10.1.1.1", []string{"1.2.3.4, 10.2.2.2"}, "1.2.3.4"},
		{"10.1.1.1", []string{"garbage"}, "10.1.1.1"},
		{"10.1.1.1", []string{"1.2.3.4, garbage"}, "10.1.1.1"},
		{"127.0.0.1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"::ffff:10.1.1.1", []string{"::ffff:1.2.3.4"}, "1.2.3.4"},
		{"10.1.1.1", nil, "10.1.1.1"},
	} {
		fctx := &fasthttp.RequestCtx{}
		fctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.ParseIP(tc.peer), Port: 1}, nil)
		for _, v := range tc.xff {
			fctx.Request.Header.Add("X-Forwarded-For", v)
		}
		c := app.AcquireCtx(fctx)
		if got := clientIP(c, trusted).String(); got != tc.want {
			t.Errorf("peer %s, X-Forwarded-For %q: %s, want %s", tc.peer, tc.xff, got, tc.want)
		}
		app.ReleaseCtx(c)
	}
}
