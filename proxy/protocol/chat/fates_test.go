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
	for i := range Table {
		if Find(Table[i].From, Table[i].Path) != &Table[i] {
			t.Errorf("%s stands twice", Table[i].Path)
		}
	}
}
