-- name: TakeClaim :many
-- One statement: the key becomes ours if it is free, else the row that stands in the
-- way. A key is free if it was never used, its day is over, the caller knows that its
-- request has ended without an answer, or nobody can be answering it any more: the
-- process that did has ended and what it left is in the books, or it is longer ago than
-- any request lives. A request that was answered and charged by a process that died
-- before it could say so keeps its key: it is finished, and its answer is not there.
-- No row at all: somebody else took it at this very moment, ask again.
WITH taken AS (
    INSERT INTO claim AS c (client_id, key_digest, body_digest, request_id, slot, epoch, claimed_at, expires_at)
    SELECT @client_id::bigint, @key_digest::bytea, @body_digest::bytea, @request_id::uuid, @slot::smallint, @epoch::bigint, sqlc.arg(moment)::timestamptz, sqlc.arg(moment)::timestamptz + sqlc.arg(ttl)::interval
    ON CONFLICT (client_id, key_digest) DO UPDATE
    SET body_digest = excluded.body_digest, request_id = excluded.request_id, slot = excluded.slot, epoch = excluded.epoch,
        state = 1, claimed_at = excluded.claimed_at, expires_at = excluded.expires_at, answer = NULL
    WHERE c.expires_at <= excluded.claimed_at
       OR (c.state = 2 AND c.request_id = @gone::uuid)
       OR (c.state = 1 AND (c.request_id = @gone::uuid OR c.claimed_at < excluded.claimed_at - sqlc.arg(longest)::interval OR claim_left(c.slot, c.epoch))
           AND NOT claim_charged(c.request_id, c.claimed_at))
    RETURNING c.client_id, c.body_digest, c.request_id, c.slot, c.epoch, c.state
)
SELECT true AS mine, t.body_digest, t.request_id, t.slot, t.epoch, t.state, NULL::bytea AS answer, ''::text AS internal_url, '0'::interval AS silent,
       coalesce((SELECT k.retention_hours FROM client k WHERE k.id = t.client_id), 0)::integer AS retention
FROM taken t
UNION ALL
SELECT false, c.body_digest, c.request_id, c.slot, c.epoch,
       CASE WHEN c.state = 1 AND (c.request_id = @gone::uuid OR c.claimed_at < sqlc.arg(moment)::timestamptz - sqlc.arg(longest)::interval OR claim_left(c.slot, c.epoch))
                 AND claim_charged(c.request_id, c.claimed_at) THEN 2 ELSE c.state END::smallint AS state,
       CASE WHEN c.claimed_at + make_interval(hours => k.retention_hours) > sqlc.arg(moment)::timestamptz THEN c.answer END,
       coalesce(s.internal_url, '')::text, coalesce(clock_timestamp() - s.heartbeat, '1 day')::interval, coalesce(k.retention_hours, 0)::integer
FROM claim c LEFT JOIN client k ON k.id = c.client_id LEFT JOIN proxy_slot s ON s.id = c.slot AND s.epoch = c.epoch
WHERE c.client_id = @client_id AND c.key_digest = @key_digest AND NOT EXISTS (SELECT FROM taken);

-- name: FinishClaim :execrows
UPDATE claim SET state = 2, answer = @answer
WHERE client_id = @client_id AND key_digest = @key_digest AND request_id = @request_id AND state = 1;

-- name: FreeClaim :execrows
DELETE FROM claim WHERE client_id = @client_id AND key_digest = @key_digest AND request_id = @request_id AND state = 1;

-- name: ExpireClaims :execrows
DELETE FROM claim WHERE (client_id, key_digest) IN (
    SELECT c.client_id, c.key_digest FROM claim c WHERE c.expires_at <= clock_timestamp() ORDER BY c.expires_at LIMIT @max_rows FOR UPDATE SKIP LOCKED
);

-- name: ForgetAnswers :execrows
-- Of clients whose answers are kept shorter than a day.
UPDATE claim c SET answer = NULL FROM client k
WHERE k.id = c.client_id AND k.retention_hours < 24 AND c.answer IS NOT NULL
  AND c.claimed_at + make_interval(hours => k.retention_hours) <= clock_timestamp();

-- name: SetRetention :execrows
UPDATE client SET retention_hours = @hours WHERE id = sqlc.arg(row_id);
