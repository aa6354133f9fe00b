package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode"

	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/reqid"
)

// object is a piece of a JSON document.
type object = map[string]any

// schemas collects the JSON schemas (2020-12, as OpenAPI 3.1 uses it) of the Go types
// that bodies are made of. Named structs become components, so that generated clients
// have types of the same names.
type schemas struct {
	components object
	types      map[string]reflect.Type
}

func newSchemas() *schemas {
	return &schemas{components: object{}, types: map[string]reflect.Type{}}
}

const amountPattern = `^-?[0-9]{1,10}(\.[0-9]{1,9})?$`

// of describes a type. A request must have the members tagged required, a response
// always has all but the omitempty ones.
func (s *schemas) of(t reflect.Type, request bool) object {
	switch t {
	case reflect.TypeFor[money.Amount]():
		return object{"type": "string", "description": "USD as a decimal", "pattern": amountPattern, "examples": []any{"12.5"}}
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time", "examples": []any{"2026-11-30T12:00:00Z"}}
	case reflect.TypeFor[reqid.ID]():
		return object{"type": "string", "pattern": "^req_[0-7][0-9A-HJKMNP-TV-Z]{25}$", "examples": []any{exampleID}}
	case reflect.TypeFor[Month]():
		return object{"type": "string", "pattern": "^[2-8][0-9]{3}-(0[1-9]|1[0-2])$", "examples": []any{"2026-11"}}
	case reflect.TypeFor[json.RawMessage]():
		return object{}
	}
	if o, ok := reflect.Zero(t).Interface().(opt); ok {
		return nullable(s.of(o.elem(), request))
	}
	switch t.Kind() {
	case reflect.Pointer:
		return nullable(s.of(t.Elem(), request))
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem(), request)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem(), request)}
	case reflect.Struct:
		return s.ref(t, request)
	case reflect.Interface:
		return object{}
	default:
		return object{"type": "integer", "format": "int64"}
	}
}

// root describes the body of a request or the data of a response, which are never null.
func (s *schemas) root(t reflect.Type, request bool) object {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return s.of(t, request)
}

func (s *schemas) ref(t reflect.Type, request bool) object {
	name := []rune(t.Name())
	if len(name) == 0 {
		return s.structure(t, request)
	}
	name[0] = unicode.ToUpper(name[0])
	key := string(name)
	if known := s.types[key]; known != nil && known != t {
		obs.Bug("two types are called %s in the description: %s and %s", key, known, t)
	}
	if s.types[key] == nil {
		s.types[key] = t
		s.components[key] = s.structure(t, request)
	}
	return object{"$ref": "#/components/schemas/" + key}
}

func (s *schemas) structure(t reflect.Type, request bool) object {
	properties := object{}
	var required []string
	s.fields(t, request, properties, &required)
	out := object{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		out["required"] = required
	}
	return out
}

func (s *schemas) fields(t reflect.Type, request bool, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			s.fields(f.Type, request, properties, required)
			continue
		}
		if name == "-" || name == "" {
			continue
		}
		typ := f.Type
		if o, ok := reflect.Zero(typ).Interface().(opt); ok && f.Tag.Get("null") == "no" {
			typ = o.elem()
		}
		properties[name] = tagged(s.of(typ, request), f, request)
		if request && f.Tag.Get("required") != "" || !request && !strings.Contains(options, "omitempty") {
			*required = append(*required, name)
		}
	}
}

// tagged adds to a schema what the field's tags say.
func tagged(schema object, f reflect.StructField, request bool) object {
	tag := f.Tag
	inner := schema // past null
	if any, ok := schema["anyOf"].([]any); ok {
		inner, _ = any[0].(object)
	}
	kind, _ := inner["type"].(string)
	if kinds, ok := inner["type"].([]string); ok {
		kind = kinds[0]
	}
	if list := tag.Get("enum"); list != "" {
		var values []any
		for _, v := range strings.Split(list, ",") {
			values = append(values, v)
		}
		if _, both := inner["type"].([]string); both {
			values = append(values, nil)
		}
		if kind == "array" {
			inner["items"] = object{"type": "string", "enum": values}
		} else {
			inner["enum"] = values
		}
	}
	least, low := bound(tag.Get("min"))
	most, high := bound(tag.Get("max"))
	switch inner["pattern"] {
	case amountPattern:
		if low {
			inner["pattern"] = strings.Replace(amountPattern, "-?", "", 1)
		}
		if request { // what fits the books; a larger number of digits is refused by its value
			inner["pattern"] = strings.Replace(inner["pattern"].(string), "{1,10}", "{1,9}", 1)
		}
	default:
		if low {
			inner["minimum"] = least
		}
		if high {
			inner["maximum"] = most
		}
	}
	names := map[string][2]string{"string": {"minLength", "maxLength"}, "array": {"minItems", "maxItems"}, "object": {"minProperties", "maxProperties"}}[kind]
	if n, ok := bound(tag.Get("minlen")); ok {
		inner[names[0]] = n
	}
	if n, ok := bound(tag.Get("maxlen")); ok {
		inner[names[1]] = n
	}
	if text := tag.Get("doc"); text != "" {
		if _, ref := schema["$ref"]; ref {
			schema = object{"allOf": []any{schema}}
		}
		schema["description"] = text
	}
	if text := tag.Get("example"); text != "" {
		schema["examples"] = []any{exampleValue(text, f.Type)}
	}
	return schema
}

// exampleValue reads the example of a tag: JSON, or a bare text.
func exampleValue(text string, t reflect.Type) any {
	if o, ok := reflect.Zero(t).Interface().(opt); ok {
		t = o.elem()
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var v any
	if t.Kind() != reflect.String && json.Unmarshal([]byte(text), &v) == nil {
		if _, amount := reflect.Zero(t).Interface().(money.Amount); amount {
			return text
		}
		return v
	}
	return text
}

func nullable(s object) object {
	if t, ok := s["type"].(string); ok {
		s["type"] = []string{t, "null"}
		return s
	}
	return object{"anyOf": []any{s, object{"type": "null"}}}
}

// sample makes an example value of a schema: what its examples say, else something of
// its type.
func (s *schemas) sample(schema object) any {
	if list, ok := schema["examples"].([]any); ok {
		return list[0]
	}
	if v, ok := schema["const"]; ok {
		return v
	}
	if list, ok := schema["enum"].([]any); ok {
		return list[0]
	}
	if ref, ok := schema["$ref"].(string); ok {
		component, _ := s.components[strings.TrimPrefix(ref, "#/components/schemas/")].(object)
		return s.sample(component)
	}
	for _, of := range []string{"anyOf", "allOf"} {
		if list, ok := schema[of].([]any); ok {
			first, _ := list[0].(object)
			return s.sample(first)
		}
	}
	kind, _ := schema["type"].(string)
	if kinds, ok := schema["type"].([]string); ok {
		kind = kinds[0]
	}
	switch kind {
	case "string":
		return "text"
	case "boolean":
		return true
	case "number":
		return 0.5
	case "integer":
		if n, ok := schema["minimum"].(int64); ok && n > 0 {
			return n
		}
		return 0
	case "array":
		items, _ := schema["items"].(object)
		return []any{s.sample(items)}
	case "object":
		out := object{}
		properties, _ := schema["properties"].(object)
		for name, p := range properties {
			property, _ := p.(object)
			out[name] = s.sample(property)
		}
		if more, ok := schema["additionalProperties"].(object); ok {
			out["key"] = s.sample(more)
		}
		return out
	}
	return nil
}
