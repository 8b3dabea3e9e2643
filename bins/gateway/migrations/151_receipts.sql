-- Whom later receipts are for, and of what order, sealed; NULL in payments of before, which get no new receipt.
ALTER TABLE payments ADD COLUMN receipt_for_sealed BYTEA;
