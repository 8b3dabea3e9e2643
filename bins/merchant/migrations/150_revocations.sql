-- Certificates that an OCSP responder said to be revoked: every replica refuses them from then on.
CREATE TABLE learned_revocations (
    thumbprint TEXT PRIMARY KEY,
    not_after_s BIGINT NOT NULL
);
