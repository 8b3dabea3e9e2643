-- Every catalogue that was signed, until the last mail order by it may have come: its prices hold for whoever has it.
CREATE TABLE catalogues (
    digest        TEXT   NOT NULL PRIMARY KEY,
    brand         TEXT   NOT NULL,
    -- Thumbprints of the certificates that orders by it name.
    merchant      TEXT   NOT NULL,
    gateway       TEXT   NOT NULL,
    products      TEXT   NOT NULL,
    jws           TEXT   NOT NULL,
    -- What it was made of: a newer one is signed once that has changed.
    made_of       TEXT   NOT NULL,
    issued_at_s   BIGINT NOT NULL,
    valid_until_s BIGINT NOT NULL
);
CREATE INDEX catalogues_newest ON catalogues (brand, issued_at_s);
