-- What a published list revokes and this database does not know, for a back-up from before was restored: our next
-- lists go on saying so.
CREATE TABLE unknown_revocations (
    authority         TEXT   NOT NULL REFERENCES authorities (id),
    serial            TEXT   NOT NULL,
    revoked_at_s      BIGINT NOT NULL,
    revocation_reason TEXT   NOT NULL,
    PRIMARY KEY (authority, serial)
);
