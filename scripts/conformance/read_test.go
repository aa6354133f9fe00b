package conformance

import (
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

//go:embed promises.txt
var list string

// promise is one line of the list.
type promise struct {
	id, says string
	proofs   []proof
}

// proof is one test: of Go by its function, of the console by the beginning of its title.
type proof struct{ file, name string }

// promises reads the list.
func promises(t *testing.T) []promise {
	t.Helper()
	var all []promise
	for i, line := range strings.Split(list, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 3 {
			t.Fatalf("promises.txt:%d has %d columns: %s", i+1, len(parts), line)
		}
		p := promise{id: parts[0], says: parts[1]}
		// A title may have a comma: what has no file belongs to the one before.
		for _, text := range strings.Split(parts[2], ", ") {
			file, name, ok := strings.Cut(text, "#")
			if !ok && len(p.proofs) > 0 {
				p.proofs[len(p.proofs)-1].name += ", " + text
				continue
			}
			p.proofs = append(p.proofs, proof{file, name})
		}
		all = append(all, p)
	}
	return all
}

var (
	mention = regexp.MustCompile(`\bS([0-4])-(B?)([0-9]+)\b`)
	through = regexp.MustCompile(`\bS([0-4])-(B?)([0-9]+) … S([0-4])-(B?)([0-9]+)\b`)
	named   = regexp.MustCompile(`S([0-4])_?([0-9]{1,2})`)
)

func id(document, kind, number string) string {
	n, _ := strconv.Atoi(number)
	if document == "1" && kind == "" {
		return fmt.Sprintf("S1-%02d", n)
	}
	return fmt.Sprintf("S%s-%s%d", document, kind, n)
}

// mentioned are the ids in a text, those between the ends of "S1-05 … S1-07" too.
func mentioned(text string) map[string]bool {
	ids := map[string]bool{}
	for _, m := range mention.FindAllStringSubmatch(text, -1) {
		ids[id(m[1], m[2], m[3])] = true
	}
	for _, m := range through.FindAllStringSubmatch(text, -1) {
		first, _ := strconv.Atoi(m[3])
		last, _ := strconv.Atoi(m[6])
		for n := first; n <= last && m[1] == m[4] && m[2] == m[5]; n++ {
			ids[id(m[1], m[2], strconv.Itoa(n))] = true
		}
	}
	return ids
}

// ofName are the ids in a function's name, as in TestCopyAndRotateS140S141: those of S1 have
// two digits, which other documents' may have too.
func ofName(name string) map[string]bool {
	ids := map[string]bool{}
	for _, m := range named.FindAllStringSubmatch(name, -1) {
		ids[id(m[1], "", m[2])] = true
	}
	return ids
}

// source is one folder's Go tests.
type source struct {
	fset  *token.FileSet
	files map[string]*ast.File
	text  map[string]string
}

func readDir(t *testing.T, dir string) *source {
	t.Helper()
	s := &source{fset: token.NewFileSet(), files: map[string]*ast.File{}, text: map[string]string{}}
	paths, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(s.fset, p, b, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		s.files[filepath.Base(p)], s.text[filepath.Base(p)] = f, string(b)
	}
	return s
}

func (s *source) span(file string, from, to token.Pos) string {
	return s.text[file][s.fset.Position(from).Offset:s.fset.Position(to).Offset]
}

// function finds a function by its name, and its file.
func (s *source) function(name string) (*ast.FuncDecl, string) {
	for file, f := range s.files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == name {
				return fn, file
			}
		}
	}
	return nil, ""
}

// runs tells whether go test runs a function: a test, or what a test of the same package
// names, as a part of itself.
func (s *source) runs(name string) bool {
	if strings.HasPrefix(name, "Test") {
		return true
	}
	for _, f := range s.files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && strings.HasPrefix(fn.Name.Name, "Test") && uses(fn)[name] {
				return true
			}
		}
	}
	return false
}

// uses are the names that a function speaks of.
func uses(fn *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(fn, func(n ast.Node) bool {
		if ident, ok := n.(*ast.Ident); ok {
			names[ident.Name] = true
		}
		return true
	})
	return names
}

// speaks are the ids that a function's name, comment, body and tables mention.
func (s *source) speaks(fn *ast.FuncDecl, file string) map[string]bool {
	from := fn.Pos()
	if fn.Doc != nil {
		from = fn.Doc.Pos()
	}
	ids := mentioned(s.span(file, from, fn.End()))
	for one := range ofName(fn.Name.Name) {
		ids[one] = true
	}
	names := uses(fn)
	for _, d := range s.files[file].Decls {
		table, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range table.Specs {
			value, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			for _, name := range value.Names {
				if names[name.Name] {
					for one := range mentioned(s.span(file, value.Pos(), value.End())) {
						ids[one] = true
					}
				}
			}
		}
	}
	return ids
}
