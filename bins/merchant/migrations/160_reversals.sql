-- AuthRevReq that was sent and is not answered yet, why the last one brought nothing, and what was given back.
ALTER TABLE payments ADD COLUMN awaiting_rev TEXT;
ALTER TABLE payments ADD COLUMN rev_refusal TEXT;
ALTER TABLE payments ADD COLUMN reversed_minor BIGINT NOT NULL DEFAULT 0;
