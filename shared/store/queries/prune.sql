-- name: PruneChanges :execrows
-- Of the oldest rows, those that are old enough; the newest one stays. A proxy that was
-- away for longer reads everything again.
DELETE FROM config_log WHERE rev IN (
    SELECT c.rev FROM (SELECT o.rev, o.at FROM config_log o ORDER BY o.rev LIMIT @max_rows) c
    WHERE c.at < clock_timestamp() - sqlc.arg(keep)::interval AND c.rev < (SELECT r.rev FROM config_rev r)
);

-- name: PruneRefusals :execrows
-- Request ids are in the order of their times.
DELETE FROM refusal WHERE request_id IN (
    SELECT c.request_id FROM (SELECT o.request_id, o.end_us FROM refusal o ORDER BY o.request_id LIMIT @max_rows) c
    WHERE c.end_us < (extract(epoch FROM clock_timestamp() - sqlc.arg(keep)::interval) * 1000000)::bigint
);

-- name: PruneLeases :execrows
-- Closed ones that no usage row can name: these are of a later month than the lease's
-- last. A row that comes now for one that is gone is late, as for one that is closed.
DELETE FROM lease WHERE id IN (
    SELECT l.id FROM lease l
    WHERE NOT l.open AND l.closed_at < least(clock_timestamp() - sqlc.arg(keep)::interval,
        (SELECT make_timestamptz(min(u.month) / 100, min(u.month) % 100, 1, 0, 0, 0, 'UTC') - interval '1 day' FROM usage u))
    ORDER BY l.closed_at LIMIT @max_rows FOR UPDATE SKIP LOCKED
);

-- name: PruneDetail :execrows
-- Of the clients that want it. The times of ids are their calls'.
DELETE FROM usage_detail d USING (
    SELECT o.client_id, o.request_id FROM client c CROSS JOIN LATERAL (
        SELECT t.client_id, t.request_id FROM usage_detail t
        WHERE t.client_id = c.id AND t.request_id < id_at((extract(epoch FROM statement_timestamp() - make_interval(days => c.detail_days)) * 1000)::bigint)
        ORDER BY t.request_id LIMIT @max_rows
    ) o WHERE c.detail_days IS NOT NULL LIMIT @max_rows
) old WHERE d.client_id = old.client_id AND d.request_id = old.request_id;

-- name: PruneClientRefusals :execrows
-- The samples of those clients, when they do not go earlier.
DELETE FROM refusal r USING (
    SELECT o.request_id FROM client c CROSS JOIN LATERAL (
        SELECT t.request_id FROM refusal t
        WHERE t.wallet_id = c.wallet_id AND t.request_id < id_at((extract(epoch FROM statement_timestamp() - make_interval(days => c.detail_days)) * 1000)::bigint)
        ORDER BY t.request_id LIMIT @max_rows
    ) o WHERE c.detail_days IS NOT NULL LIMIT @max_rows
) old WHERE r.request_id = old.request_id;
