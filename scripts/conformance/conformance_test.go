package conformance

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// counts is how many promises each document makes, and how they are numbered.
var counts = map[string]int{"S0-": 21, "S1-B": 15, "S1-": 57, "S2-": 17, "S3-": 19, "S4-": 23}

// Every promise stands once in the list, and none is left out.
func TestEveryPromiseIsListed(t *testing.T) {
	want := map[string]bool{}
	for document, n := range counts {
		for i := range n {
			if document == "S1-" {
				want[fmt.Sprintf("S1-%02d", i+1)] = true
			} else {
				want[fmt.Sprintf("%s%d", document, i+1)] = true
			}
		}
	}
	for _, p := range promises(t) {
		if !want[p.id] {
			t.Errorf("%s is no promise, or stands twice", p.id)
		}
		delete(want, p.id)
		if p.says == "" || len(p.proofs) == 0 {
			t.Errorf("%s says nothing, or nothing proves it", p.id)
		}
	}
	for _, missing := range slices.Sorted(maps.Keys(want)) {
		t.Errorf("%s is not in the list", missing)
	}
}

// Each named test is there, is run, and speaks of the promise: in its name, its comment,
// its body or a table that it reads.
func TestEveryPromiseIsProved(t *testing.T) {
	folders, pages := map[string]*source{}, map[string]string{}
	for _, p := range promises(t) {
		for _, proof := range p.proofs {
			where := p.id + ": " + proof.file + "#" + proof.name
			if strings.HasSuffix(proof.file, ".spec.ts") {
				if pages[proof.file] == "" {
					b, err := os.ReadFile(filepath.Join(root, proof.file))
					if err != nil {
						t.Errorf("%s: %v", where, err)
						continue
					}
					pages[proof.file] = string(b)
				}
				title := regexp.MustCompile(`(?m)^\s*test\('(`+regexp.QuoteMeta(proof.name)+`[^']*)'`).FindAllStringSubmatch(pages[proof.file], -1)
				switch {
				case len(title) != 1:
					t.Errorf("%s: %d such titles", where, len(title))
				case !mentioned(title[0][1])[p.id]:
					t.Errorf("%s: the title does not speak of it", where)
				}
				continue
			}
			dir, file := filepath.Split(proof.file)
			s := folders[dir]
			if s == nil {
				s = readDir(t, dir)
				folders[dir] = s
			}
			fn, in := s.function(proof.name)
			switch {
			case fn == nil || in != file:
				t.Errorf("%s: there is no such test", where)
			case !s.runs(proof.name):
				t.Errorf("%s: nothing runs it", where)
			case !s.speaks(fn, in)[p.id]:
				t.Errorf("%s: the test does not speak of it", where)
			}
		}
	}
}

// What the checks above are made of can fail.
func TestMentions(t *testing.T) {
	ids := mentioned("S1-05 … S1-07, S0-14 and S1-B3; not S1-B30 …, xS2-1, nor S4-1a")
	if want := []string{"S0-14", "S1-05", "S1-06", "S1-07", "S1-B3", "S1-B30"}; !slices.Equal(slices.Sorted(maps.Keys(ids)), want) {
		t.Errorf("%v", ids)
	}
	if ids := ofName("TestCopyAndRotateS140S141"); len(ids) != 2 || !ids["S1-40"] || !ids["S1-41"] {
		t.Errorf("%v", ids)
	}
	s := readDir(t, "scripts/conformance")
	fn, file := s.function("TestMentions")
	if fn == nil || !s.runs("promises") || s.runs("nothing") || !s.speaks(fn, file)["S1-06"] {
		t.Error("this file is not read as it is")
	}
	if fn, file := s.function("TestPage"); fn == nil || len(s.speaks(fn, file)) != 0 {
		t.Error("a test speaks of a promise that it does not name")
	}
}

var write = flag.Bool("write", false, "write the page")

// The page is what the list says.
func TestPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Conformance\n\nGenerated from scripts/conformance/promises.txt by `make gen`; do not edit. Five public documents say what a relay like this\n" +
		"one promises (S0 to S4); each promise has the tests that prove it. `go test ./scripts/conformance` sees to it that they are there.\n")
	document := ""
	for _, p := range promises(t) {
		if p.id[:2] != document {
			document = p.id[:2]
			b.WriteString("\n## " + document + "\n\n| id | promise | proved by |\n| --- | --- | --- |\n")
		}
		var proofs []string
		for _, proof := range p.proofs {
			proofs = append(proofs, fmt.Sprintf("[%s](../%s)", proof.name, proof.file))
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p.id, p.says, strings.Join(proofs, "<br>"))
	}
	path := filepath.Join(root, "docs/conformance.md")
	if *write {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if page, err := os.ReadFile(path); err != nil || string(page) != b.String() {
		t.Errorf("docs/conformance.md is not current, make gen writes it (%v)", err)
	}
}
