package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gofiber/fiber/v2"
)

func built() fstest.MapFS {
	return fstest.MapFS{
		"index.html":         {Data: []byte(`<meta name="csp-nonce" content="%NONCE%"><script type="module" src="/console/assets/a-1.js"></script>`)},
		"assets/a-1.js":      {Data: []byte("plain")},
		"assets/a-1.js.gz":   {Data: []byte("gzipped")},
		"assets/a-1.js.br":   {Data: []byte("brotlied")},
		"assets/i-2.woff2":   {Data: []byte("font")},
		"assets/deep/d-3.js": {Data: []byte("deep")},
		"images/api-key.png": {Data: []byte("picture")},
	}
}

func serve(t *testing.T, p *Pages, path, encodings string) *http.Response {
	t.Helper()
	app := fiber.New(fiber.Config{StrictRouting: true, CaseSensitive: true})
	p.Mount(app)
	req := httptest.NewRequest("GET", path, nil)
	if encodings != "" {
		req.Header.Set("Accept-Encoding", encodings)
	}
	resp, err := app.Test(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestAssetsComeCompressedAndForGood(t *testing.T) {
	p := newPages(built())
	for _, tc := range []struct{ path, accept, body, encoding, kind string }{
		{"/console/assets/a-1.js", "gzip, deflate, br, zstd", "brotlied", "br", "text/javascript"},
		{"/console/assets/a-1.js", "gzip", "gzipped", "gzip", "text/javascript"},
		{"/console/assets/a-1.js", "br;q=0, gzip;q=0.5", "gzipped", "gzip", "text/javascript"},
		{"/console/assets/a-1.js", "", "plain", "", "text/javascript"},
		{"/console/assets/a-1.js", "br;q=0.0, gzip; q=0", "plain", "", "text/javascript"},
		{"/console/assets/i-2.woff2", "br", "font", "", "font/woff2"},
		{"/console/assets/deep/d-3.js", "br", "deep", "", "text/javascript"},
	} {
		resp := serve(t, p, tc.path, tc.accept)
		if got := text(t, resp); resp.StatusCode != 200 || got != tc.body || resp.Header.Get("Content-Encoding") != tc.encoding {
			t.Errorf("%s with %q: %d %q (%s)", tc.path, tc.accept, resp.StatusCode, got, resp.Header.Get("Content-Encoding"))
		}
		if resp.Header.Get("Cache-Control") != immutable || resp.Header.Get("Vary") != "Accept-Encoding" || !strings.HasPrefix(resp.Header.Get("Content-Type"), tc.kind) {
			t.Errorf("%s: %v", tc.path, resp.Header)
		}
	}
	for _, path := range []string{"/console/assets/none.js", "/console/assets/a-1.js.br", "/console/assets/../index.html", "/console/assets/%2e%2e/index.html", "/console/assets/", "/console/api/nothing"} {
		if resp := serve(t, p, path, ""); resp.StatusCode != 404 {
			t.Errorf("%s: %d %q", path, resp.StatusCode, text(t, resp))
		}
	}
}

// H1: nothing but the console's own files runs, and each page has a nonce of its own.
func TestContentPolicyH1(t *testing.T) {
	p := newPages(built())
	seen := map[string]bool{}
	for _, path := range []string{"/console", "/console/usage", "/console/api-keys", "/console/operator/clients/client_1", "/docs", "/docs/pricing", "/docs/errors", "/status"} {
		resp := serve(t, p, path, "br")
		body, csp := text(t, resp), resp.Header.Get("Content-Security-Policy")
		m := regexp.MustCompile(`'nonce-([A-Za-z0-9_-]{22})'`).FindStringSubmatch(csp)
		if resp.StatusCode != 200 || m == nil || !strings.Contains(body, `content="`+m[1]+`"`) || seen[m[1]] {
			t.Fatalf("%s: %d, %q, %q", path, resp.StatusCode, csp, body)
		}
		seen[m[1]] = true
		for _, want := range []string{"default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy %q has no %s", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") || strings.Contains(csp, "*") {
			t.Errorf("%s: the policy %q is open", path, csp)
		}
	}
}

// C21: every name that the console's pages have elsewhere leads to the page, and nothing
// in a request can change where (H8).
func TestOtherNamesC21(t *testing.T) {
	p := newPages(built())
	for from, to := range elsewhere {
		resp := serve(t, p, from+"?next=https://evil.example", "")
		if resp.StatusCode != 302 || resp.Header.Get("Location") != to {
			t.Errorf("%s leads to %q with %d, want %s", from, resp.Header.Get("Location"), resp.StatusCode, to)
		}
		if resp := serve(t, p, to, ""); resp.StatusCode != 200 {
			t.Errorf("%s leads to %s, which is %d", from, to, resp.StatusCode)
		}
	}
}

// S0-18, S2-4, S2-6, S3-14, S4-8, S4-9.
// The paths that the source documents name (C21), each by the page that shows it.
func TestDocumentedPathsC21(t *testing.T) {
	p := newPages(built())
	for _, c := range []struct{ from, to string }{
		{"/console/usage", ""},
		{"/dashboard/keys", "/console/api-keys"},
		{"/dashboard/models", "/console/models"},
		{"/docs/pricing", ""},
		{"/wallet", "/console/billing"},
		{"/billing", "/console/billing"},
		{"/logs", "/console/logs"},
		{"/pricing", "/docs/pricing"},
		{"/models", "/console/models"},
		{"/dashboard/settings/api-keys", "/console/api-keys"},
		{"/settings/api-keys", "/console/api-keys"},
		{"/register", "/console/sign-up"},
		{"/login", "/console/sign-in"},
	} {
		resp := serve(t, p, c.from, "")
		if c.to == "" && resp.StatusCode != 200 || c.to != "" && (resp.StatusCode != 302 || resp.Header.Get("Location") != c.to) {
			t.Errorf("%s: %d to %q, want %q", c.from, resp.StatusCode, resp.Header.Get("Location"), c.to)
		}
	}
}

// S4-9: the picture that the documentation shows; nothing else is reachable by its path.
func TestImagesS4_9(t *testing.T) {
	p := newPages(built())
	if resp := serve(t, p, "/public/images/api-key.png", ""); resp.StatusCode != 200 || text(t, resp) != "picture" {
		t.Errorf("%d", resp.StatusCode)
	}
	for _, path := range []string{"/public/images/none.png", "/public/images/..%2findex.html", "/public/images/..%2fassets%2fa-1.js", "/public/images/"} {
		if resp := serve(t, p, path, ""); resp.StatusCode != 404 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

func TestNotBuilt(t *testing.T) {
	p := newPages(fstest.MapFS{})
	if p.Built() {
		t.Fatal("pages out of nothing")
	}
	resp := serve(t, p, "/console", "")
	if body := text(t, resp); resp.StatusCode != 501 || !strings.Contains(body, "make build") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
