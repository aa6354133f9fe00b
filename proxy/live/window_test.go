package live

import (
	"testing"

	"pgregory.net/rapid"
)

const second = int64(1e9)

// TestWindowFirstMinute is S2-12: a cap of L lets exactly L pass in the first minute,
// whenever it begins and however they come.
func TestWindowFirstMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 300).Draw(t, "limit")
		start := rapid.Int64Range(1, 1<<60).Draw(t, "start")
		var w Window
		passed, now := int64(0), start
		for range rapid.IntRange(1, 900).Draw(t, "events") {
			if now >= start+minute {
				break
			}
			if _, _, ok := w.Take(limit, now); ok {
				passed++
			}
			now += rapid.Int64Range(0, minute/200).Draw(t, "gap")
		}
		if passed > limit {
			t.Fatalf("%d of %d passed", passed, limit)
		}
	})
}

// TestWindowAny60s bounds what any later minute lets pass: never twice the cap, and
// never more than the cap in one window.
func TestWindowAny60s(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 50).Draw(t, "limit")
		var w Window
		var times []int64
		now := rapid.Int64Range(1, 1<<50).Draw(t, "start")
		for range 400 {
			now += rapid.Int64Range(0, 4*second).Draw(t, "gap")
			if _, _, ok := w.Take(limit, now); ok {
				times = append(times, now)
			}
		}
		for i := range times {
			n := int64(0)
			for _, at := range times[i:] {
				if at < times[i]+minute {
					n++
				}
			}
			if n >= 2*limit && limit > 1 {
				t.Fatalf("%d in one minute with a cap of %d", n, limit)
			}
		}
	})
}

// TestWindowRetryHonest: who is alone and waits the told whole seconds is let
// through; who waits a full second less is not told a wait that was too long by
// more than that (the wait is the shortest one).
func TestWindowRetryHonest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 100).Draw(t, "limit")
		now := rapid.Int64Range(1, 1<<50).Draw(t, "start")
		var w Window
		for range rapid.IntRange(1, 400).Draw(t, "events") {
			now += rapid.Int64Range(0, 3*second).Draw(t, "gap")
			_, wait, ok := w.Take(limit, now)
			if ok {
				continue
			}
			if wait <= 0 || wait > minute+tick+1 {
				t.Fatalf("told to wait %d ns", wait)
			}
			var a, b Window // what would happen later
			a.word.Store(w.word.Load())
			b.word.Store(w.word.Load())
			if _, _, ok := a.Take(limit, now+(wait+second-1)/second*second); !ok {
				t.Fatalf("waited %d ns and was refused", wait)
			}
			if _, _, ok := b.Take(limit, now+wait-2); ok && wait > 2 {
				t.Fatalf("told to wait %d ns though less does", wait)
			}
		}
	})
}

// TestWindowBack: an event taken back leaves room for another, also after the window
// has rolled on.
func TestWindowBack(t *testing.T) {
	var w Window
	now := 100 * minute
	began, _, ok := w.Take(1, now)
	if !ok {
		t.Fatal("first refused")
	}
	if _, _, ok := w.Take(1, now); ok {
		t.Fatal("second let through")
	}
	w.Back(began)
	if began, _, ok = w.Take(1, now); !ok {
		t.Fatal("no room after Back")
	}
	if _, _, ok := w.Take(2, now+minute+second); !ok {
		t.Fatal("next window refused")
	}
	w.Back(began) // of the window before
	if left, _ := w.Left(2, now+minute+second); left != 1 {
		t.Fatalf("%d left, want 1", left)
	}
	w.Back(12345) // of a window that nobody remembers
	if left, _ := w.Left(2, now+minute+second); left != 1 {
		t.Fatalf("%d left, want 1", left)
	}
}

// TestWindowIdle: after two idle minutes nothing is remembered.
func TestWindowIdle(t *testing.T) {
	var w Window
	now := 7 * minute
	w.Take(5, now)
	if w.idle(now + minute) {
		t.Fatal("forgotten after one minute")
	}
	if !w.idle(now + 3*minute) {
		t.Fatal("remembered after three")
	}
	if left, reset := w.Left(5, now+3*minute); left != 5 || reset != 0 {
		t.Fatalf("left %d reset %d", left, reset)
	}
}

// TestWindowLimits holds high caps to what the word can count.
func TestWindowLimits(t *testing.T) {
	var w Window
	w.word.Store((&cell{start: 1000 % startMask, cur: MaxCount}).pack())
	if _, _, ok := w.Take(1<<40, 1000*tick); ok {
		t.Fatal("counted beyond the word")
	}
}

// TestBucket covers draw, refill, honest waits, oversize draws and corrections
// (rulings 1.14).
func TestBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 1_000_000).Draw(t, "limit")
		now := rapid.Int64Range(1, 1<<50).Draw(t, "start")
		var b Bucket
		drawn, begin := int64(0), now
		for range rapid.IntRange(1, 200).Draw(t, "draws") {
			now += rapid.Int64Range(0, 5*second).Draw(t, "gap")
			n := rapid.Int64Range(0, 2*limit).Draw(t, "tokens")
			left, _ := b.Left(limit, now)
			wait, ok := b.Take(n, limit, now)
			if ok {
				if n > left+1 && left < limit {
					t.Fatalf("drew %d of %d", n, left)
				}
				if n <= limit {
					drawn += n
				} else {
					drawn, begin = 0, now // overdrawn: count anew from here
				}
				continue
			}
			if n < left-1 && n <= limit {
				t.Fatalf("refused %d of %d", n, left)
			}
			var c Bucket
			c.full.Store(b.full.Load())
			if _, ok := c.Take(n, limit, now+(wait+second-1)/second*second); !ok {
				t.Fatalf("waited %d ns for %d tokens and was refused", wait, n)
			}
		}
		// Never more than a full bucket and what flowed in.
		if most := limit + int64(float64(limit)*float64(now-begin)/float64(minute)) + 2; drawn > most {
			t.Fatalf("drew %d, most is %d", drawn, most)
		}
	})
}

func TestBucketCorrect(t *testing.T) {
	var b Bucket
	now := 10 * minute
	if _, ok := b.Take(1000, 1000, now); !ok {
		t.Fatal("full bucket refused")
	}
	b.Correct(-900, 1000)
	if left, reset := b.Left(1000, now); left != 900 || reset != minute/10 {
		t.Fatalf("left %d reset %d", left, reset)
	}
	b.Correct(2000, 1000) // a request used far more than it drew
	if left, _ := b.Left(1000, now); left != 0 {
		t.Fatalf("left %d", left)
	}
	wait, ok := b.Take(1, 1000, now)
	if ok || wait <= minute {
		t.Fatalf("overdrawn bucket: wait %d, ok %v", wait, ok)
	}
}
