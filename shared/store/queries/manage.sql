-- name: InsertAudit :exec
INSERT INTO audit_log (actor, action, object, object_id, detail, rev, ip, request_id)
VALUES (@actor, @action, @object, @object_id, @detail, @rev, @ip, @request_id);

-- name: InsertWallet :one
INSERT INTO wallet DEFAULT VALUES RETURNING id;

-- name: SetFloor :exec
UPDATE wallet SET floor = sqlc.arg(new_floor) WHERE id = sqlc.arg(row_id);

-- name: InsertClient :one
INSERT INTO client (name, group_id, wallet_id, ppm) VALUES (@name, @group_id, @wallet_id, @ppm) RETURNING id;

-- name: GroupByName :one
SELECT id FROM client_group WHERE name = @name;

-- name: ClientByID :one
SELECT c.*, g.name AS group_name FROM client c JOIN client_group g ON g.id = c.group_id WHERE c.id = sqlc.arg(row_id);

-- name: ClientByName :one
SELECT c.*, g.name AS group_name FROM client c JOIN client_group g ON g.id = c.group_id WHERE c.name = @name;

-- name: ListClients :many
SELECT c.*, g.name AS group_name FROM client c JOIN client_group g ON g.id = c.group_id
WHERE c.id > @after ORDER BY c.id LIMIT @max_rows;

-- name: LockClient :one
SELECT c.*, g.name AS group_name FROM client c JOIN client_group g ON g.id = c.group_id WHERE c.id = sqlc.arg(row_id) FOR NO KEY UPDATE OF c;

-- name: UpdateClient :exec
UPDATE client SET name = sqlc.arg(new_name), group_id = sqlc.arg(new_group), ppm = sqlc.arg(new_ppm), active = sqlc.arg(new_active), profile = sqlc.arg(new_profile)
WHERE id = sqlc.arg(row_id);

-- name: InsertEntry :one
INSERT INTO entry (wallet_id, kind, amount, ref, note, actor) VALUES (@wallet_id, @kind, @amount, @ref, @note, @actor)
ON CONFLICT (ref) DO NOTHING RETURNING id, created_at;

-- name: EntryByRef :one
SELECT * FROM entry WHERE ref = @ref;

-- name: AddBalance :one
UPDATE wallet SET balance = balance + @amount WHERE id = sqlc.arg(row_id) RETURNING balance;

-- name: ListEntries :many
SELECT * FROM entry WHERE wallet_id = @wallet_id AND (sqlc.arg(before)::bigint = 0 OR id < sqlc.arg(before)::bigint)
ORDER BY id DESC LIMIT @max_rows;

-- name: WalletBalance :one
SELECT w.id, w.balance, w.leased, w.floor,
       (SELECT coalesce(sum(r.amount), 0)::bigint FROM reserved r
        WHERE r.wallet_id = w.id AND r.at > clock_timestamp() - interval '10 seconds')::bigint AS reserved
FROM wallet w WHERE w.id = sqlc.arg(row_id);

-- name: WalletBalances :many
SELECT w.id, w.balance, w.leased, w.floor, coalesce(sum(r.amount), 0)::bigint AS reserved
FROM wallet w LEFT JOIN reserved r ON r.wallet_id = w.id AND r.at > clock_timestamp() - interval '10 seconds'
WHERE w.id = ANY(sqlc.arg(row_ids)::bigint[]) GROUP BY w.id;

-- name: InsertKey :one
INSERT INTO api_key (client_id, public_id, digest, last4, name, models, ip_allow, rpm, tpm, max_concurrency, monthly_cap,
                     total_quota, daily_usd, drain_tokens, expires_at)
VALUES (@client_id, @public_id, @digest, @last4, @name, @models, @ip_allow, @rpm, @tpm, @max_concurrency, @monthly_cap,
        @total_quota, @daily_usd, @drain_tokens, @expires_at)
RETURNING id;

-- name: KeyByID :one
SELECT k.*, coalesce(m.posted, 0)::bigint AS spent_month, coalesce(t.posted, 0)::bigint AS spent_total,
       coalesce((SELECT u.admitted_us FROM usage u WHERE u.key_id = k.id ORDER BY u.request_id DESC LIMIT 1), 0)::bigint AS last_used_us
FROM api_key k
LEFT JOIN budget m ON m.key_id = k.id AND m.period = to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMM')::integer
LEFT JOIN budget t ON t.key_id = k.id AND t.period = 0
WHERE k.id = sqlc.arg(row_id);

-- name: KeyByPublicID :one
SELECT k.*, coalesce(m.posted, 0)::bigint AS spent_month, coalesce(t.posted, 0)::bigint AS spent_total,
       coalesce((SELECT u.admitted_us FROM usage u WHERE u.key_id = k.id ORDER BY u.request_id DESC LIMIT 1), 0)::bigint AS last_used_us
FROM api_key k
LEFT JOIN budget m ON m.key_id = k.id AND m.period = to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMM')::integer
LEFT JOIN budget t ON t.key_id = k.id AND t.period = 0
WHERE k.public_id = @public_id AND (sqlc.arg(owner)::bigint = 0 OR k.client_id = sqlc.arg(owner)::bigint);

-- name: ListClientKeys :many
SELECT k.*, coalesce(m.posted, 0)::bigint AS spent_month, coalesce(t.posted, 0)::bigint AS spent_total,
       coalesce((SELECT u.admitted_us FROM usage u WHERE u.key_id = k.id ORDER BY u.request_id DESC LIMIT 1), 0)::bigint AS last_used_us
FROM api_key k
LEFT JOIN budget m ON m.key_id = k.id AND m.period = to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMM')::integer
LEFT JOIN budget t ON t.key_id = k.id AND t.period = 0
WHERE k.client_id = @client_id AND k.id > @after ORDER BY k.id LIMIT @max_rows;

-- name: ListAllKeys :many
SELECT k.*, coalesce(m.posted, 0)::bigint AS spent_month, coalesce(t.posted, 0)::bigint AS spent_total,
       coalesce((SELECT u.admitted_us FROM usage u WHERE u.key_id = k.id ORDER BY u.request_id DESC LIMIT 1), 0)::bigint AS last_used_us
FROM api_key k
LEFT JOIN budget m ON m.key_id = k.id AND m.period = to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMM')::integer
LEFT JOIN budget t ON t.key_id = k.id AND t.period = 0
WHERE k.id > @after ORDER BY k.id LIMIT @max_rows;

-- name: LockKey :one
SELECT id, status, digest FROM api_key
WHERE public_id = @public_id AND (sqlc.arg(owner)::bigint = 0 OR client_id = sqlc.arg(owner)::bigint) FOR NO KEY UPDATE;

-- name: SetKeyStatus :exec
UPDATE api_key SET status = @status, changed_at = clock_timestamp() WHERE id = sqlc.arg(row_id);

-- name: UpdateKey :exec
UPDATE api_key SET name = @name, models = @models, ip_allow = @ip_allow, rpm = @rpm, tpm = @tpm, max_concurrency = @max_concurrency,
       monthly_cap = @monthly_cap, total_quota = @total_quota, daily_usd = @daily_usd, drain_tokens = @drain_tokens,
       expires_at = @expires_at, changed_at = clock_timestamp()
WHERE id = sqlc.arg(row_id);

-- name: InsertUser :one
INSERT INTO app_user (email, password_hash, client_id, operator, role) VALUES (@email, @password_hash, @client_id, @operator, @role)
RETURNING id, created_at;

-- name: UserByEmail :one
SELECT * FROM app_user WHERE email = @email;

-- name: SetPassword :execrows
UPDATE app_user SET password_hash = @hash WHERE id = sqlc.arg(row_id);

-- name: EndSessions :exec
DELETE FROM app_session WHERE user_id = @user_id OR expires_at < clock_timestamp();

-- name: InsertSession :exec
INSERT INTO app_session (digest, user_id, expires_at) VALUES (@digest, @user_id, clock_timestamp() + sqlc.arg(ttl)::interval);

-- name: SessionUser :one
SELECT u.* FROM app_session s JOIN app_user u ON u.id = s.user_id
WHERE s.digest = @digest AND s.expires_at > clock_timestamp() AND u.active;

-- name: EndSession :exec
DELETE FROM app_session WHERE digest = @digest;

-- name: Setting :one
SELECT value FROM setting WHERE name = @name;

-- name: SetSetting :exec
INSERT INTO setting (name, value) VALUES (@name, @value) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: PauseProvider :one
UPDATE provider SET paused = sqlc.arg(new_paused) WHERE slug = @slug AND paused <> sqlc.arg(new_paused) RETURNING id;

-- name: ProviderID :one
SELECT id FROM provider WHERE slug = @slug;
