package report

import (
	"strconv"
	"strings"
)

// ClientID is a client's row id as it is shown.
func ClientID(id int64) string { return "client_" + strconv.FormatInt(id, 10) }

// ParseClientID undoes ClientID.
func ParseClientID(text string) (int64, bool) {
	digits, ok := strings.CutPrefix(text, "client_")
	id, err := strconv.ParseInt(digits, 10, 64)
	return id, ok && err == nil && id > 0 && ClientID(id) == text
}
