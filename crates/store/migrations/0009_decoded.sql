-- From here on values are packed as what their base64url stands for, which earlier versions cannot read: they refuse a database
-- that has this version. No table is altered.
UPDATE samples SET kind = kind WHERE id = 0;
