package store

import (
	"context"
	"fmt"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// What stands beside a row of usage (usage_detail): nothing that explains a charge. The
// rows are sealed and stay; this is written only where there is something to tell, and
// goes when its client wants.

// MaxDetailDays is the longest that a client may say detail is kept, but for always.
const MaxDetailDays = 3650

const insertDetail = `INSERT INTO usage_detail (client_id, request_id, client_request_id, conversation_id, flags)
SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::integer[]) ON CONFLICT DO NOTHING`

// writeDetail queues what stands beside the rows of the batch.
func (s *settling) writeDetail(all *queue) {
	var clients []int64
	var ids [][16]byte
	var requests, conversations []string
	var flags []int32
	for _, i := range s.usage { // by id, as writeUsage has ordered them
		r := &s.recs[i]
		found := r.Flags & usage.Findings
		if r.ClientRequestID == "" && r.ConversationID == "" && found == 0 {
			continue
		}
		clients, ids, flags = append(clients, r.ClientID), append(ids, r.ID), append(flags, int32(found))
		requests, conversations = append(requests, clean(r.ClientRequestID, 128)), append(conversations, clean(r.ConversationID, 128))
	}
	if len(ids) > 0 {
		all.batch.Queue(insertDetail, clients, ids, requests, conversations, flags)
	}
}

// fromConversation reads the rows u of a conversation in the order of its index, each by
// its key: a conversation is small, and what its client has made beside it is not.
const fromConversation = `usage_detail c JOIN LATERAL (SELECT * FROM usage x WHERE x.month = month_of(c.request_id) AND x.request_id = c.request_id LIMIT 1) u ON true`

// ofConversation limits fromConversation to one of the client with a wallet, and to a time.
func (w *where) ofConversation(walletID int64, conversation string, from, to time.Time, before reqid.ID) {
	w.and("c.client_id = (SELECT id FROM client WHERE wallet_id = ?)", walletID)
	w.and("c.conversation_id <> '' AND c.conversation_id = ?", conversation)
	if !from.IsZero() {
		w.and("c.request_id >= ?::uuid", [16]byte(reqid.Min(from.UnixMilli())))
	}
	if !to.IsZero() {
		w.and("c.request_id < ?::uuid", [16]byte(reqid.Min(to.UnixMilli())))
	}
	if !before.IsZero() {
		w.and("c.request_id < ?::uuid", [16]byte(before))
	}
}

// MaxConversationCalls is how many calls of a conversation are added up at most.
const MaxConversationCalls = 10_000

// ConversationSum adds up the calls of a conversation whose detail is kept, the newest
// MaxConversationCalls of them.
type ConversationSum struct {
	Calls       int64
	Charge      money.Amount
	First, Last time.Time // when the calls began; zero without any
}

// ConversationSum adds the calls of a client's conversation up.
func (d *DB) ConversationSum(ctx context.Context, clientID int64, conversation string) (s ConversationSum, err error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	var first, last *int64
	err = d.pool.QueryRow(ctx, `SELECT count(*), coalesce(sum(u.charge), 0)::bigint, min(ms_of(c.request_id)), max(ms_of(c.request_id))
		FROM (SELECT request_id FROM usage_detail WHERE client_id = $1 AND conversation_id <> '' AND conversation_id = $2 ORDER BY request_id DESC LIMIT $3) c
		JOIN LATERAL (SELECT x.charge FROM usage x WHERE x.month = month_of(c.request_id) AND x.request_id = c.request_id LIMIT 1) u ON true`,
		clientID, conversation, MaxConversationCalls).Scan(&s.Calls, (*int64)(&s.Charge), &first, &last)
	if err != nil {
		return s, fmt.Errorf("cannot add up a conversation: %w", err)
	}
	if first != nil {
		s.First, s.Last = time.UnixMilli(*first), time.UnixMilli(*last)
	}
	return s, nil
}
