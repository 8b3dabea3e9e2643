-- NonceCCA of a cardholder's certificate, sealed: whoever lost the answer gets it again with the certificate.
ALTER TABLE certificates ADD COLUMN nonce_cca BYTEA;
CREATE INDEX certificates_nonces ON certificates (not_after_s) WHERE nonce_cca IS NOT NULL;
