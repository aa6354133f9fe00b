-- name: LockWallets :many
SELECT id, balance, leased, floor FROM wallet WHERE id = ANY (@ids::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: TouchBudgets :exec
INSERT INTO budget (key_id, period)
SELECT DISTINCT k, p FROM (SELECT unnest(@keys::bigint[]) AS k, unnest(@periods::integer[]) AS p) AS t ORDER BY k, p
ON CONFLICT DO NOTHING;

-- name: LockBudgets :many
SELECT b.key_id, b.period, b.cap, b.posted, b.leased, b.over FROM budget b
JOIN (SELECT unnest(@keys::bigint[]) AS k, unnest(@periods::integer[]) AS p) AS t ON b.key_id = t.k AND b.period = t.p
ORDER BY b.key_id, b.period FOR NO KEY UPDATE OF b;

-- name: LeasesByID :many
SELECT id, wallet_id, key_id, period, granted, settled, returned, open FROM lease WHERE id = ANY (@ids::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: UsageKnown :many
SELECT u.request_id FROM usage u
JOIN (SELECT unnest(@months::integer[]) AS m, unnest(@ids::uuid[]) AS i) AS t ON u.month = t.m AND u.request_id = t.i;

-- name: KeyOwners :many
SELECT k.id, c.id AS client_id, c.wallet_id FROM api_key k JOIN client c ON c.id = k.client_id WHERE k.id = ANY (@ids::bigint[]);

-- name: SettleLeases :exec
UPDATE lease l SET settled = l.settled + t.amount
FROM (SELECT unnest(@ids::bigint[]) AS id, unnest(@amounts::bigint[]) AS amount) AS t
WHERE l.id = t.id;

-- name: SettleWallets :exec
UPDATE wallet w SET balance = w.balance - t.charged, leased = w.leased - t.leased
FROM (SELECT unnest(@ids::bigint[]) AS id, unnest(@charged::bigint[]) AS charged, unnest(@leased::bigint[]) AS leased) AS t
WHERE w.id = t.id;

-- name: SettleBudgets :exec
UPDATE budget b SET posted = b.posted + t.charged, leased = b.leased - t.leased,
       over = greatest(0, b.posted + t.charged + b.leased - t.leased - coalesce(b.cap, b.posted + t.charged + b.leased - t.leased))
FROM (SELECT unnest(@keys::bigint[]) AS key_id, unnest(@periods::integer[]) AS period,
             unnest(@charged::bigint[]) AS charged, unnest(@leased::bigint[]) AS leased) AS t
WHERE b.key_id = t.key_id AND b.period = t.period;

-- name: InsertBadDebt :exec
INSERT INTO entry (wallet_id, kind, amount, ref, note, actor, request_id)
SELECT w, 'bad_debt', a, 'bad_debt:' || r, '', 'ship', r
FROM (SELECT unnest(@wallets::bigint[]) AS w, unnest(@amounts::bigint[]) AS a, unnest(@ids::uuid[]) AS r) AS t;

-- name: InsertReject :exec
INSERT INTO settle_reject (request_id, slot, reason, record) VALUES (@request_id, @slot, @reason, @record) ON CONFLICT DO NOTHING;

-- name: RefusalsInMinute :many
-- How many rows there are already, per key and code, of the minutes of from to to.
SELECT key_id, code, (ms_of(request_id) / 60000)::bigint AS minute, count(*) AS n
FROM refusal WHERE key_id = ANY (@keys::bigint[]) AND request_id BETWEEN @first::uuid AND @last::uuid
GROUP BY 1, 2, 3;

-- name: RefusalsKnown :many
SELECT request_id FROM refusal WHERE request_id = ANY (@ids::uuid[]);

-- name: AddCodes :exec
INSERT INTO code_hourly (hour, client_id, key_id, model, slot, code, n)
SELECT h, c, k, m, @slot, e, n
FROM (SELECT unnest(@hours::integer[]) AS h, unnest(@clients::bigint[]) AS c, unnest(@keys::bigint[]) AS k,
             unnest(@models::text[]) AS m, unnest(@codes::text[]) AS e, unnest(@counts::bigint[]) AS n) AS t
ORDER BY h, c, k, m, e
ON CONFLICT (hour, client_id, key_id, model, slot, code) DO UPDATE SET n = code_hourly.n + excluded.n;
