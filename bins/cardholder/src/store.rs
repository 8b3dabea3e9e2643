//! The wallet's tables: cards and purchases.

use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

/// A card, registered or being registered.
pub(crate) struct CardRow {
    pub(crate) card_id: String,
    pub(crate) body_digest: Vec<u8>,
    pub(crate) brand: String,
    pub(crate) last_four: String,
    /// `registering`, `registered` or `refused`.
    pub(crate) state: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) wire: Option<Vec<u8>>,
    pub(crate) reason: Option<String>,
    pub(crate) created_at_s: i64,
}

const CARD: &str =
    "card_id, body_digest, brand, last_four, state, sealed, wire, reason, created_at_s";

fn card(row: &AnyRow) -> Result<CardRow, sqlx::Error> {
    Ok(CardRow {
        card_id: row.try_get(0)?,
        body_digest: row.try_get(1)?,
        brand: row.try_get(2)?,
        last_four: row.try_get(3)?,
        state: row.try_get(4)?,
        sealed: row.try_get(5)?,
        wire: row.try_get(6)?,
        reason: row.try_get(7)?,
        created_at_s: row.try_get(8)?,
    })
}

/// Keeps a card whose CertReq is about to be sent; says whether its idempotency key was free.
pub(crate) async fn insert_card(
    tx: &mut Tx,
    card: &CardRow,
    key: Option<&str>,
) -> Result<bool, StoreError> {
    let rows = sqlx::query(
        "INSERT INTO cards (card_id, body_digest, brand, last_four, state, sealed, wire, reason, created_at_s, \
         idempotency_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    )
    .bind(&card.card_id)
    .bind(&card.body_digest)
    .bind(&card.brand)
    .bind(&card.last_four)
    .bind(&card.state)
    .bind(&card.sealed)
    .bind(card.wire.as_deref())
    .bind(card.reason.as_deref())
    .bind(card.created_at_s)
    .bind(key)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(rows == 1)
}

/// Ends a registration, once.
pub(crate) async fn settle_card(
    tx: &mut Tx,
    card_id: &str,
    state: &str,
    sealed: &[u8],
    reason: Option<&str>,
) -> Result<bool, StoreError> {
    let rows = sqlx::query(
        "UPDATE cards SET state = $1, sealed = $2, reason = $3, wire = NULL \
         WHERE card_id = $4 AND state = 'registering'",
    )
    .bind(state)
    .bind(sealed)
    .bind(reason)
    .bind(card_id)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(rows == 1)
}

async fn cards_where(
    conn: &mut AnyConnection,
    sql: String,
    value: Option<&str>,
) -> Result<Vec<CardRow>, StoreError> {
    // The statement is put together from this file's constants alone.
    let query = sqlx::query(sqlx::AssertSqlSafe(sql));
    let query = if let Some(value) = value {
        query.bind(value)
    } else {
        query
    };
    let rows = query.fetch_all(conn).await?;
    Ok(rows.iter().map(card).collect::<Result<_, _>>()?)
}

pub(crate) async fn cards(conn: &mut AnyConnection) -> Result<Vec<CardRow>, StoreError> {
    cards_where(
        conn,
        format!("SELECT {CARD} FROM cards ORDER BY created_at_s, card_id"),
        None,
    )
    .await
}

pub(crate) async fn registering_cards(
    conn: &mut AnyConnection,
) -> Result<Vec<CardRow>, StoreError> {
    cards_where(
        conn,
        format!("SELECT {CARD} FROM cards WHERE state = 'registering'"),
        None,
    )
    .await
}

pub(crate) async fn card_by_id(
    conn: &mut AnyConnection,
    card_id: &str,
) -> Result<Option<CardRow>, StoreError> {
    let sql = format!("SELECT {CARD} FROM cards WHERE card_id = $1");
    Ok(cards_where(conn, sql, Some(card_id)).await?.pop())
}

pub(crate) async fn card_by_key(
    conn: &mut AnyConnection,
    key: &str,
) -> Result<Option<CardRow>, StoreError> {
    let sql = format!("SELECT {CARD} FROM cards WHERE idempotency_key = $1");
    Ok(cards_where(conn, sql, Some(key)).await?.pop())
}

/// A purchase whose PReq was made.
pub(crate) struct PurchaseRow {
    pub(crate) purchase_id: String,
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
    pub(crate) created_at_s: i64,
}

const PURCHASE: &str = "purchase_id, body_digest, card_id, state, set_url, lid_m, xid, currency, amount_minor, sealed, \
                        record, created_at_s";

fn purchase(row: &AnyRow) -> Result<PurchaseRow, sqlx::Error> {
    Ok(PurchaseRow {
        purchase_id: row.try_get(0)?,
        body_digest: row.try_get(1)?,
        card_id: row.try_get(2)?,
        state: row.try_get(3)?,
        set_url: row.try_get(4)?,
        lid_m: row.try_get(5)?,
        xid: row.try_get(6)?,
        currency: row.try_get(7)?,
        amount_minor: row.try_get(8)?,
        sealed: row.try_get(9)?,
        record: row.try_get(10)?,
        created_at_s: row.try_get(11)?,
    })
}

/// Keeps a purchase whose PReq is about to be sent; says whether its idempotency key was free.
pub(crate) async fn insert_purchase(
    tx: &mut Tx,
    row: &PurchaseRow,
    key: Option<&str>,
) -> Result<bool, StoreError> {
    let rows = sqlx::query(
        "INSERT INTO purchases (purchase_id, body_digest, card_id, state, set_url, lid_m, xid, currency, \
         amount_minor, sealed, record, created_at_s, idempotency_key) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING",
    )
    .bind(&row.purchase_id)
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
    .bind(row.created_at_s)
    .bind(key)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(rows == 1)
}

/// Moves a purchase on. Only the bank's receipt ("paid") is final: it stays, and it wins over whatever the
/// merchant said before. "declined" and "rejected" are the merchant's signed word, which no lesser word takes
/// back; "failed" is an Error that nobody signed.
pub(crate) async fn move_purchase(
    tx: &mut Tx,
    id: &str,
    state: &str,
    record: &[u8],
) -> Result<bool, StoreError> {
    let rows = sqlx::query(
        "UPDATE purchases SET state = $1, record = $2 WHERE purchase_id = $3 \
         AND (state IN ('sent', 'pending', 'unknown', 'failed') OR (state <> 'paid' AND $4 = 'paid'))",
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

async fn one_purchase(
    conn: &mut AnyConnection,
    sql: String,
    value: &str,
) -> Result<Option<PurchaseRow>, StoreError> {
    // The statement is put together from this file's constants alone.
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(value)
        .fetch_optional(conn)
        .await?;
    Ok(row.as_ref().map(purchase).transpose()?)
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
            created_at_s: 0,
        };
        assert!(insert_purchase(&mut tx, &row, None).await.unwrap());
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
            created_at_s: 0,
        };
        assert!(insert_card(&mut tx, &card, None).await.unwrap());
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
