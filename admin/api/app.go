// Package api is the HTTP surface of the control plane: the customer API under
// /openapi/v1 (customer keys) and the operator API under /admin/v1 (operator
// token), both in the envelope of S1-B6. One file per resource; every endpoint is
// a row of Routes.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/mail"
	"tokenrelay/admin/manage"
	"tokenrelay/admin/probe"
	"tokenrelay/admin/report"
	"tokenrelay/admin/session"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
	"tokenrelay/shared/stored"
)

// Deps is what the API needs.
type Deps struct {
	DB             *store.DB
	Manage         *manage.Service
	Report         *report.Service
	Operator       *session.Operator
	People         *session.People  // nil: no sessions, only tokens
	Probe          *probe.Prober    // tests provider keys
	Letters        *mail.Writer     // words of mails
	Mails          bool             // there is a mail server
	Box            *seal.Box        // seals mails that wait
	Pages          func(*fiber.App) // mounts the console's pages, nil: none
	Stored         *stored.Book     // responses that the data plane has kept
	Log            *slog.Logger
	Metrics        *obs.Metrics
	TrustedProxies []netip.Prefix
	Brand          string
	Contact        string
	CreditsPerUSD  int64
	PublicURL      string
	Now            func() time.Time
	Ready          func() bool // false: the schema is not there yet, everything is 503
}

// The limits of the HTTP server. A body is JSON of a few fields or a catalogue
// file; a response may be a long CSV download.
const (
	maxBody      = 4 << 20
	maxHeader    = 16 << 10
	readTimeout  = 30 * time.Second
	writeTimeout = 5 * time.Minute
	idleTimeout  = 2 * time.Minute
)

// api is the handlers with what they need.
type api struct {
	Deps
	openAPI map[audience][]byte
	status  statusCache
}

// New returns the app with every route mounted.
func New(d Deps) *fiber.App {
	a := &api{Deps: d}
	app := fiber.New(fiber.Config{
		// Strict and case-sensitive, so that a front's rules and ours agree on a path
		// (reliability 2.4). ProxyHeader stays empty: see clientIP.
		CaseSensitive: true, StrictRouting: true,
		// What Fiber does not know it answers itself, with a text that is no envelope.
		RequestMethods: append(slices.Clone(fiber.DefaultMethods), "QUERY", "PROPFIND", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "PURGE"),
		// Values outlive the handler in logs; a control plane can afford the copies.
		Immutable: true,
		BodyLimit: maxBody, ReadBufferSize: maxHeader, DisableStartupMessage: true, DisablePreParseMultipartForm: true,
		ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorHandler: a.fail,
	})
	app.Use(a.begin)
	routes := a.routes()
	a.openAPI = map[audience][]byte{
		customer: describe(routes, customer, d.Brand, d.PublicURL), operator: describe(routes, operator, d.Brand, d.PublicURL),
	}
	for i := range routes {
		r := &routes[i]
		app.Add(r.Method, r.Path, a.handler(r))
	}
	a.mountResponses(app)
	if d.Pages != nil {
		d.Pages(app)
	}
	return app
}

// Routes lists every endpoint, for the description and for tests.
func Routes() []Route { return new(api).routes() }

func (a *api) routes() []Route {
	var all []Route
	for _, list := range [][]Route{
		allow(a.clientRoutes(), store.RoleBilling), a.modelRoutes(), allow(a.keyRoutes(), store.RoleMember), a.balanceRoutes(), a.transactionRoutes(),
		a.redeemRoutes(), a.billingRoutes(), a.statementRoutes(), a.spendRoutes(), a.observationRoutes(), a.traceRoutes(),
		allow(a.conversationRoutes(), store.RoleMember), allow(a.policyRoutes(), store.RoleMember),
		a.operatorRoutes(), a.clientAdminRoutes(), a.catalogueRoutes(), a.providerRoutes(), a.groupRoutes(), a.priceRoutes(), a.logRoutes(), a.trafficRoutes(), a.userRoutes(), a.memberRoutes(), a.eventRoutes(), a.entranceRoutes(), a.statusRoutes(),
		a.metaRoutes(), a.consoleRoutes(),
	} {
		all = append(all, list...)
	}
	return all
}

// The keys of Locals.
const (
	localID     = "request_id"
	localCall   = "call"
	localStatus = "route"
)

// begin gives the request its id, turns a panic into a 500, and writes the one log
// line and the metrics of the request when it has ended.
func (a *api) begin(c *fiber.Ctx) (err error) {
	start := time.Now()
	id := requestID(c, start)
	c.Locals(localID, id)
	c.Set("x-request-id", id)
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	defer func() {
		if p := recover(); p != nil {
			a.Log.Error("panic in a handler", "request_id", id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = apierr.ErrProxyError
		}
		if err != nil {
			// Rendered here and not by Fiber, so that the log line has the real status.
			err = a.fail(c, err)
		}
		a.ended(c, id, start)
	}()
	if !a.Ready() {
		return errStarting
	}
	return c.Next()
}

var errStarting = apierr.New(apierr.Overloaded, "The service is starting. Try again shortly.").WithRetryAfter(1)

// requestID keeps the id that the data plane gave the request and forwards; from
// anybody else only the form of such an id is accepted.
func requestID(c *fiber.Ctx, now time.Time) string {
	if id, err := reqid.Parse(c.Get("x-request-id")); err == nil {
		return id.String()
	}
	return reqid.New(now).String()
}

func (a *api) ended(c *fiber.Ctx, id string, start time.Time) {
	took := time.Since(start)
	status := c.Response().StatusCode()
	route := "none"
	if r, ok := c.Locals(localStatus).(*Route); ok {
		route = r.Method + " " + r.Path
	}
	args := []any{
		"request_id", id, "method", c.Method(), "route", route, "status", status, "duration_ms", took.Milliseconds(),
		"ip", clientIP(c, a.TrustedProxies).String(),
	}
	if call, ok := c.Locals(localCall).(*Call); ok && call.User != nil {
		args = append(args, "user_id", call.User.ID)
	}
	if call, ok := c.Locals(localCall).(*Call); ok && call.Caller != nil {
		args = append(args, "client_id", call.Caller.ClientID, "key_id", call.Caller.PublicID)
	}
	a.Log.Info("request", args...)
	a.Metrics.Counter(`relay_admin_requests_total{status="` + strconv.Itoa(status) + `"}`).Inc()
	a.Metrics.Histogram("relay_admin_request_seconds").Update(took.Seconds())
}

// handler is one route: who calls, what they may say, the work, the envelope.
func (a *api) handler(r *Route) fiber.Handler {
	return func(c *fiber.Ctx) error {
		// Not c.Context(): it ends with the server's shutdown, in which calls under way finish.
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		call := &Call{Context: ctx, RequestID: c.Locals(localID).(string), IP: clientIP(c, a.TrustedProxies), c: c}
		c.Locals(localStatus, r)
		c.Locals(localCall, call)
		switch r.audience {
		case public:
		case customer:
			if err := a.authenticate(call); err != nil {
				return err
			}
		case operator:
			if err := a.authenticateOperator(call); err != nil {
				return err
			}
		}
		if r.audience != public && (!r.mayCall(call.Role) || r.person && call.User == nil) {
			return apierr.New(apierr.RoleNotAllowed, "")
		}
		call.Context = store.WithOrigin(call.Context, store.Origin{IP: call.IP.String(), RequestID: call.RequestID})
		if err := call.cleanPath(r.Path); err != nil {
			return err
		}
		if r.Query == nil {
			if err := decodeQuery(c, new(struct{})); err != nil {
				return err
			}
		}
		data, err := r.run(call)
		if err != nil {
			return err
		}
		if data == nil { // the handler has written its own response
			return nil
		}
		return a.succeed(c, r.Status, data)
	}
}

// envelope is S1-B6.
type envelope struct {
	RequestID string  `json:"request_id"`
	Success   bool    `json:"success"`
	Data      any     `json:"data"`
	Code      *string `json:"code"`
	Message   *string `json:"message"`
}

func (a *api) succeed(c *fiber.Ctx, status int, data any) error {
	body, err := json.Marshal(envelope{RequestID: c.Locals(localID).(string), Success: true, Data: data})
	if err != nil {
		return fmt.Errorf("cannot write the response: %w", err)
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSONCharsetUTF8)
	return c.Status(status).Send(body)
}

// fail renders any error in the envelope. What the caller may not know goes to the
// log only.
func (a *api) fail(c *fiber.Ctx, err error) error { return a.failAs(c, err, apierr.ShapeEnvelope) }

// failAs is fail in another shape than the envelope.
func (a *api) failAs(c *fiber.Ctx, err error, shape apierr.Shape) error {
	id, ok := c.Locals(localID).(string)
	if !ok { // a request that was refused before begin, such as one with a huge head
		id = requestID(c, time.Now())
		c.Set("x-request-id", id)
	}
	e := toAPIError(err)
	if e.Status >= 500 && e.Code != apierr.NotImplemented {
		a.Log.Error("request failed", "request_id", id, "code", string(e.Code), "error", err.Error())
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSONCharsetUTF8)
	c.Set("x-relay-error", string(e.Code))
	if isFieldName(e.Param) {
		c.Set("x-relay-param", e.Param)
	}
	if e.RetryAfter > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(e.RetryAfter))
	}
	if e.Status == fiber.StatusUnauthorized {
		c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
	}
	return c.Status(e.Status).Send(apierr.Append(nil, shape, e, []byte(id)))
}

// isFieldName tells whether a name may go into a header: those of our own members may,
// one that a client made up may hold anything.
func isFieldName(name string) bool {
	return name != "" && len(name) <= 128 && !strings.ContainsFunc(name, func(r rune) bool {
		return r > 'z' || (r < 'a' && (r < '0' || r > '9') && !strings.ContainsRune("_.-[]", r))
	})
}

// toAPIError gives every error its code.
func toAPIError(err error) *apierr.Error {
	var e *apierr.Error
	if errors.As(err, &e) {
		return e
	}
	var f *fiber.Error
	switch {
	case errors.As(err, &f):
		return fiberError(f)
	case errors.Is(err, report.ErrCursor):
		return toAPIError(errCursor)
	case errors.Is(err, store.ErrNotFound):
		return apierr.ErrNotFound
	case errors.Is(err, store.ErrConflict):
		return apierr.New(apierr.InvalidRequest, "The object is in a state that does not allow this.").WithCause(err)
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrExists):
		return apierr.New(apierr.InvalidRequest, "A value is out of range or taken.").WithCause(err)
	case store.TooSlow(err):
		return apierr.New(apierr.Overloaded, "The answer took too long to compute. Ask for a shorter time or a smaller page.").WithRetryAfter(1).WithCause(err)
	case store.Unavailable(err), errors.Is(err, context.DeadlineExceeded):
		return apierr.New(apierr.Overloaded, "The database is not reachable at the moment. Try again shortly.").WithRetryAfter(1).WithCause(err)
	}
	return apierr.ErrProxyError.WithCause(err)
}

// fiberError maps what Fiber and fasthttp refuse by themselves.
func fiberError(f *fiber.Error) *apierr.Error {
	switch f.Code {
	case fiber.StatusNotFound:
		return apierr.ErrNotFound
	case fiber.StatusMethodNotAllowed:
		return apierr.ErrMethodNotAllowed
	case fiber.StatusRequestEntityTooLarge:
		return apierr.ErrBodyTooLarge
	case fiber.StatusRequestHeaderFieldsTooLarge:
		return apierr.ErrHeadersTooLarge
	case fiber.StatusRequestTimeout:
		return apierr.ErrRequestTimeout
	case fiber.StatusBadRequest:
		return apierr.New(apierr.InvalidRequest, "")
	}
	return apierr.ErrProxyError.WithCause(f)
}

func badRequest(param, message string) error { return apierr.Invalid(param, message) }
