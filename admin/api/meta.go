package api

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/shared/money"
)

func (a *api) metaRoutes() []Route {
	return []Route{
		{Method: fiber.MethodGet, Path: "/openapi.json", ID: "interface 5", Summary: "This description", audience: public, run: func(c *Call) (any, error) {
			c.c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
			c.c.Set(fiber.HeaderCacheControl, "public, max-age=300")
			return nil, c.c.Status(fiber.StatusOK).Send(a.openAPI)
		}},
	}
}

// describe writes the OpenAPI 3.1 description of the routes. Endpoints that are not
// built yet and the operator's are left out: what it lists works, for customers.
func describe(routes []Route, brand, url string) []byte {
	type object = map[string]any
	paths := object{}
	for i := range routes {
		r := &routes[i]
		if r.audience != customer {
			continue
		}
		op := object{
			"operationId": strings.ToLower(r.Method) + strings.NewReplacer("/", "_", ":", "", ".", "_", "-", "_").Replace(r.Path),
			"summary":     r.Summary,
			"security":    []object{{"bearer": []string{}}},
			"responses": object{
				strconv.Itoa(r.Status): object{"description": "success", "content": responseContent(r)},
				"default":              object{"description": "refused or failed; code says why", "content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Failure"}}}},
			},
		}
		var params []object
		path := r.Path
		for _, segment := range strings.Split(r.Path, "/") {
			if name, ok := strings.CutPrefix(segment, ":"); ok {
				path = strings.Replace(path, segment, "{"+name+"}", 1)
				params = append(params, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}})
			}
		}
		for _, q := range r.Query {
			params = append(params, object{"name": q.Name, "in": "query", "description": q.Description, "schema": object{"type": "string"}})
		}
		if params != nil {
			op["parameters"] = params
		}
		if r.Request != nil {
			op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": schemaOf(r.Request, true)}}}
		}
		item, _ := paths[path].(object)
		if item == nil {
			item = object{}
			paths[path] = item
		}
		item[strings.ToLower(r.Method)] = op
	}
	null := object{"type": "null"}
	text := object{"type": "string"}
	out, err := json.Marshal(object{
		"openapi": "3.1.0",
		"info":    object{"title": brand + " customer API", "version": "1"},
		"servers": []object{{"url": url}},
		"paths":   paths,
		"components": object{
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}},
			"schemas": object{"Failure": object{
				"type": "object", "required": []string{"request_id", "success", "data", "code", "message"},
				"properties": object{"request_id": text, "success": object{"const": false}, "data": null, "code": text, "message": text},
			}},
		},
	})
	if err != nil {
		return []byte("{}") // maps of strings always encode
	}
	return out
}

func responseContent(r *Route) map[string]any {
	type object = map[string]any
	if r.CSV {
		return object{"text/csv": object{"schema": object{"type": "string"}}}
	}
	return object{"application/json": object{"schema": object{
		"type": "object", "required": []string{"request_id", "success", "data", "code", "message"},
		"properties": object{
			"request_id": object{"type": "string"}, "success": object{"const": true}, "data": schemaOf(r.Response, false),
			"code": object{"type": "null"}, "message": object{"type": "null"},
		},
	}}}
}

// schemaOf describes a Go type as JSON schema, by its json tags. A request must
// have the members tagged required, a response always has all but the omitempty ones.
func schemaOf(t reflect.Type, request bool) map[string]any {
	type object = map[string]any
	switch t {
	case reflect.TypeFor[money.Amount]():
		return object{"type": "string", "description": "USD as a decimal", "pattern": `^-?[0-9]+(\.[0-9]{1,9})?$`}
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	}
	if o, ok := reflect.Zero(t).Interface().(interface{ elem() reflect.Type }); ok {
		return nullable(schemaOf(o.elem(), request))
	}
	switch t.Kind() {
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[time.Time]() {
			return schemaOf(t.Elem(), request)
		}
		return nullable(schemaOf(t.Elem(), request))
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem(), request)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem(), request)}
	case reflect.Struct:
		properties := object{}
		var required []string
		addFields(t, request, properties, &required)
		s := object{"type": "object", "properties": properties}
		if required != nil {
			s["required"] = required
		}
		return s
	case reflect.Interface:
		return object{}
	default:
		return object{"type": "integer"}
	}
}

func addFields(t reflect.Type, request bool, properties map[string]any, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			addFields(f.Type, request, properties, required)
			continue
		}
		properties[name] = schemaOf(f.Type, request)
		if request && f.Tag.Get("required") != "" || !request && !strings.Contains(options, "omitempty") {
			*required = append(*required, name)
		}
	}
}

func nullable(s map[string]any) map[string]any {
	if t, ok := s["type"].(string); ok {
		s["type"] = []string{t, "null"}
		return s
	}
	return map[string]any{"anyOf": []any{s, map[string]any{"type": "null"}}}
}
