-- Every AuthReq that was verified. id names (merchant certificate, RRPID) and is the idempotency key at the issuer.
-- While the state is 'asked' or 'capturing' a row of the same authorization stands in pending.
CREATE TABLE authorizations (
    id                   TEXT   NOT NULL PRIMARY KEY,
    xid                  TEXT   NOT NULL,
    auth_rrpid           TEXT   NOT NULL,
    merchant_id          TEXT   NOT NULL,
    brand                TEXT   NOT NULL,
    state                TEXT   NOT NULL CHECK
        (state IN ('asked', 'authorized', 'declined', 'refused', 'capturing', 'captured', 'expired')),
    hpi                  BYTEA,
    card_sealed          BYTEA,
    currency             TEXT   NOT NULL,
    amount_minor         BIGINT NOT NULL,
    auth_code            TEXT,
    resp_reason          TEXT,
    approval_code        TEXT,
    issuer_authorization TEXT,
    received_at_s        BIGINT NOT NULL,
    decided_at_s         BIGINT,
    capture_id           TEXT,
    captured_minor       BIGINT NOT NULL CHECK (captured_minor <= amount_minor),
    captured_at_s        BIGINT,
    steps                TEXT   NOT NULL
);
-- A payment instruction authorizes once, unless it was declined. It is locked from the moment the issuer is asked.
CREATE UNIQUE INDEX authorizations_hpi ON authorizations (hpi) WHERE state NOT IN ('declined', 'refused');
CREATE INDEX authorizations_xid ON authorizations (xid);

-- What the issuer was asked and has not answered yet: enough to ask again and to answer the merchant, sealed.
CREATE TABLE pending (
    id                 TEXT   NOT NULL PRIMARY KEY,
    wire_digest        BYTEA  NOT NULL,
    sealed             BYTEA  NOT NULL,
    next_attempt_at_ms BIGINT NOT NULL,
    attempts           BIGINT NOT NULL
);
CREATE INDEX pending_due ON pending (next_attempt_at_ms);
CREATE INDEX pending_digest ON pending (wire_digest);

-- Whose registration was approved, for which keys: an activation code is used once for each brand.
CREATE TABLE registrations (
    merchant_id             TEXT   NOT NULL,
    brand                   TEXT   NOT NULL,
    wrong_attempts          BIGINT NOT NULL,
    key_thumbprint          TEXT,
    key_exchange_thumbprint TEXT,
    approved_at_s           BIGINT,
    PRIMARY KEY (merchant_id, brand)
);
