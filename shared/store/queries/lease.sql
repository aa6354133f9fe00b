-- name: SlotByName :one
SELECT id, name, journal_id, epoch, internal_url, state, heartbeat, applied_rev, (state = 'active' AND heartbeat > clock_timestamp() - @live_window::interval)::boolean AS live
FROM proxy_slot WHERE name = @name FOR UPDATE;

-- name: FreeSlot :one
SELECT coalesce(min(n), 0)::smallint FROM generate_series(1, 4095) AS n
WHERE NOT EXISTS (SELECT FROM proxy_slot WHERE id = n);

-- name: InsertSlot :exec
INSERT INTO proxy_slot (id, name, journal_id, epoch, internal_url) VALUES (sqlc.arg(row_id), @name, @journal_id, 1, @internal_url);

-- name: ReclaimSlot :one
UPDATE proxy_slot SET epoch = epoch + 1, journal_id = @journal_id, internal_url = @internal_url, state = 'active', lone = false,
       heartbeat = clock_timestamp()
WHERE id = sqlc.arg(row_id) RETURNING epoch;

-- name: Heartbeat :one
WITH beat AS (
    UPDATE proxy_slot SET heartbeat = clock_timestamp(), applied_rev = greatest(proxy_slot.applied_rev, @applied::bigint)
    WHERE proxy_slot.id = @slot AND proxy_slot.epoch = @epoch AND proxy_slot.state = 'active'
    RETURNING proxy_slot.id
)
SELECT clock_timestamp()::timestamptz AS now,
       (SELECT rev FROM config_rev) AS rev,
       (SELECT count(*) FROM proxy_slot s
        WHERE s.state = 'active' AND s.id <> beat.id AND s.heartbeat > clock_timestamp() - @live_window::interval) + 1 AS live
FROM beat;

-- name: Recalls :many
-- Escrows of which this proxy holds leases opened or answered before the last refusal.
SELECT l.wallet_id, l.key_id, l.period, coalesce(w.recall, b.recall, 0)::bigint AS recall
FROM lease l
LEFT JOIN wallet w ON w.id = l.wallet_id
LEFT JOIN budget b ON b.key_id = l.key_id AND b.period = l.period
WHERE l.open AND l.slot = @slot AND l.epoch = @epoch AND coalesce(w.recall, b.recall) > l.recall_seen;

-- name: CloseSlot :execrows
UPDATE proxy_slot SET state = 'closed', heartbeat = clock_timestamp() WHERE id = @slot AND epoch = @epoch AND state = 'active';

-- name: SlotRecovered :execrows
-- The records of this slot's earlier processes are in the books.
UPDATE proxy_slot SET recovered = greatest(recovered, epoch) WHERE id = @slot AND epoch = @epoch;

-- name: LoseSlot :execrows
UPDATE proxy_slot SET state = 'lost', epoch = epoch + 1 WHERE id = @slot;

-- name: Proxies :many
SELECT id, name, journal_id, epoch, internal_url, state, heartbeat, applied_rev, (state = 'active' AND heartbeat > clock_timestamp() - @live_window::interval)::boolean AS live
FROM proxy_slot ORDER BY id;

-- name: FenceSlot :one
-- Keeps ClaimSlot and ProxyLost (FOR UPDATE) out until commit, but not heartbeats.
SELECT epoch, state FROM proxy_slot WHERE id = @slot FOR KEY SHARE;

-- name: LiveProxies :one
SELECT count(*) FROM proxy_slot
WHERE state = 'active' AND heartbeat > clock_timestamp() - @live_window::interval;

-- name: LockWallet :one
SELECT balance, leased, floor, recall, greatest(notified_at, 'epoch')::timestamptz AS told,
       clock_timestamp()::timestamptz AS now
FROM wallet WHERE id = sqlc.arg(wallet_id) FOR NO KEY UPDATE;

-- name: TouchBudget :exec
INSERT INTO budget (key_id, period) VALUES (@key_id, @period) ON CONFLICT DO NOTHING;

-- name: LockBudget :one
SELECT b.posted, b.leased, b.over, b.recall, greatest(b.notified_at, 'epoch')::timestamptz AS told,
       clock_timestamp()::timestamptz AS now,
       coalesce(CASE WHEN b.period = 0 THEN k.total_quota ELSE k.monthly_cap END, -1)::bigint AS cap, (k.id IS NOT NULL)::boolean AS known
FROM budget b LEFT JOIN api_key k ON k.id = b.key_id
WHERE b.key_id = @key_id AND b.period = @period FOR NO KEY UPDATE OF b;

-- name: SetBudgetLeased :exec
-- over follows: a cap that was lowered or passed by late charges must not block the row.
UPDATE budget SET cap = sqlc.narg(new_cap)::bigint, leased = sqlc.arg(new_leased)::bigint, over = sqlc.arg(new_over)::bigint
WHERE key_id = sqlc.arg(key_id) AND period = sqlc.arg(period);

-- name: AddWalletLeased :exec
UPDATE wallet SET leased = leased + @amount WHERE id = sqlc.arg(row_id);

-- name: RecallWallet :exec
UPDATE wallet SET recall = recall + 1, notified_at = clock_timestamp() WHERE id = sqlc.arg(wallet_id);

-- name: RecallBudget :exec
UPDATE budget SET recall = recall + 1, notified_at = clock_timestamp() WHERE key_id = sqlc.arg(key_id) AND period = sqlc.arg(period);

-- name: NotifyRecall :exec
SELECT pg_notify('relay_recall', @payload::text);

-- name: Lease :one
SELECT * FROM lease WHERE id = sqlc.arg(row_id);

-- name: InsertLease :one
INSERT INTO lease (id, wallet_id, key_id, period, slot, epoch, granted, last_grant, recall_seen, expires_at)
VALUES (sqlc.arg(row_id), @wallet_id, @key_id, @period, @slot, @epoch, @granted, @granted, @recall_seen, clock_timestamp() + @ttl::interval)
RETURNING expires_at;

-- name: ExtendLease :one
UPDATE lease SET granted = granted + @amount, last_grant = @amount, gseq = gseq + 1, expires_at = clock_timestamp() + @ttl::interval
WHERE id = sqlc.arg(row_id) AND open RETURNING expires_at;

-- name: ReturnLease :exec
UPDATE lease SET returned = returned + sqlc.arg(amount)::bigint, rseq = sqlc.arg(new_rseq)::bigint,
       recall_seen = greatest(recall_seen, sqlc.arg(answers)::bigint)
WHERE id = sqlc.arg(lease_id) AND open;

-- name: CloseLease :exec
UPDATE lease SET returned = returned + sqlc.arg(rest)::bigint, reclaimed = reclaimed + sqlc.arg(rest)::bigint, open = false, closed_at = clock_timestamp()
WHERE id = sqlc.arg(lease_id) AND open;

-- name: RenewLeases :many
UPDATE lease SET expires_at = clock_timestamp() + @ttl::interval
FROM (SELECT l.id FROM lease l WHERE l.id = ANY (@ids::bigint[]) AND l.slot = @slot AND l.epoch = @epoch AND l.open
      ORDER BY l.id FOR NO KEY UPDATE) AS mine
WHERE lease.id = mine.id
RETURNING lease.id, lease.expires_at;

-- name: OpenLeases :many
SELECT * FROM lease WHERE slot = @slot AND open ORDER BY id;

-- name: Unanswered :one
-- What is lent to other proxies that have not answered a recall: silent ones, and those
-- that are just slow; and, of the same moment, what there is to lend. A key without a cap
-- has no end to it.
SELECT coalesce(sum(l.granted - l.settled - l.returned) FILTER (WHERE NOT u.heard), 0)::bigint AS silent,
       coalesce(sum(l.granted - l.settled - l.returned) FILTER (WHERE u.heard AND l.recall_seen < sqlc.arg(recall)::bigint), 0)::bigint AS slow,
       coalesce((SELECT w.balance - w.leased - w.floor FROM wallet w WHERE w.id = sqlc.narg(wallet_id)::bigint),
                (SELECT coalesce(CASE WHEN b.period = 0 THEN k.total_quota ELSE k.monthly_cap END, 9223372036854775807) - b.posted - b.leased
                 FROM budget b JOIN api_key k ON k.id = b.key_id
                 WHERE b.key_id = sqlc.narg(key_id)::bigint AND b.period = sqlc.narg(period)::integer), 0)::bigint AS available
FROM lease l JOIN (SELECT p.id, p.state = 'active' AND p.heartbeat > clock_timestamp() - sqlc.arg(silent)::interval AS heard FROM proxy_slot p) u ON u.id = l.slot
WHERE l.open AND l.slot <> sqlc.arg(slot) AND (l.wallet_id = sqlc.narg(wallet_id)::bigint
      OR l.key_id = sqlc.narg(key_id)::bigint AND l.period = sqlc.narg(period)::integer);

-- name: LeasesToClose :many
-- Of a slot's epochs before epoch, or of every slot if expired before expired_before.
SELECT id, wallet_id, key_id, period FROM lease
WHERE open AND (slot = @slot AND epoch < @epoch OR expires_at < clock_timestamp() - sqlc.narg(expired_for)::interval)
ORDER BY id LIMIT @max_rows;

-- name: DeleteReserved :exec
DELETE FROM reserved WHERE slot = @slot AND NOT wallet_id = ANY (@keep::bigint[]);

-- name: UpsertReserved :exec
INSERT INTO reserved (wallet_id, slot, amount)
SELECT w, @slot, a FROM (SELECT unnest(@wallets::bigint[]) AS w, unnest(@amounts::bigint[]) AS a) AS t
ON CONFLICT (wallet_id, slot) DO UPDATE SET amount = excluded.amount, at = clock_timestamp();
