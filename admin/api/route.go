package api

import (
	"context"
	"net/netip"
	"net/url"
	"reflect"
	"time"

	"github.com/gofiber/fiber/v2"
)

// audience says who may call a route.
type audience uint8

const (
	public   audience = iota
	customer          // a customer key
	operator          // the operator token
)

// callTimeout ends a call's database work, so that a slow database does not pile
// up requests (H5).
const callTimeout = 10 * time.Second

// Route is one endpoint. Registration, the OpenAPI description and the tenant
// test all read the same list, so that none of them can miss a route.
type Route struct {
	Method  string
	Path    string // Fiber's form: /openapi/v1/api-keys/:api_key_id
	ID      string // requirement
	Summary string
	Status  int // of success
	Query   []Param
	CSV     bool // answers text/csv instead of the envelope

	Request  reflect.Type // nil: no body
	Response reflect.Type // of the envelope's data

	audience audience
	run      func(*Call) (any, error)
}

// Param is one query parameter.
type Param struct {
	Name, Description string
}

// Call is one request on its way through a handler.
type Call struct {
	Context   context.Context
	RequestID string
	IP        netip.Addr
	Caller    Caller // of customer routes

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

// read makes a route without a request body.
func read[Resp any](method, path, id, summary string, f func(*Call) (Resp, error)) Route {
	return Route{
		Method: method, Path: path, ID: id, Summary: summary, Status: fiber.StatusOK,
		Response: reflect.TypeFor[Resp](), audience: customer,
		run: func(c *Call) (any, error) { return f(c) },
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

// by sets who may call the route.
func (r Route) by(a audience) Route { r.audience = a; return r }

// status sets the HTTP status of success.
func (r Route) status(s int) Route { r.Status = s; return r }

// query names the query parameters that the route reads; any other is refused.
func (r Route) query(ps ...Param) Route { r.Query = append(r.Query, ps...); return r }
