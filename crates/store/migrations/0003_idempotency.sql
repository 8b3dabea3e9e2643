-- Answers to REST calls that carried an Idempotency-Key. status is NULL while the first call runs.
CREATE TABLE idempotency (
    scope        TEXT   NOT NULL,
    claim_key    TEXT   NOT NULL,
    body_digest  BYTEA  NOT NULL,
    status       BIGINT,
    body         BYTEA,
    claimed_at_s BIGINT NOT NULL,
    keep_until_s BIGINT NOT NULL,
    PRIMARY KEY (scope, claim_key)
);
CREATE INDEX idempotency_keep_until ON idempotency (keep_until_s);
