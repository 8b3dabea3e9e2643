-- The newest revocation list held of each issuer.
CREATE TABLE crls (
    issuer_id     TEXT   NOT NULL PRIMARY KEY,
    number        BIGINT NOT NULL,
    der           BYTEA  NOT NULL,
    next_update_s BIGINT NOT NULL
);
