-- What a closed batch came to, for good: what goes to the merchant's account, and what leaves it.
ALTER TABLE batches ADD COLUMN credit_count BIGINT;
ALTER TABLE batches ADD COLUMN credit_minor BIGINT;
ALTER TABLE batches ADD COLUMN debit_count BIGINT;
ALTER TABLE batches ADD COLUMN debit_minor BIGINT;
-- How far it is paid out: SET's TransmissionStatus; NULL before it is closed.
ALTER TABLE batches ADD COLUMN transmission TEXT;
-- Parts of it that the issuer has settled.
ALTER TABLE batches ADD COLUMN settled_parts BIGINT NOT NULL DEFAULT 0;
ALTER TABLE batches ADD COLUMN paid_at_s BIGINT;
-- Nobody works on it before then.
ALTER TABLE batches ADD COLUMN next_attempt_at_ms BIGINT NOT NULL DEFAULT 0;
CREATE INDEX batches_transmission ON batches (transmission, next_attempt_at_ms);
