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

-- name: ModelNamed :many
-- The model of an id or of another name, if it is enabled.
SELECT m.* FROM model m WHERE m.enabled AND (m.public_id = @name::text OR m.id = (SELECT a.model_id FROM model_alias a WHERE a.alias = @name::text))
ORDER BY m.public_id;

-- name: AllModels :many
SELECT * FROM model ORDER BY public_id;

-- name: Aliases :many
-- Of some models, NULL: of all.
SELECT alias, model_id FROM model_alias
WHERE sqlc.narg(models)::bigint[] IS NULL OR model_id = ANY (sqlc.narg(models)::bigint[]) ORDER BY alias;

-- name: Routes :many
-- Of some models, NULL: of all.
SELECT r.* FROM route r JOIN model m ON m.id = r.model_id
WHERE r.enabled AND m.enabled AND (sqlc.narg(models)::bigint[] IS NULL OR r.model_id = ANY (sqlc.narg(models)::bigint[]))
ORDER BY r.model_id, r.priority, r.id;

-- name: Prices :many
-- Of some models and their routes, NULL: of all: which price is in force at a moment and which are to come, newest first.
-- Each owner finds its newest in an index, and only where that is to come what is in force: what prices were before is
-- not read, however much it is.
WITH newest AS MATERIALIZED (
    SELECT n.* FROM model m CROSS JOIN LATERAL (
        SELECT id, model_id, route_id, effective_at, created_at FROM price WHERE model_id = m.id ORDER BY effective_at DESC, id DESC LIMIT 1
    ) n WHERE sqlc.narg(models)::bigint[] IS NULL OR m.id = ANY (sqlc.narg(models)::bigint[])
    UNION ALL
    SELECT n.* FROM route r CROSS JOIN LATERAL (
        SELECT id, model_id, route_id, effective_at, created_at FROM price WHERE route_id = r.id ORDER BY effective_at DESC, id DESC LIMIT 1
    ) n WHERE sqlc.narg(models)::bigint[] IS NULL OR r.model_id = ANY (sqlc.narg(models)::bigint[])
), wanted AS (
    SELECT id, effective_at, created_at FROM newest WHERE effective_at <= @now::timestamptz
    UNION ALL
    SELECT o.id, o.effective_at, o.created_at FROM newest n CROSS JOIN LATERAL (
        SELECT f.id, f.effective_at, f.created_at FROM price f WHERE f.model_id = n.model_id AND f.effective_at > @now::timestamptz
        UNION ALL
        (SELECT c.id, c.effective_at, c.created_at FROM price c WHERE c.model_id = n.model_id AND c.effective_at <= @now::timestamptz
         ORDER BY c.effective_at DESC, c.id DESC LIMIT 1)
    ) o WHERE n.model_id IS NOT NULL AND n.effective_at > @now::timestamptz
    UNION ALL
    SELECT o.id, o.effective_at, o.created_at FROM newest n CROSS JOIN LATERAL (
        SELECT f.id, f.effective_at, f.created_at FROM price f WHERE f.route_id = n.route_id AND f.effective_at > @now::timestamptz
        UNION ALL
        (SELECT c.id, c.effective_at, c.created_at FROM price c WHERE c.route_id = n.route_id AND c.effective_at <= @now::timestamptz
         ORDER BY c.effective_at DESC, c.id DESC LIMIT 1)
    ) o WHERE n.route_id IS NOT NULL AND n.effective_at > @now::timestamptz
)
SELECT id, effective_at, created_at FROM wanted ORDER BY effective_at DESC, id DESC;

-- name: AllPrices :many
SELECT * FROM price ORDER BY id;

-- name: PriceTiers :many
SELECT price_id, above_input, rates, free FROM price_tier WHERE price_id = ANY (@prices::bigint[]) ORDER BY price_id, above_input;
