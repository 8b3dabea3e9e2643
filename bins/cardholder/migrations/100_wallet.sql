CREATE TABLE cards (
    card_id TEXT PRIMARY KEY,
    idempotency_key TEXT UNIQUE,
    body_digest BYTEA NOT NULL,
    brand TEXT NOT NULL,
    last_four TEXT NOT NULL,
    state TEXT NOT NULL,
    -- What the state needs, sealed by the vault: card, keys, form answers.
    sealed BYTEA NOT NULL,
    -- CertReq as it was sent, until it is answered.
    wire BYTEA,
    reason TEXT,
    created_at_s BIGINT NOT NULL
);
CREATE TABLE purchases (
    purchase_id TEXT PRIMARY KEY,
    idempotency_key TEXT UNIQUE,
    body_digest BYTEA NOT NULL,
    card_id TEXT NOT NULL REFERENCES cards (card_id),
    state TEXT NOT NULL,
    set_url TEXT NOT NULL,
    lid_m TEXT NOT NULL,
    xid TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    -- AwaitingPRes, sealed by the vault.
    sealed BYTEA NOT NULL,
    -- Order description, outcome and steps as JSON, sealed: what the person buys is private.
    record BYTEA NOT NULL,
    created_at_s BIGINT NOT NULL
);
