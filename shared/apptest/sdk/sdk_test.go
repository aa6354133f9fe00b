package sdk

import (
	"context"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tokenrelay/shared/apptest"
)

// TestSDK is every suite against one relay. S0-3, S2-7, S3-5, S3-7, S3-9, S3-16,
// S4-7, S4-22 and the typed error of each status.
// S2-14, S3-3, S3-6.
func TestSDK(t *testing.T) {
	t.Parallel() // with TestSchemathesis
	root, err := apptest.Root()
	if err != nil {
		t.Fatal(err)
	}
	sources(t, root)
	w := newWorld(t, wanted())
	x := &tools{root: root, cache: filepath.Join(root, ".cache")}
	for name, run := range map[string]func(*testing.T, *world, *tools){
		"python":    testPython,
		"node":      testNode,
		"node-next": testNodeNext,
		"go":        testGo,
		"go-alpha":  testGoAlpha,
		"bodies":    testBodies,
		"samples":   testSamples,
		"gemini":    testGemini,
		"dashscope": testDashScope,
		"docs":      testDocs,
		"replay":    testReplay,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, w, x)
		})
	}
	t.Cleanup(func() {
		// Whatever the suites did, the books agree.
		if t.Failed() {
			w.logUnserved(t)
		} else {
			w.Audit()
		}
	})
}

// logUnserved tells which calls of models that nobody broke were not served, and why,
// which the suites' programs do not know.
func (w *world) logUnserved(t *testing.T) {
	r, err := apptest.Fetch(context.Background(), w.AdminURLs[0],
		apptest.Request{Method: http.MethodGet, Path: "/admin/v1/calls.csv"}.With("Authorization", "Bearer "+w.OperatorToken))
	if err != nil || r.Status != http.StatusOK {
		t.Logf("the calls: %v %v", r, err)
		return
	}
	for line := range strings.Lines(string(r.Body)) {
		if !strings.Contains(line, ",success,") && !strings.Contains(line, "test-") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// wanted are the suites that -run lets through: the others need no customers.
func wanted() []string {
	for _, arg := range os.Args {
		pattern, ok := strings.CutPrefix(arg, "-test.run=")
		if !ok {
			continue
		}
		_, sub, ok := strings.Cut(pattern, "/")
		if !ok {
			continue
		}
		sub, _, _ = strings.Cut(sub, "/")
		re, err := regexp.Compile(sub)
		if err != nil {
			continue
		}
		if list := slices.DeleteFunc(slices.Clone(suites), func(s string) bool { return !re.MatchString(s) }); len(list) > 0 {
			return list
		}
	}
	return suites
}

// sources looks at every file that the programs and suites are made of. The go
// command notices that, and does not take an old result of this test for a new one
// when code has changed that the test does not import.
func sources(t *testing.T, root string) {
	t.Helper()
	for _, dir := range []string{"admin", "proxy", "shared", "loadtest"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			_, err = os.Stat(p)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
