-- Long texts, packed. NULL in rows of before, where the columns that they stand in for have them.
-- The cardholder's dual signature and payment instruction, as JSON: for dual_signature and pi.
ALTER TABLE payments ADD COLUMN signed BYTEA;
ALTER TABLE payments ADD COLUMN steps_packed BYTEA;
-- What the gateway was asked: for awaiting.
ALTER TABLE authorizations ADD COLUMN asked BYTEA;
-- The gateway's answer exactly as it was verified, a line feed, and its baggage: for auth_res and auth_res_baggage.
ALTER TABLE authorizations ADD COLUMN answer BYTEA;
-- The baggage with a newer receipt than the answer's: for baggage.
ALTER TABLE authorizations ADD COLUMN baggage_packed BYTEA;
