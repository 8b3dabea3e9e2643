-- Earlier values that packed ones repeat parts of (certificates, names of members), each under a random id that they name.
-- Never altered nor removed: whatever names it could not be read again. sealed is 1 where the vault sealed the bytes.
CREATE TABLE samples (
    id          BIGINT NOT NULL PRIMARY KEY,
    kind        TEXT   NOT NULL,
    sealed      BIGINT NOT NULL,
    bytes       BYTEA  NOT NULL,
    taken_at_ms BIGINT NOT NULL
);
