package apptest

import (
	"testing"

	"tokenrelay/shared/catalogfile"
)

func TestCatalogueIsLegal(t *testing.T) {
	f, err := catalogfile.Parse([]byte(fill(TestCatalogue, "http://127.0.0.1:1234")))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Models) < 10 {
		t.Errorf("%d models", len(f.Models))
	}
}
