-- Which code the row is about, as a keyed hash, NULL in rows that are older; and when the first of the wrong attempts
-- was made: an hour later they are forgotten.
ALTER TABLE registrations ADD COLUMN code_hash BYTEA;
ALTER TABLE registrations ADD COLUMN wrong_since_s BIGINT NOT NULL DEFAULT 0;
