-- PReq of a purchase by mail, as it was written: the same file may be asked for again.
CREATE TABLE mail_orders (
    purchase_id TEXT PRIMARY KEY REFERENCES purchases (purchase_id),
    p_req BYTEA NOT NULL
);
