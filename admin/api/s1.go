package api

import "github.com/gofiber/fiber/v2"

// pending lists the endpoints of the customer API (S1-05 … S1-57) that exist by
// contract and are not built yet: they answer 501 not_implemented instead of a
// 404 that a client would take for a wrong URL. Building one means moving it from
// here to its resource's file; TestEveryS1EndpointIsMounted counts them.
var pending = []Route{
	todo(fiber.MethodPost, "/openapi/v1/conversations", "S1-08"),
	todo(fiber.MethodGet, "/openapi/v1/conversations", "S1-09"),
	todo(fiber.MethodGet, "/openapi/v1/conversations/:conversation_id", "S1-10"),
	todo(fiber.MethodPatch, "/openapi/v1/conversations/:conversation_id", "S1-11"),
	todo(fiber.MethodDelete, "/openapi/v1/conversations/:conversation_id", "S1-12"),
	todo(fiber.MethodGet, "/openapi/v1/context/config", "S1-13"),
	todo(fiber.MethodPatch, "/openapi/v1/context/config", "S1-14"),
	todo(fiber.MethodGet, "/openapi/v1/security/policy", "S1-15"),
	todo(fiber.MethodPatch, "/openapi/v1/security/policy", "S1-16"),
	todo(fiber.MethodGet, "/openapi/v1/routing/policy", "S1-17"),
	todo(fiber.MethodPatch, "/openapi/v1/routing/policy", "S1-18"),
	todo(fiber.MethodGet, "/openapi/v1/resources", "S1-19"),
	todo(fiber.MethodGet, "/openapi/v1/resources/:resource_id", "S1-20"),
	todo(fiber.MethodGet, "/openapi/v1/resource-types", "S1-21"),
	todo(fiber.MethodGet, "/openapi/v1/models/:model/preflight", "S1-24"),
	todo(fiber.MethodGet, "/openapi/v1/model-tags", "S1-25"),
	todo(fiber.MethodGet, "/openapi/v1/balance/config", "S1-27"),
	todo(fiber.MethodPatch, "/openapi/v1/balance/config", "S1-28"),
	todo(fiber.MethodPost, "/openapi/v1/balance/check", "S1-29"),
	todo(fiber.MethodGet, "/openapi/v1/api-keys/:api_key_id/model-access", "S1-36"),
	todo(fiber.MethodPost, "/openapi/v1/api-keys/:api_key_id/copy", "S1-40"),
	todo(fiber.MethodPost, "/openapi/v1/api-keys/:api_key_id/rotate", "S1-41"),
	todo(fiber.MethodGet, "/openapi/v1/billing/rules", "S1-48"),
	todo(fiber.MethodGet, "/openapi/v1/billing/rules/:model", "S1-49"),
}

func todo(method, path, id string) Route {
	return Route{
		Method: method, Path: path, ID: id, audience: public,
		run: func(*Call) (any, error) { return nil, errNotImplemented },
	}
}
