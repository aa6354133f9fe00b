package manage

import (
	"net/mail"
	"strings"
	"time"
	_ "time/tzdata" // a bare machine has no time zones, and a profile names one
)

// isEmail accepts a bare address, no display name and no comment.
func isEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && strings.Contains(s, "@") && len(s) <= 254
}

func isCountry(s string) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

func isTimezone(s string) bool {
	_, err := time.LoadLocation(s)
	return err == nil && s != "Local"
}
