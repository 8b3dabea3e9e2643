-- When the first of the wrong attempts was made: an hour later they are forgotten.
ALTER TABLE gateway_codes ADD COLUMN wrong_since_s BIGINT NOT NULL DEFAULT 0;
