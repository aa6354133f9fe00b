package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
)

// document is an OpenAPI document with its schemas, ready to judge answers.
type document struct {
	raw      map[string]any
	compiler *jsonschema.Compiler

	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

// documents are the published ones: what every answer in this package is held to.
var documents = sync.OnceValue(func() map[audience]*document {
	out := map[audience]*document{}
	for _, who := range []audience{customer, operator} {
		raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(describe(Routes(), who, "Token Relay", "http://relay.example")))
		if err != nil {
			panic(err)
		}
		c := jsonschema.NewCompiler()
		c.DefaultDraft(jsonschema.Draft2020)
		c.AssertFormat()
		if err := c.AddResource("openapi.json", raw); err != nil {
			panic(err)
		}
		out[who] = &document{raw: raw.(map[string]any), compiler: c, compiled: map[string]*jsonschema.Schema{}}
	}
	return out
})

func (d *document) schema(pointer string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.compiled[pointer]; s != nil {
		return s, nil
	}
	s, err := d.compiler.Compile("openapi.json#" + pointer)
	if err == nil {
		d.compiled[pointer] = s
	}
	return s, err
}

// at follows a JSON pointer, and references on the way; nil if there is nothing.
func (d *document) at(pointer string) (any, string) {
	var v any = d.raw
	done := ""
	for _, part := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		m, _ := v.(map[string]any)
		name := strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		done += "/" + part
		if v = m[name]; v == nil {
			return nil, ""
		}
		if m, ok := v.(map[string]any); ok {
			if ref, ok := m["$ref"].(string); ok {
				v, done = d.at(strings.TrimPrefix(ref, "#"))
			}
		}
	}
	return v, done
}

// documented holds an answer to the document: its status is listed, its media type, and
// its body is what the schema says.
func documented(t *testing.T, req *http.Request, r *reply) {
	t.Helper()
	route := routeOf(req)
	if route == nil || route.audience == public {
		return
	}
	doc := documents()[route.audience]
	escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(templated(route.Path))
	media := "application~1json"
	if strings.HasPrefix(r.Header.Get("Content-Type"), "text/csv") {
		media = "text~1csv"
	}
	pointer := fmt.Sprintf("/paths/%s/%s/responses/%d", escaped, strings.ToLower(req.Method), r.Status)
	answer, at := doc.at(pointer)
	content, _ := doc.at(pointer + "/content/" + media)
	if answer == nil || content == nil {
		t.Errorf("%s %s: %d %s is not in the document", req.Method, req.URL, r.Status, r.Header.Get("Content-Type"))
		return
	}
	if media != "application~1json" {
		return
	}
	schema, err := doc.schema(at + "/content/" + url.PathEscape(media) + "/schema")
	if err != nil {
		t.Errorf("%s %s: %v", req.Method, req.URL, err)
		return
	}
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(r.Raw))
	if err != nil {
		t.Errorf("%s %s: %v", req.Method, req.URL, err)
		return
	}
	if err := schema.Validate(body); err != nil {
		t.Errorf("%s %s: %s is not what the document says: %v", req.Method, req.URL, r.Raw, err)
	}
}

var allRoutes = sync.OnceValue(Routes)

// routeOf finds the route that a request meets: literal segments win.
func routeOf(req *http.Request) *Route {
	var best *Route
	want := strings.Split(req.URL.EscapedPath(), "/")
	routes := allRoutes()
next:
	for i := range routes {
		r := &routes[i]
		have := strings.Split(r.Path, "/")
		if r.Method != req.Method || len(have) != len(want) {
			continue
		}
		for j := range have {
			if !strings.HasPrefix(have[j], ":") && have[j] != want[j] || strings.HasPrefix(have[j], ":") && want[j] == "" {
				continue next
			}
		}
		if best == nil || strings.Count(r.Path, ":") < strings.Count(best.Path, ":") {
			best = r
		}
	}
	return best
}

// Every route of the app is in one of the two documents and the other way round, and a
// document holds nothing of the other audience.
func TestOpenAPIListsExactlyTheRoutes(t *testing.T) {
	app := bare()
	mounted := map[string]bool{}
	for _, r := range app.GetRoutes(true) {
		if strings.HasPrefix(r.Path, "/v1/") {
			continue // OpenAI's, in its shapes: described by it
		}
		if r.Method != http.MethodHead && routeOf(&http.Request{Method: r.Method, URL: &url.URL{Path: r.Path}}).audience != public {
			mounted[r.Method+" "+templated(r.Path)] = true
		}
	}
	described, ids := map[string]bool{}, map[string]bool{}
	for who, doc := range documents() {
		for path, item := range doc.raw["paths"].(map[string]any) {
			if strings.HasPrefix(path, "/admin/v1") != (who == operator) {
				t.Errorf("%s is in the document of the wrong audience", path)
			}
			for method, op := range item.(map[string]any) {
				described[strings.ToUpper(method)+" "+path] = true
				id, _ := op.(map[string]any)["operationId"].(string)
				if ids[id] || id == "" {
					t.Errorf("%s %s: operationId %q", method, path, id)
				}
				ids[id] = true
			}
		}
	}
	for r := range mounted {
		if !described[r] && r != "GET /admin/v1/openapi.json" {
			t.Errorf("%s is mounted and not described", r)
		}
	}
	for r := range described {
		if !mounted[r] {
			t.Errorf("%s is described and not mounted", r)
		}
	}
}

// The documents are OpenAPI 3.1: every schema compiles, every example is valid by the
// schema beside it.
func TestOpenAPIExamples(t *testing.T) {
	for who, doc := range documents() {
		if doc.raw["openapi"] != "3.1.0" {
			t.Errorf("openapi %v", doc.raw["openapi"])
		}
		n := 0
		var walk func(v any, pointer string)
		walk = func(v any, pointer string) {
			m, ok := v.(map[string]any)
			if !ok {
				return
			}
			if _, has := m["schema"]; has {
				schema, err := doc.schema(pointer + "/schema")
				if err != nil {
					t.Errorf("%s: %v", pointer, err)
					return
				}
				if example, has := m["example"]; has {
					n++
					if err := schema.Validate(example); err != nil {
						t.Errorf("%s: the example %v: %v", pointer, example, err)
					}
				}
			}
			for name, inner := range m {
				next := pointer + "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
				if list, ok := inner.([]any); ok {
					for i, e := range list {
						walk(e, fmt.Sprintf("%s/%d", next, i))
					}
					continue
				}
				walk(inner, next)
			}
		}
		walk(doc.raw["paths"], "/paths")
		walk(doc.raw["components"], "/components")
		if n < 20 {
			t.Errorf("audience %d: only %d examples", who, n)
		}
	}
}

// What the document gives as a request is what the decoder takes.
func TestOpenAPIRequestExamplesDecode(t *testing.T) {
	for _, r := range Routes() {
		if r.Request == nil || r.audience == public { // the console's own are not published
			continue
		}
		doc := documents()[r.audience]
		escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(templated(r.Path))
		example, _ := doc.at(fmt.Sprintf("/paths/%s/%s/requestBody/content/application~1json/example", escaped, strings.ToLower(r.Method)))
		body, err := json.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		if err := decode(body, reflect.New(r.Request).Interface()); err != nil {
			t.Errorf("%s %s: %s: %v", r.Method, r.Path, body, err)
		}
	}
}

// H7, G-26, S1-B7: no type that a customer's answer is made of can carry what is the
// supplier's or the operator's: neither by the name of a member, at any depth, nor by
// being a row of the books. Sums and lists cannot show what their types have no place for.
func TestCustomerTypesCannotCarrySupplierDataH7(t *testing.T) {
	denied := []string{"cost", "margin", "supplier", "provider", "upstream", "route", "price_id", "rule_id", "lease", "escrow", "wallet", "digest", "secret", "overrun", "multiplier", "ppm", "slot", "proxy", "sealed", "password"}
	// Members that hold such a word and are the customer's own.
	own := map[string]bool{"secret_set": true} // that the webhook of their own has one
	var walk func(t *testing.T, where string, typ reflect.Type, seen map[reflect.Type]bool)
	walk = func(t *testing.T, where string, typ reflect.Type, seen map[reflect.Type]bool) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() == reflect.Interface {
			t.Errorf("%s: an interface can carry anything", where)
		}
		switch typ {
		case reflect.TypeFor[time.Time](), reflect.TypeFor[reqid.ID](), reflect.TypeFor[apierr.Code]():
			return
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		if strings.HasSuffix(typ.PkgPath(), "shared/store") || strings.HasSuffix(typ.PkgPath(), "shared/usage") {
			t.Errorf("%s is %s, a row of the books", where, typ)
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" && !f.Anonymous {
				t.Errorf("%s.%s has no name in JSON", where, f.Name)
			}
			for _, word := range denied {
				if strings.Contains(name, word) && !own[name] {
					t.Errorf("%s.%s: a customer's answer has no %s", where, name, word)
				}
			}
			walk(t, where+"."+name, f.Type, seen)
		}
	}
	n := 0
	for _, r := range Routes() {
		if r.audience == customer && r.Response != nil {
			n++
			walk(t, r.Method+" "+r.Path, r.Response, map[reflect.Type]bool{})
		}
	}
	if n < 15 {
		t.Errorf("only %d routes were looked at", n)
	}
}
