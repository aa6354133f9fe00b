-- What a person may do, and what a change has changed.

ALTER TABLE app_user ADD COLUMN role text NOT NULL DEFAULT 'owner'
    CHECK (role IN ('owner', 'member', 'billing', 'read-only', 'admin', 'support', 'finance'));
UPDATE app_user SET role = 'admin' WHERE operator;
ALTER TABLE app_user ADD CONSTRAINT app_user_role CHECK (operator = (role IN ('admin', 'support', 'finance')));
CREATE INDEX app_user_client ON app_user (client_id, id);

-- From where a change came, and which rows it has changed: they name the same change.
ALTER TABLE audit_log
    ADD COLUMN ip         text NOT NULL DEFAULT '', -- '': no call, such as the command line
    ADD COLUMN request_id text NOT NULL DEFAULT '',
    ADD COLUMN change_id  uuid; -- null: written before such rows were kept
CREATE INDEX audit_log_object ON audit_log (object, object_id, id);
CREATE INDEX audit_log_actor ON audit_log (actor, id);

-- this_change names the transaction that asks, the same each time.
CREATE FUNCTION this_change() RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    c text := nullif(current_setting('relay.change', true), '');
BEGIN
    IF c IS NULL THEN
        c := gen_random_uuid()::text;
        PERFORM set_config('relay.change', c, true);
    END IF;
    RETURN c::uuid;
END $$;
ALTER TABLE audit_log ALTER COLUMN change_id SET DEFAULT this_change();

-- The members of rows before and after, of changed rows only those that differ. Written by
-- the tables themselves: no writer can forget it.
CREATE TABLE audit_value (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    change_id uuid NOT NULL,
    object    text NOT NULL, -- the table
    object_id text NOT NULL,
    before    jsonb, -- null: there was none
    after     jsonb  -- null: it is gone
);
CREATE INDEX audit_value_change ON audit_value (change_id, id);
CREATE TRIGGER audit_value_append_only BEFORE UPDATE OR DELETE ON audit_value FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_value_no_truncate BEFORE TRUNCATE ON audit_value EXECUTE FUNCTION append_only();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_value FROM PUBLIC, CURRENT_USER;

-- note_values keeps a change of a row. Its arguments are columns of which only that they
-- changed may be known: secrets and digests.
CREATE FUNCTION note_values() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was  jsonb := CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE to_jsonb(OLD) END;
    is_  jsonb := CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE to_jsonb(NEW) END;
    name text := coalesce(is_ ->> 'id', was ->> 'id', is_ ->> 'name', was ->> 'name', is_ ->> 'alias', was ->> 'alias', is_ ->> 'price_id', '');
    kept jsonb;
    hide text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        kept := was;
        SELECT jsonb_object_agg(key, value) INTO was FROM jsonb_each(was) WHERE is_ -> key IS DISTINCT FROM value;
        SELECT jsonb_object_agg(key, value) INTO is_ FROM jsonb_each(is_) WHERE kept -> key IS DISTINCT FROM value;
        IF was IS NULL THEN
            RETURN NULL;
        END IF;
    END IF;
    FOREACH hide IN ARRAY TG_ARGV LOOP
        IF was ? hide THEN was := was || jsonb_build_object(hide, 'hidden'); END IF;
        IF is_ ? hide THEN is_ := is_ || jsonb_build_object(hide, 'hidden'); END IF;
    END LOOP;
    INSERT INTO audit_value (change_id, object, object_id, before, after) VALUES (this_change(), TG_TABLE_NAME, name, was, is_);
    RETURN NULL;
END $$;

CREATE TRIGGER values_noted AFTER INSERT OR UPDATE OR DELETE ON client_group FOR EACH ROW EXECUTE FUNCTION note_values('');
CREATE TRIGGER values_noted AFTER INSERT OR UPDATE OR DELETE ON provider FOR EACH ROW EXECUTE FUNCTION note_values('');
CREATE TRIGGER values_noted AFTER INSERT OR UPDATE OR DELETE ON provider_key FOR EACH ROW EXECUTE FUNCTION note_values('sealed');
CREATE TRIGGER values_noted AFTER INSERT OR UPDATE OR DELETE ON model FOR EACH ROW EXECUTE FUNCTION note_values('');
CREATE TRIGGER values_noted AFTER INSERT OR UPDATE OR DELETE ON model_alias FOR EACH ROW EXECUTE FUNCTION note_values('');
CREATE TRIGGER values_noted AFTER INSERT OR UPDATE OR DELETE ON route FOR EACH ROW EXECUTE FUNCTION note_values('');
CREATE TRIGGER values_noted AFTER INSERT ON price FOR EACH ROW EXECUTE FUNCTION note_values('');
CREATE TRIGGER values_noted AFTER INSERT ON price_tier FOR EACH ROW EXECUTE FUNCTION note_values('');
CREATE TRIGGER values_noted AFTER INSERT OR UPDATE OR DELETE ON client FOR EACH ROW EXECUTE FUNCTION note_values('');
CREATE TRIGGER values_noted AFTER INSERT OR UPDATE OR DELETE ON app_user FOR EACH ROW EXECUTE FUNCTION note_values('password_hash');
CREATE TRIGGER values_noted AFTER INSERT OR UPDATE OR DELETE ON setting FOR EACH ROW EXECUTE FUNCTION note_values('');
CREATE TRIGGER values_noted AFTER INSERT OR UPDATE ON voucher FOR EACH ROW EXECUTE FUNCTION note_values('digest');
-- A new key is its own first values; keys come by the million.
CREATE TRIGGER values_noted AFTER UPDATE OR DELETE ON api_key FOR EACH ROW EXECUTE FUNCTION note_values('digest');
-- Balances move with every batch of usage; their entries are their history.
CREATE TRIGGER values_noted AFTER UPDATE OF floor ON wallet FOR EACH ROW WHEN (OLD.floor <> NEW.floor) EXECUTE FUNCTION note_values('');
