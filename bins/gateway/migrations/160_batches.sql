-- What a merchant's captures and refunds are collected in: one is open for each merchant, brand and currency.
-- items counts those done so far; the next one's number is one more.
CREATE TABLE batches (
    id           TEXT   NOT NULL PRIMARY KEY,
    merchant_id  TEXT   NOT NULL,
    brand        TEXT   NOT NULL,
    currency     TEXT   NOT NULL,
    state        TEXT   NOT NULL CHECK (state IN ('open', 'closing', 'closed')),
    items        BIGINT NOT NULL,
    opened_at_s  BIGINT NOT NULL,
    closed_at_s  BIGINT
);
CREATE UNIQUE INDEX batches_open ON batches (merchant_id, brand, currency) WHERE state = 'open';

-- NULL for reversals of authorizations, which move no money.
ALTER TABLE movements ADD COLUMN batch_id TEXT REFERENCES batches (id);
-- NULL until it is done.
ALTER TABLE movements ADD COLUMN batch_seq BIGINT;
CREATE UNIQUE INDEX movements_place ON movements (batch_id, batch_seq);
