-- InstallRecurData of the order, as JSON: in which parts, or how often, it is paid.
ALTER TABLE orders ADD COLUMN plan TEXT;
