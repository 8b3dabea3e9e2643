-- One row for each authorization that a merchant asked for or took back: whoever does either locks it first, so that neither
-- overtakes the other unseen, and nobody uses one name twice.
CREATE TABLE authorization_names (
    merchant_id TEXT NOT NULL,
    brand       TEXT NOT NULL,
    xid         TEXT NOT NULL,
    auth_rrpid  TEXT NOT NULL,
    PRIMARY KEY (merchant_id, brand, xid, auth_rrpid)
);
