// Package obs is what a running process shows of itself: log lines, metrics,
// readiness, profiles, and the panic that names a broken invariant.
package obs

import "fmt"

// Bug panics with "BUG: " and the broken invariant. It is for what cannot happen
// unless the program is wrong; faults of the world are errors.
func Bug(format string, args ...any) {
	panic("BUG: " + fmt.Sprintf(format, args...))
}
