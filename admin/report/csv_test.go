package report

import (
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"testing"
)

// H2: a text cell never begins like a formula.
func TestCSVText(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain": "plain", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "\rx": "'\rx", "a=b": "a=b",
	} {
		if got := CSVText(in); got != want {
			t.Errorf("CSVText(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCSVPages(t *testing.T) {
	pages := [][][]string{{{"1", `a "b"`}, {"2", "c,d"}}, {{"3", "e\nf"}}, nil}
	r, err := NewCSV([]string{"n", "text"}, func() ([][]string, error) {
		p := pages[0]
		pages = pages[1:]
		return p, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), "\r\n") {
		t.Error("lines do not end as RFC 4180 says")
	}
	rows, err := csv.NewReader(strings.NewReader(string(raw))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 4 || rows[1][1] != `a "b"` || rows[2][1] != "c,d" || rows[3][0] != "3" {
		t.Errorf("rows %q", rows)
	}
}

// A page that fails in the middle is an error of the reader, not a short file.
func TestCSVBreaksVisibly(t *testing.T) {
	broken := errors.New("database is away")
	calls := 0
	r, err := NewCSV([]string{"n"}, func() ([][]string, error) {
		if calls++; calls > 1 {
			return nil, broken
		}
		return [][]string{{"1"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, broken) {
		t.Errorf("the reader ended with %v, want the page's error", err)
	}
	if _, err := NewCSV(nil, func() ([][]string, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("the first page's error is %v", err)
	}
}
