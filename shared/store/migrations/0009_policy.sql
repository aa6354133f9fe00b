-- What a customer sets for all of its keys (S1-13 … S1-18, S1-27).
ALTER TABLE client
    ADD COLUMN models        text[] NOT NULL DEFAULT '{}', -- empty: automatic; else no key may more
    ADD COLUMN region        text NOT NULL DEFAULT '',     -- only routes of it, '' = any
    ADD COLUMN max_attempts  smallint NOT NULL DEFAULT 0 CHECK (max_attempts BETWEEN 0 AND 8), -- 0: as the proxy is set
    ADD COLUMN low_balance   bigint CHECK (low_balance >= 0), -- alert below it, null = none
    ADD COLUMN quota_percent smallint CHECK (quota_percent BETWEEN 1 AND 100); -- alert from this part of a key's cap on
