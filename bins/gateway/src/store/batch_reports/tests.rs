#![allow(clippy::unwrap_used, reason = "tests")]

use openset_protocol::ids::{Rrpid, Xid};
use openset_protocol::money::AMOUNT_MINOR_MAX;
use openset_store::Db;
use sqlx::Row as _;

use super::*;

async fn database() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let url = openset_store::sqlite_url(&folder.path().join("gateway.db"));
    let db = Db::open(&url, crate::MIGRATIONS).await.unwrap();
    (folder, db)
}

fn paid(credit_minor: u64, debit_minor: u64) -> Batch {
    let totals = BatchTotals {
        transaction_count_credit: 3,
        transaction_total_credit_minor: credit_minor,
        transaction_count_debit: 1,
        transaction_total_debit_minor: debit_minor,
    };
    Batch {
        id: "b".to_owned(),
        merchant_id: "shop-1".to_owned(),
        brand: "Visa".to_owned(),
        currency: "IDR".to_owned(),
        state: State::Closed,
        opened_at_s: 1,
        closed_at_s: Some(2),
        transmission: None,
        paid_at_s: Some(3),
        frozen: Some(totals),
    }
}

#[test]
fn payout_of_many_sales_may_be_above_the_largest_amount_of_one() {
    let batch = paid(3 * AMOUNT_MINOR_MAX, 1);
    let told = batch.settlement(&batch.frozen.unwrap()).unwrap().unwrap();
    assert_eq!(told.settlement_amount_minor, 3 * AMOUNT_MINOR_MAX - 1);
    assert_eq!(told.settlement_type, AmountType::Credit);
    let batch = paid(1, 2 * AMOUNT_MINOR_MAX);
    let told = batch.settlement(&batch.frozen.unwrap()).unwrap().unwrap();
    assert_eq!(told.settlement_amount_minor, 2 * AMOUNT_MINOR_MAX - 1);
    assert_eq!(told.settlement_type, AmountType::Debit);
}

/// A movement of the one authorization: its name, what it is, what it undoes, how far it came, its number.
type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static str,
    Option<i64>,
);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("undone",    "capture",          None,            "done",    Some(1)),
    ("its undo",  "capture_reversal", Some("undone"),  "done",    Some(2)),
    ("capture",   "capture",          None,            "done",    Some(3)),
    ("refused",   "credit",           None,            "done",    Some(4)),
    ("attempt",   "credit_reversal",  Some("refused"), "refused", None),
    ("credit",    "credit",           None,            "done",    Some(5)),
    ("at work",   "credit",           None,            "asked",   None),
];

async fn fill(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO batches (id, merchant_id, brand, currency, state, items, opened_at_s) \
         VALUES ('b', 'shop-1', 'Visa', 'EUR', 'open', 5, 1)",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO authorizations (id, xid, auth_rrpid, merchant_id, brand, state, currency, amount_minor, \
         received_at_s, captured_minor, steps) VALUES ('a', $1, $2, 'shop-1', 'Visa', 'authorized', 'EUR', 9, 1, 0, '[]')",
    )
    .bind(Xid::from_bytes([1; 32]).to_string())
    .bind(Rrpid::from_bytes([2; 32]).to_string())
    .execute(&mut *tx)
    .await
    .unwrap();
    for (id, kind, undoes, state, seq) in ROWS {
        sqlx::query(
            "INSERT INTO movements (id, authorization_id, kind, undoes, amount_minor, state, asked_at_s, ended_at_s, \
             batch_id, batch_seq) VALUES ($1, 'a', $2, $3, 1, $4, 1, 1, 'b', $5)",
        )
        .bind(*id)
        .bind(*kind)
        .bind(*undoes)
        .bind(*state)
        .bind(*seq)
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn purge_tries_what_was_not_refused_first_and_refunds_before_captures() {
    let (_folder, db) = database().await;
    fill(&db).await;
    let standing = standing(&mut db.read().await.unwrap(), "b", 9)
        .await
        .unwrap();
    let order: Vec<(u32, bool)> = standing
        .iter()
        .map(|(detail, is_credit)| (detail.batch_sequence_num, *is_credit))
        .collect();
    assert_eq!(order, [(5, true), (3, false), (4, true)]);
}

#[tokio::test]
async fn purge_reads_no_table_from_end_to_end() {
    let (_folder, db) = database().await;
    let explained = format!("EXPLAIN QUERY PLAN {}", standing_sql());
    let rows = sqlx::query(sqlx::AssertSqlSafe(explained))
        .bind("b")
        .bind(32_i64)
        .fetch_all(&mut *db.read().await.unwrap())
        .await
        .unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.try_get(3).unwrap()).collect();
    let searched = plan.iter().filter(|step| step.starts_with("SEARCH"));
    assert!(searched.count() >= 4, "{plan:#?}");
    assert!(
        plan.iter().all(|step| !step.starts_with("SCAN")),
        "{plan:#?}"
    );
}
