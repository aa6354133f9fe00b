package api

import "github.com/gofiber/fiber/v2"

// pending lists the endpoints of the customer API (S1-05 … S1-57) that exist by
// contract and are not built yet: they answer 501 not_implemented instead of a
// 404 that a client would take for a wrong URL. Building one means moving it from
// here to its resource's file; TestEveryS1EndpointIsMounted counts them.
var pending = []Route{
	todo(fiber.MethodGet, "/openapi/v1/context/config", "S1-13"),
	todo(fiber.MethodPatch, "/openapi/v1/context/config", "S1-14"),
	todo(fiber.MethodGet, "/openapi/v1/security/policy", "S1-15"),
	todo(fiber.MethodPatch, "/openapi/v1/security/policy", "S1-16"),
	todo(fiber.MethodGet, "/openapi/v1/routing/policy", "S1-17"),
	todo(fiber.MethodPatch, "/openapi/v1/routing/policy", "S1-18"),
	todo(fiber.MethodGet, "/openapi/v1/balance/config", "S1-27"),
	todo(fiber.MethodPatch, "/openapi/v1/balance/config", "S1-28"),
}

func todo(method, path, id string) Route {
	return Route{
		Method: method, Path: path, ID: id, audience: public,
		run: func(*Call) (any, error) { return nil, errNotImplemented },
	}
}
