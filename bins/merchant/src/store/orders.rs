//! Orders: what was ordered, and which payment has it.

use openset_protocol::ids::{LocalId, Xid};
use openset_protocol::money::CurrencyAmount;
use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::{amount, from_json, stored, to_json};
use crate::catalogue::Line;

/// Rows that one purge removes at most, to keep its transaction short.
const PURGE_ROWS_MAX: i64 = 10_000;
/// The columns that [`read`] takes, in its order.
pub(super) const COLUMNS: &str =
    "o.id, o.currency, o.amount_minor, o.description, o.lines, o.xid, o.created_at_s";
/// How many [`COLUMNS`] there are.
pub(super) const COLUMNS_COUNT: usize = 7;

/// An order.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Its name, and lid_m of its purchases.
    pub(crate) id: LocalId,
    pub(crate) amount: CurrencyAmount,
    /// OD, in its exact bytes.
    pub(crate) description: String,
    pub(crate) lines: Vec<Line>,
    /// The payment that has it now.
    pub(crate) xid: Option<Xid>,
    /// Seconds since 1970.
    pub(crate) created_at_s: i64,
}

pub(super) fn read(row: &AnyRow) -> Result<Order, StoreError> {
    let (id, currency): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let (lines, xid): (String, String) = (row.try_get(4)?, row.try_get(5)?);
    Ok(Order {
        id: stored(&id, "orders.id")?,
        amount: amount(&currency, row.try_get(2)?, "orders.amount_minor")?,
        description: row.try_get(3)?,
        lines: from_json(&lines, "orders.lines")?,
        xid: if xid.is_empty() {
            None
        } else {
            Some(stored(&xid, "orders.xid")?)
        },
        created_at_s: row.try_get(6)?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, order: &Order) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO orders (id, currency, amount_minor, description, lines, xid, created_at_s) \
         VALUES ($1, $2, $3, $4, $5, '', $6)",
    )
    .bind(order.id.as_str())
    .bind(order.amount.currency().alpha())
    .bind(order.amount.minor_i64())
    .bind(order.description.as_str())
    .bind(to_json(&order.lines, "orders.lines")?)
    .bind(order.created_at_s)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(crate) async fn find(conn: &mut AnyConnection, id: &str) -> Result<Option<Order>, StoreError> {
    let row = sqlx::query(
        "SELECT o.id, o.currency, o.amount_minor, o.description, o.lines, o.xid, o.created_at_s \
         FROM orders o WHERE o.id = $1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Gives the order to a payment, if it still is where the caller saw it. `false`: another payment
/// was faster.
pub(crate) async fn take(
    tx: &mut Tx,
    id: &LocalId,
    seen: Option<Xid>,
    xid: Xid,
) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE orders SET xid = $1 WHERE id = $2 AND xid = $3")
        .bind(xid.to_string())
        .bind(id.as_str())
        .bind(seen.map(|xid| xid.to_string()).unwrap_or_default())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// How many orders nobody has begun to pay.
pub(crate) async fn unpaid_count(conn: &mut AnyConnection) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM orders WHERE xid = ''")
        .fetch_one(conn)
        .await?;
    u64::try_from(count).map_err(|_| StoreError::Corrupt("COUNT(*)"))
}

/// Removes orders from before `created_before_s` that nobody has begun to pay.
pub(crate) async fn purge(tx: &mut Tx, created_before_s: i64) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "DELETE FROM orders WHERE xid = '' AND id IN \
         (SELECT id FROM orders WHERE xid = '' AND created_at_s < $1 LIMIT $2)",
    )
    .bind(created_before_s)
    .bind(PURGE_ROWS_MAX)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}
