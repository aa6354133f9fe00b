package live

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// A refused request is never counted, not even for a moment: the exchange of limits
// tells Running to Postgres as a fact and is granted what it told, so that a count
// that will be taken back made a place out of nothing.
func TestRefusedIsNeverCounted(t *testing.T) {
	const held, tries = 3, 20_000
	for name, enter := range map[string]func(p *Places, u *Use) bool{
		"places": func(p *Places, u *Use) bool { return p.Enter(u, 10) },
		"alone":  func(_ *Places, u *Use) bool { return u.Enter(held) },
	} {
		t.Run(name, func(t *testing.T) {
			var u Use
			var p Places
			p.Hold(held, &u)
			var stop atomic.Bool
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for range tries {
						if enter(&p, &u) {
							runtime.Gosched()
							u.Leave()
						}
					}
				})
			}
			var watcher sync.WaitGroup
			most := int64(0)
			watcher.Go(func() {
				for !stop.Load() {
					most = max(most, u.Running())
				}
			})
			all.Wait()
			stop.Store(true)
			watcher.Wait()
			if most > held || u.Running() != 0 {
				t.Fatalf("%d counted with %d places; %d at the end", most, held, u.Running())
			}
		})
	}
}
