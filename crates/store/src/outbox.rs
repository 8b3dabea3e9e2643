//! What must be sent until it is answered.
//!
//! A request is stored in the transaction that decides to send it, and is then sent as the same
//! bytes until an answer is handled or its deadline passes. A lease makes one replica send it; a
//! replica that dies loses its lease when that runs out. Who handles the answer takes the request
//! out in the same transaction, by [`remove`], and goes on only if that says `true`, or by [`removed`], which lets nothing be
//! kept otherwise.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::{Db, StoreError, Tx, Write};

/// Why nothing is kept when somebody else has handled the answer.
pub const HANDLED: &str = "the request has left the outbox: its answer was handled";

/// A request to send. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Unique.
    pub id: String,
    /// Tells the sender's code what to do with the answer, for example `AuthReq`.
    pub kind: String,
    /// What it is about, in the sender's own tables.
    pub reference: String,
    /// Where to.
    pub url: String,
    /// Content type of the body.
    pub media_type: String,
    /// The bytes, the same at each attempt.
    pub body: Vec<u8>,
    /// Not to be sent before.
    pub next_attempt_at_ms: i64,
    /// Not to be sent from then on; whoever leases it then gives it up.
    pub deadline_at_ms: i64,
}

const REMOVE: &str = "DELETE FROM outbox WHERE id = $1";

impl Outgoing {
    /// Whether the deadline has passed: give it up instead of sending it.
    #[must_use]
    pub fn is_overdue(&self, now_ms: i64) -> bool {
        self.deadline_at_ms <= now_ms
    }
}

/// Stores a request for any replica to send.
///
/// # Errors
/// [`StoreError::Conflict`] when the id is used already.
pub async fn enqueue(tx: &mut Tx, outgoing: &Outgoing) -> Result<(), StoreError> {
    tx.write(insert(outgoing, "", 0)).await
}

/// Stores a request that the caller will send itself, right after its commit. Others take over when
/// the lease runs out. Refused when the id is used already.
pub fn leased(outgoing: &Outgoing, holder: &str, now_ms: i64, lease_ms: i64) -> Write {
    insert(outgoing, holder, now_ms.saturating_add(lease_ms))
}

fn insert(outgoing: &Outgoing, holder: &str, lease_until_ms: i64) -> Write {
    // Never later than the deadline, so that it is looked at when that passes.
    let next_attempt_at_ms = outgoing.next_attempt_at_ms.min(outgoing.deadline_at_ms);
    let insert = sqlx::query(
        "INSERT INTO outbox (id, kind, reference, url, media_type, body, next_attempt_at_ms, \
         deadline_at_ms, attempts, lease_holder, lease_until_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
    )
    .bind(outgoing.id.as_str())
    .bind(outgoing.kind.as_str())
    .bind(outgoing.reference.as_str())
    .bind(outgoing.url.as_str())
    .bind(outgoing.media_type.as_str())
    .bind(outgoing.body.as_slice())
    .bind(next_attempt_at_ms)
    .bind(outgoing.deadline_at_ms)
    .bind(i64::from(!holder.is_empty()))
    .bind(holder)
    .bind(lease_until_ms);
    Write::must(insert, "the outbox has a request of this id")
}

/// Takes up to `limit` requests that are due, for `lease_ms`. Requests whose deadline has passed
/// are among them; see [`Outgoing::is_overdue`].
///
/// # Errors
/// The database's own failure.
pub async fn lease_due(
    db: &Db,
    holder: &str,
    now_ms: i64,
    lease_ms: i64,
    limit: u32,
) -> Result<Vec<Outgoing>, StoreError> {
    // Looking first costs no write transaction while nothing is due, which is nearly always.
    let mut ids: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM outbox WHERE next_attempt_at_ms <= $1 AND lease_until_ms <= $1 \
         ORDER BY next_attempt_at_ms LIMIT $2",
    )
    .bind(now_ms)
    .bind(i64::from(limit))
    .fetch_all(&mut *db.read().await?)
    .await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // In one order everywhere: two replicas that lock the same rows cannot deadlock.
    ids.sort_unstable();
    let mut leased = Vec::with_capacity(ids.len());
    let mut tx = db.begin().await?;
    for id in &ids {
        leased.extend(lease(&mut tx, id, holder, now_ms, lease_ms).await?);
    }
    tx.commit().await?;
    leased.sort_by_key(|outgoing| outgoing.next_attempt_at_ms);
    Ok(leased)
}

/// Takes one request for `lease_ms` if it is due and nobody else holds it.
///
/// # Errors
/// The database's own failure.
pub async fn lease(
    tx: &mut Tx,
    id: &str,
    holder: &str,
    now_ms: i64,
    lease_ms: i64,
) -> Result<Option<Outgoing>, StoreError> {
    let row = sqlx::query(
        "UPDATE outbox SET lease_holder = $1, lease_until_ms = $2, attempts = attempts + 1 \
         WHERE id = $3 AND next_attempt_at_ms <= $4 AND lease_until_ms <= $4 \
         RETURNING id, kind, reference, url, media_type, body, next_attempt_at_ms, deadline_at_ms",
    )
    .bind(holder)
    .bind(now_ms.saturating_add(lease_ms))
    .bind(id)
    .bind(now_ms)
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref().map(outgoing).transpose()
}

/// Lets go of a request until `at_ms` (or its deadline, if that is earlier). `false`: it is gone.
///
/// # Errors
/// The database's own failure.
pub async fn retry_at(tx: &mut Tx, id: &str, at_ms: i64) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE outbox SET lease_holder = '', lease_until_ms = 0, next_attempt_at_ms = \
         CASE WHEN deadline_at_ms < $1 THEN deadline_at_ms ELSE $1 END WHERE id = $2",
    )
    .bind(at_ms)
    .bind(id)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes a request out, in the transaction that handles its answer. `false`: somebody else has
/// handled it, so the caller's transaction must be dropped.
///
/// # Errors
/// The database's own failure.
pub async fn remove(tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(REMOVE).bind(id).execute(&mut **tx).await?;
    Ok(done.rows_affected() == 1)
}

/// [`remove`], at the end of the transaction that handles its answer: refused as [`HANDLED`].
pub fn removed(id: &str) -> Write {
    Write::must(sqlx::query(REMOVE).bind(id), HANDLED)
}

/// [`remove`], whether or not somebody else has.
pub fn removed_if_there(id: &str) -> Write {
    Write::may(sqlx::query(REMOVE).bind(id))
}

/// Lets go of everything that `holder` leased before it was stopped; says how much that was.
///
/// # Errors
/// The database's own failure.
pub async fn release_held_by(tx: &mut Tx, holder: &str) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "UPDATE outbox SET lease_holder = '', lease_until_ms = 0 \
         WHERE lease_holder = $1 AND lease_until_ms > 0",
    )
    .bind(holder)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

/// The request of this id, if it is still to be sent.
///
/// # Errors
/// The database's own failure.
pub async fn find(conn: &mut AnyConnection, id: &str) -> Result<Option<Outgoing>, StoreError> {
    let row = sqlx::query(
        "SELECT id, kind, reference, url, media_type, body, next_attempt_at_ms, deadline_at_ms \
         FROM outbox WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(outgoing).transpose()
}

/// How often the request of this id was leased, for a growing pause between attempts.
///
/// # Errors
/// The database's own failure.
pub async fn attempts(conn: &mut AnyConnection, id: &str) -> Result<Option<u32>, StoreError> {
    let attempts: Option<i64> = sqlx::query_scalar("SELECT attempts FROM outbox WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    Ok(attempts.map(|count| u32::try_from(count).unwrap_or(u32::MAX)))
}

/// How many requests are not answered yet.
///
/// # Errors
/// The database's own failure.
pub async fn pending_count(conn: &mut AnyConnection) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM outbox")
        .fetch_one(conn)
        .await?;
    u64::try_from(count).map_err(|_| StoreError::Corrupt("COUNT(*)"))
}

fn outgoing(row: &AnyRow) -> Result<Outgoing, StoreError> {
    Ok(Outgoing {
        id: row.try_get(0)?,
        kind: row.try_get(1)?,
        reference: row.try_get(2)?,
        url: row.try_get(3)?,
        media_type: row.try_get(4)?,
        body: row.try_get(5)?,
        next_attempt_at_ms: row.try_get(6)?,
        deadline_at_ms: row.try_get(7)?,
    })
}
