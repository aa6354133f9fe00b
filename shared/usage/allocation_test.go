//go:build !race

package usage_test

import (
	"testing"

	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/usage"
)

// One own answer of each form, whole or its events.
func TestReadingAllocatesNothing(t *testing.T) {
	read := map[usage.Form]bool{}
	for _, p := range []place{{dir: "../apptest/fixtures/cases"}, {dir: "testdata/cases"}} {
		for _, c := range load(t, p) {
			form := formOf(t, c)
			parts := [][]byte{c.Body}
			if c.IsStream() {
				parts = events(c.Body)
			}
			read[form] = true
			var r usage.Reader
			if n := testing.AllocsPerRun(20, func() {
				r.Reset(form)
				for _, b := range parts {
					r.Whole(b)
				}
				_, _ = r.Units()
				_ = r.Notes()
				for i := range r.Others() {
					_, _ = r.Other(i)
				}
			}); n != 0 {
				t.Errorf("%s: %v allocations", c.ID, n)
			}
		}
	}
	for form := usage.FormChat; form <= usage.FormRerank; form++ {
		if !read[form] {
			t.Errorf("form %d was not read", form)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	list, err := fixtures.Load("testdata/cases")
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range list {
		if c.Stream {
			continue
		}
		b.Run(c.ID, func(b *testing.B) {
			var r usage.Reader
			form := formOf(b, c)
			b.ReportAllocs()
			b.SetBytes(int64(len(c.Body)))
			for b.Loop() {
				r.Reset(form)
				r.Whole(c.Body)
				_, _ = r.Units()
			}
		})
	}
}
