-- What later authorizations of a payment need: card, cardholder's certificate, order digest, sealed; NULL in payments of
-- before, which no token was given for.
ALTER TABLE payments ADD COLUMN kept_sealed BYTEA;
