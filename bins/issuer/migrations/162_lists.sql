-- The orders in which lists are shown.
CREATE INDEX accounts_opened ON accounts (opened_at_s, id);
CREATE INDEX authorizations_created ON authorizations (created_at_s, id);
CREATE INDEX settlements_settled ON settlements (settled_at_s);
