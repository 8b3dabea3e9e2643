-- What is held now: the amount while it is held, less what was given back; after a capture was undone the amount of that
-- capture; else 0. Over the authorizations of an account it sums up to accounts.held_minor. amount_minor stays as approved.
ALTER TABLE authorizations ADD COLUMN held_minor BIGINT NOT NULL DEFAULT 0;
UPDATE authorizations SET held_minor = amount_minor - reversed_minor WHERE state = 'held';
-- What a capture left over was given back by it: amount_minor = reversed_minor + held_minor + captured_minor while held or captured.
UPDATE authorizations SET reversed_minor = amount_minor - captured_minor WHERE state = 'captured';
-- Captures that were ever made of it, undone ones included.
ALTER TABLE authorizations ADD COLUMN captures BIGINT NOT NULL DEFAULT 0;
UPDATE authorizations SET captures = 1 WHERE state = 'captured';

-- What moved money between a cardholder and a gateway. id is the idempotency key under which the gateway asked for it.
-- amount_minor: how much more the cardholder owes, below zero how much less. n: the how manieth capture or credit of its
-- authorization, and of a reversal the n of what it undoes. The reference in the books follows: capture '<authorization>',
-- from the second on '<authorization>/c<n>'; capture_reversal '<authorization>/cr<n>'; credit '<authorization>/<n>';
-- credit_reversal '<authorization>/r<n>'. undone_by: the reversal's id, NULL while it stands.
CREATE TABLE movements (
    gateway          TEXT   NOT NULL,
    id               TEXT   NOT NULL,
    authorization_id TEXT   NOT NULL REFERENCES authorizations (id),
    kind             TEXT   NOT NULL CHECK (kind IN ('capture', 'capture_reversal', 'credit', 'credit_reversal')),
    n                BIGINT NOT NULL,
    currency         TEXT   NOT NULL,
    amount_minor     BIGINT NOT NULL CHECK (amount_minor <> 0),
    undone_by        TEXT,
    at_s             BIGINT NOT NULL,
    PRIMARY KEY (gateway, id),
    UNIQUE (authorization_id, kind, n)
);
-- The keys of captures and credits of before stand nowhere in clear: their ids are their references in the books, which
-- for a capture is the id of its authorization, known to its gateway.
INSERT INTO movements (gateway, id, authorization_id, kind, n, currency, amount_minor, at_s)
SELECT a.gateway, a.id, a.id, 'capture', 1, a.currency, a.captured_minor, e.at_s
FROM authorizations a JOIN ledger_entries e ON e.kind = 'capture' AND e.reference = a.id
WHERE a.state = 'captured';
INSERT INTO movements (gateway, id, authorization_id, kind, n, currency, amount_minor, at_s)
SELECT a.gateway, p.reference, a.id, 'credit', CAST(SUBSTR(p.reference, LENGTH(a.id) + 2) AS BIGINT), a.currency,
    p.amount_minor, e.at_s
FROM authorizations a
JOIN ledger_postings p ON p.kind = 'credit' AND p.account = 'cardholder/' || a.account_id
    AND SUBSTR(p.reference, 1, LENGTH(a.id) + 1) = a.id || '/'
JOIN ledger_entries e ON e.kind = p.kind AND e.reference = p.reference
WHERE a.credits > 0;
