-- Regions that the brands' CAs are for, by their names in URLs; the first has the lowest place.
CREATE TABLE regions (
    slug  TEXT   NOT NULL PRIMARY KEY,
    name  TEXT   NOT NULL,
    place BIGINT NOT NULL,
    -- BINs of the cards that the region serves, as a JSON list; empty for all.
    bins  TEXT   NOT NULL
);
-- A CA that is renewed gets a new key, certificate and row: the next generation of the same series, which
-- is called after the first one's id. No region: root, brand CA, or a CA from before there were several.
ALTER TABLE authorities ADD COLUMN series TEXT NOT NULL DEFAULT '';
ALTER TABLE authorities ADD COLUMN generation BIGINT NOT NULL DEFAULT 1;
ALTER TABLE authorities ADD COLUMN region TEXT;
-- From then on it issues nothing but its CRL.
ALTER TABLE authorities ADD COLUMN retired_at_s BIGINT;
UPDATE authorities SET series = id;
CREATE UNIQUE INDEX authorities_generation ON authorities (series, generation);
-- What is in the certificate, to be searched by. An owner is the CA whose own certificate it is.
ALTER TABLE certificates ADD COLUMN owner TEXT;
ALTER TABLE certificates ADD COLUMN role TEXT;
ALTER TABLE certificates ADD COLUMN purpose TEXT;
ALTER TABLE certificates ADD COLUMN brand TEXT;
CREATE INDEX certificates_owner ON certificates (owner);
-- Counters by name. `hierarchy` grows with every change to the CAs, so that whoever serves them sees it.
CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('hierarchy', 0);
-- How far each journal had come with the last change stored here.
CREATE TABLE journals (
    id     TEXT   NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    digest TEXT   NOT NULL
);
