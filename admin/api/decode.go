package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
)

// Opt is a member of a body that may be left out: absent leaves the stored value as it
// is, null clears it, anything else replaces it (S1-B3).
type Opt[T any] struct {
	Set  bool // the member was in the body
	Null bool // … and was null
	V    T
}

// opt lets the decoder and the schema see into an Opt of any type.
type opt interface {
	elem() reflect.Type
	value() any
}

type optTo interface {
	opt
	set(null bool) any // notes that the member was there, returns where its value goes
}

func (o Opt[T]) elem() reflect.Type { return reflect.TypeFor[T]() }
func (o Opt[T]) value() any         { return o.V }
func (o *Opt[T]) set(null bool) any { o.Set, o.Null = true, null; return &o.V }

// decode reads a JSON object into req strictly: members by their exact names, each
// once, none unknown (H6), valid UTF-8, nothing after the object, every value of the
// type and in the range that the field's tags state. An empty body is an empty object.
// encoding/json alone would take "NAME" for name, the last of two equal members, and
// would not say which member is wrong.
func decode(body []byte, req any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	if !utf8.Valid(body) {
		return badRequest("", "the body is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if err := decodeObject(d, "", reflect.ValueOf(req).Elem()); err != nil {
		return err
	}
	if d.More() {
		return badRequest("", "there is something after the JSON object")
	}
	return nil
}

// decodeObject reads the object that begins at d. path is "" for the body itself.
func decodeObject(d *json.Decoder, path string, v reflect.Value) error {
	what := path
	if path == "" {
		what = "the body"
	}
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return badRequest(path, what+" must be a JSON object")
	}
	var fields map[string]field
	if v.Kind() == reflect.Struct {
		fields = fieldsOf(v.Type(), "json")
	} else {
		v.Set(reflect.MakeMap(v.Type()))
	}
	seen := make(map[string]bool, len(fields))
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return badRequest(path, "cannot read the body: "+err.Error())
		}
		name, _ := tok.(string) // members have names, or Token fails
		inside := clip(name, 64)
		if path != "" {
			inside = path + "." + inside
		}
		if seen[name] {
			return badRequest(inside, fmt.Sprintf("field %q is given twice", inside))
		}
		seen[name] = true
		f, known := fields[name]
		if fields != nil && !known {
			return badRequest(inside, fmt.Sprintf("unknown field %q", inside))
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return badRequest(inside, "cannot read the body: "+err.Error())
		}
		if fields == nil {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := decodeValue(raw, inside, e); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(name), e)
			continue
		}
		to := v.FieldByIndex(f.Index)
		if err := decodeValue(raw, inside, to); err != nil {
			return err
		}
		if err := f.check(inside, to); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return badRequest(path, "cannot read the body: "+err.Error())
	}
	for name, f := range fields {
		if f.Tag.Get("required") != "" && !seen[name] {
			if path != "" {
				name = path + "." + name
			}
			return badRequest(name, fmt.Sprintf("the field %q is missing", name))
		}
	}
	return nil
}

// decodeValue reads one value.
func decodeValue(raw json.RawMessage, path string, v reflect.Value) error {
	null := string(raw) == "null"
	if o, ok := v.Addr().Interface().(optTo); ok {
		to := o.set(null)
		if null {
			return nil
		}
		return decodeValue(raw, path, reflect.ValueOf(to).Elem())
	}
	if null {
		return badRequest(path, path+" must not be null")
	}
	switch v.Interface().(type) {
	case time.Time:
		t, ok := parseTime(raw)
		if !ok {
			return badRequest(path, path+" must be a time like 2026-12-31T23:59:59Z")
		}
		v.Set(reflect.ValueOf(t))
		return nil
	case money.Amount:
		var a money.Amount
		// A number would be exact here and no longer in the program that wrote it.
		if err := a.UnmarshalJSON(raw); err != nil || raw[0] != '"' {
			return badRequest(path, path+` must be an amount of USD as a decimal string such as "12.50", at most nine places`)
		}
		v.SetInt(int64(a))
		return nil
	case json.RawMessage:
		v.SetBytes(slices.Clone(raw))
		return nil
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Map:
		return decodeObject(json.NewDecoder(bytes.NewReader(raw)), path, v)
	case reflect.Slice:
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil {
			return badRequest(path, path+" must be an array")
		}
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
		for i := range items {
			if err := decodeValue(items[i], fmt.Sprintf("%s[%d]", path, i), v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil {
		return badRequest(path, path+" must be "+typeName(v.Type()))
	}
	return nil
}

func parseTime(raw json.RawMessage) (time.Time, bool) {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, text)
	return t.UTC(), err == nil && t.Year() >= 1970 && t.Year() <= 9000
}

// field is one member of a body or one query parameter.
type field struct{ reflect.StructField }

// fieldsOf lists the fields of a struct by the name in the tag, embedded ones too.
func fieldsOf(t reflect.Type, tag string) map[string]field {
	all := make(map[string]field, t.NumField())
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get(tag), ",")
		if name != "" && name != "-" && !f.Anonymous {
			all[name] = field{f}
		}
	}
	return all
}

// check holds a value to the tags of its field.
func (f *field) check(path string, v reflect.Value) error {
	value := v.Interface()
	if o, ok := value.(opt); ok {
		if v.FieldByName("Null").Bool() {
			if f.Tag.Get("null") == "no" {
				return badRequest(path, path+" must not be null")
			}
			return nil
		}
		value = o.value()
	}
	v = reflect.ValueOf(value)
	tag := f.Tag
	if list := tag.Get("enum"); list != "" {
		allowed := strings.Split(list, ",")
		texts := []string{fmt.Sprint(value)}
		if v.Kind() == reflect.Slice {
			texts, _ = value.([]string)
		}
		for _, text := range texts {
			if !slices.Contains(allowed, text) {
				return badRequest(path, path+" must be one of "+strings.Join(allowed, ", "))
			}
		}
	}
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		least, low := bound(tag.Get("min"))
		most, high := bound(tag.Get("max"))
		n := v.Int()
		if _, amount := value.(money.Amount); amount {
			if low && n < least {
				return badRequest(path, path+" must not be negative")
			}
			return nil
		}
		switch {
		case low && high && (n < least || n > most):
			return badRequest(path, fmt.Sprintf("%s must be between %d and %d", path, least, most))
		case low && n < least:
			return badRequest(path, fmt.Sprintf("%s must be at least %d", path, least))
		case high && n > most:
			return badRequest(path, fmt.Sprintf("%s must be at most %d", path, most))
		}
	case reflect.String:
		return checkLength(path, "characters", tag, utf8.RuneCountInString(v.String()))
	case reflect.Slice, reflect.Map:
		return checkLength(path, "entries", tag, v.Len())
	}
	return nil
}

func checkLength(path, what string, tag reflect.StructTag, n int) error {
	if least, ok := bound(tag.Get("minlen")); ok && int64(n) < least {
		if least == 1 {
			return badRequest(path, path+" must not be empty")
		}
		return badRequest(path, fmt.Sprintf("%s must have at least %d %s", path, least, what))
	}
	if most, ok := bound(tag.Get("maxlen")); ok && int64(n) > most {
		return badRequest(path, fmt.Sprintf("%s has more than %d %s", path, most, what))
	}
	return nil
}

func bound(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// decodeQuery reads the query parameters into q, a struct with query tags. A parameter
// that the route does not know, or one that is given twice, is refused: a filter that is
// silently ignored shows rows that were not asked for.
func decodeQuery(c *fiber.Ctx, q any) error {
	v := reflect.ValueOf(q).Elem()
	fields := fieldsOf(v.Type(), "query")
	for _, f := range fields {
		if text := f.Tag.Get("default"); text != "" {
			if err := parseParam("", text, v.FieldByIndex(f.Index)); err != nil {
				return fmt.Errorf("the default of a parameter: %w", err)
			}
		}
	}
	seen := make(map[string]bool, len(fields))
	for k, value := range c.Context().QueryArgs().All() {
		name, text := string(k), string(value)
		f, known := fields[name]
		if !known {
			return badRequest(clip(name, 64), fmt.Sprintf("unknown query parameter %q", clip(name, 64)))
		}
		if seen[name] {
			return badRequest(name, fmt.Sprintf("query parameter %q is given twice", name))
		}
		seen[name] = true
		if !utf8.ValidString(text) || strings.ContainsFunc(text, isControl) {
			return badRequest(name, name+" is no readable text")
		}
		to := v.FieldByIndex(f.Index)
		if text == "" && to.Kind() == reflect.String && f.Tag.Get("enum") == "" { // ?model= is no filter
			continue
		}
		if err := parseParam(name, text, to); err != nil {
			return err
		}
		if err := f.check(name, to); err != nil {
			return err
		}
	}
	for name, f := range fields {
		if f.Tag.Get("required") != "" && !seen[name] {
			return badRequest(name, fmt.Sprintf("the query parameter %q is missing", name))
		}
	}
	return nil
}

// Month is a query parameter of the form YYYY-MM: its first moment in UTC.
type Month struct{ time.Time }

func parseParam(name, text string, v reflect.Value) error {
	switch to := v.Addr().Interface().(type) {
	case *string:
		*to = text
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return badRequest(name, name+" must be an integer")
		}
		*to = n
	case *int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return badRequest(name, name+" must be an integer")
		}
		*to = n
	case *bool:
		if text != "true" && text != "false" {
			return badRequest(name, name+" must be true or false")
		}
		*to = text == "true"
	case *time.Time:
		layout := time.RFC3339
		if !strings.Contains(text, "T") {
			layout = time.DateOnly
		}
		t, err := time.Parse(layout, text)
		if err != nil || t.Year() < 2000 || t.Year() > 9000 {
			return badRequest(name, name+" must be a time like 2026-11-30T12:00:00Z or a date like 2026-11-30")
		}
		*to = t.UTC()
	case *Month:
		t, err := time.Parse("2006-01", text)
		if err != nil || t.Year() < 2000 || t.Year() > 9000 {
			return badRequest(name, name+" must be a month like 2026-11")
		}
		to.Time = t
	case *reqid.ID:
		id, err := reqid.Parse(text)
		if err != nil {
			if name == "cursor" {
				return errCursor
			}
			return badRequest(name, name+" is not a request id")
		}
		*to = id
	default:
		return errors.New("a query parameter has a type that cannot be read: " + v.Type().String())
	}
	return nil
}

var errCursor = badRequest("cursor", "cursor is not one that this endpoint gave")

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
