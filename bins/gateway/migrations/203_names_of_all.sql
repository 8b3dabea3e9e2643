-- Authorizations that are older than their names: from now on what has no name here was neither asked for nor taken back.
-- So no replica that gives them none, older than migration 180, may run beside one that has this.
INSERT INTO authorization_names (merchant_id, brand, xid, auth_rrpid)
SELECT DISTINCT a.merchant_id, a.brand, a.xid, a.auth_rrpid FROM authorizations a
WHERE NOT EXISTS (
    SELECT 1 FROM authorization_names n
    WHERE n.merchant_id = a.merchant_id AND n.brand = a.brand AND n.xid = a.xid AND n.auth_rrpid = a.auth_rrpid
)
ON CONFLICT DO NOTHING;
