-- What people are shown of their own sessions, so that they can tell which one to end.
ALTER TABLE app_session
    ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN ip text NOT NULL DEFAULT '',
    ADD COLUMN agent text NOT NULL DEFAULT '' CHECK (char_length(agent) <= 256);
