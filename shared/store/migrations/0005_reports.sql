-- Pages of a wallet's ledger are ordered by time: entries between the rows of usage.
CREATE INDEX entry_wallet_at ON entry (wallet_id, created_at, id);
