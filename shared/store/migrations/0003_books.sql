-- The books' own proof: a daily hash chain per wallet (M13), the double entry as a view
-- (M12), and codes that customers redeem for money.

-- ---- the chain -----------------------------------------------------------------

-- day_of is the UTC day of a request id, days since 1970; id_at the least id of a time.
CREATE FUNCTION day_of(id uuid) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (('x' || substr(translate(id::text, '-', ''), 1, 12))::bit(48)::bigint / 86400000)::integer;

CREATE FUNCTION id_at(ms bigint) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (lpad(to_hex(ms), 12, '0') || repeat('0', 20))::uuid;

-- part is a text that cannot run into its neighbour.
CREATE FUNCTION part(t text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(length(t) || ':' || t, '-');

-- What of a row is sealed: all of it, in a form that later columns do not change.
CREATE FUNCTION usage_line(u usage) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT 'u ' || (u).request_id::text || ' ' || (u).slot || ' ' || (u).client_id || ' ' || (u).wallet_id || ' ' || (u).key_id || ' ' || (u).endpoint
    || ' ' || (u).status || ' ' || (u).http_status || ' ' || (u).flags || ' ' || (u).source || ' ' || (u).units::text || ' ' || (u).hold || ' ' || (u).charge
    || ' ' || (u).cost || ' ' || (u).overrun || ' ' || (u).price_id || ' ' || (u).cost_price_id || ' ' || (u).model_ppm || ' ' || (u).group_ppm
    || ' ' || (u).client_ppm || ' ' || (u).wallet_lease || ' ' || (u).month_lease || ' ' || (u).total_lease || ' ' || (u).late || ' ' || (u).admitted_us
    || ' ' || (u).first_token_us || ' ' || (u).end_us || ' ' || (u).bytes_in || ' ' || (u).bytes_out || ' ' || (u).attempts::text
    || ' ' || part((u).model) || part((u).requested_model) || part((u).client_request_id) || part((u).code)
$$;

CREATE FUNCTION entry_line(e entry) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT 'e ' || (e).id || ' ' || (e).wallet_id || ' ' || (e).kind || ' ' || (e).amount || ' ' || (extract(epoch FROM (e).created_at) * 1000000)::bigint
    || ' ' || coalesce((e).request_id::text, '-') || ' ' || part((e).ref) || part((e).note) || part((e).actor)
$$;

-- chain hashes lines one after the other: SHA-256(of what was so far || line).
CREATE FUNCTION chain_link(so_far bytea, line text) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN sha256(so_far || convert_to(line, 'UTF8'));
CREATE AGGREGATE chain (text) (SFUNC = chain_link, STYPE = bytea, INITCOND = '');

-- chain_head ties a day to the one before: SHA-256(head before || day || chain of the day).
CREATE FUNCTION chain_head(prev bytea, day integer, lines bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN sha256(coalesce(prev, '') || convert_to(day::text, 'UTF8') || lines);

-- A day that is closed: rows that still come for it belong to the next open day. It is
-- chained (built_at) only when every transaction that had not seen the row is over.
CREATE TABLE day_close (
    day       integer PRIMARY KEY,
    closed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    built_at  timestamptz
);

-- Rows that came after their day was closed, and the day whose chain they are in.
CREATE TABLE usage_after (
    request_id uuid PRIMARY KEY,
    wallet_id  bigint NOT NULL,
    day        integer NOT NULL
);
CREATE INDEX usage_after_day ON usage_after (day);
CREATE INDEX usage_after_wallet ON usage_after (wallet_id);

CREATE FUNCTION note_usage_after() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    closed integer := (SELECT max(day) FROM day_close);
BEGIN
    IF closed IS NOT NULL THEN
        INSERT INTO usage_after (request_id, wallet_id, day)
        SELECT request_id, wallet_id, closed + 1 FROM fresh WHERE request_id < id_at((closed + 1)::bigint * 86400000)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_after AFTER INSERT ON usage REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_usage_after();

-- One link of a wallet's chain: a closed day with usage or entries. Lines are in the
-- order of their ids, usage first.
CREATE TABLE wallet_day (
    wallet_id bigint NOT NULL,
    day       integer NOT NULL,
    prev      bytea CHECK (octet_length(prev) = 32), -- head of the wallet's link before, null in the first
    head      bytea NOT NULL CHECK (octet_length(head) = 32),
    calls     bigint NOT NULL CHECK (calls >= 0),
    entries   bigint NOT NULL CHECK (entries >= 0),
    charge    numeric NOT NULL,
    credit    numeric NOT NULL,
    PRIMARY KEY (wallet_id, day)
);
CREATE TRIGGER wallet_day_append_only BEFORE UPDATE OR DELETE ON wallet_day FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER wallet_day_no_truncate BEFORE TRUNCATE ON wallet_day EXECUTE FUNCTION append_only();
CREATE TRIGGER usage_after_append_only BEFORE UPDATE OR DELETE ON usage_after FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER usage_after_no_truncate BEFORE TRUNCATE ON usage_after EXECUTE FUNCTION append_only();

-- chain_days computes the links' content of the wallets in (above, upto] and of the days
-- from first to last, from the rows themselves.
CREATE FUNCTION chain_days(above bigint, upto bigint, first_day integer, last_day integer)
RETURNS TABLE (wallet_id bigint, day integer, lines bytea, calls bigint, entries bigint, charge numeric, credit numeric)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT wallet_id, day, chain(line ORDER BY kind, uid, eid), count(*) FILTER (WHERE kind = 0), count(*) FILTER (WHERE kind = 1),
           coalesce(sum(amount) FILTER (WHERE kind = 0), 0), coalesce(sum(amount) FILTER (WHERE kind = 1), 0)
    FROM (
        SELECT u.wallet_id, day_of(u.request_id) AS day, 0 AS kind, u.request_id AS uid, 0::bigint AS eid, usage_line(u) AS line, u.charge AS amount
        FROM usage u
        WHERE u.wallet_id > above AND u.wallet_id <= upto
          AND u.month BETWEEN month_of(id_at(first_day::bigint * 86400000)) AND month_of(id_at(last_day::bigint * 86400000))
          AND u.request_id >= id_at(first_day::bigint * 86400000) AND u.request_id < id_at((last_day + 1)::bigint * 86400000)
          AND NOT EXISTS (SELECT FROM usage_after a WHERE a.request_id = u.request_id)
        UNION ALL
        SELECT a.wallet_id, a.day, 0, u.request_id, 0, usage_line(u), u.charge
        FROM usage_after a JOIN usage u ON u.month = month_of(a.request_id) AND u.request_id = a.request_id
        WHERE a.wallet_id > above AND a.wallet_id <= upto AND a.day BETWEEN first_day AND last_day
        UNION ALL
        SELECT e.wallet_id, floor(extract(epoch FROM e.created_at) / 86400)::integer, 1, NULL, e.id, entry_line(e), e.amount
        FROM entry e
        WHERE e.wallet_id > above AND e.wallet_id <= upto
          AND e.created_at >= to_timestamp(first_day::bigint * 86400) AND e.created_at < to_timestamp((last_day + 1)::bigint * 86400)
    ) r GROUP BY 1, 2
$$;

-- ---- append-only by privilege ----------------------------------------------------------

-- The owner gives up what it does not need, so that a mistake in a statement is refused
-- before the trigger is asked. (A superuser is bound by the triggers only; price keeps
-- UPDATE, which the foreign key of its tiers locks rows with.)
REVOKE UPDATE, DELETE, TRUNCATE ON usage, usage_default, entry, audit_log, price_tier, wallet_day, usage_after FROM PUBLIC, CURRENT_USER;
REVOKE DELETE, TRUNCATE ON price FROM PUBLIC, CURRENT_USER;
DO $$
DECLARE
    p regclass;
BEGIN
    FOR p IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'usage'::regclass LOOP
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM PUBLIC, CURRENT_USER', p);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION usage_partitions(ahead integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    m integer;
    stray bigint;
BEGIN
    FOR m IN SELECT to_char(date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + make_interval(months => i), 'YYYYMM')::integer
             FROM generate_series(0, ahead) AS i
    LOOP
        CONTINUE WHEN to_regclass(format('usage_%s', m)) IS NOT NULL;
        CONTINUE WHEN EXISTS (SELECT FROM usage_default WHERE month = m);
        EXECUTE format('CREATE TABLE usage_%s PARTITION OF usage FOR VALUES IN (%s)', m, m);
        EXECUTE format('CREATE TRIGGER usage_%s_no_truncate BEFORE TRUNCATE ON usage_%s EXECUTE FUNCTION append_only()', m, m);
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON usage_%s FROM PUBLIC, CURRENT_USER', m);
    END LOOP;
    SELECT count(*) INTO stray FROM usage_default;
    RETURN stray;
END $$;

-- ---- double entry ----------------------------------------------------------------------

-- posting is every movement as its two sides (M12). Signs are those of what the house
-- owes: a charge takes from customers and gives to revenue; what a hold did not cover is
-- revenue that the house itself pays.
CREATE VIEW posting AS
SELECT 'usage' AS source, request_id::text AS ref, wallet_id, 'customers' AS account, -charge AS amount FROM usage WHERE charge <> 0
UNION ALL SELECT 'usage', request_id::text, wallet_id, 'revenue', charge FROM usage WHERE charge <> 0
UNION ALL SELECT 'usage', request_id::text, wallet_id, 'house_overrun', -overrun FROM usage WHERE overrun <> 0
UNION ALL SELECT 'usage', request_id::text, wallet_id, 'revenue', overrun FROM usage WHERE overrun <> 0
UNION ALL SELECT 'entry', id::text, wallet_id, 'customers', amount FROM entry
UNION ALL SELECT 'entry', id::text, wallet_id,
    CASE kind WHEN 'recharge' THEN 'clearing' WHEN 'refund' THEN 'revenue' WHEN 'bad_debt' THEN 'bad_debt' ELSE 'corrections' END, -amount FROM entry;

-- ---- vouchers ---------------------------------------------------------------------------

-- A code that is worth money once. Only its digest is kept.
CREATE TABLE voucher (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest      bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32), -- SHA-256 of the code
    last4       text NOT NULL CHECK (length(last4) = 4),
    amount      bigint NOT NULL CHECK (amount BETWEEN 1 AND 4000000000000000000),
    note        text NOT NULL DEFAULT '',
    actor       text NOT NULL CHECK (actor <> ''),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz,
    revoked_at  timestamptz,
    wallet_id   bigint REFERENCES wallet, -- who redeemed it
    entry_id    bigint UNIQUE, -- no foreign key: it would need UPDATE on entry
    redeemed_at timestamptz,
    CONSTRAINT voucher_redeemed CHECK ((wallet_id IS NULL) = (entry_id IS NULL) AND (wallet_id IS NULL) = (redeemed_at IS NULL)),
    CONSTRAINT voucher_revoked CHECK (revoked_at IS NULL OR redeemed_at IS NULL)
);
CREATE FUNCTION voucher_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a voucher keeps its amount, and once it is redeemed, everything' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER voucher_final BEFORE UPDATE ON voucher FOR EACH ROW
    WHEN (OLD.redeemed_at IS NOT NULL OR OLD.amount <> NEW.amount OR OLD.digest <> NEW.digest) EXECUTE FUNCTION voucher_final();
CREATE TRIGGER voucher_no_delete BEFORE DELETE ON voucher FOR EACH ROW EXECUTE FUNCTION append_only();
