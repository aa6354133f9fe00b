-- Sign-ins that are being tried or failed, counted for an account and for an address:
-- subject is a SHA-256 of either. One count for all control planes, so that a guesser
-- gains nothing by asking another one. A sign-in that succeeds takes its own try back.
CREATE TABLE sign_in (
    subject bytea PRIMARY KEY CHECK (octet_length(subject) = 32),
    began   timestamptz NOT NULL,
    tries   integer NOT NULL CHECK (tries >= 0)
);
CREATE INDEX sign_in_began ON sign_in (began);
CREATE INDEX app_session_expires ON app_session (expires_at);
