package api

import (
	"cmp"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/obs"
)

const exampleID = "req_01JDN3V9TQ4Z8X2M6K0RFW7YBC"

func (a *api) metaRoutes() []Route {
	return []Route{
		{Method: fiber.MethodGet, Path: "/openapi.json", ID: "interface 5", Summary: "This description", audience: public, run: func(c *Call) (any, error) {
			c.c.Set(fiber.HeaderCacheControl, "public, max-age=300")
			return nil, sendJSON(c, a.openAPI[customer])
		}},
		{Method: fiber.MethodGet, Path: "/admin/v1/openapi.json", ID: "interface 5", Summary: "This description", audience: operator, run: func(c *Call) (any, error) {
			return nil, sendJSON(c, a.openAPI[operator])
		}},
	}
}

func sendJSON(c *Call, body []byte) error {
	c.c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.c.Status(fiber.StatusOK).Send(body)
}

// Describe returns the OpenAPI documents of the customer API and of the operator API, as
// they are served.
func Describe(brand, url string) (customerAPI, operatorAPI []byte) {
	routes := Routes()
	return describe(routes, customer, brand, url), describe(routes, operator, brand, url)
}

// describe writes the OpenAPI 3.1 document of the routes of one audience. What it lists
// is what is mounted: there is no second list.
func describe(routes []Route, who audience, brand, url string) []byte {
	s := newSchemas()
	null := object{"type": "null"}
	text := object{"type": "string"}
	s.components["Failure"] = object{
		"type": "object", "required": []string{"request_id", "success", "data", "code", "message"}, "additionalProperties": false,
		"properties": object{
			"request_id": object{"type": "string", "examples": []any{exampleID}}, "success": object{"const": false}, "data": null,
			"code": object{"type": "string", "description": "stable name of the error, also in the header x-relay-error", "examples": []any{"invalid_request"}}, "message": text,
		},
	}
	paths, responses := object{}, object{}
	tags := map[string]bool{}
	for i := range routes {
		r := &routes[i]
		if r.audience != who || r.Path == "/admin/v1/openapi.json" {
			continue
		}
		tag := strings.TrimSuffix(strings.Split(strings.TrimPrefix(strings.TrimPrefix(r.Path, "/openapi/v1/"), "/admin/v1/"), "/")[0], ".csv")
		tags[tag] = true
		op := object{
			"operationId": operationID(r), "summary": r.Summary, "tags": []string{tag}, "x-requirement": r.ID,
			"security": []object{{"bearer": []string{}}}, "responses": s.responses(r, responses),
		}
		if params := s.parameters(r); params != nil {
			op["parameters"] = params
		}
		if r.Request != nil {
			schema := s.root(r.Request, true)
			op["requestBody"] = object{"required": s.required(schema), "content": object{"application/json": object{"schema": schema, "example": s.sample(schema)}}}
		} else if r.Raw {
			op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": object{"type": "object"}}, "application/yaml": object{"schema": object{"type": "object"}}}}
		}
		path := templated(r.Path)
		item, _ := paths[path].(object)
		if item == nil {
			item = object{}
			paths[path] = item
		}
		item[strings.ToLower(r.Method)] = op
	}
	list := make([]object, 0, len(tags))
	for tag := range tags {
		list = append(list, object{"name": tag})
	}
	slices.SortFunc(list, func(a, b object) int { return cmp.Compare(a["name"].(string), b["name"].(string)) })
	title := map[audience]string{customer: " customer API", operator: " operator API"}[who]
	out, err := json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{
			"title": brand + title, "version": "1",
			"description": "Every answer is an envelope: request_id, success, data, code, message. Lists are paged by cursor. Times are RFC 3339 in UTC, amounts are decimal strings of USD. Members that are not described are refused; the header x-relay-param names the member at fault.",
		},
		"servers": []object{{"url": url}}, "tags": list, "paths": paths,
		"components": object{
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}},
			"schemas":         s.components, "responses": responses,
		},
	})
	if err != nil {
		obs.Bug("the description is only maps of what JSON has: %v", err)
	}
	return out
}

// templated is a path as OpenAPI writes it: /openapi/v1/api-keys/{api_key_id}.
func templated(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if name, ok := strings.CutPrefix(s, ":"); ok {
			segments[i] = "{" + name + "}"
		}
	}
	return strings.Join(segments, "/")
}

func operationID(r *Route) string {
	return strings.ToLower(r.Method) + strings.NewReplacer("/", "_", ":", "", ".", "_", "-", "_").Replace(r.Path)
}

// required tells whether the body may be left out: a schema without required members
// takes an empty one.
func (s *schemas) required(schema object) bool {
	ref, _ := schema["$ref"].(string)
	component, _ := s.components[strings.TrimPrefix(ref, "#/components/schemas/")].(object)
	return component["required"] != nil
}

func (s *schemas) parameters(r *Route) (list []object) {
	for segment := range strings.SplitSeq(r.Path, "/") {
		if name, ok := strings.CutPrefix(segment, ":"); ok {
			p := object{"name": name, "in": "path", "required": true, "schema": object{"type": "string", "minLength": 1}}
			if example, ok := pathExamples[name]; ok {
				p["example"] = example
			}
			list = append(list, p)
		}
	}
	if r.Query == nil {
		return list
	}
	for _, f := range reflect.VisibleFields(r.Query) {
		name := f.Tag.Get("query")
		if name == "" {
			continue
		}
		schema := tagged(s.of(f.Type, true), f, true)
		if f.Type.Name() == "Time" { // a date will do
			schema = object{"anyOf": []any{object{"type": "string", "format": "date-time"}, object{"type": "string", "format": "date"}}}
		}
		p := object{"name": name, "in": "query", "required": f.Tag.Get("required") != "", "schema": schema}
		if text := f.Tag.Get("doc"); text != "" {
			p["description"] = text
			delete(schema, "description")
		}
		if text := f.Tag.Get("default"); text != "" {
			schema["default"] = exampleValue(text, f.Type)
		}
		list = append(list, p)
	}
	return list
}

// pathExamples shows what ids look like.
var pathExamples = map[string]string{
	"api_key_id": "6TnXbG3mZq0d", "request_id": exampleID, "model": "gpt-5-mini", "transaction_id": exampleID + "-c",
	"conversation_id": "conv_01JDN3V9TQ4Z8X2M6K0RFW7YBC", "resource_id": "model:gpt-5-mini", "client_id": "client_1", "provider": "openai", "voucher_id": "1",
	"group": "default", "key_name": "main", "route_id": "1", "proxy": "proxy-1", "audit_id": "1", "user_id": "1", "invitation_id": "1",
}

// responses describes what a route can answer: success, and each status at which it
// can refuse with the codes that it then has.
func (s *schemas) responses(r *Route, shared object) object {
	content := object{"text/csv": object{"schema": object{"type": "string"}}}
	if !r.CSV {
		data := object{}
		if r.Response != nil {
			data = s.root(r.Response, false)
		}
		schema := object{
			"type": "object", "required": []string{"request_id", "success", "data", "code", "message"}, "additionalProperties": false,
			"properties": object{
				"request_id": object{"type": "string"}, "success": object{"const": true}, "data": data,
				"code": object{"type": "null"}, "message": object{"type": "null"},
			},
		}
		example := object{"request_id": exampleID, "success": true, "data": s.sample(data), "code": nil, "message": nil}
		content = object{"application/json": object{"schema": schema, "example": example}}
	}
	out := object{strconv.Itoa(r.Status): object{"description": http.StatusText(r.Status), "content": content}}
	byStatus := map[int][]string{}
	for _, code := range r.codes() {
		byStatus[code.Status()] = append(byStatus[code.Status()], string(code))
	}
	for status, codes := range byStatus {
		slices.Sort(codes)
		key := strconv.Itoa(status) + "_" + strings.Join(codes, "_")
		if shared[key] == nil {
			var texts, values []any
			for _, code := range codes {
				values = append(values, code)
			}
			when := make([]string, len(codes))
			for i, code := range codes {
				when[i] = "`" + code + "`: " + apierr.Code(code).When()
			}
			texts = append(texts, strings.Join(when, " "))
			message := string(apierr.New(apierr.Code(codes[0]), "").AppendMessage(nil, []byte(exampleID)))
			shared[key] = object{
				"description": texts[0],
				"headers":     object{"x-relay-error": object{"schema": object{"type": "string", "enum": values}}},
				"content": object{"application/json": object{
					"schema":  object{"allOf": []any{object{"$ref": "#/components/schemas/Failure"}, object{"properties": object{"code": object{"enum": values}}}}},
					"example": object{"request_id": exampleID, "success": false, "data": nil, "code": codes[0], "message": message},
				}},
			}
		}
		out[strconv.Itoa(status)] = object{"$ref": "#/components/responses/" + key}
	}
	return out
}

// codes is every refusal that a route can answer.
func (r *Route) codes() []apierr.Code {
	codes := []apierr.Code{apierr.InvalidAPIKey, apierr.RoleNotAllowed, apierr.InvalidRequest, apierr.HeadersTooLarge, apierr.Overloaded, apierr.ProxyError, apierr.RequestTimeout}
	if r.audience == customer {
		codes = append(codes, apierr.KeyDisabled, apierr.KeyExpired, apierr.IPNotAllowed)
	}
	if strings.Contains(r.Path, ":") {
		codes = append(codes, apierr.NotFound)
	}
	if r.Method != fiber.MethodGet {
		codes = append(codes, apierr.BodyTooLarge)
	}
	codes = append(codes, r.Codes...)
	slices.Sort(codes)
	return slices.Compact(codes)
}
