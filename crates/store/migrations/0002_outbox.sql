-- What must be sent until it is answered. A lease makes one replica send it.
CREATE TABLE outbox (
    id                 TEXT   NOT NULL PRIMARY KEY,
    kind               TEXT   NOT NULL,
    reference          TEXT   NOT NULL,
    url                TEXT   NOT NULL,
    media_type         TEXT   NOT NULL,
    body               BYTEA  NOT NULL,
    next_attempt_at_ms BIGINT NOT NULL,
    deadline_at_ms     BIGINT NOT NULL,
    attempts           BIGINT NOT NULL,
    lease_holder       TEXT   NOT NULL,
    lease_until_ms     BIGINT NOT NULL
);
CREATE INDEX outbox_next_attempt ON outbox (next_attempt_at_ms);
