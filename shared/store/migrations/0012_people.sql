-- Links that let somebody in once: an invitation makes an account, a reset gives an
-- account another password. Only the digest of a link is kept.
CREATE TABLE app_link (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest     bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    kind       text NOT NULL CHECK (kind IN ('invitation', 'reset')),
    email      text NOT NULL CHECK (email = lower(email) AND email LIKE '%_@_%'),
    client_id  bigint REFERENCES client, -- of invitations: where the account will belong, null = operators
    role       text NOT NULL DEFAULT '',
    user_id    bigint REFERENCES app_user ON DELETE CASCADE, -- of resets; of invitations: who took it
    actor      text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    revoked_at timestamptz,
    CONSTRAINT app_link_reset CHECK (kind <> 'reset' OR user_id IS NOT NULL)
);
CREATE INDEX app_link_client ON app_link (client_id, id);
CREATE INDEX app_link_expires ON app_link (expires_at);
CREATE TRIGGER values_noted AFTER INSERT OR UPDATE ON app_link FOR EACH ROW EXECUTE FUNCTION note_values('digest');
