-- What was done for an authorization, packed; NULL in rows of before, where steps has it.
ALTER TABLE authorizations ADD COLUMN steps_packed BYTEA;
