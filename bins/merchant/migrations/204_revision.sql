-- Counts up with each change of a payment or of what belongs to it: whoever has read it can tell whether it still is so.
ALTER TABLE payments ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
