-- Orders are listed newest first, those of one state too.
CREATE INDEX orders_created ON orders (created_at_s, id);
CREATE INDEX payments_state ON payments (state);
