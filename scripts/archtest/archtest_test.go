package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "tokenrelay"

// file is one parsed Go file of the module.
type file struct {
	path string // from the root, with slashes
	dir  string
	test bool
	ast  *ast.File
	fset *token.FileSet
}

func (f *file) at(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

const root = "../.."

// files parses every Go file of the module, nested modules left out.
func files(t *testing.T) []*file {
	t.Helper()
	var list []*file
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(p, root), string(filepath.Separator)))
		if d.IsDir() {
			name := d.Name()
			if rel != "" && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || rel == "bin") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil && rel != "" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		list = append(list, &file{path: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), ast: parsed, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 20 {
		t.Fatalf("found only %d Go files: is the root right?", len(list))
	}
	return list
}

func imports(f *file) map[string]*ast.ImportSpec {
	m := map[string]*ast.ImportSpec{}
	for _, spec := range f.ast.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			m[p] = spec
		}
	}
	return m
}

func under(dir, parent string) bool { return dir == parent || strings.HasPrefix(dir, parent+"/") }

// sides are the parts of the program and what of it each may import.
var sides = []struct {
	dir string
	may []string
	why string
}{
	{"shared", []string{"shared"}, "shared is what both processes stand on: if it knew one of them, the other would carry it"},
	{"proxy", []string{"proxy", "shared"}, "the data plane and the control plane scale, fail and are deployed apart; they meet in Postgres"},
	{"admin", []string{"admin", "shared"}, "the data plane and the control plane scale, fail and are deployed apart; they meet in Postgres"},
	{"loadtest", []string{"loadtest", "shared"}, "a load generator that shares code with what it measures shares its mistakes"},
	{"scripts", []string{"scripts", "shared"}, "the launcher starts binaries, it does not contain them"},
	{"bench", []string{"bench", "proxy", "shared"}, "benchmarks drive the proxy's own packages"},
}

func TestSides(t *testing.T) {
	for _, f := range files(t) {
		for p, spec := range imports(f) {
			if p != module && !strings.HasPrefix(p, module+"/") {
				continue
			}
			target := strings.TrimPrefix(p, module+"/")
			for _, side := range sides {
				if !under(f.dir, side.dir) {
					continue
				}
				if !slices.ContainsFunc(side.may, func(m string) bool { return under(target, m) }) {
					t.Errorf("%s imports %s: %s", f.at(spec), p, side.why)
				}
			}
		}
	}
}

// doors are libraries that only some folders may open.
var doors = []struct {
	library string // the import path or its beginning
	only    []string
	why     string
	tests   []string // folders whose tests may, too
}{
	{"github.com/jackc/", []string{"shared/store"}, "all SQL is in one place, where its locks, timeouts and transactions are decided", nil},
	{"database/sql", []string{"shared/store", "shared/money"}, "all SQL is in one place; money only implements the driver's interfaces", nil},
	{"github.com/dgraph-io/ristretto", []string{"proxy/catalog", "proxy/respcache"}, "it may drop any Set and revive a deleted entry (D5): only code that re-checks what it gets may use it", nil},
	{"github.com/valyala/fasthttp", []string{"proxy", "bench", "loadtest", "shared/apptest/mockllm"}, "the control plane and the shared packages stay free of the data plane's HTTP", []string{"admin"}},
	{"github.com/gofiber/", []string{"admin"}, "the data plane stays free of the control plane's HTTP", nil},
	{"github.com/goccy/go-yaml", []string{"shared/catalogfile"}, "the catalogue is the only YAML, and its parser adds strictness and lines", nil},
	{"github.com/fergusstrange/embedded-postgres", []string{"shared/embedpg"}, "binaries are fetched in one place", nil},
	{"github.com/aws/", []string{"shared/aws"}, "signatures and frames are Amazon's own affair: one package asks its libraries", nil},
	{"golang.org/x/oauth2", []string{"shared/vertex"}, "how Google wants to be asked for access is its library's affair, behind one package", nil},
	{"tokenrelay/shared/store/db", []string{"shared/store"}, "generated queries are wrapped before anyone calls them", nil},
	{"tokenrelay/proxy/relay", []string{"proxy", "proxy/relay", "proxy/server", "proxy/simtest", "proxy/proxytest", "bench"}, "stages are called by the line of a request, they do not call it", nil},
	{"tokenrelay/proxy/server", []string{"proxy", "proxy/server", "proxy/simtest", "proxy/proxytest", "bench"}, "the server is the outermost part of the proxy", nil},
	{"unsafe", []string{"proxy", "bench", "shared/apptest/mockllm"}, "where it is needed at all, a benchmark asked for it", nil},
}

// exact folders: these door entries mean the folder itself, not what is below it.
var exact = map[string]bool{"tokenrelay/proxy/relay": true, "tokenrelay/proxy/server": true}

func TestDoors(t *testing.T) {
	for _, f := range files(t) {
		for p, spec := range imports(f) {
			for _, door := range doors {
				library := strings.TrimSuffix(door.library, "/")
				if !under(p, library) {
					continue
				}
				folders := door.only
				if f.test {
					folders = append(slices.Clone(folders), door.tests...)
				}
				allowed := slices.ContainsFunc(folders, func(dir string) bool {
					if exact[door.library] {
						return f.dir == dir
					}
					return under(f.dir, dir)
				})
				if !allowed {
					t.Errorf("%s imports %s: %s", f.at(spec), p, door.why)
				}
			}
		}
	}
}

// pure packages compute and do nothing else: no SQL, no HTTP, no files, no clock of
// their own to wait on.
var (
	pure      = []string{"shared/money", "shared/usage", "shared/price", "shared/apikey", "shared/apierr", "shared/ledger", "shared/peek", "proxy/sse", "proxy/meter"}
	impureLib = []string{"net", "net/http", "os", "os/exec", "io/fs", "database/sql", "log/slog", "github.com/valyala/fasthttp", "github.com/gofiber/fiber/v2", "tokenrelay/shared/store"}
)

func TestPurePackages(t *testing.T) {
	for _, f := range files(t) {
		if f.test || !slices.Contains(pure, f.dir) {
			continue
		}
		for p, spec := range imports(f) {
			if slices.Contains(impureLib, p) {
				t.Errorf("%s imports %s: %s is pure, so that holds, charges, previews and audits can all call it and get the same", f.at(spec), p, f.dir)
			}
		}
	}
}

// Each package says once why it is there.
func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	for _, f := range files(t) {
		if f.test || ast.IsGenerated(f.ast) && f.dir == "shared/store/db" {
			continue
		}
		if _, ok := comments[f.dir]; !ok {
			comments[f.dir] = nil
		}
		if f.ast.Doc != nil && strings.TrimSpace(f.ast.Doc.Text()) != "" {
			comments[f.dir] = append(comments[f.dir], f.path)
		}
	}
	for dir, where := range comments {
		switch len(where) {
		case 0:
			t.Errorf("%s has no package comment: say in one sentence why it exists", dir)
		case 1:
		default:
			t.Errorf("%s has %d package comments (%s): the reason for a package stands in one place", dir, len(where), strings.Join(where, ", "))
		}
	}
}

// A package name stands for one thing in the whole module, and is its folder's name.
func TestPackageNames(t *testing.T) {
	dirs := map[string]string{}
	for _, f := range files(t) {
		name := f.ast.Name.Name
		if f.test {
			name = strings.TrimSuffix(name, "_test")
		}
		if name == "main" {
			continue
		}
		if name != path.Base(f.dir) {
			t.Errorf("%s is package %s in folder %s: a reader looks for it under its name", f.path, name, path.Base(f.dir))
		}
		if other, ok := dirs[name]; ok && other != f.dir {
			t.Errorf("package %s is in %s and in %s: one name, one thing", name, other, f.dir)
		}
		dirs[name] = f.dir
	}
}

// The top level is fixed, so that a stranger finds the two processes at once.
func TestTopLevel(t *testing.T) {
	allowed := strings.Fields("proxy admin shared bench loadtest scripts docs go.mod go.sum Makefile README.md LICENSE CHANGELOG.md SECURITY.md CONTRIBUTING.md")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.Name() == "bin" {
			continue
		}
		if !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s is at the top level, which is fixed: put it under one of its folders", e.Name())
		}
	}
}

// Nothing is skipped silently: a test that cannot run fails.
func TestNoSkippedTests(t *testing.T) {
	for _, f := range files(t) {
		if !f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if on, ok := sel.X.(*ast.Ident); ok && len(on.Name) <= 2 && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
				t.Errorf("%s skips: a test that needs something says so by failing", f.at(call))
			}
			return true
		})
	}
}

// Every module that the code imports has a line that says why it is there.
func TestDependenciesHaveReasons(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/decisions/dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, m := range regexp.MustCompile(`(?m)^\s+(\S+\.\S+/\S+|\S+\.\S+) v\S+`).FindAllStringSubmatch(string(mod), -1) {
		modules = append(modules, m[1])
	}
	used := map[string]string{}
	for _, f := range files(t) {
		for p := range imports(f) {
			for _, m := range modules {
				if under(p, m) {
					used[m] = f.path
				}
			}
		}
	}
	for m, where := range used {
		if !strings.Contains(string(page), "`"+m+"`") {
			t.Errorf("%s is imported by %s and has no line in docs/decisions/dependencies.md: a dependency is a decision", m, where)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(string(page), -1) {
		if _, ok := used[m[1]]; !ok && slices.Contains(modules, m[1]) {
			t.Errorf("%s has a line in docs/decisions/dependencies.md and nothing imports it", m[1])
		}
	}
}

// TestMigrationNumbers: migrations run in the order of their numbers, one after the
// other, so two must not have the same and none may be left out.
func TestMigrationNumbers(t *testing.T) {
	list, err := filepath.Glob(filepath.Join(root, "shared/store/migrations/*.sql"))
	if err != nil || len(list) == 0 {
		t.Fatal("no migrations found", err)
	}
	slices.Sort(list)
	for i, p := range list {
		number, _, _ := strings.Cut(filepath.Base(p), "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 || len(number) != 4 {
			t.Errorf("%s is migration %d in order: give it that number", filepath.Base(p), i+1)
		}
	}
}
