package catalogfile

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxBytes is the largest catalogue that is read: about 50,000 models.
const MaxBytes = 16 << 20

var errTooLarge = fmt.Errorf("cannot read the catalogue: it is larger than %d bytes", MaxBytes)

// Error is a fault of a catalogue file at a line.
type Error struct {
	Line int    // from 1; 0 if the fault has no place
	Path string // such as models[3].price.input, "" for syntax
	Err  error
}

// Error reads "line 12: models[3].price.input: …".
func (e *Error) Error() string {
	s := e.Err.Error()
	if e.Path != "" {
		s = e.Path + ": " + s
	}
	if e.Line > 0 {
		s = "line " + strconv.Itoa(e.Line) + ": " + s
	}
	return s
}

// Unwrap returns the fault.
func (e *Error) Unwrap() error { return e.Err }

// Parse reads and checks a catalogue, YAML or JSON. The error joins every fault that
// was found, one line each, in the order of the file.
func Parse(data []byte) (*File, error) {
	if len(data) > MaxBytes {
		return nil, errTooLarge
	}
	if !utf8.Valid(data) {
		return nil, errors.New("cannot read the catalogue: it is not UTF-8")
	}
	if strings.HasPrefix(strings.TrimLeft(string(data), " \t\r\n"), "{") {
		// JSON may be indented with tabs, YAML may not. A raw tab cannot stand inside a
		// JSON string, so outside of strings is where all of them are.
		data = []byte(strings.ReplaceAll(string(data), "\t", " "))
	}
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) && syntax.GetToken() != nil {
			return nil, &Error{Line: syntax.GetToken().Position.Line, Err: errors.New(syntax.GetMessage())}
		}
		return nil, fmt.Errorf("cannot read the catalogue: %w", err)
	}
	d := &decoder{lines: map[string]int{}}
	f := new(File)
	switch docs := bodies(parsed); len(docs) {
	case 0:
		return nil, errors.New("cannot read the catalogue: it is empty")
	case 1:
		d.value(docs[0], reflect.ValueOf(f).Elem(), "")
	default:
		return nil, &Error{Line: docs[1].GetToken().Position.Line, Err: errors.New("a catalogue is one document, here a second one begins")}
	}
	if len(d.faults) == 0 {
		validate(f, d)
		f.Notes = d.notes
	}
	if len(d.faults) > 0 {
		return nil, errors.Join(d.faults...)
	}
	return f, nil
}

func bodies(f *ast.File) []ast.Node {
	var list []ast.Node
	for _, doc := range f.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			list = append(list, doc.Body)
		}
	}
	return list
}

// decoder fills a struct from a syntax tree and remembers the line of every path, so
// that later checks can name it too.
type decoder struct {
	lines  map[string]int
	faults []error
	notes  []string
}

// note keeps something that is legal and may not be meant.
func (d *decoder) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

func (d *decoder) fault(path, format string, args ...any) {
	line := 0
	// A missing field has no line of its own: what should hold it has.
	for at := path; ; {
		if n, ok := d.lines[at]; ok {
			line = n
			break
		}
		cut := strings.LastIndexAny(at, ".[")
		if cut < 0 {
			break
		}
		at = at[:cut]
	}
	if len(d.faults) < 50 { // enough to mend, few enough to read
		d.faults = append(d.faults, &Error{Line: line, Path: path, Err: fmt.Errorf(format, args...)})
	}
}

func (d *decoder) value(n ast.Node, to reflect.Value, path string) {
	if _, ok := d.lines[path]; !ok && n.GetToken() != nil {
		d.lines[path] = n.GetToken().Position.Line
	}
	if n.Type() == ast.NullType {
		d.fault(path, "has no value")
		return
	}
	switch to.Kind() {
	case reflect.Struct:
		d.structure(n, to, path)
	case reflect.Pointer:
		p := reflect.New(to.Type().Elem())
		d.value(n, p.Elem(), path)
		to.Set(p)
	case reflect.Slice:
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			d.fault(path, "must be a list")
			return
		}
		list := reflect.MakeSlice(to.Type(), len(seq.Values), len(seq.Values))
		for i, v := range seq.Values {
			d.value(v, list.Index(i), path+"["+strconv.Itoa(i)+"]")
		}
		to.Set(list)
	case reflect.Map:
		to.Set(reflect.MakeMap(to.Type()))
		d.pairs(n, path, func(key string, v ast.Node, at string) { d.entry(key, v, to, at) })
	case reflect.String:
		text, ok := scalar(n, to.Type() == reflect.TypeFor[Decimal]())
		if !ok {
			d.fault(path, "must be a text, in quotes if it looks like something else")
			return
		}
		to.SetString(text)
	case reflect.Int64:
		text, ok := scalar(n, true)
		number, err := strconv.ParseInt(text, 10, 64)
		if !ok || err != nil || number < 0 || n.Type() == ast.StringType {
			d.fault(path, "must be a whole number, 0 or more")
			return
		}
		to.SetInt(number)
	default:
		d.fault(path, "cannot be read")
	}
}

func (d *decoder) entry(key string, v ast.Node, m reflect.Value, path string) {
	value := reflect.New(m.Type().Elem()).Elem()
	d.value(v, value, path)
	m.SetMapIndex(reflect.ValueOf(key), value)
}

// structure fills a struct by its json tags; fields that are not there are a fault
// unless the struct has a map tagged catalog:"rest" that takes them.
func (d *decoder) structure(n ast.Node, to reflect.Value, path string) {
	fields := map[string]int{}
	rest := -1
	for i := range to.NumField() {
		tag := to.Type().Field(i).Tag
		if tag.Get("catalog") == "rest" {
			rest = i
			continue
		}
		name, _, _ := strings.Cut(tag.Get("json"), ",")
		fields[name] = i
	}
	d.pairs(n, path, func(key string, v ast.Node, at string) {
		switch i, ok := fields[key]; {
		case ok:
			d.value(v, to.Field(i), at)
		case rest >= 0:
			if to.Field(rest).IsNil() {
				to.Field(rest).Set(reflect.MakeMap(to.Field(rest).Type()))
			}
			d.entry(key, v, to.Field(rest), at)
		default:
			d.fault(at, "unknown field")
		}
	})
}

// pairs calls f for each key of a mapping, each once.
func (d *decoder) pairs(n ast.Node, path string, f func(key string, v ast.Node, at string)) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode: // a mapping of one key
		values = []*ast.MappingValueNode{m}
	default:
		d.fault(path, "must be a mapping of names to values")
		return
	}
	seen := map[string]bool{}
	for _, pair := range values {
		key, ok := scalar(pair.Key, true)
		if !ok {
			d.fault(path, "has a key that is not a plain name (anchors and merges are not supported)")
			continue
		}
		at := key
		if path != "" {
			at = path + "." + key
		}
		d.lines[at] = pair.Key.GetToken().Position.Line
		if seen[key] {
			d.fault(at, "stands twice")
			continue
		}
		seen[key] = true
		f(key, pair.Value, at)
	}
}

// scalar returns the text of a scalar exactly as it is written. Numbers are texts
// too where numbers says so.
func scalar(n ast.Node, numbers bool) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.LiteralNode:
		return s.Value.Value, true
	case *ast.IntegerNode:
		return s.Token.Value, numbers
	case *ast.FloatNode:
		return s.Token.Value, numbers
	}
	return "", false
}
