-- What later authorizations of a payment are asked with; NULL in payments of before it was kept.
ALTER TABLE payments ADD COLUMN pi TEXT;
ALTER TABLE payments ADD COLUMN hoi TEXT;
ALTER TABLE payments ADD COLUMN hpi TEXT;
ALTER TABLE payments ADD COLUMN od_salt TEXT;

-- What the gateway was asked to hold under a payment, from 1. auth_rrpid is NULL in rows of before it was a column, where
-- awaiting has it. amount_minor is what was asked for. auth_res and auth_res_baggage are the gateway's answer exactly as
-- it was verified; NULL in rows of before it was kept.
CREATE TABLE authorizations (
    xid              TEXT   NOT NULL REFERENCES payments (xid),
    number           BIGINT NOT NULL,
    auth_rrpid       TEXT   UNIQUE,
    state            TEXT   NOT NULL CHECK (state IN ('asked', 'approved', 'declined', 'failed')),
    amount_minor     BIGINT NOT NULL,
    awaiting         TEXT   NOT NULL,
    payload          TEXT,
    baggage          TEXT,
    auth_res         TEXT,
    auth_res_baggage BYTEA,
    failure          TEXT,
    asked_at_ms      BIGINT NOT NULL,
    PRIMARY KEY (xid, number)
);
INSERT INTO authorizations (xid, number, state, amount_minor, awaiting, payload, baggage, failure, asked_at_ms)
SELECT p.xid, 1,
    CASE p.state WHEN 'ordered' THEN 'asked' WHEN 'declined' THEN 'declined' WHEN 'failed' THEN 'failed' ELSE 'approved' END,
    o.amount_minor, p.awaiting_auth, p.auth_payload, p.auth_baggage, p.failure, p.created_at_ms
FROM payments p JOIN orders o ON o.id = p.order_id WHERE p.awaiting_auth IS NOT NULL;

-- What was asked of the gateway about an authorization after it was given, and what became of that. id is the request's
-- RRPID; number is the order in which it was asked for. rest_key is the Idempotency-Key of who asked, rest_digest what
-- it stands for: for good, so that a repeated request never moves money twice.
CREATE TABLE movements (
    id            TEXT   NOT NULL PRIMARY KEY,
    xid           TEXT   NOT NULL,
    auth_number   BIGINT NOT NULL,
    number        BIGINT NOT NULL,
    kind          TEXT   NOT NULL CHECK
        (kind IN ('reversal', 'capture', 'capture_reversal', 'credit', 'credit_reversal')),
    undoes        TEXT   REFERENCES movements (id),
    amount_minor  BIGINT NOT NULL CHECK (amount_minor >= 0),
    state         TEXT   NOT NULL CHECK (state IN ('asked', 'done', 'refused')),
    refusal       TEXT,
    batch_id      TEXT,
    batch_seq     BIGINT,
    rest_key      TEXT   UNIQUE,
    rest_digest   BYTEA,
    awaiting      TEXT,
    asked_at_ms   BIGINT NOT NULL,
    done_at_ms    BIGINT,
    UNIQUE (xid, auth_number, number),
    FOREIGN KEY (xid, auth_number) REFERENCES authorizations (xid, number)
);
-- What was given back, and captured, before there were movements; a capture took all that was left.
INSERT INTO movements (id, xid, auth_number, number, kind, amount_minor, state, asked_at_ms, done_at_ms)
SELECT xid || '-reversed', xid, 1, 1, 'reversal', reversed_minor, 'done', created_at_ms, created_at_ms
FROM payments WHERE reversed_minor > 0;
INSERT INTO movements (id, xid, auth_number, number, kind, amount_minor, state, asked_at_ms, done_at_ms)
SELECT xid || '-captured', xid, 1, 2, 'capture', captured_minor, 'done', captured_at_s * 1000, captured_at_s * 1000
FROM payments WHERE captured_minor IS NOT NULL;
INSERT INTO movements (id, xid, auth_number, number, kind, amount_minor, state, asked_at_ms, done_at_ms)
SELECT p.xid || '-rest', p.xid, 1, 3, 'reversal', o.amount_minor - p.reversed_minor - p.captured_minor, 'done',
    p.captured_at_s * 1000, p.captured_at_s * 1000
FROM payments p JOIN orders o ON o.id = p.order_id
WHERE p.captured_minor IS NOT NULL AND p.captured_minor < o.amount_minor - p.reversed_minor;
-- Why the last attempts brought nothing.
INSERT INTO movements (id, xid, auth_number, number, kind, amount_minor, state, refusal, asked_at_ms)
SELECT xid || '-not-reversed', xid, 1, 4, 'reversal', 0, 'refused', rev_refusal, created_at_ms
FROM payments WHERE rev_refusal IS NOT NULL AND state <> 'reversing';
INSERT INTO movements (id, xid, auth_number, number, kind, amount_minor, state, refusal, asked_at_ms)
SELECT xid || '-not-captured', xid, 1, 5, 'capture', 0, 'refused', cap_refusal, created_at_ms
FROM payments WHERE cap_refusal IS NOT NULL AND state NOT IN ('capturing', 'captured');
-- What is asked now stands in the outbox under its RRPID. How much that is, its answer says.
INSERT INTO movements (id, xid, auth_number, number, kind, amount_minor, state, awaiting, asked_at_ms)
SELECT q.id, p.xid, 1, 6, 'capture', o.amount_minor - p.reversed_minor, 'asked', p.awaiting_cap, p.created_at_ms
FROM payments p JOIN orders o ON o.id = p.order_id JOIN outbox q ON q.reference = p.xid AND q.kind = 'CapReq'
WHERE p.state = 'capturing';
INSERT INTO movements (id, xid, auth_number, number, kind, amount_minor, state, awaiting, asked_at_ms)
SELECT q.id, p.xid, 1, 6, 'reversal', 0, 'asked', p.awaiting_rev, p.created_at_ms
FROM payments p JOIN outbox q ON q.reference = p.xid AND q.kind = 'AuthRevReq'
WHERE p.state = 'reversing';

-- state is kept beside authorizations and movements, for lists: it is what the state rules make of them.
ALTER TABLE payments DROP COLUMN awaiting_auth;
ALTER TABLE payments DROP COLUMN auth_payload;
ALTER TABLE payments DROP COLUMN auth_baggage;
ALTER TABLE payments DROP COLUMN awaiting_cap;
ALTER TABLE payments DROP COLUMN cap_refusal;
ALTER TABLE payments DROP COLUMN captured_minor;
ALTER TABLE payments DROP COLUMN captured_at_s;
ALTER TABLE payments DROP COLUMN awaiting_rev;
ALTER TABLE payments DROP COLUMN rev_refusal;
ALTER TABLE payments DROP COLUMN reversed_minor;
