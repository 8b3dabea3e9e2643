-- InstallRecurData of the payment instruction, as JSON: in which parts, or how often, the purchase is paid.
ALTER TABLE payments ADD COLUMN plan TEXT;
