-- A fresh OCSP response about each card's certificate, to be sent along with purchases. It holds no secret.
CREATE TABLE staples (
    -- SHA-256 of the certificate.
    certificate TEXT PRIMARY KEY,
    -- OCSPResponse, DER.
    response BYTEA NOT NULL,
    this_update_s BIGINT NOT NULL,
    next_update_s BIGINT NOT NULL
);
