package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"strings"
)

// CSVText guards a text cell: a spreadsheet would run one that begins like a
// formula (H2). Numbers are written by type and are never passed through here.
func CSVText(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// NewCSV returns a reader of a header line and all records of next's pages, made as
// they are read, so that a long report needs the memory of one page. next returns
// an empty page at the end. A page that fails is the reader's error: the download
// then breaks off visibly instead of ending short.
func NewCSV(header []string, next func() ([][]string, error)) (io.Reader, error) {
	r := &csvReader{next: next}
	// The first page is read now, so that a refusal can still be an error response.
	first, err := next()
	if err != nil {
		return nil, err
	}
	r.write([][]string{header})
	r.write(first)
	r.done = len(first) == 0
	return r, nil
}

type csvReader struct {
	buf  bytes.Buffer
	next func() ([][]string, error)
	done bool
}

// Read is io.Reader.
func (r *csvReader) Read(p []byte) (int, error) {
	for r.buf.Len() == 0 {
		if r.done {
			return 0, io.EOF
		}
		page, err := r.next()
		if err != nil {
			return 0, fmt.Errorf("cannot read the next page: %w", err)
		}
		r.done = len(page) == 0
		r.write(page)
	}
	return r.buf.Read(p)
}

func (r *csvReader) write(records [][]string) {
	w := csv.NewWriter(&r.buf)
	w.UseCRLF = true // RFC 4180
	for _, record := range records {
		_ = w.Write(record) // into memory, cannot fail
	}
	w.Flush()
}
