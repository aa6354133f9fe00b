-- For how many days a client's detail is kept, and the samples of its refusals: null is as
-- long as the row beside it, and as refusals are (RELAY_KEEP_REFUSALS).
ALTER TABLE client ADD COLUMN detail_days smallint CHECK (detail_days BETWEEN 1 AND 3650);
CREATE INDEX client_detail ON client (id) WHERE detail_days IS NOT NULL;
