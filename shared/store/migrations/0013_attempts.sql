-- What attempts at upstreams came to, by hour: a call of several attempts says in its own
-- roll-up only how it ended.

-- Every attempt as a row. What the supplier takes is the last one's: the ones before ended
-- without an answer that could be charged.
CREATE VIEW attempt AS
SELECT u.month, u.request_id, u.slot, u.client_id, u.key_id, u.model, n::integer AS n,
       u.attempts[6 * n - 5] AS route_id, u.attempts[6 * n - 4] AS provider_key_id, u.attempts[6 * n - 3] AS http_status,
       u.attempts[6 * n - 2] AS outcome, u.attempts[6 * n - 1] AS start_us, u.attempts[6 * n] AS end_us,
       CASE WHEN 6 * n = cardinality(u.attempts) THEN u.cost ELSE 0 END AS cost
FROM usage u, generate_series(1, cardinality(u.attempts) / 6) AS n;

CREATE TABLE attempt_hourly (
    hour            integer NOT NULL,
    slot            smallint NOT NULL,
    route_id        bigint NOT NULL, -- 0: unknown
    provider_key_id bigint NOT NULL,
    outcome         smallint NOT NULL, -- usage.Outcome
    http_status     smallint NOT NULL, -- of the upstream, 0: none
    n               bigint NOT NULL CHECK (n > 0),
    micros          bigint NOT NULL CHECK (micros >= 0), -- that they took together
    cost            bigint NOT NULL CHECK (cost >= 0),
    PRIMARY KEY (hour, slot, route_id, provider_key_id, outcome, http_status)
);

CREATE FUNCTION attempt_sums(low uuid, high uuid) RETURNS SETOF attempt_hourly LANGUAGE sql STABLE AS $$
    SELECT (ms_of(request_id) / 3600000)::integer, slot, route_id, provider_key_id, outcome::smallint, http_status::smallint,
           count(*), sum(greatest(0, end_us - start_us))::bigint, sum(cost)::bigint
    FROM attempt WHERE request_id >= low AND request_id < high GROUP BY 1, 2, 3, 4, 5, 6
$$;

-- note_attempts adds the attempts of new rows up, in the transaction that books them.
CREATE FUNCTION note_attempts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attempt_hourly AS h
    SELECT (ms_of(u.request_id) / 3600000)::integer, u.slot, u.attempts[6 * n - 5], u.attempts[6 * n - 4], u.attempts[6 * n - 2]::smallint, u.attempts[6 * n - 3]::smallint,
           count(*), sum(greatest(0, u.attempts[6 * n] - u.attempts[6 * n - 1])), sum(CASE WHEN 6 * n = cardinality(u.attempts) THEN u.cost ELSE 0 END)
    FROM fresh u, generate_series(1, cardinality(u.attempts) / 6) AS n
    GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (hour, slot, route_id, provider_key_id, outcome, http_status)
    DO UPDATE SET n = h.n + excluded.n, micros = h.micros + excluded.micros, cost = h.cost + excluded.cost;
    RETURN NULL;
END $$;
INSERT INTO attempt_hourly SELECT * FROM attempt_sums('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff');
CREATE TRIGGER usage_attempts AFTER INSERT ON usage REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_attempts();

-- What the control plane has found when it proved a slice of the books, and when.
CREATE TABLE self_audit (
    slice  integer NOT NULL,
    slices integer NOT NULL CHECK (slice BETWEEN 0 AND slices - 1),
    at     timestamptz NOT NULL,
    broken bigint NOT NULL CHECK (broken >= 0),
    report jsonb NOT NULL,
    PRIMARY KEY (slices, slice)
);
