//go:build !race

package journal

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Faults are counted, of which the race detector takes its own.

// TestReadyForTheNext: records that come alone, each behind the sync of the one before, find
// their page ready though nobody has touched it for them.
func TestReadyForTheNext(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	j, _ := mustOpen(t, t.TempDir(), Options{MinFree: 1, SyncEvery: 2 * time.Millisecond})
	const n = 40
	for round := 1; ; round++ {
		var faults int64
		for i := range n {
			var before, after unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_THREAD, &before)
			if err := j.Append(record(i)); err != nil {
				t.Fatal(err)
			}
			_ = unix.Getrusage(unix.RUSAGE_THREAD, &after)
			faults += after.Minflt - before.Minflt
			// Touch does nothing while somebody is at the journal, also one who only asks: the page
			// comes first. One that was missed for that is a fault of the next record.
			last, end := uint64((round-1)*n+i+1), time.Now().Add(time.Second)
			for (!j.touched.Load() || j.Synced().Seq != last) && time.Now().Before(end) {
				time.Sleep(100 * time.Microsecond)
			}
		}
		t.Logf("%d faults of %d records", faults, n)
		if faults < n/2 {
			return
		}
		if round == 10 {
			t.Fatalf("%d faults of %d records", faults, n)
		}
	}
}
