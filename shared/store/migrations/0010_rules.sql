-- What a customer sets for the content of all of its calls (S1-14, S1-16, S1-18), in the
-- form of shared/policy, which is checked before it is written. '{}': nothing.
ALTER TABLE client ADD COLUMN rules jsonb NOT NULL DEFAULT '{}';
