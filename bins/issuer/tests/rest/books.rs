//! Accounts, authorizations, movements and books say the same.

use openset_store::Db;

use crate::bank::Vaulted;

/// Each counts rows that contradict others: none may.
const CONTRADICTIONS: &[(&str, &str)] = &[
    (
        "an account and its ledger account",
        "SELECT COUNT(*) FROM accounts a LEFT JOIN ledger_accounts l ON l.id = 'cardholder/' || a.id \
         WHERE l.balance_minor IS NULL OR l.balance_minor <> a.owed_minor",
    ),
    (
        "an account and its authorizations",
        "SELECT COUNT(*) FROM accounts a WHERE a.held_minor <> \
         (SELECT COALESCE(SUM(h.held_minor), 0) FROM authorizations h WHERE h.account_id = a.id) \
         OR a.owed_minor <> (SELECT COALESCE(SUM(h.captured_minor - h.credited_minor), 0) \
                             FROM authorizations h WHERE h.account_id = a.id)",
    ),
    (
        "what an authorization holds and its state",
        "SELECT COUNT(*) FROM authorizations WHERE (state <> 'held' AND held_minor <> 0) \
         OR (state <> 'captured' AND captured_minor <> 0) OR (state IN ('held', 'captured') \
             AND amount_minor <> reversed_minor + held_minor + captured_minor)",
    ),
    (
        "an authorization and its movements",
        "SELECT COUNT(*) FROM authorizations a WHERE \
         a.captured_minor <> (SELECT COALESCE(SUM(m.amount_minor), 0) FROM movements m \
             WHERE m.authorization_id = a.id AND m.kind = 'capture' AND m.undone_by IS NULL) \
         OR a.credited_minor <> (SELECT COALESCE(SUM(-m.amount_minor), 0) FROM movements m \
             WHERE m.authorization_id = a.id AND m.kind = 'credit' AND m.undone_by IS NULL) \
         OR a.captured_minor - a.credited_minor <> (SELECT COALESCE(SUM(m.amount_minor), 0) \
             FROM movements m WHERE m.authorization_id = a.id)",
    ),
    (
        "a settlement and its movements",
        "SELECT COUNT(*) FROM settlements s WHERE s.net_minor <> \
             (SELECT COALESCE(SUM(m.amount_minor), 0) FROM movements m WHERE m.gateway = s.gateway \
              AND m.currency = s.currency AND m.settled_by = s.batch_id || '/' || s.part) \
         OR s.items <> (SELECT COUNT(*) FROM movements m WHERE m.gateway = s.gateway \
              AND m.settled_by = s.batch_id || '/' || s.part)",
    ),
    (
        "what is to be settled and its ledger account",
        "SELECT COUNT(*) FROM (SELECT gateway, currency, \
             SUM(CASE WHEN settled_by IS NULL THEN amount_minor ELSE 0 END) AS open_minor \
             FROM movements GROUP BY gateway, currency) m \
         LEFT JOIN ledger_accounts l ON l.id = 'settlement/' || m.gateway || '/' || m.currency \
         WHERE l.balance_minor IS NULL OR l.balance_minor <> -m.open_minor",
    ),
    (
        "what was paid and the bank's cash",
        "SELECT COUNT(*) FROM (SELECT currency, SUM(net_minor) AS paid_minor FROM settlements \
             GROUP BY currency) s \
         LEFT JOIN ledger_accounts l ON l.id = 'cash/' || s.currency \
         WHERE s.paid_minor <> 0 AND (l.balance_minor IS NULL OR l.balance_minor <> -s.paid_minor)",
    ),
    (
        "movements and postings",
        "SELECT COUNT(*) FROM (SELECT m.kind, CASE m.kind \
             WHEN 'capture' THEN CASE WHEN m.n = 1 THEN a.id ELSE a.id || '/c' || m.n END \
             WHEN 'capture_reversal' THEN a.id || '/cr' || m.n \
             WHEN 'credit' THEN a.id || '/' || m.n ELSE a.id || '/r' || m.n END AS reference, \
             'cardholder/' || a.account_id AS account, m.amount_minor \
             FROM movements m JOIN authorizations a ON a.id = m.authorization_id) x \
         FULL JOIN (SELECT * FROM ledger_postings WHERE account LIKE 'cardholder/%') p \
             ON p.kind = x.kind AND p.reference = x.reference AND p.account = x.account \
         WHERE p.amount_minor IS NULL OR x.amount_minor IS NULL OR p.amount_minor <> x.amount_minor",
    ),
];

pub(crate) async fn assert_right(vaulted: &Vaulted) {
    assert_right_at(&vaulted.database_url()).await;
}

/// Also of a bank that is open.
pub(crate) async fn assert_right_at(url: &str) {
    let db = Db::open(url, openset_issuer::MIGRATIONS).await.unwrap();
    let mut seen = db.snapshot().await.unwrap();
    let audit = openset_store::ledger::check(&mut seen).await.unwrap();
    assert_eq!(audit.faults, []);
    assert!(audit.entries > 0);
    for (what, sql) in CONTRADICTIONS {
        let found: i64 = sqlx::query_scalar(*sql)
            .fetch_one(&mut *seen)
            .await
            .unwrap();
        assert_eq!(found, 0, "{what} disagree");
    }
    drop(seen);
    db.close().await;
}
