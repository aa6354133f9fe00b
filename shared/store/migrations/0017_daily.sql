-- The same as usage_hourly by day and without keys, for reports over many customers: hours
-- of all keys are too many rows to add up while somebody waits. hour is the day's first, so
-- that the same statements read either.
CREATE TABLE usage_daily (
    hour        integer NOT NULL CHECK (hour % 24 = 0),
    client_id   bigint NOT NULL,
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
    PRIMARY KEY (hour, client_id, model, slot)
);
CREATE INDEX usage_daily_client ON usage_daily (client_id, hour);
INSERT INTO usage_daily
SELECT hour / 24 * 24, client_id, model, slot, sum(success), sum(failed), sum(timeout), sum(cancelled), sum(interrupted),
       ARRAY[coalesce(sum(units[1]), 0), coalesce(sum(units[2]), 0), coalesce(sum(units[3]), 0), coalesce(sum(units[4]), 0), coalesce(sum(units[5]), 0), coalesce(sum(units[6]), 0), coalesce(sum(units[7]), 0), coalesce(sum(units[8]), 0), coalesce(sum(units[9]), 0), coalesce(sum(units[10]), 0), coalesce(sum(units[11]), 0), coalesce(sum(units[12]), 0), coalesce(sum(units[13]), 0), coalesce(sum(units[14]), 0), coalesce(sum(units[15]), 0)]::bigint[], sum(charge), sum(cost), sum(overrun), sum(bytes_in), sum(bytes_out)
FROM usage_hourly GROUP BY 1, 2, 3, 4;

-- note_day adds new rows up, in the transaction that books them.
CREATE FUNCTION note_day() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_daily AS d
    SELECT (ms_of(request_id) / 86400000)::integer * 24, client_id, model, slot, count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2),
           count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4), count(*) FILTER (WHERE status = 5),
           ARRAY[coalesce(sum(units[1]), 0), coalesce(sum(units[2]), 0), coalesce(sum(units[3]), 0), coalesce(sum(units[4]), 0), coalesce(sum(units[5]), 0), coalesce(sum(units[6]), 0), coalesce(sum(units[7]), 0), coalesce(sum(units[8]), 0), coalesce(sum(units[9]), 0), coalesce(sum(units[10]), 0), coalesce(sum(units[11]), 0), coalesce(sum(units[12]), 0), coalesce(sum(units[13]), 0), coalesce(sum(units[14]), 0), coalesce(sum(units[15]), 0)]::bigint[], sum(charge), sum(cost), sum(overrun), sum(bytes_in), sum(bytes_out)
    FROM fresh GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (hour, client_id, model, slot) DO UPDATE SET success = d.success + excluded.success, failed = d.failed + excluded.failed,
        timeout = d.timeout + excluded.timeout, cancelled = d.cancelled + excluded.cancelled, interrupted = d.interrupted + excluded.interrupted,
        units = add_counts(d.units, excluded.units), charge = d.charge + excluded.charge, cost = d.cost + excluded.cost, overrun = d.overrun + excluded.overrun,
        bytes_in = d.bytes_in + excluded.bytes_in, bytes_out = d.bytes_out + excluded.bytes_out;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_daily AFTER INSERT ON usage REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_day();
