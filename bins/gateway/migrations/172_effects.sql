-- Which request asked for it first, and as which of its items: a later one that names that request asks for the same.
-- NULL in what was asked for before requests named each other, and for reversals of authorizations, which are to an amount.
ALTER TABLE movements ADD COLUMN effect TEXT;
