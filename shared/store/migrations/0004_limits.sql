-- Limits that all proxies share: requests and tokens per minute, running requests, and
-- what a day has cost. Rows come with the first use and go when they say nothing any more.

-- lone: the proxy counts by itself, because no other one is there. While one does, the
-- others get nothing: see limit_take.
ALTER TABLE proxy_slot ADD COLUMN lone boolean NOT NULL DEFAULT false;

-- What was handed out of a limit. Times are µs since 1970 by the clock of Postgres, the
-- only clock that matters here.
--   windows (1 address, 2 key rpm, 3 group rpm): at = start, cur = handed out in the
--     minute from there, prev = in the minute before
--   buckets (4 key tpm, 5 group tpm): at = when the bucket will be full
--   places (6 key, 7 group): only a lock, the places are in limit_place
CREATE TABLE limit_count (
    kind   smallint NOT NULL CHECK (kind BETWEEN 1 AND 7),
    id     bigint NOT NULL,
    at     bigint NOT NULL,
    prev   bigint NOT NULL DEFAULT 0 CHECK (prev >= 0),
    cur    bigint NOT NULL DEFAULT 0 CHECK (cur >= 0),
    called bigint NOT NULL DEFAULT 0, -- when the proxies were last asked to give back what they do not use
    PRIMARY KEY (kind, id)
) WITH (fillfactor = 70);
CREATE INDEX limit_count_at ON limit_count (at);

-- Places for running requests, by proxy: a dead proxy's are free again.
CREATE TABLE limit_place (
    kind  smallint NOT NULL CHECK (kind BETWEEN 6 AND 7),
    id    bigint NOT NULL,
    slot  smallint NOT NULL,
    epoch bigint NOT NULL,
    held  bigint NOT NULL CHECK (held > 0),
    PRIMARY KEY (kind, id, slot)
) WITH (fillfactor = 70);

-- What each run of a proxy has spent of a day: 1 key (charges), 2 group (charges),
-- 3 provider (supplier's cost), nano-USD.
CREATE TABLE limit_day (
    kind  smallint NOT NULL CHECK (kind BETWEEN 1 AND 3),
    id    bigint NOT NULL,
    day   integer NOT NULL, -- since 1970, UTC
    slot  smallint NOT NULL,
    epoch bigint NOT NULL,
    spent bigint NOT NULL CHECK (spent >= 0),
    PRIMARY KEY (kind, id, day, slot, epoch)
) WITH (fillfactor = 70);
CREATE INDEX limit_day_day ON limit_day (day);

-- A daily limit that was reached: once a day and subject, whoever finds out first.
CREATE TABLE limit_event (
    kind   smallint NOT NULL CHECK (kind BETWEEN 1 AND 3),
    id     bigint NOT NULL,
    day    integer NOT NULL,
    spent  bigint NOT NULL CHECK (spent >= 0),
    daily  bigint NOT NULL CHECK (daily >= 0), -- the limit
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, id, day)
);

CREATE FUNCTION limit_now() RETURNS bigint LANGUAGE sql VOLATILE
RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- limit_roll brings a window to now: the next minute, or a new beginning. That is half a
-- second ahead, so that a minute counted from the first answer is all inside.
CREATE FUNCTION limit_roll(c limit_count, now_us bigint) RETURNS limit_count
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF now_us - c.at >= 120000000 OR now_us - c.at >= 60000000 AND c.cur = 0 OR c.cur = 0 AND c.prev = 0 THEN
        c.at := now_us + 500000; c.prev := 0; c.cur := 0;
    ELSIF now_us - c.at >= 60000000 THEN
        c.at := c.at + 60000000; c.prev := c.cur; c.cur := 0;
    END IF;
    RETURN c;
END $$;

-- limit_take hands out parts of limits to one proxy, many limits in one statement.
-- Per limit: used is what was used without asking (places: what runs), back what is
-- given back of the window that began at began; need is what requests wait for, want a
-- useful size. The answer gives need or what is left of it, and up to want as long as
-- no proxy gets more than half of its even share of what is left. wait is µs until one
-- request (tokens: need) will get through, −1 = others may have some: they were asked
-- to give it back, ask again in a moment. remains is µs for which what was given is good.
-- Row 0 alone: nothing was done; its wait is 1 = this proxy is fenced, 2 = another proxy
-- still counts by itself.
CREATE FUNCTION limit_take(me smallint, my_epoch bigint, live_window interval, kinds smallint[], ids bigint[], caps bigint[],
    needs bigint[], wants bigint[], useds bigint[], backs bigint[], starts bigint[])
RETURNS TABLE (n integer, granted bigint, spare bigint, began bigint, remains bigint, wait bigint)
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    c limit_count;
    now_us bigint;
    proxies bigint;
    lonely boolean;
    mine boolean;
    elapsed bigint;
    missing numeric;
    price numeric;
    others bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(8101748273645);
    IF NOT EXISTS (SELECT FROM proxy_slot s WHERE s.id = me AND s.epoch = my_epoch AND s.state = 'active') THEN
        RETURN QUERY SELECT 0, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 1::bigint;
        RETURN;
    END IF;
    SELECT count(*), coalesce(bool_or(s.lone AND s.id <> me), false), coalesce(bool_or(s.id = me), false) INTO proxies, lonely, mine
    FROM proxy_slot s WHERE s.state = 'active' AND s.heartbeat > clock_timestamp() - live_window;
    IF lonely OR NOT mine THEN
        RETURN QUERY SELECT 0, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 2::bigint;
        RETURN;
    END IF;
    -- In one order, so that no two statements wait for each other.
    FOR r IN SELECT t.* FROM unnest(kinds, ids, caps, needs, wants, useds, backs, starts)
            WITH ORDINALITY AS t (kind, id, cap, need, want, used, back, start, row_n) ORDER BY t.kind, t.id, t.row_n
    LOOP
        INSERT INTO limit_count AS l (kind, id, at) VALUES (r.kind, r.id, limit_now())
        ON CONFLICT (kind, id) DO UPDATE SET kind = excluded.kind RETURNING * INTO c;
        now_us := limit_now();
        n := r.row_n;
        wait := 0;
        IF r.kind <= 3 THEN
            c := limit_roll(c, now_us);
            IF r.start = c.at THEN
                c.cur := greatest(0, c.cur - r.back);
            ELSIF r.start = c.at - 60000000 THEN
                c.prev := greatest(0, c.prev - r.back);
            END IF;
            c.cur := c.cur + r.used;
            elapsed := now_us - c.at;
            spare := r.cap - c.prev * (60000000 - greatest(0, elapsed)) / 60000000 - c.cur;
            granted := greatest(0, least(spare, greatest(r.need, least(r.want, spare / (2 * proxies)))));
            IF granted < r.need THEN
                IF spare - granted >= 1 THEN
                    wait := 0;
                ELSIF r.cap - 1 - c.cur - granted >= 0 THEN
                    wait := 60000000 - (r.cap - c.cur - granted) * 60000000 / c.prev + 1 - elapsed;
                ELSIF r.cap <= 0 THEN
                    wait := 120000000 - elapsed;
                ELSE
                    wait := 60000000 - elapsed + greatest(0, 60000000 - r.cap * 60000000 / greatest(1, c.cur + granted)) + 1;
                END IF;
                wait := greatest(1, wait);
            END IF;
            c.cur := c.cur + granted;
            spare := greatest(0, spare - granted);
            began := c.at;
            remains := 60000000 - elapsed;
        ELSIF r.kind <= 5 THEN
            -- A bucket of one minute's tokens; at = when it is full.
            missing := greatest(0, c.at - now_us);
            missing := missing + ceil((r.used - r.back)::numeric * 60000000 / greatest(1, r.cap));
            missing := greatest(0, missing);
            spare := greatest(0, floor((60000000 - missing) * r.cap / 60000000));
            granted := greatest(0, least(spare, greatest(r.need, least(r.want, spare / (2 * proxies)))));
            IF r.need > granted THEN
                granted := 0;
                price := ceil(r.need::numeric * 60000000 / greatest(1, r.cap));
                IF missing = 0 THEN
                    granted := r.need; -- more than a bucket holds passes when it is full
                ELSE
                    wait := least(86400000000, greatest(1, missing - greatest(0, 60000000 - price) + 1))::bigint;
                END IF;
            END IF;
            missing := missing + ceil(granted::numeric * 60000000 / greatest(1, r.cap));
            c.at := now_us + least(missing, 86400000000)::bigint;
            spare := greatest(0, spare - granted);
            began := 0;
            remains := 60000000;
        ELSE
            DELETE FROM limit_place p WHERE p.kind = r.kind AND p.id = r.id AND p.slot = me AND p.epoch <> my_epoch;
            SELECT coalesce(sum(p.held), 0) INTO others FROM limit_place p JOIN proxy_slot s ON s.id = p.slot AND s.epoch = p.epoch
            WHERE p.kind = r.kind AND p.id = r.id AND p.slot <> me AND s.state = 'active' AND s.heartbeat > clock_timestamp() - live_window;
            -- Absolute: used run, need wait for a place, want is wished for in all.
            spare := greatest(0, r.cap - others - r.used);
            granted := r.used + greatest(0, least(spare, greatest(r.need, least(r.want - r.used, spare / (2 * proxies)))));
            IF granted < r.used + r.need THEN
                wait := 1000000;
            END IF;
            IF granted > 0 THEN
                INSERT INTO limit_place AS p (kind, id, slot, epoch, held) VALUES (r.kind, r.id, me, my_epoch, granted)
                ON CONFLICT (kind, id, slot) DO UPDATE SET held = excluded.held, epoch = excluded.epoch;
            ELSE
                DELETE FROM limit_place p WHERE p.kind = r.kind AND p.id = r.id AND p.slot = me;
            END IF;
            spare := spare - (granted - r.used);
            c.at := now_us;
            began := 0;
            remains := 0;
        END IF;
        IF wait > 0 AND proxies > 1 AND c.called < now_us - (CASE WHEN r.kind <= 5 THEN 5000000 ELSE 500000 END) THEN
            c.called := now_us;
            wait := -1;
            PERFORM pg_notify('relay_recall', format('l %s %s %s', r.kind, r.id, me));
        END IF;
        UPDATE limit_count l SET at = c.at, prev = c.prev, cur = c.cur, called = c.called WHERE l.kind = r.kind AND l.id = r.id;
        RETURN NEXT;
    END LOOP;
END $$;

-- limit_post adds what a proxy counted while it was alone, before it stops being so:
-- elapsed is µs since its window began (buckets: until full, counted from now).
CREATE FUNCTION limit_post(kinds smallint[], ids bigint[], elapsed bigint[], prevs bigint[], curs bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    c limit_count;
    now_us bigint;
BEGIN
    FOR r IN SELECT * FROM unnest(kinds, ids, elapsed, prevs, curs) AS t (kind, id, elapsed, prev, cur) ORDER BY t.kind, t.id
    LOOP
        INSERT INTO limit_count AS l (kind, id, at) VALUES (r.kind, r.id, limit_now())
        ON CONFLICT (kind, id) DO UPDATE SET kind = excluded.kind RETURNING * INTO c;
        now_us := limit_now();
        IF r.kind <= 3 THEN
            c := limit_roll(c, now_us);
            IF c.cur = 0 AND c.prev = 0 THEN
                c.at := now_us - r.elapsed; c.prev := r.prev; c.cur := r.cur;
            ELSE
                c.prev := c.prev + r.prev; c.cur := c.cur + r.cur;
            END IF;
        ELSE
            c.at := greatest(c.at, now_us + r.elapsed);
        END IF;
        UPDATE limit_count l SET at = c.at, prev = c.prev, cur = c.cur WHERE l.kind = r.kind AND l.id = r.id;
    END LOOP;
END $$;
