-- The statement is in the order in which was ordered.
CREATE INDEX purchases_created ON purchases (created_at_s, purchase_id);
