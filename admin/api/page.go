package api

import (
	"strconv"

	"tokenrelay/shared/reqid"
)

// page is the query parameters of a list by row.
type page struct {
	Cursor string `query:"cursor" doc:"next_cursor of the page before" maxlen:"128"`
	Limit  int    `query:"limit" doc:"rows of a page" min:"1" max:"200" default:"50"`
}

// row is a cursor that is a row's number, 0 for the first page.
func (p *page) row() (int64, error) {
	if p.Cursor == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(p.Cursor, 10, 64)
	if err != nil || n <= 0 {
		return 0, errCursor
	}
	return n, nil
}

// rowCursor is the cursor of a row, nil for 0: there is no next page.
func rowCursor(n int64) *string {
	if n == 0 {
		return nil
	}
	text := strconv.FormatInt(n, 10)
	return &text
}

// cut makes a page of rows, of which one more than limit was asked for. next is the
// cursor of what follows, nil where nothing does; id is a row's number.
func cut[T any](rows []T, limit int, id func(*T) int64) (page []T, next *string) {
	if len(rows) <= limit {
		return rows, nil
	}
	return rows[:limit], rowCursor(id(&rows[limit-1]))
}

// requestPage is the query parameters of a list by request, newest first.
type requestPage struct {
	Cursor reqid.ID `query:"cursor" doc:"next_cursor of the page before"`
	Limit  int      `query:"limit" doc:"rows of a page" min:"1" max:"200" default:"50"`
}

// cursorOrNil is the text of a cursor, nil for "": there is no next page.
func cursorOrNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
