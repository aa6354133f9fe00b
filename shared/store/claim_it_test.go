package store_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// claimant is a proxy that takes idempotency keys, with a clock of its own.
type claimant struct {
	*books
	slot store.ProxySlot
	now  time.Time
}

func newClaimant(b *books, name string) *claimant {
	b.t.Helper()
	slot, err := b.ClaimSlot(b.t.Context(), name, "journal-"+name, "http://127.0.0.1:1/"+name)
	if err != nil {
		b.t.Fatal(err)
	}
	now, err := b.Now(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return &claimant{books: b, slot: slot, now: now}
}

func (c *claimant) take(client int64, key, body byte, gone reqid.ID) (store.Claim, reqid.ID) {
	c.t.Helper()
	id := reqid.New(c.now)
	got, err := c.TakeClaim(c.t.Context(), &store.ClaimRequest{
		ClientID: client, Key: [32]byte{key}, Body: [32]byte{body}, RequestID: id, Slot: c.slot.ID, Epoch: c.slot.Epoch, Now: c.now, Gone: gone,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return got, id
}

// Rulings 1.9: the life of a claim, row by row. One statement per question.
func TestClaims(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	a, z := newClaimant(b, "a"), newClaimant(b, "z")
	ctx, client := t.Context(), p.client.ID

	before := b.Statements()
	first, id := a.take(client, 1, 1, reqid.ID{})
	if n := b.Statements() - before; n != 1 {
		t.Errorf("%d statements for a claim; want 1", n)
	}
	if !first.Mine || first.RequestID != id || first.Retention != 24*time.Hour {
		t.Fatalf("the first: %+v", first)
	}
	same := func(got store.Claim, what string) {
		t.Helper()
		if got.Mine || got.RequestID != id || got.Slot != a.slot.ID || got.Epoch != a.slot.Epoch || got.Body != [32]byte{1} {
			t.Fatalf("%s: %+v", what, got)
		}
	}
	got, _ := z.take(client, 1, 2, reqid.ID{})
	same(got, "while it runs")
	if got.Finished || got.InternalURL != "http://127.0.0.1:1/a" || got.Silent > 5*time.Second {
		t.Fatalf("%+v", got)
	}
	// Other keys and other clients are other requests.
	if got, _ := z.take(client, 2, 1, reqid.ID{}); !got.Mine {
		t.Error("another key")
	}
	if got, _ := z.take(b.party(money.USD).client.ID, 1, 1, reqid.ID{}); !got.Mine {
		t.Error("another client")
	}
	// Finished, with its answer, for a day.
	sealed := bytes.Repeat([]byte{7}, 100)
	if err := b.FinishClaim(ctx, client, [32]byte{1}, id, sealed); err != nil {
		t.Fatal(err)
	}
	got, _ = z.take(client, 1, 1, reqid.ID{})
	same(got, "finished")
	if !got.Finished || !bytes.Equal(got.Answer, sealed) {
		t.Fatalf("%+v", got)
	}
	// A late word of the request changes nothing any more.
	if err := b.FreeClaim(ctx, client, [32]byte{1}, id); err != nil {
		t.Fatal(err)
	}
	z.now = a.now.Add(24*time.Hour - time.Millisecond)
	got, _ = z.take(client, 1, 1, reqid.ID{})
	same(got, "a moment before its day is over")
	z.now = a.now.Add(24 * time.Hour)
	if got, _ := z.take(client, 1, 9, reqid.ID{}); !got.Mine || got.Finished {
		t.Fatalf("after its day: %+v", got)
	}
}

// A claim is free again when its request ended without an answer, and when nobody
// can be answering it any more.
func TestClaimsAreFreed(t *testing.T) {
	b := newBooks(t)
	client := b.party(money.USD).client.ID
	ctx := t.Context()
	z := newClaimant(b, "z")
	for name, free := range map[string]func(a *claimant, key byte, id reqid.ID) (gone reqid.ID){
		"told": func(_ *claimant, key byte, id reqid.ID) reqid.ID {
			if err := b.FreeClaim(ctx, client, [32]byte{key}, id); err != nil {
				t.Fatal(err)
			}
			return reqid.ID{}
		},
		"known to be gone": func(_ *claimant, _ byte, id reqid.ID) reqid.ID { return id },
		"a new process": func(a *claimant, _ byte, _ reqid.ID) reqid.ID {
			next, err := b.ClaimSlot(ctx, "a new process", "journal-a new process", "")
			if err != nil || next.ID != a.slot.ID || next.Epoch != a.slot.Epoch+1 {
				t.Fatalf("%+v %v", next, err)
			}
			if got, _ := z.take(client, byte(a.slot.ID), 1, reqid.ID{}); got.Mine || got.Finished {
				t.Errorf("what the old process left is not known yet: %+v", got)
			}
			if _, err := b.CloseOldLeases(ctx, next.ID, next.Epoch); err != nil {
				t.Fatal(err)
			}
			return reqid.ID{}
		},
		"ended in order": func(a *claimant, _ byte, _ reqid.ID) reqid.ID {
			if err := b.CloseSlot(ctx, a.slot.ID, a.slot.Epoch); err != nil {
				t.Fatal(err)
			}
			return reqid.ID{}
		},
		"lost": func(_ *claimant, _ byte, _ reqid.ID) reqid.ID {
			if _, err := b.ProxyLost(ctx, "test", "lost"); err != nil {
				t.Fatal(err)
			}
			return reqid.ID{}
		},
		"longer ago than any request lives": func(_ *claimant, _ byte, _ reqid.ID) reqid.ID {
			z.now = z.now.Add(store.MaxRequest + store.ReclaimLag + time.Second)
			return reqid.ID{}
		},
	} {
		a := newClaimant(b, name)
		z.now = a.now
		key := byte(a.slot.ID)
		_, id := a.take(client, key, 1, reqid.ID{})
		if got, _ := z.take(client, key, 1, reqid.New(a.now)); got.Mine {
			t.Fatalf("%s: free before", name)
		}
		gone := free(a, key, id)
		got, mine := z.take(client, key, 1, gone)
		if !got.Mine || got.RequestID != mine || got.Slot != z.slot.ID {
			t.Errorf("%s: %+v", name, got)
		}
		// The old one's words come too late.
		if err := b.FinishClaim(ctx, client, [32]byte{key}, id, nil); err != nil {
			t.Fatal(err)
		}
		if got, _ := z.take(client, key, 1, reqid.ID{}); got.Finished || got.RequestID != mine {
			t.Errorf("%s: the old request finished the new one's claim: %+v", name, got)
		}
	}
}

// A request that was answered and charged keeps its key, however its process ended before
// it could say so: a retry is told so and not charged again.
func TestChargedClaimsStay(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	client, ctx := p.client.ID, t.Context()
	z := newClaimant(b, "z")
	for i, c := range []struct {
		name   string
		status usage.Status
		end    func(a *claimant)
		free   bool
	}{
		{"died and came back", usage.Success, func(a *claimant) {
			next, err := b.ClaimSlot(ctx, "died and came back", "journal-died and came back", "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.CloseOldLeases(ctx, next.ID, next.Epoch); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"declared lost, its record was shipped", usage.Success, func(a *claimant) {
			if _, err := b.ProxyLost(ctx, "test", "declared lost, its record was shipped"); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"died amid the answer", usage.Interrupted, func(a *claimant) {
			if _, err := b.ProxyLost(ctx, "test", "died amid the answer"); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"known to be gone", usage.Success, func(*claimant) {}, false},
		{"a year later", usage.Success, func(*claimant) { z.now = z.now.Add(366 * 24 * time.Hour) }, true},
	} {
		a := newClaimant(b, c.name)
		z.now = a.now
		key := byte(i + 1)
		_, id := a.take(client, key, 1, reqid.ID{})
		r := b.record(p, 0, 10, 10)
		r.ID, r.Status = id, c.status
		b.settle(a.slot.ID, r)
		if got, _ := z.take(client, key, 1, reqid.ID{}); got.Mine || got.Finished {
			t.Errorf("%s: its own process can still answer: %+v", c.name, got)
		}
		c.end(a)
		gone := reqid.ID{}
		if c.name == "known to be gone" {
			gone = id
		}
		got, _ := z.take(client, key, 1, gone)
		if got.Mine != c.free || got.Finished == c.free || !c.free && (got.RequestID != id || got.Answer != nil) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	b.clean()
}

// However many ask at once, one gets the key.
func TestClaimsRace(t *testing.T) {
	b := newBooks(t)
	client := b.party(money.USD).client.ID
	a := newClaimant(b, "a")
	for round := range byte(20) {
		var mu sync.Mutex
		var mine []reqid.ID
		seen := map[reqid.ID]int{}
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				got, id := a.take(client, round, 1, reqid.ID{})
				mu.Lock()
				defer mu.Unlock()
				seen[got.RequestID]++
				if got.Mine {
					mine = append(mine, id)
				}
			})
		}
		wg.Wait()
		if len(mine) != 1 || len(seen) != 1 || seen[mine[0]] != 16 {
			t.Fatalf("round %d: %d owners, %v", round, len(mine), seen)
		}
	}
}

// Retention: claims go after their day; a client without retention has no answers.
func TestClaimRetention(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	ctx, client := t.Context(), p.client.ID
	a := newClaimant(b, "a")
	_, id := a.take(client, 1, 1, reqid.ID{})
	sealed := make([]byte, 64)
	if err := b.FinishClaim(ctx, client, [32]byte{1}, id, sealed); err != nil {
		t.Fatal(err)
	}
	if err := b.SetRetention(ctx, "test", client, 0); err != nil {
		t.Fatal(err)
	}
	if got, _ := a.take(client, 1, 1, reqid.ID{}); got.Answer != nil || !got.Finished || got.Retention != 0 {
		t.Fatalf("an answer after retention was set to 0: %+v", got)
	}
	if claims, answers, err := b.ExpireClaims(ctx); err != nil || claims != 0 || answers != 1 {
		t.Fatalf("%d claims, %d answers, %v", claims, answers, err)
	}
	for _, bad := range []time.Duration{-time.Hour, 25 * time.Hour, time.Minute} {
		if err := b.SetRetention(ctx, "test", client, bad); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("retention %s: %v", bad, err)
		}
	}
	if err := b.SetRetention(ctx, "test", 1<<40, 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no client: %v", err)
	}
	// The sizes that the table takes.
	_, id = a.take(client, 2, 1, reqid.ID{})
	if err := b.FinishClaim(ctx, client, [32]byte{2}, id, make([]byte, 1_100_001)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("a larger answer: %v", err)
	}
	if err := b.FinishClaim(ctx, client, [32]byte{2}, id, make([]byte, 1_100_000)); err != nil {
		t.Error(err)
	}
	if _, err := b.conn.Exec(ctx, "UPDATE claim SET claimed_at = claimed_at - '25 hours'::interval, expires_at = expires_at - '25 hours'::interval"); err != nil {
		t.Fatal(err)
	}
	if claims, _, err := b.ExpireClaims(ctx); err != nil || claims != 2 {
		t.Fatalf("%d claims deleted, %v", claims, err)
	}
}
