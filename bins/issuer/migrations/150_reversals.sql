-- What of a hold was given back before it was captured: so much less is held, and may be captured.
ALTER TABLE authorizations ADD COLUMN reversed_minor BIGINT NOT NULL DEFAULT 0;
