-- name: LockRevision :one
-- Catalogue writers one at a time, from reading to commit.
SELECT rev FROM config_rev FOR NO KEY UPDATE;

-- name: InsertGroup :exec
INSERT INTO client_group (name, all_models, models, ppm, rpm, tpm, max_concurrency, daily_usd, total_quota, ip_allow, expires_at)
VALUES (@name, @all_models, @models, @ppm, @rpm, @tpm, @max_concurrency, @daily_usd, @total_quota, @ip_allow, @expires_at);

-- name: UpdateGroup :exec
UPDATE client_group SET all_models = @all_models, models = @models, ppm = @ppm, rpm = @rpm, tpm = @tpm, max_concurrency = @max_concurrency,
       daily_usd = @daily_usd, total_quota = @total_quota, ip_allow = @ip_allow, expires_at = @expires_at
WHERE name = @name;

-- name: InsertProvider :one
INSERT INTO provider (slug, protocol, dialect, base_url, options, daily_stop)
VALUES (@slug, @protocol, @dialect, @base_url, @options, @daily_stop) RETURNING id;

-- name: UpdateProvider :exec
UPDATE provider SET protocol = @protocol, dialect = @dialect, base_url = @base_url, options = @options, daily_stop = @daily_stop
WHERE slug = @slug;

-- name: NextProviderKeyID :one
SELECT nextval(pg_get_serial_sequence('provider_key', 'id'))::bigint;

-- name: InsertProviderKey :exec
INSERT INTO provider_key (id, provider_id, name, sealed) VALUES (sqlc.arg(row_id), @provider_id, @name, @sealed);

-- name: UpdateProviderKey :exec
UPDATE provider_key SET sealed = @sealed, version = @version, enabled = @enabled WHERE id = sqlc.arg(row_id);

-- name: InsertModel :one
INSERT INTO model (public_id, tags, context_tokens, max_output, ppm, auto_strategy, auto_models)
VALUES (@public_id, @tags, @context_tokens, @max_output, @ppm, @auto_strategy, @auto_models) RETURNING id;

-- name: UpdateModel :exec
UPDATE model SET tags = @tags, context_tokens = @context_tokens, max_output = @max_output, ppm = @ppm, auto_strategy = @auto_strategy,
       auto_models = @auto_models, enabled = true
WHERE id = sqlc.arg(row_id);

-- name: DeleteAlias :exec
DELETE FROM model_alias WHERE alias = @alias;

-- name: InsertAlias :exec
INSERT INTO model_alias (alias, model_id) VALUES (@alias, @model_id) ON CONFLICT (alias) DO UPDATE SET model_id = excluded.model_id;

-- name: InsertRoute :one
INSERT INTO route (model_id, provider_id, upstream_model, region, priority, weight)
VALUES (@model_id, @provider_id, @upstream_model, @region, @priority, @weight) RETURNING id;

-- name: UpdateRoute :exec
UPDATE route SET priority = @priority, weight = @weight, enabled = @enabled WHERE id = sqlc.arg(row_id);

-- name: InsertPrice :one
INSERT INTO price (model_id, route_id, rates, free, withdrawn, effective_at)
VALUES (@model_id, @route_id, @rates, @free, @withdrawn, coalesce(sqlc.narg(effective_at)::timestamptz, clock_timestamp())) RETURNING id;

-- name: InsertTier :exec
INSERT INTO price_tier (price_id, above_input, base, rates, free) VALUES (@price_id, @above_input, @base, @rates, @free);

-- name: ModelsNamed :many
SELECT * FROM model WHERE public_id = ANY (@names::text[]) ORDER BY public_id;

-- name: RoutesOf :many
SELECT * FROM route WHERE model_id = ANY (@models::bigint[]) ORDER BY model_id, priority, id;

-- name: AliasesOf :many
-- The other names of some models, and whose the given ones are.
SELECT a.alias, a.model_id, m.public_id FROM model_alias a JOIN model m ON m.id = a.model_id
WHERE a.model_id = ANY (@models::bigint[]) OR a.alias = ANY (@names::text[]) ORDER BY a.alias;

-- name: ModelByPublicID :one
SELECT id FROM model WHERE public_id = @public_id;
