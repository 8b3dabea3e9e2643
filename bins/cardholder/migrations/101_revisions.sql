-- Counts a row's changes: of two copies of one wallet the higher one is newer, and a change is made to the row as it
-- was read or not at all.
ALTER TABLE cards ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
-- Where the card registers, if not where the configuration says.
ALTER TABLE cards ADD COLUMN registration_url TEXT;
ALTER TABLE purchases ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
-- SHA-256 of the certificate that signed PReq: inquiries are signed with the same key.
ALTER TABLE purchases ADD COLUMN certificate TEXT;
