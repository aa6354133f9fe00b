-- Idempotency keys: who answers, or answered, a request that may come twice. One row per
-- client and key for a day. Keys and bodies are stored as SHA-256; the answer is the
-- client's data and stored encrypted, if at all.
CREATE TABLE claim (
    client_id   bigint NOT NULL,
    key_digest  bytea NOT NULL CHECK (octet_length(key_digest) = 32),
    body_digest bytea NOT NULL CHECK (octet_length(body_digest) = 32),
    request_id  uuid NOT NULL, -- of the request that is answered
    slot        smallint NOT NULL CHECK (slot BETWEEN 1 AND 4095), -- of the proxy that answers it
    epoch       bigint NOT NULL CHECK (epoch > 0),
    state       smallint NOT NULL DEFAULT 1 CHECK (state IN (1, 2)), -- running, finished
    claimed_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL CHECK (expires_at > claimed_at),
    answer      bytea CHECK (octet_length(answer) BETWEEN 29 AND 1100000), -- AES-256-GCM: nonce, answer, tag
    PRIMARY KEY (client_id, key_digest),
    CHECK (state = 2 OR answer IS NULL)
);
ALTER TABLE claim ALTER COLUMN answer SET STORAGE EXTERNAL; -- ciphertext does not compress
CREATE INDEX claim_expiry ON claim (expires_at);

-- For how many hours answers of a client are kept for repetition; 0: never.
ALTER TABLE client ADD COLUMN retention_hours integer NOT NULL DEFAULT 24 CHECK (retention_hours BETWEEN 0 AND 24);
