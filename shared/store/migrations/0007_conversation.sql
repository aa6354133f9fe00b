-- What customers keep about their conversations (S1-08 … S1-12): names and notes of their
-- own, never messages.
CREATE TABLE conversation (
    id          uuid PRIMARY KEY, -- a ULID, as request ids are
    client_id   bigint NOT NULL REFERENCES client,
    title       text NOT NULL DEFAULT '' CHECK (length(title) <= 256),
    model       text NOT NULL DEFAULT '', -- public id, '' = none
    metadata    jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    archived_at timestamptz
);
CREATE INDEX conversation_client ON conversation (client_id, id);
