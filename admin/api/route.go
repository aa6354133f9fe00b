package api

import (
	"context"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

// audience says who may call a route.
type audience uint8

const (
	public   audience = iota
	customer          // a customer key, or the session of somebody of the customer
	operator          // the operator token, or the session of an operator
)

// callTimeout ends a call's database work, so that a slow database does not pile
// up requests (H5).
const callTimeout = 10 * time.Second

// Route is one endpoint. Registration, reading and checking what is sent, the OpenAPI
// documents and the tenant tests all read the same list, so that none of them can miss
// a route. Request, Query and Response are described by their Go types; the tags of
// their fields are both the check and the schema:
//
//	json:"name" or query:"name"  the member's name
//	required:"true"              a body must have it (Opt members may be left out)
//	doc:"…" example:"…"          for the description
//	enum:"a,b"                   one of
//	min:"1" max:"200"            numbers; of amounts, min:"0" refuses negative ones
//	minlen:"1" maxlen:"128"      characters of a text, elements of an array or object
//	null:"no"                    an Opt member that has a value, or is left out
//	default:"50"                 what stands for a query parameter that is left out
type Route struct {
	Method  string
	Path    string // Fiber's form: /openapi/v1/api-keys/:api_key_id
	ID      string // requirement
	Summary string
	Status  int  // of success
	CSV     bool // answers text/csv instead of the envelope
	Raw     bool // reads its body itself: no JSON object

	Query    reflect.Type // nil: no query parameters
	Request  reflect.Type // nil: no body
	Response reflect.Type // of the envelope's data

	Codes []apierr.Code // refusals of its own, besides those of every route

	audience audience
	roles    []store.Role // of people who may call it, nil: all of the audience
	person   bool         // a person of the console only: a key that leaked must let nobody in
	run      func(*Call) (any, error)
}

// Call is one request on its way through a handler.
type Call struct {
	Context   context.Context
	RequestID string
	IP        netip.Addr
	Caller    Caller      // of customer routes
	User      *store.User // who made the call from the console, nil: a token did
	Role      store.Role  // what the caller may do: tokens and keys are mighty

	c *fiber.Ctx
}

// Param returns a path parameter, decoded.
func (c *Call) Param(name string) string {
	raw := c.c.Params(name)
	if v, err := url.PathUnescape(raw); err == nil {
		return v
	}
	return raw
}

// cleanPath refuses path parameters that nothing can be called: no text, or one with
// control characters, which would also be an error of the database.
func (c *Call) cleanPath(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(segment, ":"); ok {
			if v := c.Param(name); !utf8.ValidString(v) || strings.ContainsFunc(v, isControl) {
				return apierr.ErrNotFound
			}
		}
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// read makes a route without parameters or a body.
func read[Resp any](method, path, id, summary string, f func(*Call) (Resp, error)) Route {
	return Route{
		Method: method, Path: path, ID: id, Summary: summary, Status: fiber.StatusOK,
		Response: reflect.TypeFor[Resp](), audience: customer,
		run: func(c *Call) (any, error) {
			// A body has nothing to say here, and a client that sends one means something.
			if !strings.EqualFold(method, fiber.MethodGet) {
				if err := decode(c.c.Body(), new(struct{})); err != nil {
					return nil, err
				}
			}
			return f(c)
		},
	}
}

// find makes a GET with query parameters, the fields of Q.
func find[Q, Resp any](path, id, summary string, f func(*Call, *Q) (Resp, error)) Route {
	return Route{
		Method: fiber.MethodGet, Path: path, ID: id, Summary: summary, Status: fiber.StatusOK,
		Query: reflect.TypeFor[Q](), Response: reflect.TypeFor[Resp](), audience: customer,
		run: func(c *Call) (any, error) {
			var q Q
			if err := decodeQuery(c.c, &q); err != nil {
				return nil, err
			}
			return f(c, &q)
		},
	}
}

// write makes a route with a JSON body.
func write[Req, Resp any](method, path, id, summary string, f func(*Call, *Req) (Resp, error)) Route {
	return Route{
		Method: method, Path: path, ID: id, Summary: summary, Status: fiber.StatusOK,
		Request: reflect.TypeFor[Req](), Response: reflect.TypeFor[Resp](), audience: customer,
		run: func(c *Call) (any, error) {
			var req Req
			if err := decode(c.c.Body(), &req); err != nil {
				return nil, err
			}
			return f(c, &req)
		},
	}
}

// upload makes a POST of a file that the handler reads itself.
func upload[Q, Resp any](path, id, summary string, f func(*Call, *Q) (Resp, error)) Route {
	r := find(path, id, summary, f)
	r.Method, r.Raw = fiber.MethodPost, true
	return r
}

// export makes a GET that streams a CSV file.
func export[Q any](path, id, summary string, f func(*Call, *Q) (*table, error)) Route {
	return Route{
		Method: fiber.MethodGet, Path: path, ID: id, Summary: summary, Status: fiber.StatusOK, CSV: true,
		Query: reflect.TypeFor[Q](), audience: customer,
		run: func(c *Call) (any, error) {
			var q Q
			if err := decodeQuery(c.c, &q); err != nil {
				return nil, err
			}
			t, err := f(c, &q)
			if err != nil {
				return nil, err
			}
			return nil, sendCSV(c, t)
		},
	}
}

// by sets who may call the route.
func (r Route) by(a audience) Route { r.audience = a; return r }

// status sets the HTTP status of success.
func (r Route) status(s int) Route { r.Status = s; return r }

// refuses names refusals that only some routes have, for the description.
func (r Route) refuses(codes ...apierr.Code) Route { r.Codes = append(r.Codes, codes...); return r }

// only names the roles of people who may call the route. A route that does not say so is
// open to all roles when it only reads, else to the mightiest one alone.
func (r Route) only(roles ...store.Role) Route { r.roles = roles; return r }

// allow opens the changes of a list to a role besides the mightiest, but for routes that
// name their roles themselves.
func allow(list []Route, roles ...store.Role) []Route {
	for i := range list {
		if list[i].roles == nil && list[i].Method != fiber.MethodGet {
			list[i].roles = roles
		}
	}
	return list
}

// people keeps keys and tokens out.
func (r Route) people() Route { r.person = true; return r }

// mayCall tells whether a role may call the route.
func (r *Route) mayCall(role store.Role) bool {
	if role == store.RoleOwner || role == store.RoleAdmin {
		return true
	}
	if r.roles == nil {
		return r.Method == fiber.MethodGet
	}
	return slices.Contains(r.roles, role)
}
