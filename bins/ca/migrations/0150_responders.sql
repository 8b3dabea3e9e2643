-- The certificate with which a CA's OCSP responder answers now; its key is sealed in vault_secrets under
-- responder/<serial>. It stands among the CA's own certificates, too.
CREATE TABLE responders (
    authority   TEXT   NOT NULL PRIMARY KEY REFERENCES authorities (id),
    serial      TEXT   NOT NULL,
    certificate BYTEA  NOT NULL
);
