//go:build !race

package reqid

import (
	"testing"
	"time"
)

func TestNewAndAppendAllocateNothing(t *testing.T) {
	now, buf := time.Now(), make([]byte, 0, 64)
	var id ID
	if n := testing.AllocsPerRun(1000, func() {
		id = New(now)
		buf = id.AppendTo(buf[:0])
		_, _ = Parse(buf)
		_ = id.Month()
	}); n != 0 {
		t.Errorf("%v allocations for an id", n)
	}
}
