-- What was received, exactly once: one row per (authenticated sender, message, RRPID).
CREATE TABLE exchanges (
    sender        TEXT   NOT NULL,
    message       TEXT   NOT NULL,
    rrpid         TEXT   NOT NULL,
    digest        BYTEA  NOT NULL,
    response      BYTEA,
    received_at_s BIGINT NOT NULL,
    keep_until_s  BIGINT NOT NULL,
    PRIMARY KEY (sender, message, rrpid)
);
CREATE INDEX exchanges_digest ON exchanges (digest);
CREATE INDEX exchanges_keep_until ON exchanges (keep_until_s);
