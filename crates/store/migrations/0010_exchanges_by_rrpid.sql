-- RRPIDs begin with the time at which they are made. A key that begins with them grows at its end, however much is stored, and
-- finds repeated bytes as well as an index of their digests did, of which every new one lay on another page.
-- Renamed first: from then on a replica of an earlier version waits, and nothing that it writes is lost between copy and drop.
ALTER TABLE exchanges RENAME TO exchanges_before;
CREATE TABLE exchanges (
    rrpid         TEXT   NOT NULL,
    sender        TEXT   NOT NULL,
    message       TEXT   NOT NULL,
    digest        BYTEA  NOT NULL,
    response      BYTEA,
    received_at_s BIGINT NOT NULL,
    keep_until_s  BIGINT NOT NULL,
    PRIMARY KEY (rrpid, sender, message)
);
INSERT INTO exchanges (rrpid, sender, message, digest, response, received_at_s, keep_until_s)
    SELECT rrpid, sender, message, digest, response, received_at_s, keep_until_s FROM exchanges_before ORDER BY rrpid;
DROP TABLE exchanges_before;
CREATE INDEX exchanges_keep_until ON exchanges (keep_until_s);
