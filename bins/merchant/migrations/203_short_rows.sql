-- What a movement's answer is checked against, packed: for awaiting. As text it filled a page that stayed empty after it.
ALTER TABLE movements ADD COLUMN awaiting_packed BYTEA;
-- Of orders that nobody pays yet alone: the others need no place in it.
DROP INDEX orders_unpaid;
CREATE INDEX orders_unpaid ON orders (created_at_s) WHERE xid = '';
