//! Batches: what is captured and given back stands in one, by merchant, brand and currency.

use openset_protocol::ids::LocalId;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::money::Currency;
use openset_service::random;
use openset_store::{StoreError, Tx};
use sqlx::{AnyConnection, Row};

/// Whose batch, of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) merchant_id: &'a str,
    pub(crate) brand: &'a str,
    pub(crate) currency: Currency,
}

/// What is known of a batch that a merchant names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// This merchant has no such batch.
    Not,
    /// It takes nothing any more.
    Closed,
    /// It is open, for one brand and currency.
    Open,
}

/// The open batch, which stays so until the transaction ends; none if there is none.
pub(crate) async fn lock_open(tx: &mut Tx, key: Key<'_>) -> Result<Option<String>, StoreError> {
    // An UPDATE locks the row on both databases; SQLite has no FOR UPDATE.
    let id = sqlx::query_scalar(
        "UPDATE batches SET items = items WHERE merchant_id = $1 AND brand = $2 AND currency = $3 \
         AND state = 'open' RETURNING id",
    )
    .bind(key.merchant_id)
    .bind(key.brand)
    .bind(key.currency.alpha())
    .fetch_optional(&mut **tx)
    .await?;
    Ok(id)
}

/// The same, opened if there is none; and whether it was.
pub(crate) async fn open(
    tx: &mut Tx,
    key: Key<'_>,
    now_s: i64,
) -> Result<(String, bool), StoreError> {
    if let Some(id) = lock_open(tx, key).await? {
        return Ok((id, false));
    }
    let rows = sqlx::query(
        "INSERT INTO batches (id, merchant_id, brand, currency, state, items, opened_at_s) \
         VALUES ($1, $2, $3, $4, 'open', 0, $5) ON CONFLICT DO NOTHING",
    )
    .bind(new_id())
    .bind(key.merchant_id)
    .bind(key.brand)
    .bind(key.currency.alpha())
    .bind(now_s)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    let id = lock_open(tx, key).await?;
    let id = id.ok_or(StoreError::Conflict(
        "the batch was closed as it was opened",
    ))?;
    Ok((id, rows == 1))
}

/// Random, so that a database restored from a back-up names no other batch alike.
fn new_id() -> String {
    LocalId::generate(&mut random::system()).as_str().to_owned()
}

/// What is known of the batch of this name.
pub(crate) async fn known(
    conn: &mut AnyConnection,
    merchant_id: &str,
    batch_id: &LocalId,
) -> Result<Known, StoreError> {
    let state: Option<String> =
        sqlx::query_scalar("SELECT state FROM batches WHERE id = $1 AND merchant_id = $2")
            .bind(batch_id.as_str())
            .bind(merchant_id)
            .fetch_optional(conn)
            .await?;
    Ok(match state.as_deref() {
        None => Known::Not,
        Some("open") => Known::Open,
        Some(_) => Known::Closed,
    })
}

/// The movement that stands at a place of this merchant's.
pub(crate) async fn movement_at(
    conn: &mut AnyConnection,
    merchant_id: &str,
    place: &BatchPlace,
) -> Result<Option<String>, StoreError> {
    let id = sqlx::query_scalar(
        "SELECT m.id FROM movements m JOIN batches b ON b.id = m.batch_id \
         WHERE b.id = $1 AND b.merchant_id = $2 AND m.batch_seq = $3",
    )
    .bind(place.batch_id.as_str())
    .bind(merchant_id)
    .bind(i64::from(place.batch_sequence_num))
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

/// The next number of a batch: for something that was done.
pub(crate) async fn take_place(tx: &mut Tx, batch_id: &str) -> Result<BatchPlace, StoreError> {
    let number: Option<i64> = sqlx::query_scalar(
        "UPDATE batches SET items = items + 1 WHERE id = $1 AND state <> 'closed' RETURNING items",
    )
    .bind(batch_id)
    .fetch_optional(&mut **tx)
    .await?;
    let number = number.ok_or(StoreError::Corrupt("batches.state"))?;
    place(batch_id, number)
}

/// A place, as stored.
pub(crate) fn place(batch_id: &str, number: i64) -> Result<BatchPlace, StoreError> {
    let corrupt = StoreError::Corrupt("movements.batch_seq");
    let Ok(batch_sequence_num) = u32::try_from(number) else {
        return Err(corrupt);
    };
    let batch_id = batch_id.parse().map_err(|_| corrupt)?;
    Ok(BatchPlace {
        batch_id,
        batch_sequence_num,
    })
}

/// Gives what was captured before there were batches a place in the open ones.
pub(crate) async fn adopt(tx: &mut Tx, now_s: i64) -> Result<u64, StoreError> {
    let rows = sqlx::query(
        "SELECT m.id, m.state, a.merchant_id, a.brand, a.currency FROM movements m \
         JOIN authorizations a ON a.id = m.authorization_id \
         WHERE m.kind = 'capture' AND m.state IN ('asked', 'done') AND m.batch_id IS NULL \
         ORDER BY a.currency, a.merchant_id, a.brand, m.ended_at_s, m.id",
    )
    .fetch_all(&mut **tx)
    .await?;
    let mut adopted: u64 = 0;
    for row in rows {
        let (id, state, currency): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(4)?);
        let (merchant_id, brand): (String, String) = (row.try_get(2)?, row.try_get(3)?);
        let key = Key {
            merchant_id: &merchant_id,
            brand: &brand,
            currency: Currency::from_alpha(&currency)
                .map_err(|_| StoreError::Corrupt("authorizations.currency"))?,
        };
        let batch_id = open(tx, key, now_s).await?.0;
        let rows =
            sqlx::query("UPDATE movements SET batch_id = $1 WHERE id = $2 AND batch_id IS NULL")
                .bind(&batch_id)
                .bind(&id)
                .execute(&mut **tx)
                .await?
                .rows_affected();
        if rows == 0 {
            // Another replica has put it into one meanwhile: a number that nothing has would be a gap.
            continue;
        }
        if state == "done" {
            let place = take_place(tx, &batch_id).await?;
            sqlx::query("UPDATE movements SET batch_seq = $1 WHERE id = $2")
                .bind(i64::from(place.batch_sequence_num))
                .bind(&id)
                .execute(&mut **tx)
                .await?;
        }
        adopted = adopted.saturating_add(rows);
    }
    Ok(adopted)
}
