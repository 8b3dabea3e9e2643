//! What a merchant is told about a batch, and what closes one.

use openset_protocol::Timestamp;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::batch_admin::{
    AmountType, BatchStatus, BatchTotals, ReturnTransactionDetail, SettlementInfo, TransDetails,
    TransactionDetail, TransmissionStatus,
};
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_service::paging::{Asked, Place};
use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::batches::{Key, place};
use super::one_row;
use crate::error::GatewayError;

/// A batch, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) id: String,
    pub(crate) merchant_id: String,
    pub(crate) brand: String,
    pub(crate) currency: String,
    pub(crate) state: State,
    pub(crate) opened_at_s: i64,
    pub(crate) closed_at_s: Option<i64>,
    pub(crate) transmission: Option<String>,
    pub(crate) paid_at_s: Option<i64>,
    frozen: Option<BatchTotals>,
}

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It takes items.
    Open,
    /// It takes none, but for those at work.
    Closing,
    /// Its members and totals stand for good.
    Closed,
}

const COLUMNS: &str = "id, brand, currency, state, opened_at_s, closed_at_s, transmission, paid_at_s, \
     credit_count, credit_minor, debit_count, debit_minor, merchant_id";

/// The batch of this name, if it is this merchant's.
pub(crate) async fn find(
    conn: &mut AnyConnection,
    merchant_id: &str,
    id: &LocalId,
) -> Result<Option<Batch>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE id = $1 AND merchant_id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.as_str())
        .bind(merchant_id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(batch).transpose()
}

/// The batch that takes items, or took them last: by state, then the oldest.
pub(crate) async fn find_unclosed(
    conn: &mut AnyConnection,
    key: Key<'_>,
    states: &[State],
) -> Result<Option<LocalId>, StoreError> {
    for state in states {
        let id: Option<String> = sqlx::query_scalar(
            "SELECT id FROM batches WHERE merchant_id = $1 AND brand = $2 AND currency = $3 AND state = $4 \
             ORDER BY opened_at_s, id LIMIT 1",
        )
        .bind(key.merchant_id)
        .bind(key.brand)
        .bind(key.currency.alpha())
        .bind(state.name())
        .fetch_optional(&mut *conn)
        .await?;
        if let Some(id) = id {
            let id = id.parse().map_err(|_| StoreError::Corrupt("batches.id"))?;
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The batch of this name, if it is this merchant's; nobody else changes it until the transaction ends.
pub(crate) async fn lock(
    tx: &mut Tx,
    merchant_id: &str,
    id: &LocalId,
) -> Result<Option<Batch>, StoreError> {
    // An UPDATE locks the row on both databases; SQLite has no FOR UPDATE.
    let sql = format!(
        "UPDATE batches SET items = items WHERE id = $1 AND merchant_id = $2 RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.as_str())
        .bind(merchant_id)
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(batch).transpose()
}

/// The open batch, in the same way.
pub(crate) async fn lock_open(tx: &mut Tx, key: Key<'_>) -> Result<Option<Batch>, StoreError> {
    let sql = format!(
        "UPDATE batches SET items = items WHERE merchant_id = $1 AND brand = $2 AND currency = $3 \
         AND state = 'open' RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key.merchant_id)
        .bind(key.brand)
        .bind(key.currency.alpha())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(batch).transpose()
}

/// Which batches to list: empty for all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter<'a> {
    pub(crate) merchant_id: &'a str,
    pub(crate) state: &'a str,
}

/// A page of batches, the newest first.
pub(crate) async fn list(
    conn: &mut AnyConnection,
    filter: &Filter<'_>,
    asked: &Asked,
) -> Result<Vec<Batch>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM batches WHERE ($1 = '' OR (opened_at_s, id) < ($2, $1)) \
         AND ($3 = '' OR merchant_id = $3) AND ($4 = '' OR state = $4) \
         ORDER BY opened_at_s DESC, id DESC LIMIT $5"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(asked.id())
        .bind(asked.at())
        .bind(filter.merchant_id)
        .bind(filter.state)
        .bind(asked.rows())
        .fetch_all(conn)
        .await?;
    rows.iter().map(batch).collect()
}

fn batch(row: &AnyRow) -> Result<Batch, StoreError> {
    let state: String = row.try_get(3)?;
    let frozen = match row.try_get::<Option<i64>, _>(8)? {
        None => None,
        Some(count) => Some(BatchTotals {
            transaction_count_credit: unsigned(count)?,
            transaction_total_credit_minor: unsigned(row.try_get(9)?)?,
            transaction_count_debit: unsigned(row.try_get(10)?)?,
            transaction_total_debit_minor: unsigned(row.try_get(11)?)?,
        }),
    };
    Ok(Batch {
        id: row.try_get(0)?,
        merchant_id: row.try_get(12)?,
        brand: row.try_get(1)?,
        currency: row.try_get(2)?,
        state: match state.as_str() {
            "open" => State::Open,
            "closing" => State::Closing,
            "closed" => State::Closed,
            _ => return Err(StoreError::Corrupt("batches.state")),
        },
        opened_at_s: row.try_get(4)?,
        closed_at_s: row.try_get(5)?,
        transmission: row.try_get(6)?,
        paid_at_s: row.try_get(7)?,
        frozen,
    })
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt("batches.credit_count"))
}

/// Whether something of it is at work at the issuer.
pub(crate) async fn is_at_work(
    conn: &mut AnyConnection,
    batch_id: &str,
) -> Result<bool, StoreError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM movements WHERE batch_id = $1 AND state = 'asked'",
    )
    .bind(batch_id)
    .fetch_one(conn)
    .await?;
    Ok(count > 0)
}

/// What stands in it.
pub(crate) async fn totals(
    conn: &mut AnyConnection,
    batch: &Batch,
) -> Result<BatchTotals, StoreError> {
    if let Some(frozen) = batch.frozen {
        return Ok(frozen);
    }
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(CASE WHEN kind IN ('capture', 'credit_reversal') THEN 1 ELSE 0 END), 0) AS BIGINT), \
         CAST(COALESCE(SUM(CASE WHEN kind IN ('capture', 'credit_reversal') THEN amount_minor ELSE 0 END), 0) AS BIGINT), \
         CAST(COALESCE(SUM(CASE WHEN kind IN ('credit', 'capture_reversal') THEN 1 ELSE 0 END), 0) AS BIGINT), \
         CAST(COALESCE(SUM(CASE WHEN kind IN ('credit', 'capture_reversal') THEN amount_minor ELSE 0 END), 0) AS BIGINT) \
         FROM movements WHERE batch_id = $1 AND state = 'done'",
    )
    .bind(&batch.id)
    .fetch_one(conn)
    .await?;
    Ok(BatchTotals {
        transaction_count_credit: unsigned(row.try_get(0)?)?,
        transaction_total_credit_minor: unsigned(row.try_get(1)?)?,
        transaction_count_debit: unsigned(row.try_get(2)?)?,
        transaction_total_debit_minor: unsigned(row.try_get(3)?)?,
    })
}

/// From now on it takes nothing but what is at work.
pub(crate) async fn set_closing(tx: &mut Tx, batch_id: &str) -> Result<(), StoreError> {
    let rows = sqlx::query("UPDATE batches SET state = 'closing' WHERE id = $1 AND state = 'open'")
        .bind(batch_id)
        .execute(&mut **tx)
        .await?
        .rows_affected();
    one_row(rows, "the batch was closed meanwhile")
}

/// It takes items again, unless another one does meanwhile.
pub(crate) async fn reopen(tx: &mut Tx, batch: &Batch) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE batches SET state = 'open' WHERE id = $1 AND state = 'closing' AND NOT EXISTS \
         (SELECT 1 FROM batches o WHERE o.merchant_id = $2 AND o.brand = $3 AND o.currency = $4 AND o.state = 'open')",
    )
    .bind(&batch.id)
    .bind(&batch.merchant_id)
    .bind(&batch.brand)
    .bind(&batch.currency)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Its members and totals stand for good; it is to be paid out.
pub(crate) async fn close(
    tx: &mut Tx,
    batch_id: &str,
    totals: &BatchTotals,
    now_s: i64,
) -> Result<(), GatewayError> {
    let signed = |number: u64| {
        i64::try_from(number).map_err(|_| StoreError::Corrupt("batches.credit_minor"))
    };
    let rows = sqlx::query(
        "UPDATE batches SET state = 'closed', closed_at_s = $1, credit_count = $2, credit_minor = $3, \
         debit_count = $4, debit_minor = $5, transmission = 'pending' WHERE id = $6 AND state <> 'closed'",
    )
    .bind(now_s)
    .bind(signed(totals.transaction_count_credit)?)
    .bind(signed(totals.transaction_total_credit_minor)?)
    .bind(signed(totals.transaction_count_debit)?)
    .bind(signed(totals.transaction_total_debit_minor)?)
    .bind(batch_id)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(one_row(rows, "the batch was closed meanwhile")?)
}

impl State {
    /// As the database spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

impl Batch {
    /// Where it stands in a list.
    pub(crate) fn place(&self) -> Place {
        Place {
            at: self.opened_at_s,
            id: self.id.clone(),
        }
    }

    pub(crate) fn status(&self, batch_totals: BatchTotals) -> BatchStatus {
        BatchStatus {
            open_date: Timestamp::from_seconds(self.opened_at_s),
            close_date: self.closed_at_s.map(Timestamp::from_seconds),
            batch_totals,
        }
    }

    pub(crate) fn transmission(&self) -> Result<Option<TransmissionStatus>, GatewayError> {
        let name = self.transmission.clone();
        Ok(name
            .map(|name| serde_json::from_value(name.into()))
            .transpose()?)
    }

    /// The payout, once it was made.
    pub(crate) fn settlement(
        &self,
        totals: &BatchTotals,
    ) -> Result<Option<SettlementInfo>, GatewayError> {
        let Some(paid_at_s) = self.paid_at_s else {
            return Ok(None);
        };
        let (to, from) = (
            totals.transaction_total_credit_minor,
            totals.transaction_total_debit_minor,
        );
        let currency = Currency::from_alpha(&self.currency)
            .map_err(|_| StoreError::Corrupt("batches.currency"))?;
        Ok(Some(SettlementInfo {
            currency,
            settlement_amount_minor: to.abs_diff(from),
            settlement_type: if to >= from {
                AmountType::Credit
            } else {
                AmountType::Debit
            },
            settlement_deposit_date: Timestamp::from_seconds(paid_at_s),
            settlement_reference: self.id.clone(),
        }))
    }
}

/// Its items from a number on.
pub(crate) async fn details(
    conn: &mut AnyConnection,
    batch: &Batch,
    wanted: ReturnTransactionDetail,
) -> Result<TransDetails, GatewayError> {
    let sql = format!(
        "{DETAIL} WHERE m.batch_id = $1 AND m.state = 'done' AND m.batch_seq >= $2 ORDER BY m.batch_seq LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&batch.id)
        .bind(i64::from(wanted.starting_point))
        .bind(i64::from(wanted.maximum_items).saturating_add(1))
        .fetch_all(conn)
        .await?;
    let mut all = rows.iter().map(detail).collect::<Result<Vec<_>, _>>()?;
    let most = usize::try_from(wanted.maximum_items).unwrap_or(usize::MAX);
    let next_starting_point = all.get(most).map(|next| next.batch_sequence_num);
    all.truncate(most);
    Ok(TransDetails {
        next_starting_point,
        transaction_detail_seq: all,
    })
}

/// What stands in an open batch and may be undone: what was never tried first, and refunds before captures, for a
/// capture with a refund is not undone.
pub(crate) async fn standing(
    conn: &mut AnyConnection,
    batch_id: &str,
    limit: u32,
) -> Result<Vec<(TransactionDetail, bool)>, GatewayError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(standing_sql()))
        .bind(batch_id)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        let is_credit = row.try_get::<String, _>(0)? == "credit";
        all.push((detail(row)?, is_credit));
    }
    Ok(all)
}

fn standing_sql() -> String {
    format!(
        "{DETAIL} WHERE m.batch_id = $1 AND m.state = 'done' AND m.kind IN ('capture', 'credit') \
         AND NOT EXISTS (SELECT 1 FROM movements u WHERE u.authorization_id = m.authorization_id AND u.undoes = m.id \
         AND u.state = 'done') ORDER BY (SELECT COUNT(*) FROM movements r WHERE r.authorization_id = m.authorization_id \
         AND r.undoes = m.id AND r.state = 'refused'), CASE WHEN m.kind = 'credit' THEN 0 ELSE 1 END, m.batch_seq LIMIT $2"
    )
}

const DETAIL: &str = "SELECT m.kind, a.xid, a.auth_rrpid, m.batch_seq, m.amount_minor, a.currency, m.ended_at_s, \
     o.batch_id, o.batch_seq FROM movements m JOIN authorizations a ON a.id = m.authorization_id \
     LEFT JOIN movements o ON o.id = m.undoes";

fn detail(row: &AnyRow) -> Result<TransactionDetail, GatewayError> {
    let corrupt = || StoreError::Corrupt("movements.batch_seq");
    let (kind, xid, auth_rrpid): (String, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (seq, minor, ended_at_s): (i64, i64, i64) =
        (row.try_get(3)?, row.try_get(4)?, row.try_get(6)?);
    let currency: String = row.try_get(5)?;
    let undone: (Option<String>, Option<i64>) = (row.try_get(7)?, row.try_get(8)?);
    let original = match undone {
        (Some(id), Some(seq)) => Some(place(&id, seq)?),
        _ => None,
    };
    let currency = Currency::from_alpha(&currency)
        .map_err(|_| StoreError::Corrupt("authorizations.currency"))?;
    let minor = u64::try_from(minor).map_err(|_| corrupt())?;
    Ok(TransactionDetail {
        xid: xid.parse().map_err(|_| corrupt())?,
        auth_rrpid: auth_rrpid.parse().map_err(|_| corrupt())?,
        batch_sequence_num: u32::try_from(seq).map_err(|_| corrupt())?,
        transaction_amt: CurrencyAmount::new(currency, minor).map_err(|_| corrupt())?,
        transaction_amt_type: match kind.as_str() {
            "capture" | "credit_reversal" => AmountType::Credit,
            _ => AmountType::Debit,
        },
        original,
        transaction_date: Timestamp::from_seconds(ended_at_s),
    })
}

#[cfg(test)]
mod tests;
