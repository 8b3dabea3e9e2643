-- A part of a gateway's batch that was paid: what of net_minor is above zero went from the bank to the gateway, what is
-- below it came back. content is the SHA-256 of what was asked for. The entry in the books is ('settlement',
-- '<gateway>/<batch_id>/<part>'); there is none for a net of 0.
CREATE TABLE settlements (
    gateway      TEXT   NOT NULL,
    batch_id     TEXT   NOT NULL,
    part         BIGINT NOT NULL,
    is_last      BIGINT NOT NULL,
    currency     TEXT   NOT NULL,
    net_minor    BIGINT NOT NULL,
    items        BIGINT NOT NULL,
    content      BYTEA  NOT NULL,
    settled_at_s BIGINT NOT NULL,
    PRIMARY KEY (gateway, batch_id, part)
);
-- '<batch_id>/<part>' of the movement's gateway; NULL until it is settled.
ALTER TABLE movements ADD COLUMN settled_by TEXT;
