// Package refusal keeps account of what was refused after authentication: the
// first ten of a key, code and minute as rows, the others as counts (D13). It is
// bounded whatever a client does, and no SQL runs for a refusal.
package refusal

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/tempo"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

const (
	rowsPerMinute = 10     // sampled rows of one key, code and minute
	maxLines      = 20_000 // (key, model, code, minute) lines kept between two flushes
	flushEvery    = 500 * time.Millisecond
)

// Store takes the counts; *store.DB is one.
type Store interface {
	CountRefusals(ctx context.Context, slot int16, counts []store.RefusalCount) error
}

// Append journals one sampled refusal.
type Append func(rec *usage.Record) error

// Book counts refusals.
type Book struct {
	slot   int16
	store  Store
	append Append
	log    *slog.Logger

	complained time.Time // of the goroutine that flushes

	mu     sync.Mutex // guards what follows
	rows   map[minuteKey]int
	counts map[line]*int64
	minute int64

	Dropped atomic.Int64 // refusals beyond the bound, counted here only
}

type minuteKey struct {
	key  int64
	code apierr.Code
}

type line struct {
	client, key int64
	model       string
	code        apierr.Code
	minute      int64
}

// New makes a book; Run flushes it.
func New(slot int16, s Store, a Append, log *slog.Logger) *Book {
	return &Book{slot: slot, store: s, append: a, log: log, rows: map[minuteKey]int{}, counts: map[line]*int64{}}
}

// Note records one refusal. model may be the text that a client sent: it is kept
// only in a sampled row; counts carry it only when it names a model of the
// catalogue, so that clients can not make lines. Of a client that has little written down
// there are only counts.
func (b *Book) Note(key *catalog.Key, model string, known bool, endpoint protocol.Endpoint, e *apierr.Error, id reqid.ID, at time.Time) {
	minute := at.Unix() / 60
	b.mu.Lock()
	if minute != b.minute {
		clear(b.rows)
		b.minute = minute
	}
	mk := minuteKey{key.ID, e.Code}
	n := b.rows[mk]
	// A policy that cannot be read may forbid it.
	sampled := !key.Policy.Minimal() && !key.Unruled
	if sampled && n < rowsPerMinute && len(b.rows) < maxLines {
		b.rows[mk] = n + 1
		b.mu.Unlock()
		b.row(key, model, endpoint, e, id, at)
		return
	}
	l := line{client: key.ClientID, key: key.ID, code: e.Code, minute: minute}
	if known {
		l.model = model
	}
	// An assignment to an entry that exists puts the new key in the place of the old one,
	// and this one's text is the request's, whose bytes are reused: only a new entry is
	// assigned, under a copy.
	if c := b.counts[l]; c != nil {
		*c++
	} else if len(b.counts) < maxLines {
		l.model = strings.Clone(l.model)
		one := int64(1)
		b.counts[l] = &one
	} else {
		b.Dropped.Add(1)
	}
	b.mu.Unlock()
}

// row journals a sampled refusal.
func (b *Book) row(key *catalog.Key, model string, endpoint protocol.Endpoint, e *apierr.Error, id reqid.ID, at time.Time) {
	if len(model) > 128 {
		model = model[:128]
	}
	rec := usage.Record{
		ID: id, ProxySlot: b.slot, ClientID: key.ClientID, WalletID: key.WalletID, KeyID: key.ID,
		Endpoint: uint8(endpoint), Model: model, RequestedModel: model,
		Status: usage.Refused, HTTPStatus: int16(e.Status), Code: string(e.Code),
		AdmittedMicros: at.UnixMicro(), EndMicros: at.UnixMicro(),
	}
	if err := b.append(&rec); err != nil {
		b.Dropped.Add(1)
	}
}

// Run flushes the counts until ctx ends, and then once more.
func (b *Book) Run(ctx context.Context) {
	for tempo.Wait(ctx, flushEvery) {
		b.Flush(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	b.Flush(last)
}

// complain tells that the counts wait, at most once a minute: Postgres may be away
// for long.
func (b *Book) complain(lines int, err error) {
	if now := time.Now(); now.Sub(b.complained) >= time.Minute {
		b.complained = now
		b.log.Warn("cannot write refusal counts, they are kept", "lines", lines, "error", err)
	}
}

// Flush writes the counts. What Postgres does not take is kept for the next time.
func (b *Book) Flush(ctx context.Context) {
	b.mu.Lock()
	if len(b.counts) == 0 {
		b.mu.Unlock()
		return
	}
	taken := b.counts
	b.counts = map[line]*int64{}
	b.mu.Unlock()

	list := make([]store.RefusalCount, 0, len(taken))
	for l, n := range taken {
		list = append(list, store.RefusalCount{ClientID: l.client, KeyID: l.key, Model: l.model, Code: string(l.code), At: time.Unix(l.minute*60, 0), N: *n})
	}
	if err := b.store.CountRefusals(ctx, b.slot, list); err != nil {
		b.complain(len(list), err)
		b.mu.Lock()
		for l, n := range taken {
			if c := b.counts[l]; c != nil {
				*c += *n
			} else if len(b.counts) < maxLines {
				b.counts[l] = n
			} else {
				b.Dropped.Add(*n)
			}
		}
		b.mu.Unlock()
	}
}
