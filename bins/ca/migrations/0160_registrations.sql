-- Registrations that wait for an operator, and what became of them. CertInqReq is answered from the record,
-- which is sealed: it holds the key of the answers. None holds a card number.
CREATE TABLE registrations (
    lid_ca              TEXT   NOT NULL PRIMARY KEY,
    -- The issuing CA that was asked; its newest generation certifies.
    authority           TEXT   NOT NULL REFERENCES authorities (id),
    -- pended, issued, rejected
    state               TEXT   NOT NULL,
    role                TEXT   NOT NULL,
    brand               TEXT   NOT NULL,
    organizational_unit TEXT   NOT NULL,
    -- A cardholder's is a pseudonym.
    common_name         TEXT   NOT NULL,
    -- Thumbprints of the certificate that is renewed, and of the one that signs.
    renews              TEXT,
    signed_by           TEXT,
    record              BYTEA  NOT NULL,
    received_at_s       BIGINT NOT NULL,
    decided_at_s        BIGINT,
    keep_until_s        BIGINT NOT NULL
);
CREATE INDEX registrations_state ON registrations (state, received_at_s, lid_ca);
CREATE INDEX registrations_expiry ON registrations (keep_until_s);
-- A certificate is renewed once: one request for it may wait, and one certificate of each purpose come of it.
CREATE UNIQUE INDEX registrations_renews ON registrations (renews) WHERE state = 'pended';
ALTER TABLE certificates ADD COLUMN renews TEXT;
ALTER TABLE certificates ADD COLUMN signed_by TEXT;
CREATE UNIQUE INDEX certificates_renews ON certificates (renews, purpose);
CREATE INDEX certificates_signed_by ON certificates (signed_by);
-- Every key that was certified, for whomever, or is to be by a registration that waits. None is certified twice.
CREATE TABLE certified_keys (
    key_thumbprint TEXT NOT NULL PRIMARY KEY,
    reserved_for   TEXT
);
CREATE INDEX certified_keys_reserved ON certified_keys (reserved_for);
INSERT INTO certified_keys (key_thumbprint) SELECT key_thumbprint FROM certificates;
