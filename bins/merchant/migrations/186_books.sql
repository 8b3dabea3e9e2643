-- The merchant's books of what was done before it kept any. Sales are below zero, what the acquirer owes above.
INSERT INTO ledger_entries (kind, reference, at_s, memo)
SELECT m.kind, m.id, COALESCE(m.done_at_ms, m.asked_at_ms) / 1000, p.order_id
FROM movements m JOIN payments p ON p.xid = m.xid
WHERE m.state = 'done' AND m.kind <> 'reversal' AND m.amount_minor > 0;

INSERT INTO ledger_accounts (id, kind, currency, balance_minor, postings)
SELECT 'receivable/acquirer/' || o.currency, 'receivable', o.currency,
    CAST(SUM(CASE WHEN m.kind IN ('capture', 'credit_reversal') THEN m.amount_minor ELSE -m.amount_minor END) AS BIGINT), COUNT(*)
FROM movements m JOIN payments p ON p.xid = m.xid JOIN orders o ON o.id = p.order_id
WHERE m.state = 'done' AND m.kind <> 'reversal' AND m.amount_minor > 0 GROUP BY o.currency;
INSERT INTO ledger_accounts (id, kind, currency, balance_minor, postings)
SELECT 'sales/' || currency, 'sales', currency, -balance_minor, postings FROM ledger_accounts WHERE kind = 'receivable';

INSERT INTO ledger_postings (kind, reference, line, account, account_line, currency, amount_minor, balance_after_minor)
SELECT b.kind, b.id, 1, 'receivable/acquirer/' || b.currency, ROW_NUMBER() OVER (PARTITION BY b.currency ORDER BY b.at_ms, b.id),
    b.currency, b.minor, CAST(SUM(b.minor) OVER (PARTITION BY b.currency ORDER BY b.at_ms, b.id) AS BIGINT)
FROM (SELECT m.kind, m.id, o.currency, COALESCE(m.done_at_ms, m.asked_at_ms) AS at_ms,
        CASE WHEN m.kind IN ('capture', 'credit_reversal') THEN m.amount_minor ELSE -m.amount_minor END AS minor
    FROM movements m JOIN payments p ON p.xid = m.xid JOIN orders o ON o.id = p.order_id
    WHERE m.state = 'done' AND m.kind <> 'reversal' AND m.amount_minor > 0) b;
INSERT INTO ledger_postings (kind, reference, line, account, account_line, currency, amount_minor, balance_after_minor)
SELECT kind, reference, 2, 'sales/' || currency, account_line, currency, -amount_minor, -balance_after_minor
FROM ledger_postings WHERE account LIKE 'receivable/acquirer/%';
