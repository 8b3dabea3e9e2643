//! What PInitReq opened. Anyone may send one, so it is little, few for each order, and soon gone.

use openset_protocol::ids::Xid;
use openset_protocol::merchant::p_init::OpenedPurchase;
use openset_store::{StoreError, Tx, Write};
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::orders::{self, COLUMNS, COLUMNS_COUNT, Order};
use super::payments::State;
use super::{from_json, stored, to_json};

/// Purchases that one order may have open at once; each has cost a signature.
pub(crate) const OPEN_PER_ORDER_MAX: i64 = 16;
/// From PInitReq to PReq a person has this long.
pub(crate) const OPEN_SECONDS: i64 = 60 * 60;
const PURGE_ROWS_MAX: i64 = 10_000;

/// An opened purchase with its order.
#[derive(Debug, Clone)]
pub(crate) struct Purchase {
    pub(crate) opened: OpenedPurchase,
    pub(crate) order: Order,
    /// The state of the payment that has the order now.
    pub(crate) held_in: Option<State>,
    /// Whether a PReq came under this XID before.
    pub(crate) used: bool,
}

/// How many purchases of an order are open; none if there is no such order.
pub(crate) async fn count(
    conn: &mut AnyConnection,
    order_id: &str,
    now_s: i64,
) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM purchases p WHERE p.order_id = o.id AND p.expires_at_s > $2) \
         FROM orders o WHERE o.id = $1",
    )
    .bind(order_id)
    .bind(now_s)
    .fetch_optional(conn)
    .await?)
}

/// Why nothing is kept of one more than [`OPEN_PER_ORDER_MAX`].
pub(crate) const TOO_MANY: &str = "too many purchases of the order are open";

pub(crate) fn insert(opened: &OpenedPurchase, now_s: i64) -> Result<Write, StoreError> {
    let insert = sqlx::query(
        "INSERT INTO purchases (xid, order_id, opened, expires_at_s) SELECT $1, $2, $3, $4 \
         WHERE (SELECT COUNT(*) FROM purchases WHERE order_id = $2 AND expires_at_s > $5) < $6",
    )
    .bind(opened.trans_ids.xid.to_string())
    .bind(opened.trans_ids.lid_m.as_str())
    .bind(to_json(opened, "purchases.opened")?)
    .bind(now_s.saturating_add(OPEN_SECONDS))
    .bind(now_s)
    .bind(OPEN_PER_ORDER_MAX);
    Ok(Write::must(insert, TOO_MANY))
}

/// The purchase, unless its time is over.
pub(crate) async fn find(
    conn: &mut AnyConnection,
    xid: &Xid,
    now_s: i64,
) -> Result<Option<Purchase>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {COLUMNS}, p.opened, holder.state, own.state FROM purchases p \
         JOIN orders o ON o.id = p.order_id \
         LEFT JOIN payments holder ON holder.xid = o.xid LEFT JOIN payments own ON own.xid = p.xid \
         WHERE p.xid = $1 AND p.expires_at_s > $2"
    )))
    .bind(xid.to_string())
    .bind(now_s)
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let opened: String = row.try_get(COLUMNS_COUNT)?;
    let state: Option<String> = row.try_get(COLUMNS_COUNT + 1)?;
    let own: Option<String> = row.try_get(COLUMNS_COUNT + 2)?;
    Ok(Some(Purchase {
        opened: from_json(&opened, "purchases.opened")?,
        order: orders::read(&row)?,
        used: own.is_some(),
        held_in: state
            .map(|text| stored(&text, "payments.state"))
            .transpose()?,
    }))
}

/// Removes purchases whose time is over.
pub(crate) async fn purge(tx: &mut Tx, now_s: i64) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "DELETE FROM purchases WHERE xid IN \
         (SELECT xid FROM purchases WHERE expires_at_s <= $1 ORDER BY expires_at_s LIMIT $2)",
    )
    .bind(now_s)
    .bind(PURGE_ROWS_MAX)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}
