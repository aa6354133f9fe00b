//go:build !failpoint

package failpoint

// On says that this build can be killed at a point.
const On = false

// Hit kills the process if it is the time.
func Hit(Point) {}
