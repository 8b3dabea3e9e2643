//! Orders: what was ordered, and which payment has it.

use std::collections::HashMap;

use openset_protocol::ids::{LocalId, Xid};
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::money::CurrencyAmount;
use openset_service::paging::{Asked, Place};
use openset_store::{StoreError, Tx, Write};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::{amount, from_json, stored, to_json};
use crate::catalogue::{Line, first_part, is_sale, next_payment};
use crate::unpaid::PlacedBy;

/// Rows that one purge removes at most, to keep its transaction short.
const PURGE_ROWS_MAX: i64 = 10_000;
/// No purchase of order `o` is open at `$1`.
const NOBODY_PAYS: &str = "NOT EXISTS \
     (SELECT 1 FROM purchases p WHERE p.order_id = o.id AND p.expires_at_s > $1)";
/// The columns that [`read`] takes, in its order.
pub(super) const COLUMNS: &str =
    "o.id, o.currency, o.amount_minor, o.description, o.lines, o.xid, o.created_at_s, o.plan";
/// How many [`COLUMNS`] there are.
pub(super) const COLUMNS_COUNT: usize = 8;

/// An order.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Its name, and lid_m of its purchases.
    pub(crate) id: LocalId,
    pub(crate) amount: CurrencyAmount,
    /// OD, in its exact bytes.
    pub(crate) description: String,
    pub(crate) lines: Vec<Line>,
    /// In which parts, or how often, it is paid; none if once.
    pub(crate) plan: Option<InstallRecurData>,
    /// The payment that has it now.
    pub(crate) xid: Option<Xid>,
    /// Seconds since 1970.
    pub(crate) created_at_s: i64,
}

impl Order {
    /// What is authorized when it is paid, and whether more is to follow.
    pub(crate) fn first_part(&self) -> (CurrencyAmount, bool) {
        let whole_minor = self.amount.minor();
        let (minor, more) = match self.plan {
            None => first_part(&self.lines, whole_minor),
            Some(plan) => (next_payment(plan, whole_minor, 0), true),
        };
        let part = CurrencyAmount::new(self.amount.currency(), minor);
        part.map_or((self.amount, false), |part| (part, more))
    }

    /// Whether that is captured at once.
    pub(crate) fn is_sale(&self) -> bool {
        is_sale(&self.lines)
    }
}

pub(super) fn read(row: &AnyRow) -> Result<Order, StoreError> {
    let (id, currency): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let (lines, xid): (String, String) = (row.try_get(4)?, row.try_get(5)?);
    Ok(Order {
        id: stored(&id, "orders.id")?,
        amount: amount(&currency, row.try_get(2)?, "orders.amount_minor")?,
        description: row.try_get(3)?,
        lines: from_json(&lines, "orders.lines")?,
        plan: plan(row.try_get(7)?)?,
        xid: if xid.is_empty() {
            None
        } else {
            Some(stored(&xid, "orders.xid")?)
        },
        created_at_s: row.try_get(6)?,
    })
}

/// A plan, as stored.
pub(super) fn plan(stored: Option<String>) -> Result<Option<InstallRecurData>, StoreError> {
    let plan = stored.map(|text| from_json(&text, "orders.plan"));
    plan.transpose()
}

pub(crate) fn insert(order: &Order, placed_by: &PlacedBy) -> Result<Write, StoreError> {
    let plan = order.plan.map(|plan| to_json(&plan, "orders.plan"));
    let insert = sqlx::query(
        "INSERT INTO orders \
         (id, currency, amount_minor, description, lines, xid, created_at_s, placed_by, plan) \
         VALUES ($1, $2, $3, $4, $5, '', $6, $7, $8)",
    )
    .bind(order.id.as_str())
    .bind(order.amount.currency().alpha())
    .bind(order.amount.minor_i64())
    .bind(order.description.as_str())
    .bind(to_json(&order.lines, "orders.lines")?)
    .bind(order.created_at_s)
    .bind(placed_by.as_str())
    .bind(plan.transpose()?);
    Ok(Write::may(insert))
}

pub(crate) async fn find(conn: &mut AnyConnection, id: &str) -> Result<Option<Order>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM orders o WHERE o.id = $1"
    )))
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(read).transpose()
}

/// An order in a list.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) id: LocalId,
    /// As REST shows it.
    pub(crate) state: String,
    pub(crate) amount: CurrencyAmount,
    pub(crate) created_at_s: i64,
}

impl Listed {
    /// Where it stands in the list of all.
    pub(crate) fn place(&self) -> Place {
        Place {
            at: self.created_at_s,
            id: self.id.to_string(),
        }
    }
}

/// In place of a state: orders with something that was asked of the gateway and is asked no more, unanswered; or that
/// it did not give back after it had not answered.
pub(crate) const UNANSWERED: &str = "unanswered";

const IS_UNANSWERED: &str = "(EXISTS (SELECT 1 FROM movements m WHERE m.xid = o.xid AND m.state = 'asked' \
     AND NOT EXISTS (SELECT 1 FROM outbox b WHERE b.reference = m.id OR b.id = m.id)) \
     OR EXISTS (SELECT 1 FROM movements m JOIN authorizations a ON a.xid = m.xid AND a.number = m.auth_number \
     WHERE m.xid = o.xid AND m.kind = 'reversal' AND m.state = 'refused' AND a.state = 'failed'))";

/// Orders, the newest first: those in a state, `open` and [`UNANSWERED`] included, or all.
pub(crate) async fn list(
    conn: &mut AnyConnection,
    state: Option<&str>,
    asked: &Asked,
) -> Result<Vec<Listed>, StoreError> {
    let sql = format!(
        "SELECT o.id, COALESCE(p.state, 'open'), o.currency, o.amount_minor, o.created_at_s \
         FROM orders o LEFT JOIN payments p ON p.xid = o.xid AND p.order_id = o.id \
         WHERE ($1 = '' OR COALESCE(p.state, 'open') = $1 OR ($1 = '{UNANSWERED}' AND {IS_UNANSWERED})) \
         AND ($2 = '' OR (o.created_at_s, o.id) < ($3, $2)) \
         ORDER BY o.created_at_s DESC, o.id DESC LIMIT $4"
    );
    // The statement is put together from this file's constants alone.
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(state.unwrap_or_default())
        .bind(asked.id())
        .bind(asked.at())
        .bind(asked.rows())
        .fetch_all(conn)
        .await?;
    let listed = |row: &AnyRow| {
        let (id, currency): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        Ok(Listed {
            id: stored(&id, "orders.id")?,
            state: row.try_get(1)?,
            amount: amount(&currency, row.try_get(3)?, "orders.amount_minor")?,
            created_at_s: row.try_get(4)?,
        })
    };
    rows.iter().map(listed).collect()
}

/// Why nothing is kept when another payment was faster.
pub(crate) const TAKEN: &str = "another payment took the order";

/// Gives the order to a payment, if it still is where the caller saw it; or else nothing is kept: [`TAKEN`].
pub(crate) fn take(id: &LocalId, seen: Option<Xid>, xid: Xid) -> Write {
    let take = sqlx::query("UPDATE orders SET xid = $1, placed_by = '' WHERE id = $2 AND xid = $3")
        .bind(xid.to_string())
        .bind(id.as_str())
        .bind(seen.map(|xid| xid.to_string()).unwrap_or_default());
    Write::must(take, TAKEN)
}

/// How many orders of each address nobody has begun to pay.
pub(crate) async fn unpaid_counts(
    conn: &mut AnyConnection,
) -> Result<HashMap<String, u64>, StoreError> {
    let rows =
        sqlx::query("SELECT placed_by, COUNT(*) FROM orders WHERE xid = '' GROUP BY placed_by")
            .fetch_all(conn)
            .await?;
    let count = |row: &AnyRow| {
        let count = u64::try_from(row.try_get::<i64, _>(1)?);
        let count = count.map_err(|_| StoreError::Corrupt("COUNT(*)"))?;
        Ok((row.try_get(0)?, count))
    };
    rows.iter().map(count).collect()
}

/// Removes the oldest orders that nobody is paying, of one address or of all; gives who had placed each.
pub(crate) async fn displace(
    tx: &mut Tx,
    placed_by: Option<&str>,
    now_s: i64,
    rows_max: i64,
) -> Result<Vec<String>, StoreError> {
    let of_peer = placed_by.map_or("", |_| "AND o.placed_by = $3 ");
    let query = AssertSqlSafe(format!(
        "DELETE FROM orders WHERE xid = '' AND id IN \
         (SELECT o.id FROM orders o WHERE o.xid = '' {of_peer}AND {NOBODY_PAYS} \
          ORDER BY o.created_at_s LIMIT $2) RETURNING placed_by"
    ));
    let mut query = sqlx::query_scalar(query).bind(now_s).bind(rows_max);
    if let Some(placed_by) = placed_by {
        query = query.bind(placed_by);
    }
    Ok(query.fetch_all(&mut **tx).await?)
}

/// Removes orders from before `created_before_s` that nobody is paying.
pub(crate) async fn purge(
    tx: &mut Tx,
    now_s: i64,
    created_before_s: i64,
) -> Result<u64, StoreError> {
    let query = AssertSqlSafe(format!(
        "DELETE FROM orders WHERE xid = '' AND id IN \
         (SELECT o.id FROM orders o WHERE o.xid = '' AND o.created_at_s < $3 AND {NOBODY_PAYS} \
          LIMIT $2)"
    ));
    let done = sqlx::query(query)
        .bind(now_s)
        .bind(PURGE_ROWS_MAX)
        .bind(created_before_s)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}
