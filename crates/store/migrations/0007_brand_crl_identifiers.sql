-- The newest BrandCRLIdentifier of each brand.
CREATE TABLE brand_crl_identifiers (
    brand       TEXT   NOT NULL PRIMARY KEY,
    sequence    BIGINT NOT NULL,
    der         BYTEA  NOT NULL,
    not_after_s BIGINT NOT NULL
);
