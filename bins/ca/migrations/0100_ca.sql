-- The CAs, parents before children. Their private keys are sealed in vault_secrets under
-- authority/<id>/issue, and for issuing CAs authority/<id>/sign and authority/<id>/open.
CREATE TABLE authorities (
    id                TEXT   NOT NULL PRIMARY KEY,
    place             BIGINT NOT NULL,
    parent            TEXT   REFERENCES authorities (id),
    certificate       BYTEA  NOT NULL,
    message_signature BYTEA,
    key_exchange      BYTEA
);
-- What was certified for others. A key is certified once.
CREATE TABLE certificates (
    serial            TEXT   NOT NULL PRIMARY KEY,
    authority         TEXT   NOT NULL REFERENCES authorities (id),
    key_thumbprint    TEXT   NOT NULL UNIQUE,
    certificate       BYTEA  NOT NULL,
    not_after_s       BIGINT NOT NULL,
    issued_at_s       BIGINT NOT NULL,
    revoked_at_s      BIGINT,
    revocation_reason TEXT
);
CREATE INDEX certificates_issued ON certificates (issued_at_s, serial);
CREATE INDEX certificates_revoked ON certificates (authority, revoked_at_s);
-- Registrations under way, and the last answer in each: bounded in number and in time.
CREATE TABLE sessions (
    lid_ca            TEXT   NOT NULL PRIMARY KEY,
    state             TEXT   NOT NULL,
    version           BIGINT NOT NULL,
    answered_digest   BYTEA  NOT NULL,
    answered_response BYTEA  NOT NULL,
    expires_at_s      BIGINT NOT NULL
);
CREATE UNIQUE INDEX sessions_answered ON sessions (answered_digest);
CREATE INDEX sessions_expiry ON sessions (expires_at_s);
-- The use of the activation codes that brands gave to gateways.
CREATE TABLE gateway_codes (
    acquirer_bin            TEXT   NOT NULL,
    gateway_id              TEXT   NOT NULL,
    brand                   TEXT   NOT NULL,
    code_hash               BYTEA  NOT NULL,
    wrong_attempts          BIGINT NOT NULL,
    key_thumbprint          TEXT,
    key_exchange_thumbprint TEXT,
    PRIMARY KEY (acquirer_bin, gateway_id, brand)
);
