package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// The life of a kept response: one statement per question, and nobody's but its
// client's.
func TestStoredResponses(t *testing.T) {
	b := newBooks(t)
	p, other := b.party(money.USD), b.party(money.USD)
	ctx, client := t.Context(), p.client.ID
	keep := func(id, previous string, turns int32) {
		t.Helper()
		before := b.Statements()
		kept, err := b.KeepResponse(ctx, &store.ResponseRow{ClientID: client, KeyID: 5, ID: id, Previous: previous, ProviderKeyID: 7, Tokens: 11, Bytes: 100, Turns: turns, Body: fmt.Appendf(make([]byte, 29), "body of %s", id)})
		if n := b.Statements() - before; err != nil || !kept || n != 1 {
			t.Fatalf("%s: %v %v, %d statements", id, kept, err, n)
		}
	}
	keep("resp_1", "", 1)
	keep("resp_2", "resp_1", 2)
	keep("resp_3", "resp_2", 3)
	if kept, err := b.KeepResponse(ctx, &store.ResponseRow{ClientID: client, KeyID: 5, ID: "resp_1", Turns: 1, Body: make([]byte, 40)}); kept || err != nil {
		t.Errorf("a second response of one id: %v %v", kept, err)
	}
	head, err := b.FindResponse(ctx, client, "resp_3")
	if want := (store.ResponseHead{ProviderKeyID: 7, Tokens: 11, Bytes: 100, Turns: 3}); err != nil || head != want {
		t.Errorf("%+v %v", head, err)
	}
	chain, err := b.ResponseChain(ctx, client, "resp_3", 10)
	if err != nil || len(chain) != 3 || chain[0].ID != "resp_1" || chain[2].ID != "resp_3" || string(chain[1].Body[29:]) != "body of resp_2" {
		t.Errorf("%v %v", chain, err)
	}
	if one, err := b.ResponseChain(ctx, client, "resp_3", 1); err != nil || len(one) != 1 || one[0].ID != "resp_3" {
		t.Errorf("%v %v", one, err)
	}
	// H7: another client's is not there, whatever is asked of it.
	foreign := other.client.ID
	_, err1 := b.FindResponse(ctx, foreign, "resp_1")
	_, err2 := b.ResponseChain(ctx, foreign, "resp_1", 5)
	if err3 := b.DeleteResponse(ctx, foreign, "resp_1"); !errors.Is(err1, store.ErrNotFound) || !errors.Is(err2, store.ErrNotFound) || !errors.Is(err3, store.ErrNotFound) {
		t.Errorf("%v %v %v", err1, err2, err3)
	}
	if err := b.DeleteResponse(ctx, client, "resp_1"); err != nil {
		t.Error(err)
	}
	if err := b.DeleteResponse(ctx, client, "resp_1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
	if _, err := b.ResponseChain(ctx, client, "resp_3", 10); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a conversation whose beginning was deleted: %v", err)
	}
	// Retention: shortened, over, none.
	days := func(id string) (n float64) {
		t.Helper()
		var left time.Duration
		if err := b.conn.QueryRow(ctx, "SELECT expires_at - clock_timestamp() FROM stored_response WHERE id = $1", id).Scan(&left); err != nil {
			t.Fatal(err)
		}
		return left.Hours() / 24
	}
	if n := days("resp_2"); n < 29.9 || n > 30 {
		t.Errorf("kept for %v days", n)
	}
	if err := b.SetResponseDays(ctx, "test", client, 2); err != nil {
		t.Fatal(err)
	}
	if n := days("resp_2"); n < 1.9 || n > 2 {
		t.Errorf("kept for %v days after it was shortened to 2", n)
	}
	b.exec("UPDATE stored_response SET created_at = created_at - interval '3 days', expires_at = expires_at - interval '3 days' WHERE id = 'resp_2'")
	if _, err := b.FindResponse(ctx, client, "resp_2"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("expired: %v", err)
	}
	if n, err := b.ExpireResponses(ctx); err != nil || n != 1 {
		t.Errorf("%d deleted, %v", n, err)
	}
	for _, set := range []func() error{
		func() error { return b.SetResponseDays(ctx, "test", client, 0) },
		func() error {
			return errors.Join(b.SetResponseDays(ctx, "test", client, 5), b.SetRetention(ctx, "test", client, 0))
		},
	} {
		if err := set(); err != nil {
			t.Fatal(err)
		}
		if kept, err := b.KeepResponse(ctx, &store.ResponseRow{ClientID: client, KeyID: 5, ID: "resp_9", Turns: 1, Body: make([]byte, 40)}); kept || err != nil {
			t.Errorf("kept for a client that keeps nothing: %v %v", kept, err)
		}
	}
	if err := b.SetResponseDays(ctx, "test", client, 31); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if err := b.SetResponseDays(ctx, "test", 1<<40, 1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
