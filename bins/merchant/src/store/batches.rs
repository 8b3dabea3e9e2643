//! The acquirer's batches: what stands in them here, and what the acquirer said of them last.

use openset_protocol::BrandId;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::batch_admin::{
    AmountType, BatchAdminResData, BatchTotals, SettlementInfo,
};
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_service::paging::{Asked, Place};
use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::stored;

/// A batch, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) id: LocalId,
    pub(crate) brand: BrandId,
    pub(crate) currency: Currency,
    /// The acquirer has said that it takes nothing more.
    pub(crate) is_closed: bool,
    pub(crate) opened_at_s: Option<i64>,
    pub(crate) closed_at_s: Option<i64>,
    /// What the acquirer counted when it was asked last.
    pub(crate) told: Option<BatchTotals>,
    /// SET's TransmissionStatus.
    pub(crate) transmission: Option<String>,
    pub(crate) payout: Option<Payout>,
    pub(crate) told_at_ms: Option<i64>,
    seen_at_ms: i64,
    /// What is asked of the acquirer about it now.
    pub(crate) asked: Option<String>,
}

/// What the acquirer has paid for a batch.
#[derive(Debug, Clone)]
pub(crate) struct Payout {
    /// Below zero if it has taken so much.
    pub(crate) minor: i64,
    pub(crate) at_s: i64,
    pub(crate) reference: String,
}

/// What one of both sides has in a batch and the other has not, or not so.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    pub(crate) seq: u32,
    pub(crate) xid: String,
    pub(crate) kind: String,
    /// What the acquirer has there.
    pub(crate) theirs: Option<CurrencyAmount>,
    /// What the merchant has there.
    pub(crate) ours: Option<CurrencyAmount>,
    /// Its answer is still to come.
    pub(crate) awaited: bool,
}

const COLUMNS: &str = "b.id, b.brand, b.currency, b.state, b.opened_at_s, b.closed_at_s, b.credit_count, b.credit_minor, \
     b.debit_count, b.debit_minor, b.transmission, b.payout_minor, b.payout_at_s, b.payout_reference, b.told_at_ms, \
     b.seen_at_ms, (SELECT MIN(r.operation) FROM batch_requests r WHERE r.batch_id = b.id AND r.outcome IS NULL)";

/// Notes a batch that something stands in.
pub(super) async fn see(
    tx: &mut Tx,
    id: &str,
    brand: &str,
    currency: &str,
    at_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO batches (id, brand, currency, state, look_at_ms, seen_at_ms) VALUES ($1, $2, $3, 'open', 0, $4) \
         ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(brand)
    .bind(currency)
    .bind(at_ms)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Writes down how the acquirer says that a batch stands. A late answer never opens what is closed, nor takes a payout
/// back. Gives the payout, if this answer is the first to tell of it.
pub(crate) async fn tell(
    tx: &mut Tx,
    brand: &BrandId,
    currency: Currency,
    data: &BatchAdminResData,
    at_ms: i64,
) -> Result<Option<Payout>, StoreError> {
    let (Some(id), Some(status)) = (&data.batch_id, &data.batch_status) else {
        return Ok(None);
    };
    let (totals, state) = (&status.batch_totals, state(status.close_date.is_some()));
    let transmission = data
        .transmission_status
        .map(|told| super::to_json(&told, TRANSMISSION));
    sqlx::query(
        "INSERT INTO batches (id, brand, currency, state, opened_at_s, closed_at_s, credit_count, credit_minor, debit_count, \
         debit_minor, transmission, told_at_ms, look_at_ms, seen_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $12) \
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, opened_at_s = excluded.opened_at_s, \
         closed_at_s = excluded.closed_at_s, credit_count = excluded.credit_count, credit_minor = excluded.credit_minor, \
         debit_count = excluded.debit_count, debit_minor = excluded.debit_minor, transmission = excluded.transmission, \
         told_at_ms = excluded.told_at_ms \
         WHERE batches.payout_minor IS NULL AND (batches.state = 'open' OR excluded.state = 'closed')",
    )
    .bind(id.as_str())
    .bind(brand.as_str())
    .bind(currency.alpha())
    .bind(state)
    .bind(status.open_date.seconds())
    .bind(status.close_date.map(|date| date.seconds()))
    .bind(signed(totals.transaction_count_credit)?)
    .bind(signed(totals.transaction_total_credit_minor)?)
    .bind(signed(totals.transaction_count_debit)?)
    .bind(signed(totals.transaction_total_debit_minor)?)
    .bind(transmission.transpose()?.map(|quoted| quoted.trim_matches('"').to_owned()))
    .bind(at_ms)
    .execute(&mut **tx)
    .await?;
    match &data.settlement_info {
        Some(info) => pay(tx, id, info).await,
        None => Ok(None),
    }
}

const TRANSMISSION: &str = "batches.transmission";

async fn pay(
    tx: &mut Tx,
    id: &LocalId,
    info: &SettlementInfo,
) -> Result<Option<Payout>, StoreError> {
    let minor = signed(info.settlement_amount_minor)?;
    let payout = Payout {
        minor: match info.settlement_type {
            AmountType::Credit => minor,
            AmountType::Debit => -minor,
        },
        at_s: info.settlement_deposit_date.seconds(),
        reference: info.settlement_reference.clone(),
    };
    let done = sqlx::query(
        "UPDATE batches SET payout_minor = $1, payout_at_s = $2, payout_reference = $3 \
         WHERE id = $4 AND payout_minor IS NULL",
    )
    .bind(payout.minor)
    .bind(payout.at_s)
    .bind(&payout.reference)
    .bind(id.as_str())
    .execute(&mut **tx)
    .await?;
    Ok((done.rows_affected() == 1).then_some(payout))
}

/// The batch of this name.
pub(crate) async fn find(conn: &mut AnyConnection, id: &str) -> Result<Option<Batch>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM batches b WHERE b.id = $1");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(read).transpose()
}

/// A page of batches, the newest first; `state` is empty for all.
pub(crate) async fn list(
    conn: &mut AnyConnection,
    state: &str,
    asked: &Asked,
) -> Result<Vec<Batch>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM batches b WHERE ($1 = '' OR (b.seen_at_ms, b.id) < ($2, $1)) \
         AND ($3 = '' OR b.state = $3) ORDER BY b.seen_at_ms DESC, b.id DESC LIMIT $4"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(asked.id())
        .bind(asked.at())
        .bind(state)
        .bind(asked.rows())
        .fetch_all(conn)
        .await?;
    rows.iter().map(read).collect()
}

/// Whether there is one that [`take_unpaid`] would take.
pub(crate) async fn is_one_unpaid(
    conn: &mut AnyConnection,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let found: Option<String> = sqlx::query_scalar(
        "SELECT id FROM batches WHERE state = 'closed' AND payout_minor IS NULL AND look_at_ms <= $1 LIMIT 1",
    )
    .bind(now_ms)
    .fetch_optional(conn)
    .await?;
    Ok(found.is_some())
}

/// All that stands in it here.
pub(crate) async fn members(
    conn: &mut AnyConnection,
    batch: &Batch,
) -> Result<Vec<Difference>, StoreError> {
    let rows = sqlx::query(
        "SELECT batch_seq, xid, kind, amount_minor FROM movements WHERE batch_id = $1 AND state = 'done' ORDER BY batch_seq",
    )
    .bind(batch.id.as_str())
    .fetch_all(conn)
    .await?;
    let member = |row: &AnyRow| {
        let damaged = |_| StoreError::Corrupt("movements.batch_seq");
        Ok(Difference {
            seq: u32::try_from(row.try_get::<i64, _>(0)?).map_err(damaged)?,
            xid: row.try_get(1)?,
            kind: row.try_get(2)?,
            theirs: None,
            ours: Some(super::amount(
                batch.currency.alpha(),
                row.try_get(3)?,
                "movements.amount_minor",
            )?),
            awaited: false,
        })
    };
    rows.iter().map(member).collect()
}

/// Takes closed batches whose payout is waited for, each until a pause that grows with how long it is waited for.
pub(crate) async fn take_unpaid(
    tx: &mut Tx,
    now_ms: i64,
    limit: i64,
) -> Result<Vec<Batch>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM batches b WHERE b.state = 'closed' AND b.payout_minor IS NULL AND b.look_at_ms <= $1 \
         ORDER BY b.look_at_ms, b.id LIMIT $2"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(now_ms)
        .bind(limit)
        .fetch_all(&mut **tx)
        .await?;
    let mut taken = Vec::with_capacity(rows.len());
    for row in &rows {
        let batch = read(row)?;
        let closed_ms = batch.closed_at_s.unwrap_or(0).saturating_mul(1000);
        let waited_ms = now_ms.saturating_sub(closed_ms);
        let pause_ms = (waited_ms / 4).clamp(LOOK_PAUSE_MS_MIN, LOOK_PAUSE_MS_MAX);
        let done =
            sqlx::query("UPDATE batches SET look_at_ms = $1 WHERE id = $2 AND look_at_ms <= $3")
                .bind(now_ms.saturating_add(pause_ms))
                .bind(batch.id.as_str())
                .bind(now_ms)
                .execute(&mut **tx)
                .await?;
        if done.rows_affected() == 1 {
            taken.push(batch);
        }
    }
    Ok(taken)
}

/// Between two looks for a payout.
const LOOK_PAUSE_MS_MIN: i64 = 1_000;
const LOOK_PAUSE_MS_MAX: i64 = 10 * 60 * 1_000;

/// What the merchant itself counts in a batch: what the acquirer has said to stand there.
pub(crate) async fn own_totals(
    conn: &mut AnyConnection,
    id: &LocalId,
) -> Result<BatchTotals, StoreError> {
    let rows = sqlx::query(
        "SELECT CAST(CASE WHEN kind IN ('capture', 'credit_reversal') THEN 1 ELSE 0 END AS BIGINT), COUNT(*), \
         CAST(SUM(amount_minor) AS BIGINT) FROM movements WHERE batch_id = $1 AND state = 'done' GROUP BY 1",
    )
    .bind(id.as_str())
    .fetch_all(conn)
    .await?;
    let mut totals = NOTHING;
    for row in rows {
        let (count, minor) = (unsigned(row.try_get(1)?)?, unsigned(row.try_get(2)?)?);
        if row.try_get::<i64, _>(0)? == 1 {
            totals.transaction_count_credit = count;
            totals.transaction_total_credit_minor = minor;
        } else {
            totals.transaction_count_debit = count;
            totals.transaction_total_debit_minor = minor;
        }
    }
    Ok(totals)
}

/// The totals of an empty batch.
const NOTHING: BatchTotals = BatchTotals {
    transaction_count_credit: 0,
    transaction_total_credit_minor: 0,
    transaction_count_debit: 0,
    transaction_total_debit_minor: 0,
};

fn state(is_closed: bool) -> &'static str {
    if is_closed { "closed" } else { "open" }
}

fn read(row: &AnyRow) -> Result<Batch, StoreError> {
    let text = |column: usize| row.try_get::<String, _>(column);
    let number = |column: usize| row.try_get::<Option<i64>, _>(column);
    let told = match (number(6)?, number(7)?, number(8)?, number(9)?) {
        (Some(credits), Some(credit_minor), Some(debits), Some(debit_minor)) => Some(BatchTotals {
            transaction_count_credit: unsigned(credits)?,
            transaction_total_credit_minor: unsigned(credit_minor)?,
            transaction_count_debit: unsigned(debits)?,
            transaction_total_debit_minor: unsigned(debit_minor)?,
        }),
        _ => None,
    };
    let payout = match (number(11)?, number(12)?) {
        (Some(minor), Some(at_s)) => Some(Payout {
            minor,
            at_s,
            reference: row.try_get::<Option<String>, _>(13)?.unwrap_or_default(),
        }),
        _ => None,
    };
    Ok(Batch {
        id: stored(&text(0)?, "batches.id")?,
        brand: stored(&text(1)?, "batches.brand")?,
        currency: Currency::from_alpha(&text(2)?)
            .map_err(|_| StoreError::Corrupt("batches.currency"))?,
        is_closed: text(3)? == state(true),
        opened_at_s: number(4)?,
        closed_at_s: number(5)?,
        told,
        transmission: row.try_get(10)?,
        payout,
        told_at_ms: number(14)?,
        seen_at_ms: row.try_get(15)?,
        asked: row.try_get(16)?,
    })
}

fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Corrupt("batches.credit_minor"))
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt("batches.credit_minor"))
}

impl Batch {
    /// Where it stands in a list.
    pub(crate) fn place(&self) -> Place {
        Place {
            at: self.seen_at_ms,
            id: self.id.to_string(),
        }
    }
}
