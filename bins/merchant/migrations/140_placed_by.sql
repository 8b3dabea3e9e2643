-- Who placed an order, as a keyed hash of the address; '' if it is not known, and once somebody pays.
ALTER TABLE orders ADD COLUMN placed_by TEXT NOT NULL DEFAULT '';
CREATE INDEX orders_placed_by ON orders (placed_by, created_at_s) WHERE xid = '';
