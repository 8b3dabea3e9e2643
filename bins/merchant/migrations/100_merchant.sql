-- What was ordered. xid names the payment that has the order now; '' while there is none.
CREATE TABLE orders (
    id           TEXT   NOT NULL PRIMARY KEY,
    currency     TEXT   NOT NULL,
    amount_minor BIGINT NOT NULL,
    description  TEXT   NOT NULL,
    lines        TEXT   NOT NULL,
    xid          TEXT   NOT NULL,
    created_at_s BIGINT NOT NULL
);
CREATE INDEX orders_unpaid ON orders (xid, created_at_s);
-- What PInitReq opened, which anyone may send: little, few for each order, and soon gone.
CREATE TABLE purchases (
    xid          TEXT   NOT NULL PRIMARY KEY,
    order_id     TEXT   NOT NULL,
    opened       TEXT   NOT NULL,
    expires_at_s BIGINT NOT NULL
);
CREATE INDEX purchases_order ON purchases (order_id);
CREATE INDEX purchases_expiry ON purchases (expires_at_s);
-- What a verified PReq began: one row for each XID, for good.
CREATE TABLE payments (
    xid            TEXT   NOT NULL PRIMARY KEY,
    order_id       TEXT   NOT NULL,
    state          TEXT   NOT NULL,
    brand          TEXT   NOT NULL,
    cardholder     TEXT   NOT NULL,
    asked          TEXT   NOT NULL,
    dual_signature TEXT   NOT NULL,
    awaiting_auth  TEXT,
    auth_payload   TEXT,
    auth_baggage   TEXT,
    failure        TEXT,
    awaiting_cap   TEXT,
    cap_refusal    TEXT,
    captured_minor BIGINT,
    captured_at_s  BIGINT,
    steps          TEXT   NOT NULL,
    created_at_ms  BIGINT NOT NULL
);
CREATE INDEX payments_order ON payments (order_id);
-- The gateway's key-exchange chain of each brand, as last verified: a shop opens without its gateway, too.
CREATE TABLE gateway_certificates (
    brand TEXT NOT NULL PRIMARY KEY,
    chain TEXT NOT NULL
);
