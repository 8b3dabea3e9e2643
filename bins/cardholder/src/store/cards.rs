//! Cards.

use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::staples::{self, STAPLE, Staple};

/// A card, registered or being registered.
#[derive(Clone)]
pub(crate) struct CardRow {
    pub(crate) card_id: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) body_digest: Vec<u8>,
    pub(crate) brand: String,
    pub(crate) last_four: String,
    /// `registering`, `registered` or `refused`.
    pub(crate) state: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) wire: Option<Vec<u8>>,
    pub(crate) reason: Option<String>,
    pub(crate) registration_url: Option<String>,
    pub(crate) revision: i64,
    pub(crate) created_at_s: i64,
}

const CARD: &str = "card_id, idempotency_key, body_digest, brand, last_four, state, sealed, wire, reason, \
                    registration_url, revision, created_at_s";

/// So many are [`CARD`].
const CARD_COLUMNS: usize = 12;

fn card(row: &AnyRow) -> Result<CardRow, sqlx::Error> {
    Ok(CardRow {
        card_id: row.try_get(0)?,
        idempotency_key: row.try_get(1)?,
        body_digest: row.try_get(2)?,
        brand: row.try_get(3)?,
        last_four: row.try_get(4)?,
        state: row.try_get(5)?,
        sealed: row.try_get(6)?,
        wire: row.try_get(7)?,
        reason: row.try_get(8)?,
        registration_url: row.try_get(9)?,
        revision: row.try_get(10)?,
        created_at_s: row.try_get(11)?,
    })
}

/// Keeps a new card; says whether its id and idempotency key were free.
pub(crate) async fn insert_card(tx: &mut Tx, card: &CardRow) -> Result<bool, StoreError> {
    let rows = sqlx::query(
        "INSERT INTO cards (card_id, idempotency_key, body_digest, brand, last_four, state, sealed, wire, reason, \
         registration_url, revision, created_at_s) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
    )
    .bind(&card.card_id)
    .bind(card.idempotency_key.as_deref())
    .bind(&card.body_digest)
    .bind(&card.brand)
    .bind(&card.last_four)
    .bind(&card.state)
    .bind(&card.sealed)
    .bind(card.wire.as_deref())
    .bind(card.reason.as_deref())
    .bind(card.registration_url.as_deref())
    .bind(card.revision)
    .bind(card.created_at_s)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(rows == 1)
}

/// Changes state, sealed part, wire and reason of a card whose revision is still `read`; `card.revision` is the
/// new one. Says whether it was.
pub(crate) async fn update_card(
    tx: &mut Tx,
    card: &CardRow,
    read: i64,
) -> Result<bool, StoreError> {
    let rows = sqlx::query(
        "UPDATE cards SET state = $1, sealed = $2, wire = $3, reason = $4, revision = $5 \
         WHERE card_id = $6 AND revision = $7",
    )
    .bind(&card.state)
    .bind(&card.sealed)
    .bind(card.wire.as_deref())
    .bind(card.reason.as_deref())
    .bind(card.revision)
    .bind(&card.card_id)
    .bind(read)
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

pub(crate) async fn all_cards(conn: &mut AnyConnection) -> Result<Vec<CardRow>, StoreError> {
    let sql = format!("SELECT {CARD} FROM cards ORDER BY created_at_s, card_id");
    cards_where(conn, sql, None).await
}

/// The cards in one state.
pub(crate) async fn cards_in(
    conn: &mut AnyConnection,
    state: &str,
) -> Result<Vec<CardRow>, StoreError> {
    let sql = format!("SELECT {CARD} FROM cards WHERE state = $1 ORDER BY created_at_s, card_id");
    cards_where(conn, sql, Some(state)).await
}

pub(crate) async fn card_by_id(
    conn: &mut AnyConnection,
    card_id: &str,
) -> Result<Option<CardRow>, StoreError> {
    let sql = format!("SELECT {CARD} FROM cards WHERE card_id = $1");
    Ok(cards_where(conn, sql, Some(card_id)).await?.pop())
}

/// The card, and the response about the certificate of this thumbprint, in one look.
pub(crate) async fn card_and_staple(
    conn: &mut AnyConnection,
    card_id: &str,
    certificate: Option<&str>,
) -> Result<(Option<CardRow>, Option<Staple>), StoreError> {
    // The statement is put together from constants alone.
    let sql = format!(
        "SELECT {CARD}, {STAPLE} FROM cards LEFT JOIN staples s ON s.certificate = $1 WHERE card_id = $2"
    );
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(certificate)
        .bind(card_id)
        .fetch_optional(conn)
        .await?;
    let Some(row) = found else {
        return Ok((None, None));
    };
    Ok((Some(card(&row)?), staples::read(&row, CARD_COLUMNS)?))
}

pub(crate) async fn card_by_key(
    conn: &mut AnyConnection,
    key: &str,
) -> Result<Option<CardRow>, StoreError> {
    let sql = format!("SELECT {CARD} FROM cards WHERE idempotency_key = $1");
    Ok(cards_where(conn, sql, Some(key)).await?.pop())
}
