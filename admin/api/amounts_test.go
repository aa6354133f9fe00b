package api

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"tokenrelay/shared/money"
)

// Amounts that no field takes, and numbers that no count takes.
var (
	badAmounts = []string{
		`"abc"`, `""`, `" 1"`, `"1,5"`, `"1e3"`, `"+1"`, `"--1"`, `"0x10"`, `"1."`, `".5"`, `"0.0000000001"`, `"NaN"`, `"Infinity"`,
		`"99999999999999999999"`, `"9223372036.854775808"`, `"-9223372036.854775809"`, `true`, `{}`, `[]`, `["1"]`,
	}
	badCounts = []string{`1.5`, `"5"`, `1e400`, `9223372036854775808`, `-9223372036854775809`, `true`, `{}`, `[]`, `""`}
)

// mayBeNegative are the fields that take money out too.
var mayBeNegative = map[string]bool{
	"POST /admin/v1/clients/:client_id/credit amount":  true,
	"POST /admin/v1/clients/:client_id/entries amount": true, // a correction
}

// companions are the members without which a route does not look at the others.
var companions = map[string]string{
	"POST /admin/v1/clients":                     `"name":"Other"`,
	"POST /admin/v1/clients/:client_id/api-keys": `"name":"other"`,
	"POST /admin/v1/models":                      `"id":"other"`,
	"POST /admin/v1/groups":                      `"name":"other"`,
	"POST /admin/v1/vouchers":                    `"amount":"1"`,
	"POST /admin/v1/models/:model/price":         `"price":{"input":"1","output":"1"}`,
}

// TestBadAmounts: negative, overflowing and non-integer amounts, prices, multipliers and
// caps are refused by every route that takes one, which names the field. The routes and
// their fields come from the table.
func TestBadAmounts(t *testing.T) {
	w := newWorld(t)
	n := w.tenant("Acme", "", 10*money.USD)
	params := regexp.MustCompile(`:([a-z_]+)`)
	fields, tried := 0, 0
	for _, r := range Routes() {
		if r.Request == nil || r.audience == public {
			continue
		}
		path := params.ReplaceAllStringFunc(r.Path, func(p string) string {
			switch p {
			case ":client_id":
				return n.Name
			case ":api_key_id":
				return n.key.PublicID
			case ":model":
				return "alpha"
			case ":group":
				return "default"
			}
			return "x"
		})
		try := func(name, value string) {
			t.Helper()
			tried++
			more := companions[r.Method+" "+r.Path]
			if strings.HasPrefix(more, `"`+name+`"`) || more != "" && strings.Contains(name, ".") {
				more = ""
			}
			if more != "" {
				more += ","
			}
			body := `{` + more + `"` + strings.ReplaceAll(name, ".", `":{"`) + `":` + value + strings.Repeat("}", 1+strings.Count(name, "."))
			token := n.token
			if r.audience == operator {
				token = operatorToken
			}
			x := send(t, w.app, r.Method, path, token, body)
			if x.Status != 400 || !strings.Contains(*x.Body.Message, name) {
				t.Errorf("%s %s with %s: %d %s", r.Method, r.Path, body, x.Status, x.Raw)
			}
		}
		walkFields(r.Request, "", func(name string, typ reflect.Type) {
			switch {
			case typ == reflect.TypeFor[money.Amount]():
				fields++
				for _, bad := range badAmounts {
					try(name, bad)
				}
				if !mayBeNegative[r.Method+" "+r.Path+" "+name] {
					try(name, `"-1"`)
					try(name, `"-0.000000001"`)
				}
			case typ.Kind() == reflect.Int || typ.Kind() == reflect.Int64 || typ.Kind() == reflect.Int32:
				fields++
				for _, bad := range badCounts {
					try(name, bad)
				}
				try(name, `-1`)
			case strings.HasSuffix(name, "multiplier"):
				fields++
				for _, bad := range []string{`"-1"`, `"abc"`, `"1e3"`, `"0.0000001"`, `"1001"`, `"99999999999999999999"`, `1.5`, `true`} {
					try(name, bad)
				}
			}
		})
	}
	t.Logf("%d fields, %d bad values", fields, tried)
	if fields < 15 {
		t.Errorf("only %d fields", fields)
	}
	w.audit()
}

// walkFields calls f for every member of a request body, also inside objects.
func walkFields(typ reflect.Type, path string, f func(name string, typ reflect.Type)) {
	for name, field := range fieldsOf(typ, "json") {
		t := field.Type
		if o, ok := reflect.New(t).Interface().(optTo); ok {
			t = reflect.TypeOf(o.set(false)).Elem()
		}
		if t.Kind() == reflect.Struct && t.PkgPath() != "time" {
			walkFields(t, path+name+".", f)
			continue
		}
		f(path+name, t)
	}
}
