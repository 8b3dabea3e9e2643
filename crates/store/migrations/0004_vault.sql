-- The one row from which the vault's key is derived, and the secrets sealed under that key.
CREATE TABLE vault (
    id          BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    salt        BYTEA  NOT NULL,
    log_n       BIGINT NOT NULL,
    r           BIGINT NOT NULL,
    p           BIGINT NOT NULL,
    check_value BYTEA  NOT NULL
);
CREATE TABLE vault_secrets (
    name   TEXT  NOT NULL PRIMARY KEY,
    sealed BYTEA NOT NULL
);
