//! Closed batches on their way to the merchant's account: each step is one transaction, and may be repeated.

use openset_store::ledger::{self, Entry, Posting};
use openset_store::{Db, StoreError, Tx};
use sqlx::{AnyConnection, Row};

use crate::error::GatewayError;

/// Movements that the issuer settles at once.
pub(crate) const PART_ITEMS: i64 = 1000;

/// A closed batch.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) id: String,
    pub(crate) merchant_id: String,
    pub(crate) currency: String,
    /// What goes to the merchant's account less what leaves it.
    pub(crate) net_minor: i64,
    /// How many parts the issuer is asked about, and how many it has settled.
    pub(crate) parts: i64,
    pub(crate) settled_parts: i64,
}

/// One part of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The idempotency keys of its movements at the issuer, each beside the issuer's id of the authorization.
    pub(crate) movements: Vec<(String, String)>,
    /// Their sum, as the batch counts.
    pub(crate) net_minor: i64,
}

/// Takes up to `limit` closed batches that are due, for `lease_ms`.
pub(crate) async fn lease_due(
    db: &Db,
    now_ms: i64,
    lease_ms: i64,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    // Looking first costs no write transaction while nothing is due, which is nearly always.
    let due: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM batches WHERE transmission IN ('pending', 'inProgress') \
         AND next_attempt_at_ms <= $1 ORDER BY id LIMIT $2",
    )
    .bind(now_ms)
    .bind(i64::from(limit))
    .fetch_all(&mut *db.read().await?)
    .await?;
    if due.is_empty() {
        return Ok(due);
    }
    let mut leased = Vec::with_capacity(due.len());
    let mut tx = db.begin().await?;
    for id in due {
        let taken = sqlx::query(
            "UPDATE batches SET next_attempt_at_ms = $1, transmission = 'inProgress' \
             WHERE id = $2 AND next_attempt_at_ms <= $3 AND transmission IN ('pending', 'inProgress')",
        )
        .bind(now_ms.saturating_add(lease_ms))
        .bind(&id)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        if taken.rows_affected() == 1 {
            leased.push(id);
        }
    }
    tx.commit().await?;
    Ok(leased)
}

/// Makes everything due at once: for a process that knows itself to be alone.
pub(crate) async fn release_all(tx: &mut Tx) -> Result<(), StoreError> {
    sqlx::query("UPDATE batches SET next_attempt_at_ms = 0 WHERE next_attempt_at_ms > 0")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Leaves it alone until then.
pub(crate) async fn postpone(tx: &mut Tx, id: &str, until_ms: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE batches SET next_attempt_at_ms = $1 WHERE id = $2")
        .bind(until_ms)
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn load(conn: &mut AnyConnection, id: &str) -> Result<Batch, StoreError> {
    let row = sqlx::query(
        "SELECT merchant_id, currency, credit_minor - debit_minor, items, settled_parts FROM batches \
         WHERE id = $1 AND state = 'closed'",
    )
    .bind(id)
    .fetch_one(conn)
    .await?;
    let items: i64 = row.try_get(3)?;
    Ok(Batch {
        id: id.to_owned(),
        merchant_id: row.try_get(0)?,
        currency: row.try_get(1)?,
        net_minor: row.try_get(2)?,
        parts: items.saturating_add(PART_ITEMS - 1) / PART_ITEMS,
        settled_parts: row.try_get(4)?,
    })
}

/// The part of this number, counted from 0. A batch's items are numbered without a gap.
pub(crate) async fn part(
    conn: &mut AnyConnection,
    batch: &Batch,
    number: i64,
) -> Result<Part, StoreError> {
    let before = number.saturating_mul(PART_ITEMS);
    let rows = sqlx::query(
        "SELECT m.id, CASE WHEN m.kind IN ('capture', 'credit_reversal') THEN m.amount_minor ELSE -m.amount_minor END, \
         a.issuer_authorization FROM movements m JOIN authorizations a ON a.id = m.authorization_id \
         WHERE m.batch_id = $1 AND m.state = 'done' AND m.batch_seq > $2 AND m.batch_seq <= $3 ORDER BY m.batch_seq",
    )
    .bind(&batch.id)
    .bind(before)
    .bind(before.saturating_add(PART_ITEMS))
    .fetch_all(conn)
    .await?;
    let mut part = Part {
        movements: Vec::with_capacity(rows.len()),
        net_minor: 0,
    };
    for row in rows {
        part.movements.push((row.try_get(0)?, row.try_get(2)?));
        let minor: i64 = row.try_get(1)?;
        part.net_minor = part
            .net_minor
            .checked_add(minor)
            .ok_or(StoreError::Corrupt("movements.amount_minor"))?;
    }
    Ok(part)
}

/// The issuer is about to be asked for a part: what it owes is in transit.
pub(crate) async fn book_asked(
    tx: &mut Tx,
    batch: &Batch,
    (number, net_minor): (i64, i64),
    at_s: i64,
) -> Result<(), GatewayError> {
    let receivable = format!("receivable/issuer/{}", batch.currency);
    let transit = format!("in_transit/issuer/{}", batch.currency);
    let reference = format!("{}/{number}", batch.id);
    let between = (transit.as_str(), receivable.as_str());
    book(
        tx,
        batch,
        ("settlement_asked", &reference),
        between,
        net_minor,
        at_s,
    )
    .await
}

/// The issuer has paid a part. `false`: somebody else has booked it, so the caller's transaction must be dropped.
pub(crate) async fn book_settled(
    tx: &mut Tx,
    batch: &Batch,
    (number, net_minor): (i64, i64),
    at_s: i64,
) -> Result<bool, GatewayError> {
    let rows = sqlx::query(
        "UPDATE batches SET settled_parts = settled_parts + 1 WHERE id = $1 AND settled_parts = $2",
    )
    .bind(&batch.id)
    .bind(number)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if rows != 1 {
        return Ok(false);
    }
    let transit = format!("in_transit/issuer/{}", batch.currency);
    let cash = format!("cash/{}", batch.currency);
    let reference = format!("{}/{number}", batch.id);
    let between = (cash.as_str(), transit.as_str());
    book(
        tx,
        batch,
        ("settlement_received", &reference),
        between,
        net_minor,
        at_s,
    )
    .await?;
    Ok(true)
}

/// The payout is about to be made: what the merchant is owed is in transit.
pub(crate) async fn book_payout(tx: &mut Tx, batch: &Batch, at_s: i64) -> Result<(), GatewayError> {
    let payable = format!("payable/{}/{}", batch.merchant_id, batch.currency);
    let transit = in_transit(batch);
    let between = (payable.as_str(), transit.as_str());
    book(
        tx,
        batch,
        ("payout_sent", &batch.id),
        between,
        batch.net_minor,
        at_s,
    )
    .await
}

/// The payout was made. `false`: somebody else has booked it, so the caller's transaction must be dropped.
pub(crate) async fn book_paid(tx: &mut Tx, batch: &Batch, at_s: i64) -> Result<bool, GatewayError> {
    let rows = sqlx::query(
        "UPDATE batches SET transmission = 'completedSuccessfully', paid_at_s = $1 \
         WHERE id = $2 AND transmission = 'inProgress'",
    )
    .bind(at_s)
    .bind(&batch.id)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if rows != 1 {
        return Ok(false);
    }
    let (transit, cash) = (in_transit(batch), format!("cash/{}", batch.currency));
    let between = (transit.as_str(), cash.as_str());
    book(
        tx,
        batch,
        ("payout_received", &batch.id),
        between,
        batch.net_minor,
        at_s,
    )
    .await?;
    Ok(true)
}

/// People have looked into it: it is gone on with. `false`: it was not rejected, or is none.
pub(crate) async fn retry(tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE batches SET transmission = 'pending', next_attempt_at_ms = 0 \
         WHERE id = $1 AND transmission = 'batchRejectedByAcquirer'",
    )
    .bind(id)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The issuer does not agree: people have to look into it.
pub(crate) async fn reject(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE batches SET transmission = 'batchRejectedByAcquirer' \
         WHERE id = $1 AND transmission = 'inProgress'",
    )
    .bind(id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn in_transit(batch: &Batch) -> String {
    format!(
        "in_transit/merchant/{}/{}",
        batch.merchant_id, batch.currency
    )
}

/// Posts once, however often it is done: from the second account to the first, or back if the amount is below zero.
async fn book(
    tx: &mut Tx,
    batch: &Batch,
    (kind, reference): (&str, &str),
    (to, from): (&str, &str),
    amount_minor: i64,
    at_s: i64,
) -> Result<(), GatewayError> {
    if amount_minor == 0 {
        return Ok(());
    }
    let currency = batch.currency.as_str();
    for account in [to, from] {
        let kind = account.split('/').next().unwrap_or(account);
        ledger::open_account(tx, account, kind, currency).await?;
    }
    let posting = |account, amount_minor| Posting {
        account,
        currency,
        amount_minor,
    };
    let postings = [posting(to, amount_minor), posting(from, -amount_minor)];
    let entry = Entry {
        kind,
        reference,
        at: at_s,
        memo: &batch.merchant_id,
        postings: &postings,
    };
    ledger::post(tx, &entry).await?;
    Ok(())
}
