-- Responses that their customers may ask for again and go on from: what was said, what
-- was answered. One row per response; both are the customer's data and stored encrypted.
CREATE TABLE stored_response (
    client_id       bigint NOT NULL,
    id              text NOT NULL CHECK (octet_length(id) BETWEEN 1 AND 128), -- as the customer was told it
    key_id          bigint NOT NULL, -- that made it
    previous        text CHECK (octet_length(previous) BETWEEN 1 AND 128), -- the response that it goes on from
    provider_key_id bigint, -- in whose account the provider has it, too; NULL: nowhere
    tokens          bigint NOT NULL CHECK (tokens >= 0), -- of its input and its output
    bytes           bigint NOT NULL CHECK (bytes >= 0), -- of it and all that it goes on from
    turns           integer NOT NULL CHECK (turns > 0), -- it and all that it goes on from
    body            bytea NOT NULL CHECK (octet_length(body) BETWEEN 29 AND 20000000), -- AES-256-GCM: nonce, input and response, tag
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL CHECK (expires_at > created_at),
    PRIMARY KEY (client_id, id)
);
ALTER TABLE stored_response ALTER COLUMN body SET STORAGE EXTERNAL; -- ciphertext does not compress
CREATE INDEX stored_response_expiry ON stored_response (expires_at);

-- For how many days responses of a client are kept; 0, or a retention of 0 hours: never.
ALTER TABLE client ADD COLUMN response_days integer NOT NULL DEFAULT 30 CHECK (response_days BETWEEN 0 AND 30);
