package chat

import (
	"bytes"
	"os"
	"testing"
)

func TestTranslationPageIsUpToDate(t *testing.T) {
	got, err := os.ReadFile("../../../docs/translation.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, AppendMarkdown(nil)) {
		t.Fatal("docs/translation.md is not what the table says: run go generate ./proxy/protocol/chat")
	}
}

func TestTableHasNoDoubles(t *testing.T) {
	type key struct {
		from Protocol
		path string
	}
	for to, rows := range append(Exceptions[:], Table) {
		seen := map[key]bool{}
		for _, r := range rows {
			if k := (key{r.From, r.Path}); seen[k] {
				t.Errorf("%s of %v stands twice (to %d)", r.Path, r.From, to)
			} else {
				seen[k] = true
			}
		}
	}
}

func TestExceptionsWin(t *testing.T) {
	defer func(old []Row) { Exceptions[Gemini] = old }(Exceptions[Gemini])
	Exceptions[Gemini] = []Row{{OpenAI, "seed", Mapped, ""}}
	if Find(OpenAI, Gemini, "seed").Fate != Mapped || Find(OpenAI, Messages, "seed").Fate != Dropped || Find(OpenAI, Gemini, "user").Fate != Mapped {
		t.Fatal("an exception must hold for its target only")
	}
}
