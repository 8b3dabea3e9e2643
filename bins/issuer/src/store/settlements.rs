//! What was paid to gateways, and by which movements it came about.

use openset_protocol::money::Currency;
use openset_service::paging::Asked;
use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

/// A part of a gateway's batch, settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settlement {
    pub(crate) gateway: String,
    pub(crate) batch_id: String,
    pub(crate) part: u32,
    /// No part of the batch comes after it.
    pub(crate) last: bool,
    pub(crate) currency: Currency,
    /// What the bank pays; below zero, what it gets back.
    pub(crate) net_minor: i64,
    /// How many movements it settles.
    pub(crate) items: u32,
    /// SHA-256 of what was asked for.
    pub(crate) content: [u8; 32],
    pub(crate) settled_at_s: i64,
}

impl Settlement {
    /// Its name among those of all gateways.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}/{}", self.gateway, self.batch_id, self.part)
    }
}

/// A movement that is to be settled. Nobody else can settle it until the transaction ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsettled {
    pub(crate) currency: Currency,
    pub(crate) amount_minor: i64,
    /// The part that settled it before.
    pub(crate) settled_by: Option<String>,
}

/// [`Settlement::name`].
const NAME: &str = "(gateway || '/' || batch_id || '/' || part)";
const COLUMNS: &str =
    "gateway, batch_id, part, is_last, currency, net_minor, items, content, settled_at_s";

/// Records a settlement; false when there is one of this batch and part. Of two at the same moment the second waits.
pub(crate) async fn insert(tx: &mut Tx, new: &Settlement) -> Result<bool, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO settlements ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT DO NOTHING"
    )))
    .bind(new.gateway.as_str())
    .bind(new.batch_id.as_str())
    .bind(i64::from(new.part))
    .bind(i64::from(new.last))
    .bind(new.currency.alpha())
    .bind(new.net_minor)
    .bind(i64::from(new.items))
    .bind(&new.content[..])
    .bind(new.settled_at_s)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(rows == 1)
}

pub(crate) async fn find(
    tx: &mut Tx,
    gateway: &str,
    batch_id: &str,
    part: u32,
) -> Result<Option<Settlement>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM settlements WHERE gateway = $1 AND batch_id = $2 AND part = $3"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(gateway)
        .bind(batch_id)
        .bind(i64::from(part))
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(settlement).transpose()
}

/// Settlements, the newest first; with `gateway`, its own alone.
pub(crate) async fn list(
    conn: &mut AnyConnection,
    gateway: Option<&str>,
    asked: &Asked,
) -> Result<Vec<Settlement>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM settlements WHERE ($1 = '' OR gateway = $1) \
         AND ($2 = '' OR (settled_at_s, {NAME}) < ($3, $2)) \
         ORDER BY settled_at_s DESC, {NAME} DESC LIMIT $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(gateway.unwrap_or_default())
        .bind(asked.id())
        .bind(asked.at())
        .bind(asked.rows())
        .fetch_all(conn)
        .await?;
    rows.iter().map(settlement).collect()
}

/// Locks a movement and reads it. Those of one settlement are locked in the order of their ids: two settlements
/// cannot wait for each other.
pub(crate) async fn lock_movement(
    tx: &mut Tx,
    gateway: &str,
    id: &str,
) -> Result<Option<Unsettled>, StoreError> {
    // An UPDATE locks the row on both databases; SQLite has no FOR UPDATE.
    let row = sqlx::query(
        "UPDATE movements SET settled_by = settled_by WHERE gateway = $1 AND id = $2 \
         RETURNING currency, amount_minor, settled_by",
    )
    .bind(gateway)
    .bind(id)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Unsettled {
        currency: currency(&row, 0, "movements.currency")?,
        amount_minor: row.try_get(1)?,
        settled_by: row.try_get(2)?,
    }))
}

/// Marks a locked movement as settled.
pub(crate) async fn settle_movement(
    tx: &mut Tx,
    gateway: &str,
    id: &str,
    settled_by: &str,
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "UPDATE movements SET settled_by = $1 WHERE gateway = $2 AND id = $3 AND settled_by IS NULL",
    )
    .bind(settled_by)
    .bind(gateway)
    .bind(id)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    super::one_row(rows, "the movement was settled meanwhile")
}

fn settlement(row: &AnyRow) -> Result<Settlement, StoreError> {
    let number = |place: usize, column| {
        let number: i64 = row.try_get(place)?;
        u32::try_from(number).map_err(|_| StoreError::Corrupt(column))
    };
    let content: Vec<u8> = row.try_get(7)?;
    Ok(Settlement {
        gateway: row.try_get(0)?,
        batch_id: row.try_get(1)?,
        part: number(2, "settlements.part")?,
        last: row.try_get::<i64, _>(3)? != 0,
        currency: currency(row, 4, "settlements.currency")?,
        net_minor: row.try_get(5)?,
        items: number(6, "settlements.items")?,
        content: content
            .try_into()
            .map_err(|_| StoreError::Corrupt("settlements.content"))?,
        settled_at_s: row.try_get(8)?,
    })
}

fn currency(row: &AnyRow, place: usize, column: &'static str) -> Result<Currency, StoreError> {
    Currency::from_alpha(row.try_get(place)?).map_err(|_| StoreError::Corrupt(column))
}
