-- What one payment instruction began: one row, whatever became of it. limit_minor is the most that may stand authorized
-- of it: the amount signed, and the acquirer's tolerance.
CREATE TABLE payments (
    id          TEXT   NOT NULL PRIMARY KEY,
    hpi         BYTEA  NOT NULL UNIQUE,
    merchant_id TEXT   NOT NULL,
    brand       TEXT   NOT NULL,
    xid         TEXT   NOT NULL,
    currency    TEXT   NOT NULL,
    limit_minor BIGINT NOT NULL,
    opened_at_s BIGINT NOT NULL
);
INSERT INTO payments (id, hpi, merchant_id, brand, xid, currency, limit_minor, opened_at_s)
SELECT MIN(id), hpi, MIN(merchant_id), MIN(brand), MIN(xid), MIN(currency), MAX(amount_minor), MIN(received_at_s)
FROM authorizations WHERE hpi IS NOT NULL GROUP BY hpi;

-- NULL where the issuer was never asked.
ALTER TABLE authorizations ADD COLUMN payment_id TEXT;
-- When the issuer's hold runs out; NULL unless it approved.
ALTER TABLE authorizations ADD COLUMN expires_at_s BIGINT;
UPDATE authorizations SET payment_id = (SELECT p.id FROM payments p WHERE p.hpi = authorizations.hpi) WHERE hpi IS NOT NULL;
UPDATE authorizations SET expires_at_s = decided_at_s + 604800 WHERE state IN ('authorized', 'capturing', 'captured');
UPDATE authorizations SET expires_at_s = decided_at_s WHERE state = 'expired';
-- The payment's row is locked instead, and the state rules say what may stand beside what.
DROP INDEX authorizations_hpi;
CREATE INDEX authorizations_payment ON authorizations (payment_id);

-- What was done with an authorization. id is the idempotency key at the issuer and the reference in the books.
CREATE TABLE movements (
    id               TEXT   NOT NULL PRIMARY KEY,
    authorization_id TEXT   NOT NULL REFERENCES authorizations (id),
    kind             TEXT   NOT NULL CHECK
        (kind IN ('reversal', 'capture', 'capture_reversal', 'credit', 'credit_reversal')),
    undoes           TEXT   REFERENCES movements (id),
    amount_minor     BIGINT NOT NULL CHECK (amount_minor > 0),
    state            TEXT   NOT NULL CHECK (state IN ('asked', 'done', 'refused')),
    code             TEXT,
    purged           BIGINT NOT NULL DEFAULT 0,
    asked_at_s       BIGINT NOT NULL,
    ended_at_s       BIGINT
);
CREATE INDEX movements_authorization ON movements (authorization_id);
-- Captures of before: their references in the books were the authorizations' ids.
INSERT INTO movements (id, authorization_id, kind, amount_minor, state, asked_at_s, ended_at_s)
SELECT id, id, 'capture', captured_minor, 'done', captured_at_s, captured_at_s FROM authorizations WHERE state = 'captured';
INSERT INTO movements (id, authorization_id, kind, amount_minor, state, asked_at_s, ended_at_s)
SELECT id || '-rest', id, 'reversal', amount_minor - captured_minor, 'done', captured_at_s, captured_at_s
FROM authorizations WHERE state = 'captured' AND captured_minor < amount_minor;
INSERT INTO movements (id, authorization_id, kind, amount_minor, state, asked_at_s)
SELECT capture_id, id, 'capture', amount_minor, 'asked', decided_at_s FROM authorizations WHERE state = 'capturing';
-- What was done since is told by the movements; capture_id, captured_minor and captured_at_s are of before.
UPDATE authorizations SET state = 'authorized' WHERE state IN ('capturing', 'captured', 'expired');
