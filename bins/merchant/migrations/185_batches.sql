-- The acquirer's batches, as it told of them last; NULL where it has not said. state is 'closed' for good.
CREATE TABLE batches (
    id               TEXT   NOT NULL PRIMARY KEY,
    brand            TEXT   NOT NULL,
    currency         TEXT   NOT NULL,
    state            TEXT   NOT NULL CHECK (state IN ('open', 'closed')),
    opened_at_s      BIGINT,
    closed_at_s      BIGINT,
    credit_count     BIGINT,
    credit_minor     BIGINT,
    debit_count      BIGINT,
    debit_minor      BIGINT,
    transmission     TEXT,
    payout_minor     BIGINT,
    payout_at_s      BIGINT,
    payout_reference TEXT,
    told_at_ms       BIGINT,
    look_at_ms       BIGINT NOT NULL,
    seen_at_ms       BIGINT NOT NULL
);
CREATE INDEX batches_seen ON batches (seen_at_ms, id);
INSERT INTO batches (id, brand, currency, state, look_at_ms, seen_at_ms)
SELECT m.batch_id, MIN(p.brand), MIN(o.currency), 'open', 0, MIN(m.asked_at_ms)
FROM movements m JOIN payments p ON p.xid = m.xid JOIN orders o ON o.id = p.order_id
WHERE m.batch_id IS NOT NULL GROUP BY m.batch_id;

-- What is asked of the acquirer about a batch. id is the first request's RRPID. rest_key is the Idempotency-Key of who
-- asked, for good; totals are what the merchant counted when it asked, outcome is what came of it, both as JSON.
CREATE TABLE batch_requests (
    id          TEXT   NOT NULL PRIMARY KEY,
    operation   TEXT   NOT NULL CHECK (operation IN ('open', 'purge', 'close')),
    brand       TEXT   NOT NULL,
    currency    TEXT   NOT NULL,
    batch_id    TEXT,
    totals      TEXT,
    rest_key    TEXT   NOT NULL UNIQUE,
    rest_digest BYTEA  NOT NULL,
    awaiting    TEXT,
    outcome     TEXT,
    asked_at_ms BIGINT NOT NULL,
    done_at_ms  BIGINT
);
CREATE INDEX batch_requests_batch ON batch_requests (batch_id);
-- What the acquirer undid because its batch was purged.
ALTER TABLE movements ADD COLUMN purged BIGINT NOT NULL DEFAULT 0;
CREATE INDEX movements_batch ON movements (batch_id);
