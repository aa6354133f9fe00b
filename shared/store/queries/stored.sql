-- name: KeepResponse :execrows
-- No row: the client keeps nothing, or has a response of this id.
INSERT INTO stored_response (client_id, id, key_id, previous, provider_key_id, tokens, bytes, turns, body, created_at, expires_at)
SELECT @client_id::bigint, @id::text, @key_id::bigint, sqlc.narg(previous)::text, sqlc.narg(provider_key_id)::bigint, @tokens::bigint, @bytes::bigint, @turns::integer, @body::bytea,
       clock_timestamp(), clock_timestamp() + make_interval(days => c.response_days)
FROM client c WHERE c.id = @client_id AND c.response_days > 0 AND c.retention_hours > 0
ON CONFLICT (client_id, id) DO NOTHING;

-- name: FindResponse :one
SELECT coalesce(provider_key_id, 0)::bigint AS provider_key_id, tokens, bytes, turns FROM stored_response
WHERE client_id = @client_id AND id = @id AND expires_at > clock_timestamp();

-- name: ResponseChain :many
-- A response and what it goes on from, the oldest first; its first row has no previous
-- one unless something between is gone.
WITH RECURSIVE chain AS (
    SELECT s.id, s.previous, s.body, 1 AS n FROM stored_response s
    WHERE s.client_id = @client_id AND s.id = @id AND s.expires_at > clock_timestamp()
    UNION ALL
    SELECT s.id, s.previous, s.body, c.n + 1 FROM stored_response s JOIN chain c ON s.id = c.previous
    WHERE s.client_id = @client_id AND s.expires_at > clock_timestamp() AND c.n < @most::integer
)
SELECT id::text AS id, coalesce(previous, '')::text AS previous, body::bytea AS body FROM chain ORDER BY n DESC;

-- name: DeleteResponse :execrows
DELETE FROM stored_response WHERE client_id = @client_id AND id = @id AND expires_at > clock_timestamp();

-- name: ExpireResponses :execrows
-- Also what a client keeps no longer since its retention was shortened.
DELETE FROM stored_response WHERE (client_id, id) IN (
    SELECT s.client_id, s.id FROM stored_response s WHERE s.expires_at <= clock_timestamp() ORDER BY s.expires_at LIMIT @max_rows FOR UPDATE SKIP LOCKED
);

-- name: SetResponseDays :execrows
UPDATE client SET response_days = @days WHERE id = sqlc.arg(row_id);

-- name: ShortenResponses :execrows
UPDATE stored_response SET expires_at = greatest(created_at + make_interval(days => @days::integer), created_at + interval '1 microsecond')
WHERE client_id = @client_id AND expires_at > created_at + make_interval(days => @days::integer);
