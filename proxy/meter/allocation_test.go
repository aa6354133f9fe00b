//go:build !race

package meter

import "testing"

func TestAllocations(t *testing.T) {
	var c Count
	var l Lexer
	text := []byte(`a "quoted\" text" \u4e2d 中文`)
	e := End{Source: 1, OutputBegan: true}
	if n := testing.AllocsPerRun(1000, func() {
		c.AddJSON(text)
		l.Count(&c, text)
		FamilyOpenAI.Tokens(&c)
		Final(&e)
		FamilyOf("claude-sonnet-4.5")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAddJSON(b *testing.B) {
	text := []byte(" some words of a delta")
	var c Count
	b.ReportAllocs()
	for b.Loop() {
		c.AddJSON(text)
	}
}
