-- Reports over a long time, whose rows must not grow with keys and hours: days know how long
-- calls took, and there are sums of a day's calls by model and by client.

ALTER TABLE usage_daily ADD COLUMN latency bigint[] NOT NULL DEFAULT '{}', ADD COLUMN first_token bigint[] NOT NULL DEFAULT '{}';

-- The calls of a day: those of all clients by model (client_id 0), and those of each client,
-- of all models (model ''). hour is the day's first, so that the same statements read either.
CREATE TABLE usage_total (
    hour        integer NOT NULL CHECK (hour % 24 = 0),
    client_id   bigint NOT NULL CHECK (client_id >= 0),
    model       text NOT NULL,
    slot        smallint NOT NULL,
    success     bigint NOT NULL CHECK (success >= 0),
    failed      bigint NOT NULL CHECK (failed >= 0),
    timeout     bigint NOT NULL CHECK (timeout >= 0),
    cancelled   bigint NOT NULL CHECK (cancelled >= 0),
    interrupted bigint NOT NULL CHECK (interrupted >= 0),
    units       bigint[] NOT NULL CHECK (0 <= ALL (units)),
    charge      bigint NOT NULL CHECK (charge >= 0),
    cost        bigint NOT NULL CHECK (cost >= 0),
    overrun     bigint NOT NULL CHECK (overrun >= 0),
    bytes_in    bigint NOT NULL,
    bytes_out   bigint NOT NULL,
    latency     bigint[] NOT NULL,
    first_token bigint[] NOT NULL,
    PRIMARY KEY (client_id, hour, model, slot),
    CHECK (client_id = 0 OR model = '')
);
CREATE INDEX usage_total_hour ON usage_total (hour) WHERE client_id <> 0;

-- What was answered on a day, by code: of all clients, keys and models.
CREATE TABLE code_total (
    hour integer NOT NULL CHECK (hour % 24 = 0),
    slot smallint NOT NULL,
    code text NOT NULL,
    n    bigint NOT NULL CHECK (n >= 0),
    PRIMARY KEY (hour, slot, code)
);

-- Element by element: sum_counts would take ten times as long.
DO $do$
DECLARE
    figures text := 'sum(success), sum(failed), sum(timeout), sum(cancelled), sum(interrupted), ARRAY[%s]::bigint[], sum(charge), sum(cost), sum(overrun), sum(bytes_in), sum(bytes_out), ARRAY[%s]::bigint[], ARRAY[%s]::bigint[]';
BEGIN
    figures := format(figures, (SELECT string_agg(format('coalesce(sum(units[%s]), 0)', i), ', ' ORDER BY i) FROM generate_series(1, 15) AS i),
        (SELECT string_agg(format('coalesce(sum(latency[%s]), 0)', i), ', ' ORDER BY i) FROM generate_series(1, 24) AS i),
        (SELECT string_agg(format('coalesce(sum(first_token[%s]), 0)', i), ', ' ORDER BY i) FROM generate_series(1, 24) AS i));
    TRUNCATE usage_daily;
    EXECUTE 'INSERT INTO usage_daily (hour, client_id, key_id, model, slot, success, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bytes_in, bytes_out, latency, first_token)
        SELECT hour / 24 * 24, client_id, key_id, model, slot, ' || figures || ' FROM usage_hourly GROUP BY 1, 2, 3, 4, 5';
    EXECUTE 'INSERT INTO usage_total SELECT hour, 0, model, slot, ' || figures || ' FROM usage_daily GROUP BY 1, 3, 4';
    EXECUTE 'INSERT INTO usage_total SELECT hour, client_id, '''', slot, ' || figures || ' FROM usage_daily GROUP BY 1, 2, 4';
END $do$;
INSERT INTO code_total SELECT hour / 24 * 24, slot, code, sum(n) FROM code_hourly GROUP BY 1, 2, 3;

-- bucket_counts is a histogram of one duration in microseconds: classes of milliseconds, each
-- reaching to the double of the one before.
CREATE FUNCTION bucket_counts(micros bigint) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_append(array_fill(0::bigint, ARRAY[least(23, length(ltrim((greatest(micros, 0) / 1000)::bit(64)::text, '0')))]), 1::bigint);

-- note_totals adds new rows up for a writer that does not say that it writes these sums: one
-- that knows nothing of any, or a proxy of the version before, which writes days without
-- durations.
CREATE FUNCTION note_totals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_daily AS d (hour, client_id, key_id, model, slot, success, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bytes_in, bytes_out, latency, first_token)
    SELECT (ms_of(request_id) / 86400000)::integer * 24, client_id, key_id, model, slot, 0, 0, 0, 0, 0, '{}', 0, 0, 0, 0, 0,
           sum_counts(bucket_counts(end_us - admitted_us)), sum_counts(bucket_counts(first_token_us)) FILTER (WHERE first_token_us > 0)
    FROM fresh GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (hour, client_id, key_id, model, slot) DO UPDATE SET latency = add_counts(d.latency, excluded.latency), first_token = add_counts(d.first_token, excluded.first_token);
    INSERT INTO usage_total AS t
    SELECT (ms_of(f.request_id) / 86400000)::integer * 24, x.client, x.model, f.slot, count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2),
           count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4), count(*) FILTER (WHERE status = 5), sum_counts(units),
           sum(charge), sum(cost), sum(overrun), sum(bytes_in), sum(bytes_out),
           sum_counts(bucket_counts(end_us - admitted_us)), sum_counts(bucket_counts(first_token_us)) FILTER (WHERE first_token_us > 0)
    FROM fresh f, LATERAL (VALUES (0::bigint, f.model), (f.client_id, '')) AS x (client, model) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (client_id, hour, model, slot) DO UPDATE SET success = t.success + excluded.success, failed = t.failed + excluded.failed,
        timeout = t.timeout + excluded.timeout, cancelled = t.cancelled + excluded.cancelled, interrupted = t.interrupted + excluded.interrupted,
        units = add_counts(t.units, excluded.units), charge = t.charge + excluded.charge, cost = t.cost + excluded.cost, overrun = t.overrun + excluded.overrun,
        bytes_in = t.bytes_in + excluded.bytes_in, bytes_out = t.bytes_out + excluded.bytes_out,
        latency = add_counts(t.latency, excluded.latency), first_token = add_counts(t.first_token, excluded.first_token);
    RETURN NULL;
END $$;
DROP TRIGGER usage_daily ON usage;
CREATE TRIGGER usage_daily AFTER INSERT ON usage REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT
    WHEN (coalesce(current_setting('relay.sums', true), '') NOT IN ('written', 'all')) EXECUTE FUNCTION note_day();
DROP TRIGGER usage_attempts ON usage;
CREATE TRIGGER usage_attempts AFTER INSERT ON usage REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT
    WHEN (coalesce(current_setting('relay.sums', true), '') NOT IN ('written', 'all')) EXECUTE FUNCTION note_attempts();
CREATE TRIGGER usage_total AFTER INSERT ON usage REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT
    WHEN (current_setting('relay.sums', true) IS DISTINCT FROM 'all') EXECUTE FUNCTION note_totals();

-- note_codes keeps the sums by code. Errors are few: a trigger serves all writers. One
-- statement may run it twice, for new rows and for changed ones, so that two writers of a
-- proxy could meet its sums in different orders: the lock lets one of them in.
CREATE FUNCTION note_codes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('code_total'), s.slot) FROM (SELECT DISTINCT slot FROM fresh ORDER BY 1) s;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO code_total AS t SELECT hour / 24 * 24, slot, code, sum(n) FROM fresh GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (hour, slot, code) DO UPDATE SET n = t.n + excluded.n;
    ELSE
        UPDATE code_total AS t SET n = t.n + x.n
        FROM (SELECT hour / 24 * 24 AS hour, slot, code, sum(n) AS n FROM (SELECT hour, slot, code, n FROM fresh UNION ALL SELECT hour, slot, code, -n FROM stale) y GROUP BY 1, 2, 3) x
        WHERE t.hour = x.hour AND t.slot = x.slot AND t.code = x.code;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER code_total_new AFTER INSERT ON code_hourly REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_codes();
CREATE TRIGGER code_total_more AFTER UPDATE ON code_hourly REFERENCING NEW TABLE AS fresh OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION note_codes();
