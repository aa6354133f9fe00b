-- name: Revision :one
SELECT rev FROM config_rev;

-- name: NextRevision :one
-- Locks the row until commit: the order of revisions is the order of commits.
UPDATE config_rev SET rev = rev + 1 RETURNING rev;

-- name: LogChange :exec
INSERT INTO config_log (rev, kind, id, digest, detail) VALUES (@rev, @kind, @id, @digest, @detail);

-- name: NotifyConfig :exec
SELECT pg_notify('relay_config', @payload::text);

-- name: Changes :many
SELECT rev, kind, id, digest, detail FROM config_log WHERE rev > @after ORDER BY rev LIMIT @max_rows;

-- name: LoadKey :one
-- Everything a request needs to know of its key, with the revision of the same snapshot.
SELECT k.id, k.public_id, k.name, k.last4, k.digest, k.status, k.models, k.ip_allow, k.rpm, k.tpm, k.max_concurrency,
       k.monthly_cap, k.total_quota, k.daily_usd, k.drain_tokens, k.expires_at,
       c.id AS client_id, c.name AS client_name, c.active AS client_active, c.ppm AS client_ppm, c.wallet_id, c.group_id,
       c.models AS client_models, c.region, c.max_attempts, c.rules,
       (SELECT rev FROM config_rev) AS rev
FROM api_key k JOIN client c ON c.id = k.client_id
WHERE k.digest = @digest;

-- name: RevokedKeys :many
SELECT id, digest FROM api_key WHERE status = 3 AND id > @after ORDER BY id LIMIT @max_rows;

-- name: Groups :many
SELECT * FROM client_group ORDER BY id;

-- name: Providers :many
SELECT * FROM provider ORDER BY id;

-- name: ProviderKeys :many
SELECT id, provider_id, name, sealed, version FROM provider_key WHERE enabled ORDER BY id;

-- name: AllProviderKeys :many
SELECT * FROM provider_key ORDER BY id;

-- name: Models :many
SELECT * FROM model WHERE enabled ORDER BY public_id;

-- name: AllModels :many
SELECT * FROM model ORDER BY public_id;

-- name: Aliases :many
SELECT alias, model_id FROM model_alias ORDER BY alias;

-- name: Routes :many
SELECT r.* FROM route r JOIN model m ON m.id = r.model_id
WHERE r.enabled AND m.enabled ORDER BY r.model_id, r.priority, r.id;

-- name: AllRoutes :many
SELECT * FROM route ORDER BY model_id, priority, id;

-- name: Prices :many
-- Per owner the price in force and those to come.
SELECT p.* FROM price p
WHERE p.effective_at > clock_timestamp()
   OR p.id = (SELECT q.id FROM price q
              WHERE q.model_id IS NOT DISTINCT FROM p.model_id AND q.route_id IS NOT DISTINCT FROM p.route_id
                AND q.effective_at <= clock_timestamp()
              ORDER BY q.effective_at DESC, q.id DESC LIMIT 1)
ORDER BY p.effective_at DESC, p.id DESC;

-- name: AllPrices :many
SELECT * FROM price ORDER BY id;

-- name: PriceTiers :many
SELECT price_id, above_input, rates, free FROM price_tier ORDER BY price_id, above_input;
