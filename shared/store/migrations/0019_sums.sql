-- Reports over many rows: days keep their keys, so that reports by key need no hours, and
-- what went wrong is found without reading all that went well.

DROP TRIGGER usage_daily ON usage;
ALTER TABLE usage_daily ADD COLUMN key_id bigint, DROP CONSTRAINT usage_daily_pkey;
TRUNCATE usage_daily;
ALTER TABLE usage_daily ADD PRIMARY KEY (hour, client_id, key_id, model, slot);
INSERT INTO usage_daily (hour, client_id, key_id, model, slot, success, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bytes_in, bytes_out)
SELECT hour / 24 * 24, client_id, key_id, model, slot, sum(success), sum(failed), sum(timeout), sum(cancelled), sum(interrupted),
       ARRAY[coalesce(sum(units[1]), 0), coalesce(sum(units[2]), 0), coalesce(sum(units[3]), 0), coalesce(sum(units[4]), 0), coalesce(sum(units[5]), 0), coalesce(sum(units[6]), 0), coalesce(sum(units[7]), 0), coalesce(sum(units[8]), 0), coalesce(sum(units[9]), 0), coalesce(sum(units[10]), 0), coalesce(sum(units[11]), 0), coalesce(sum(units[12]), 0), coalesce(sum(units[13]), 0), coalesce(sum(units[14]), 0), coalesce(sum(units[15]), 0)]::bigint[],
       sum(charge), sum(cost), sum(overrun), sum(bytes_in), sum(bytes_out)
FROM usage_hourly GROUP BY 1, 2, 3, 4, 5;

CREATE OR REPLACE FUNCTION note_day() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_daily AS d (hour, client_id, key_id, model, slot, success, failed, timeout, cancelled, interrupted, units, charge, cost, overrun, bytes_in, bytes_out)
    SELECT (ms_of(request_id) / 86400000)::integer * 24, client_id, key_id, model, slot, count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2),
           count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4), count(*) FILTER (WHERE status = 5),
           ARRAY[coalesce(sum(units[1]), 0), coalesce(sum(units[2]), 0), coalesce(sum(units[3]), 0), coalesce(sum(units[4]), 0), coalesce(sum(units[5]), 0), coalesce(sum(units[6]), 0), coalesce(sum(units[7]), 0), coalesce(sum(units[8]), 0), coalesce(sum(units[9]), 0), coalesce(sum(units[10]), 0), coalesce(sum(units[11]), 0), coalesce(sum(units[12]), 0), coalesce(sum(units[13]), 0), coalesce(sum(units[14]), 0), coalesce(sum(units[15]), 0)]::bigint[],
           sum(charge), sum(cost), sum(overrun), sum(bytes_in), sum(bytes_out)
    FROM fresh GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (hour, client_id, key_id, model, slot) DO UPDATE SET success = d.success + excluded.success, failed = d.failed + excluded.failed,
        timeout = d.timeout + excluded.timeout, cancelled = d.cancelled + excluded.cancelled, interrupted = d.interrupted + excluded.interrupted,
        units = add_counts(d.units, excluded.units), charge = d.charge + excluded.charge, cost = d.cost + excluded.cost, overrun = d.overrun + excluded.overrun,
        bytes_in = d.bytes_in + excluded.bytes_in, bytes_out = d.bytes_out + excluded.bytes_out;
    RETURN NULL;
END $$;

-- Days and attempts are added up by whoever writes a batch of usage, and says so. The
-- triggers do it for all others, a proxy of an earlier version among them.
CREATE TRIGGER usage_daily AFTER INSERT ON usage REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT
    WHEN (current_setting('relay.sums', true) IS DISTINCT FROM 'written') EXECUTE FUNCTION note_day();
DROP TRIGGER usage_attempts ON usage;
CREATE TRIGGER usage_attempts AFTER INSERT ON usage REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT
    WHEN (current_setting('relay.sums', true) IS DISTINCT FROM 'written') EXECUTE FUNCTION note_attempts();

-- Whether an attempt may have failed: more than one was made, or the only one did not end
-- well. attempts has six numbers for each, the fourth is how it ended, 1 is well.
CREATE FUNCTION has_failed(attempts bigint[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN cardinality(attempts) > 6 OR attempts[4] <> 1;
CREATE INDEX usage_failed ON usage (month, request_id) WHERE has_failed(attempts);

-- Calls that were no success, of all and of each customer.
CREATE INDEX usage_status ON usage (status, request_id) WHERE status <> 1;
CREATE INDEX usage_wallet_status ON usage (wallet_id, status, request_id) WHERE status <> 1;
