//! Purchases.

use openset_service::paging::Asked;
use openset_store::packed::learn_sealed;
use openset_store::{StoreError, Tx, Write};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Row as _};

/// A purchase whose PReq was made.
#[derive(Clone)]
pub(crate) struct PurchaseRow {
    pub(crate) purchase_id: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) body_digest: Vec<u8>,
    pub(crate) card_id: String,
    /// `sent`, then a [`PaymentStatus`](openset_protocol::cardholder::purchase::PaymentStatus) or `failed`.
    pub(crate) state: String,
    pub(crate) set_url: String,
    pub(crate) lid_m: String,
    pub(crate) xid: String,
    pub(crate) currency: String,
    pub(crate) amount_minor: i64,
    pub(crate) sealed: Vec<u8>,
    pub(crate) record: Vec<u8>,
    /// Thumbprint of the card's certificate; unknown of purchases made before it was kept.
    pub(crate) certificate: Option<String>,
    pub(crate) revision: i64,
    pub(crate) created_at_s: i64,
}

const PURCHASE: &str = "purchase_id, idempotency_key, body_digest, card_id, state, set_url, lid_m, xid, currency, \
                        amount_minor, sealed, record, certificate, revision, created_at_s";

fn purchase(row: &AnyRow) -> Result<PurchaseRow, sqlx::Error> {
    Ok(PurchaseRow {
        purchase_id: row.try_get(0)?,
        idempotency_key: row.try_get(1)?,
        body_digest: row.try_get(2)?,
        card_id: row.try_get(3)?,
        state: row.try_get(4)?,
        set_url: row.try_get(5)?,
        lid_m: row.try_get(6)?,
        xid: row.try_get(7)?,
        currency: row.try_get(8)?,
        amount_minor: row.try_get(9)?,
        sealed: row.try_get(10)?,
        record: row.try_get(11)?,
        certificate: row.try_get(12)?,
        revision: row.try_get(13)?,
        created_at_s: row.try_get(14)?,
    })
}

/// Purchases that the vault can open.
async fn purchases(
    conn: &mut AnyConnection,
    rows: &[AnyRow],
) -> Result<Vec<PurchaseRow>, StoreError> {
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let row = purchase(row)?;
        learn_sealed(conn, &row.sealed).await?;
        learn_sealed(conn, &row.record).await?;
        all.push(row);
    }
    Ok(all)
}

/// Why nothing is kept of a purchase whose id or idempotency key is taken.
pub(crate) const PURCHASE_KNOWN: &str = "the purchase's id or idempotency key is taken";
/// Why nothing is kept when a purchase is not as it was read.
pub(crate) const PURCHASE_CHANGED: &str = "the purchase was changed meanwhile";

/// Keeps a new purchase; says whether its id and idempotency key were free.
pub(crate) async fn insert_purchase(tx: &mut Tx, row: &PurchaseRow) -> Result<bool, StoreError> {
    let inserted = insert(row).execute(&mut **tx).await?;
    Ok(inserted.rows_affected() == 1)
}

/// Keeps a new purchase, or else nothing is kept: [`PURCHASE_KNOWN`].
pub(crate) fn new_purchase(row: &PurchaseRow) -> Write {
    Write::must(insert(row), PURCHASE_KNOWN)
}

fn insert(row: &PurchaseRow) -> Query<'_, Any, AnyArguments> {
    sqlx::query(
        "INSERT INTO purchases (purchase_id, idempotency_key, body_digest, card_id, state, set_url, lid_m, xid, \
         currency, amount_minor, sealed, record, certificate, revision, created_at_s) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING",
    )
    .bind(&row.purchase_id)
    .bind(row.idempotency_key.as_deref())
    .bind(&row.body_digest)
    .bind(&row.card_id)
    .bind(&row.state)
    .bind(&row.set_url)
    .bind(&row.lid_m)
    .bind(&row.xid)
    .bind(&row.currency)
    .bind(row.amount_minor)
    .bind(&row.sealed)
    .bind(&row.record)
    .bind(row.certificate.as_deref())
    .bind(row.revision)
    .bind(row.created_at_s)
}

/// How final a state is: a purchase never goes back to a lesser one. Only the bank's receipt ("paid", and what came of
/// it) is final, and it wins over whatever the merchant said before. "declined" and "rejected" are the merchant's signed word, which no
/// lesser word takes back; "failed" is an Error that nobody signed.
pub(crate) fn state_rank(state: &str) -> u8 {
    match state {
        "sent" => 0,
        "pending" | "unknown" | "failed" => 1,
        "paid" | "partly_refunded" | "refunded" => 3,
        "reversed" => 4,
        _ => 2,
    }
}

/// Whether a word that brings no receipt may still change it.
pub(crate) fn is_open(state: &str) -> bool {
    state_rank(state) < 2
}

/// Moves a purchase on, as far as [`state_rank`] lets it.
pub(crate) async fn move_purchase(
    tx: &mut Tx,
    id: &str,
    state: &str,
    record: &[u8],
) -> Result<bool, StoreError> {
    let rows = sqlx::query(
        "UPDATE purchases SET state = $1, record = $2, revision = revision + 1 WHERE purchase_id = $3 \
         AND (state IN ('sent', 'pending', 'unknown', 'failed') OR (state <> 'reversed' AND $4 = 'paid') \
         OR $4 = 'reversed')",
    )
    .bind(state)
    .bind(record)
    .bind(id)
    .bind(state)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(rows == 1)
}

/// Gives a purchase whose revision is still `read` the state, record and revision of `row`; says whether it did.
pub(crate) async fn update_purchase(
    tx: &mut Tx,
    row: &PurchaseRow,
    read: i64,
) -> Result<bool, StoreError> {
    let updated = update(row, read).execute(&mut **tx).await?;
    Ok(updated.rows_affected() == 1)
}

/// [`update_purchase`], or else nothing is kept: [`PURCHASE_CHANGED`].
pub(crate) fn changed_purchase(row: &PurchaseRow, read: i64) -> Write {
    Write::must(update(row, read), PURCHASE_CHANGED)
}

fn update(row: &PurchaseRow, read: i64) -> Query<'_, Any, AnyArguments> {
    sqlx::query(
        "UPDATE purchases SET state = $1, record = $2, revision = $3 WHERE purchase_id = $4 AND revision = $5",
    )
    .bind(&row.state)
    .bind(&row.record)
    .bind(row.revision)
    .bind(&row.purchase_id)
    .bind(read)
}

pub(crate) async fn all_purchases(
    conn: &mut AnyConnection,
) -> Result<Vec<PurchaseRow>, StoreError> {
    let sql = format!("SELECT {PURCHASE} FROM purchases ORDER BY created_at_s, purchase_id");
    // The statement is put together from this file's constants alone.
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .fetch_all(&mut *conn)
        .await?;
    purchases(conn, &rows).await
}

/// Purchases of which the bank has said something, in the order in which they were ordered: from a time until another, in
/// one currency or in all.
pub(crate) async fn settled_purchases(
    conn: &mut AnyConnection,
    (from_s, until_s): (i64, i64),
    currency: Option<&str>,
    asked: &Asked,
) -> Result<Vec<PurchaseRow>, StoreError> {
    let sql = format!(
        "SELECT {PURCHASE} FROM purchases \
         WHERE state NOT IN ('sent', 'pending', 'unknown', 'failed', 'declined', 'rejected') \
         AND created_at_s >= $1 AND created_at_s < $2 AND ($3 = '' OR currency = $3) \
         AND ($4 = '' OR (created_at_s, purchase_id) > ($5, $4)) \
         ORDER BY created_at_s, purchase_id LIMIT $6"
    );
    // The statement is put together from this file's constants alone.
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(from_s)
        .bind(until_s)
        .bind(currency.unwrap_or_default())
        .bind(asked.id())
        .bind(asked.at())
        .bind(asked.rows())
        .fetch_all(&mut *conn)
        .await?;
    purchases(conn, &rows).await
}

async fn one_purchase(
    conn: &mut AnyConnection,
    sql: String,
    value: &str,
) -> Result<Option<PurchaseRow>, StoreError> {
    // The statement is put together from this file's constants alone.
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(value)
        .fetch_optional(&mut *conn)
        .await?;
    Ok(purchases(conn, row.as_slice()).await?.pop())
}

pub(crate) async fn purchase_by_id(
    conn: &mut AnyConnection,
    id: &str,
) -> Result<Option<PurchaseRow>, StoreError> {
    one_purchase(
        conn,
        format!("SELECT {PURCHASE} FROM purchases WHERE purchase_id = $1"),
        id,
    )
    .await
}

pub(crate) async fn purchase_by_xid(
    conn: &mut AnyConnection,
    xid: &str,
) -> Result<Option<PurchaseRow>, StoreError> {
    one_purchase(
        conn,
        format!("SELECT {PURCHASE} FROM purchases WHERE xid = $1"),
        xid,
    )
    .await
}

pub(crate) async fn purchase_by_key(
    conn: &mut AnyConnection,
    key: &str,
) -> Result<Option<PurchaseRow>, StoreError> {
    one_purchase(
        conn,
        format!("SELECT {PURCHASE} FROM purchases WHERE idempotency_key = $1"),
        key,
    )
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::store::{CardRow, insert_card};

    async fn purchase_in(db: &openset_store::Db, id: &str, state: &str) {
        let mut tx = db.begin().await.unwrap();
        let row = PurchaseRow {
            purchase_id: id.to_owned(),
            body_digest: vec![0; 32],
            card_id: "card".to_owned(),
            state: state.to_owned(),
            set_url: String::new(),
            lid_m: String::new(),
            xid: String::new(),
            currency: "EUR".to_owned(),
            amount_minor: 1,
            sealed: Vec::new(),
            record: Vec::new(),
            idempotency_key: None,
            certificate: None,
            revision: 0,
            created_at_s: 0,
        };
        assert!(insert_purchase(&mut tx, &row).await.unwrap());
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn only_the_banks_receipt_is_final_and_it_wins() {
        let folder = tempfile::tempdir().unwrap();
        let url = openset_store::sqlite_url(&folder.path().join("wallet.db"));
        let db = openset_store::Db::open(&url, crate::MIGRATIONS)
            .await
            .unwrap();
        let mut tx = db.begin().await.unwrap();
        let card = CardRow {
            card_id: "card".to_owned(),
            body_digest: Vec::new(),
            brand: String::new(),
            last_four: String::new(),
            state: "registered".to_owned(),
            sealed: Vec::new(),
            wire: None,
            reason: None,
            idempotency_key: None,
            registration_url: None,
            revision: 0,
            created_at_s: 0,
        };
        assert!(insert_card(&mut tx, &card).await.unwrap());
        tx.commit().await.unwrap();
        let rows = [
            ("sent", "pending", true),
            ("sent", "failed", true),
            ("failed", "pending", true),
            ("failed", "paid", true),
            ("declined", "pending", false),
            ("declined", "paid", true),
            ("rejected", "failed", false),
            ("rejected", "paid", true),
            ("paid", "declined", false),
            ("paid", "failed", false),
            ("paid", "paid", true),
            ("paid", "reversed", true),
            ("declined", "reversed", true),
            ("reversed", "paid", false),
            ("reversed", "declined", false),
            ("refunded", "failed", false),
            ("partly_refunded", "declined", false),
        ];
        for (place, (from, to, moved)) in rows.into_iter().enumerate() {
            let id = place.to_string();
            purchase_in(&db, &id, from).await;
            let mut tx = db.begin().await.unwrap();
            assert_eq!(
                move_purchase(&mut tx, &id, to, &[]).await.unwrap(),
                moved,
                "{from} to {to}"
            );
            tx.commit().await.unwrap();
        }
    }
}
