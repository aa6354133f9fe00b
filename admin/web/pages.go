// Package web is the people's side: the pages of the console, the documentation and the
// status, built from src and docs/site by Vite and carried inside the binary.
package web

import (
	"crypto/rand"
	"embed"
	"encoding/base64"
	"html"
	"io/fs"
	"path"
	"strings"

	"github.com/gofiber/fiber/v2"
)

//go:embed all:dist
var dist embed.FS

// Pages serves the console.
type Pages struct {
	files fs.FS
	index string // "": the console was not built
}

// New returns the pages that are in the binary.
func New() *Pages {
	files, err := fs.Sub(dist, "dist/app")
	if err != nil {
		return &Pages{} // only for an invalid path
	}
	return newPages(files)
}

func newPages(files fs.FS) *Pages {
	p := &Pages{files: files}
	if index, err := fs.ReadFile(files, "index.html"); err == nil {
		p.index = string(index)
	}
	return p
}

// Built tells whether the binary has the console's pages.
func (p *Pages) Built() bool { return p.index != "" }

// elsewhere is where other names of a page lead (C21). The targets are fixed, so that
// nothing in a request can lead out of the site (H8).
var elsewhere = map[string]string{
	"/":                            "/console",
	"/console/":                    "/console",
	"/console/keys":                "/console/api-keys",
	"/console/wallet":              "/console/billing",
	"/console/pricing":             "/docs/pricing",
	"/console/dashboard":           "/console",
	"/console/overview":            "/console",
	"/console/settings/api-keys":   "/console/api-keys",
	"/console/docs":                "/docs",
	"/console/status":              "/status",
	"/dashboard":                   "/console",
	"/dashboard/":                  "/console",
	"/dashboard/keys":              "/console/api-keys",
	"/dashboard/api-keys":          "/console/api-keys",
	"/dashboard/models":            "/console/models",
	"/dashboard/pricing":           "/docs/pricing",
	"/dashboard/settings":          "/console/settings",
	"/dashboard/settings/api-keys": "/console/api-keys",
	"/dashboard/billing":           "/console/billing",
	"/dashboard/wallet":            "/console/billing",
	"/dashboard/usage":             "/console/usage",
	"/dashboard/logs":              "/console/logs",
	"/docs/":                       "/docs",
	"/pricing":                     "/docs/pricing",
	"/status/":                     "/status",
	"/models":                      "/console/models",
	"/wallet":                      "/console/billing",
	"/billing":                     "/console/billing",
	"/usage":                       "/console/usage",
	"/logs":                        "/console/logs",
	"/keys":                        "/console/api-keys",
	"/api-keys":                    "/console/api-keys",
	"/playground":                  "/console/playground",
	"/settings":                    "/console/settings",
	"/settings/api-keys":           "/console/api-keys",
	"/login":                       "/console/sign-in",
	"/sign-in":                     "/console/sign-in",
	"/register":                    "/console/sign-up",
	"/signup":                      "/console/sign-up",
	"/sign-up":                     "/console/sign-up",
	"/support":                     "/docs/help",
	"/help":                        "/docs/help",
}

// assets is where Vite puts what the pages load; the names carry a hash of the content.
const assets = "/console/assets/"

// Mount adds the pages to app. It comes after the API's routes, which win.
func (p *Pages) Mount(app *fiber.App) {
	for from, to := range elsewhere {
		app.Get(from, func(c *fiber.Ctx) error { return c.Redirect(to, fiber.StatusFound) })
	}
	app.Get(assets+"*", p.asset)
	app.Get("/console/api/*", func(*fiber.Ctx) error { return fiber.ErrNotFound })
	app.Get("/public/images/:name", p.image)
	for _, page := range []string{"/console", "/console/*", "/docs", "/docs/*", "/status"} {
		app.Get(page, p.page)
	}
}

// kinds are the media types of what Vite builds; the machine's own table may differ.
var kinds = map[string]string{
	".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".woff2": "font/woff2", ".png": "image/png",
}

// immutable is for content whose name changes with it.
const immutable = "public, max-age=31536000, immutable"

// asset sends a built file, in the smallest form that the browser takes.
func (p *Pages) asset(c *fiber.Ctx) error {
	name := "assets/" + c.Params("*")
	if !fs.ValidPath(name) || strings.HasSuffix(name, ".br") || strings.HasSuffix(name, ".gz") {
		return fiber.ErrNotFound
	}
	accepted := c.Get(fiber.HeaderAcceptEncoding)
	for _, e := range []struct{ encoding, ending string }{{"br", ".br"}, {"gzip", ".gz"}, {"", ""}} {
		if e.encoding != "" && !accepts(accepted, e.encoding) {
			continue
		}
		body, err := fs.ReadFile(p.files, name+e.ending)
		if err != nil {
			continue
		}
		c.Set(fiber.HeaderContentType, kinds[path.Ext(name)])
		c.Set(fiber.HeaderCacheControl, immutable)
		c.Set(fiber.HeaderVary, fiber.HeaderAcceptEncoding)
		if e.encoding != "" {
			c.Set(fiber.HeaderContentEncoding, e.encoding)
		}
		return c.Send(body)
	}
	return fiber.ErrNotFound
}

// image sends a picture of the documentation (S4-9). Its name stays when it changes.
func (p *Pages) image(c *fiber.Ctx) error {
	name := "images/" + c.Params("name")
	body, err := fs.ReadFile(p.files, name)
	if p.files == nil || err != nil || path.Ext(name) != ".png" {
		return fiber.ErrNotFound
	}
	c.Set(fiber.HeaderContentType, kinds[".png"])
	c.Set(fiber.HeaderCacheControl, "public, max-age=3600")
	return c.Send(body)
}

// accepts tells whether a header Accept-Encoding takes an encoding.
func accepts(header, encoding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) == encoding {
			w := strings.ReplaceAll(weight, " ", "")
			return w != "q=0" && strings.Trim(w, "0.") != "q="
		}
	}
	return false
}

// The pages load nothing from elsewhere and run no script but their own files; the
// nonce is for the style elements that the component library makes.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-NONCE'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// page sends the one page of the console; what it shows is decided in the browser.
func (p *Pages) page(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, fiber.MIMETextHTMLCharsetUTF8)
	c.Set(fiber.HeaderXFrameOptions, "DENY")
	c.Set(fiber.HeaderReferrerPolicy, "same-origin")
	c.Set("Cross-Origin-Opener-Policy", "same-origin")
	c.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	if !p.Built() {
		c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; frame-ancestors 'none'")
		return c.Status(fiber.StatusNotImplemented).SendString(notBuilt)
	}
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	nonce := base64.RawURLEncoding.EncodeToString(raw[:])
	c.Set(fiber.HeaderContentSecurityPolicy, strings.ReplaceAll(policy, "NONCE", nonce))
	return c.SendString(strings.ReplaceAll(p.index, "%NONCE%", html.EscapeString(nonce)))
}

const notBuilt = `<!doctype html><html lang="en"><meta charset="utf-8"><title>No console</title>
<p>This binary was built without the console's pages. Install Node 20 or later and run <code>make build</code> again.
The relay and its APIs are not affected.
`
