package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Opt is a member of a PATCH body: absent leaves the stored value as it is, null
// clears it, anything else replaces it (S1-B3).
type Opt[T any] struct {
	Set  bool // the member was in the body
	Null bool // … and was null
	V    T
}

// UnmarshalJSON notes that the member was there.
func (o *Opt[T]) UnmarshalJSON(data []byte) error {
	o.Set = true
	if bytes.Equal(data, []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(data, &o.V)
}

// elem makes the type visible to the OpenAPI generator.
func (o Opt[T]) elem() reflect.Type { return reflect.TypeFor[T]() }

// decode reads a JSON object into req strictly: members by their exact names, each
// once, none unknown (H6), valid UTF-8, nothing after the object. An empty body
// is an empty object.
func decode(body []byte, req any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	if !utf8.Valid(body) {
		return badRequest("", "the body is not valid UTF-8")
	}
	if err := checkMembers(body, memberNames(reflect.TypeOf(req).Elem())); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(req); err != nil {
		var ute *json.UnmarshalTypeError
		if errors.As(err, &ute) {
			return badRequest(ute.Field, fmt.Sprintf("%s must be %s, not a %s", ute.Field, typeName(ute.Type), ute.Value))
		}
		return badRequest("", "cannot read the body: "+strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// checkMembers walks the top level of body. encoding/json alone would take
// "NAME" for name and the last of two equal members.
func checkMembers(body []byte, known map[string]bool) error {
	d := json.NewDecoder(bytes.NewReader(body))
	tok, err := d.Token()
	if err != nil || tok != json.Delim('{') {
		return badRequest("", "the body must be a JSON object")
	}
	seen := make(map[string]bool, len(known))
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return badRequest("", "cannot read the body: "+err.Error())
		}
		name, ok := tok.(string)
		if !ok {
			return badRequest("", "the body must be a JSON object")
		}
		if !known[name] {
			return badRequest(clip(name, 64), fmt.Sprintf("unknown field %q", clip(name, 64)))
		}
		if seen[name] {
			return badRequest(name, fmt.Sprintf("field %q is given twice", name))
		}
		seen[name] = true
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return badRequest(name, "cannot read the body: "+err.Error())
		}
	}
	if _, err := d.Token(); err != nil {
		return badRequest("", "cannot read the body: "+err.Error())
	}
	if d.More() {
		return badRequest("", "there is something after the JSON object")
	}
	return nil
}

// memberNames lists the JSON names of a request struct.
func memberNames(t reflect.Type) map[string]bool {
	names := make(map[string]bool, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names[name] = true
		}
	}
	return names
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "an integer"
	}
}

// clip shortens s to at most n bytes at a character boundary.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
