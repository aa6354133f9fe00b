-- Up to which epoch the records of a proxy's earlier processes are known to be in the
-- books. Until then nobody can say whether a request of theirs was answered and charged.
ALTER TABLE proxy_slot ADD COLUMN recovered bigint NOT NULL DEFAULT 0;
UPDATE proxy_slot SET recovered = epoch;

-- Whether a request was answered whole and charged: its row is of the month of its id,
-- which is that of its claim, or the one beside it at the edge.
CREATE FUNCTION claim_charged(id uuid, claimed timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM usage u WHERE u.request_id = id AND u.status = 1
        AND u.month IN (to_char((claimed - interval '1 hour') AT TIME ZONE 'UTC', 'YYYYMM')::integer,
                        to_char((claimed + interval '1 hour') AT TIME ZONE 'UTC', 'YYYYMM')::integer))
$$;

-- Whether the process that answered a claim has ended and all that it left is in the books.
CREATE FUNCTION claim_left(of_slot smallint, of_epoch bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (SELECT FROM proxy_slot s WHERE s.id = of_slot AND s.state = 'active'
        AND (s.epoch = of_epoch OR s.epoch > of_epoch AND s.recovered < s.epoch))
$$;
