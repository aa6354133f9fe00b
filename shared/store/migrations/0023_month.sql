-- A row of usage stands in the month of its id. month_of says so by texts, for which writing a
-- row took half as long again; the ids of a month are those between two, and its partition
-- knows both. What is there already was held to the same, so that it is not read again.

ALTER TABLE usage DROP CONSTRAINT usage_month;
ALTER TABLE usage_default ADD CONSTRAINT usage_month CHECK (month = month_of(request_id));

-- ids_of is the condition that an id is of the month that begins at a time.
CREATE FUNCTION ids_of(began timestamp) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN format('request_id >= %L::uuid AND request_id < %L::uuid', id_at((extract(epoch FROM began) * 1000)::bigint),
    id_at((extract(epoch FROM began + interval '1 month') * 1000)::bigint));

DO $$
DECLARE
    p regclass;
BEGIN
    FOR p IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'usage'::regclass AND inhrelid <> 'usage_default'::regclass LOOP
        IF p::text !~ '^usage_[0-9]{6}$' THEN
            EXECUTE format('ALTER TABLE %s ADD CONSTRAINT usage_month CHECK (month = month_of(request_id)) NOT VALID', p);
        ELSE
            EXECUTE format('ALTER TABLE %s ADD CONSTRAINT usage_month CHECK (%s) NOT VALID', p, ids_of(make_timestamp(substr(p::text, 7, 4)::integer, right(p::text, 2)::integer, 1, 0, 0, 0)));
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION usage_partitions(ahead integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    began timestamp;
    m text;
    stray bigint;
BEGIN
    FOR began IN SELECT date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + make_interval(months => i) FROM generate_series(0, ahead) AS i LOOP
        m := to_char(began, 'YYYYMM');
        CONTINUE WHEN to_regclass(format('usage_%s', m)) IS NOT NULL;
        CONTINUE WHEN EXISTS (SELECT FROM usage_default WHERE month = m::integer);
        EXECUTE format('CREATE TABLE usage_%s PARTITION OF usage (CONSTRAINT usage_month CHECK (%s)) FOR VALUES IN (%s)', m, ids_of(began), m);
        EXECUTE format('CREATE TRIGGER usage_%s_no_truncate BEFORE TRUNCATE ON usage_%s EXECUTE FUNCTION append_only()', m, m);
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON usage_%s FROM PUBLIC, CURRENT_USER', m);
    END LOOP;
    SELECT count(*) INTO stray FROM usage_default;
    RETURN stray;
END $$;
