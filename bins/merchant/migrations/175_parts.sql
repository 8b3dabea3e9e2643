-- The Idempotency-Key of who asked for a later authorization, and what it stands for: for good.
ALTER TABLE authorizations ADD COLUMN rest_key TEXT;
ALTER TABLE authorizations ADD COLUMN rest_digest BYTEA;
CREATE UNIQUE INDEX authorizations_rest_key ON authorizations (rest_key);
