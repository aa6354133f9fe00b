//go:build !race

package bench

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tokenrelay/proxy/journal"
	"tokenrelay/proxy/proxytest"
)

// A disk that takes 100 ms for each sync is not seen in the times of requests: nobody waits
// for it (A9).
func TestSlowDiskIsNotSeen(t *testing.T) {
	url := fixedUpstream(t, []byte("}"), buffered())
	o := manyModels(url, 1)
	var slow atomic.Bool
	var syncs atomic.Int64
	o.Disk = &journal.Faults{Datasync: func(fd int) error {
		if slow.Load() {
			syncs.Add(1)
			time.Sleep(100 * time.Millisecond)
		}
		return unix.Fdatasync(fd)
	}}
	k := proxytest.New(t, o)
	w := dialWire(t, k.Addr, k.Token, warmBody, shown)
	ratio := pairs(t, w, "100 ms for each sync of the journal", func() func() {
		slow.Store(true)
		return func() { slow.Store(false) }
	})
	if syncs.Load() < 7 {
		t.Errorf("%d slow syncs", syncs.Load())
	}
	if ratio > 8 { // 100 ms are hundreds of times
		t.Errorf("p99 grows %.1f times", ratio)
	}
	k.AtRest(t)
}
