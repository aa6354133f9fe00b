//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// On says that this build can be killed at a point.
const On = true

// wanted is the point that FAILPOINT=K4:37 names; left is how often it is still passed.
var (
	wanted Point
	left   atomic.Int64
)

func init() {
	name, times, ok := strings.Cut(os.Getenv("FAILPOINT"), ":")
	if !ok {
		return
	}
	k, err := strconv.ParseUint(strings.TrimPrefix(name, "K"), 10, 8)
	n, err2 := strconv.ParseInt(times, 10, 64)
	if err != nil || err2 != nil || k == 0 || n <= 0 {
		panic("FAILPOINT: want a point and its number of hits, K4:37")
	}
	wanted = Point(k)
	left.Store(n)
}

// Hit kills the process if it is the time.
func Hit(p Point) {
	if p != wanted || left.Add(-1) != 0 {
		return
	}
	fmt.Fprintf(os.Stderr, "failpoint: killed at K%d\n", p)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
