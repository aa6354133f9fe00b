package refusal

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/guard"
	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/policy"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

var errBad = apierr.Invalid("messages", "unreadable")

type sink struct {
	counts map[string]int64
	fail   bool
}

func (s *sink) CountRefusals(_ context.Context, _ int16, list []store.RefusalCount) error {
	if s.fail {
		return errors.New("away")
	}
	for _, c := range list {
		s.counts[fmt.Sprint(c.KeyID, c.Code, c.Model)] += c.N
	}
	return nil
}

// D13: at most ten rows per key, code and minute; every other refusal is counted,
// also across a time when Postgres is away.
func TestTenRowsThenCounts(t *testing.T) {
	s := &sink{counts: map[string]int64{}, fail: true}
	var rows []usage.Record
	b := New(1, s, func(r *usage.Record) error { rows = append(rows, *r); return nil }, obs.Discard())
	at := time.Unix(1_800_000_000, 0)
	note := func(key int64, model string, known bool, e *apierr.Error, at time.Time) {
		b.Note(&catalog.Key{ID: key, ClientID: 7, WalletID: 7}, model, known, protocol.OpenAIChat, e, reqid.New(at), at)
	}
	for range 35 {
		note(1, "gpt", true, errBad, at)
	}
	b.Flush(context.Background())
	note(1, "gpt", true, apierr.ErrOverloaded, at)
	note(2, "gpt", true, errBad, at)
	if len(rows) != 12 {
		t.Fatalf("%d rows; want 10 + 1 + 1", len(rows))
	}
	if r := rows[0]; r.Status != usage.Refused || r.HTTPStatus != 400 || r.Code != "invalid_request" || r.KeyID != 1 || r.Charge != 0 {
		t.Fatalf("row %+v", r)
	}
	for range 15 { // ten of a model nobody knows: no line of its own
		note(3, "made-up", false, errBad, at)
	}
	s.fail = false
	b.Flush(context.Background())
	if s.counts["1invalid_requestgpt"] != 25 || s.counts["3invalid_request"] != 5 {
		t.Fatalf("counts %v", s.counts)
	}
	rows = nil
	note(1, "gpt", true, errBad, at.Add(time.Minute))
	if len(rows) != 1 {
		t.Fatal("a new minute samples again")
	}
}

// A client can not make the book grow without bound.
func TestBounded(t *testing.T) {
	s := &sink{counts: map[string]int64{}}
	b := New(1, s, func(*usage.Record) error { return nil }, obs.Discard())
	at := time.Unix(1_800_000_000, 0)
	for i := range 3 * maxLines {
		b.Note(&catalog.Key{ID: int64(i)}, "m", true, protocol.OpenAIChat, errBad, reqid.ID{}, at)
	}
	if len(b.rows) > maxLines || len(b.counts) > maxLines {
		t.Fatalf("%d and %d lines kept", len(b.rows), len(b.counts))
	}
	if got := int64(len(b.rows)+len(b.counts)) + b.Dropped.Load(); got != 3*maxLines {
		t.Fatalf("%d accounted for of %d", got, 3*maxLines)
	}
}

// S1-B14: of a client that has little written down refusals are counted and not sampled,
// and of one whose policy cannot be read neither.
func TestNoSamplesOfWhoWantsNone(t *testing.T) {
	s := &sink{counts: map[string]int64{}}
	rows := 0
	b := New(1, s, func(*usage.Record) error { rows++; return nil }, obs.Discard())
	at := time.Unix(1_800_000_000, 0)
	minimal := guard.Compile(&policy.Rules{Logging: policy.Logging{Level: policy.Minimal}})
	for _, key := range []*catalog.Key{{ID: 1, Policy: minimal}, {ID: 2, Unruled: true}, {ID: 3, Policy: guard.Compile(&policy.Rules{})}} {
		for range 3 {
			b.Note(key, "gpt", true, protocol.OpenAIChat, errBad, reqid.New(at), at)
		}
	}
	b.Flush(context.Background())
	if rows != 3 || s.counts["1invalid_requestgpt"] != 3 || s.counts["2invalid_requestgpt"] != 3 {
		t.Errorf("%d rows, counts %v", rows, s.counts)
	}
}
