package catalog

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/shared/apierr"
)

// G5, ruling 3.10: a spray of random keys costs a bounded number of look-ups, and
// good keys do not notice. Nobody is told 401 without a look-up.
func TestSprayIsBounded(t *testing.T) {
	db := newTable()
	for n := 1; n <= 100; n++ {
		db.put(n, nil)
	}
	c := newCatalog(t, Options{Store: db, ColdRate: 300})
	for n := 1; n <= 100; n++ {
		warm(t, c, n)
	}
	db.before = func() { time.Sleep(time.Millisecond) }
	begin, loads := time.Now(), db.count()
	var unknown, overloaded atomic.Int64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				d := digestOf(1_000_000*(g+1) + i)
				_, err := c.Key(context.Background(), &d)
				var e *apierr.Error
				switch {
				case !errors.As(err, &e):
					t.Errorf("an unknown key got in: %v", err)
				case e.Code == apierr.InvalidAPIKey:
					unknown.Add(1)
				case e.Code == apierr.Overloaded:
					overloaded.Add(1)
				default:
					t.Errorf("%v", e)
				}
				if i%50 == 0 {
					get(t, c, i%100+1)
				}
			}
		})
	}
	wg.Wait()
	spent := db.count() - loads
	if limit := 300 + int(time.Since(begin).Seconds()*300) + 1; spent > limit {
		t.Errorf("%d look-ups, want at most %d", spent, limit)
	}
	if int64(spent) != unknown.Load() || overloaded.Load() == 0 {
		t.Errorf("%d look-ups, %d told unknown, %d told overloaded", spent, unknown.Load(), overloaded.Load())
	}
	if db.most > 8 {
		t.Errorf("%d look-ups at a time", db.most)
	}
	for n := 1; n <= 100; n++ {
		get(t, c, n)
	}
	if again := db.count() - loads - spent; again != 0 {
		t.Errorf("the spray pushed %d good keys out", again)
	}
}

func TestAtMostEightLookUpsAtATimeAndABoundedQueue(t *testing.T) {
	db := newTable()
	release := make(chan struct{})
	db.before = func() { <-release }
	c := newCatalog(t, Options{Store: db, ColdQueue: 100})
	var overloaded atomic.Int64
	var wg sync.WaitGroup
	for n := range 300 {
		wg.Go(func() {
			d := digestOf(n)
			var e *apierr.Error
			if _, err := c.Key(context.Background(), &d); errors.As(err, &e) && e.Code == apierr.Overloaded {
				overloaded.Add(1)
			}
		})
	}
	for overloaded.Load() < 200 {
		time.Sleep(time.Millisecond)
	}
	db.mu.Lock()
	running := db.running
	db.mu.Unlock()
	close(release)
	wg.Wait()
	if overloaded.Load() != 200 || running > 8 || db.most > 8 || db.count() != 100 {
		t.Errorf("%d overloaded, %d at a time, %d look-ups", overloaded.Load(), db.most, db.count())
	}
}

func TestBucket(t *testing.T) {
	b := bucket{rate: 10, tokens: 10}
	now := time.Unix(1000, 0)
	took := func(at time.Time) (n int) {
		for b.take(at) {
			n++
		}
		return n
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 10}, {0, 0}, {50 * time.Millisecond, 0}, {100 * time.Millisecond, 1}, {time.Second, 10}, {time.Hour, 10}, {-time.Hour, 0}} {
		now = now.Add(step.after)
		if got := took(now); got != step.want {
			t.Errorf("after %v: %d, want %d", step.after, got, step.want)
		}
	}
}
