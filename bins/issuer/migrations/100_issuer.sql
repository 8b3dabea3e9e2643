-- Credit accounts. Two counters decide what may still be spent: held_minor (the sum of the holds in state 'held') and
-- owed_minor (the balance of ledger account 'cardholder/<id>'). They change in the transaction that changes what they count.
CREATE TABLE accounts (
    id                 TEXT   NOT NULL PRIMARY KEY,
    holder             TEXT   NOT NULL,
    brand              TEXT   NOT NULL,
    currency           TEXT   NOT NULL,
    credit_limit_minor BIGINT NOT NULL,
    held_minor         BIGINT NOT NULL,
    owed_minor         BIGINT NOT NULL,
    blocked            BIGINT NOT NULL,
    opened_at_s        BIGINT NOT NULL,
    CHECK (held_minor >= 0 AND owed_minor >= 0 AND held_minor + owed_minor <= credit_limit_minor)
);

-- The card number is sealed; pan_index, a keyed hash of it, finds it.
CREATE TABLE cards (
    id         TEXT  NOT NULL PRIMARY KEY,
    account_id TEXT  NOT NULL UNIQUE REFERENCES accounts (id),
    expiry     TEXT  NOT NULL,
    pan_index  BYTEA NOT NULL UNIQUE,
    pan_sealed BYTEA NOT NULL
);

-- One code for each card, as a keyed hash. key_thumbprint is the key that it was used for, NULL until then.
CREATE TABLE activation_codes (
    card_id        TEXT   NOT NULL PRIMARY KEY REFERENCES cards (id),
    code_hash      BYTEA  NOT NULL,
    wrong_attempts BIGINT NOT NULL,
    key_thumbprint TEXT,
    used_at_s      BIGINT
);

-- Every authorization that was asked for; those in state 'held' are the holds. account_id is NULL for an unknown card.
CREATE TABLE authorizations (
    id             TEXT   NOT NULL PRIMARY KEY,
    gateway        TEXT   NOT NULL,
    account_id     TEXT   REFERENCES accounts (id),
    state          TEXT   NOT NULL CHECK (state IN ('held', 'captured', 'released', 'expired', 'declined')),
    reason         TEXT,
    approval_code  TEXT,
    currency       TEXT   NOT NULL,
    amount_minor   BIGINT NOT NULL CHECK (amount_minor > 0),
    captured_minor BIGINT NOT NULL,
    credited_minor BIGINT NOT NULL,
    credits        BIGINT NOT NULL,
    merchant_id    TEXT   NOT NULL,
    merchant_name  TEXT   NOT NULL,
    reference      TEXT   NOT NULL,
    created_at_s   BIGINT NOT NULL,
    expires_at_s   BIGINT NOT NULL,
    CHECK (captured_minor <= amount_minor AND credited_minor <= captured_minor)
);
CREATE INDEX authorizations_account ON authorizations (account_id, created_at_s);
CREATE INDEX authorizations_expiry ON authorizations (state, expires_at_s);
