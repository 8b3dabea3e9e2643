//! REST's `Idempotency-Key`: the same call again gets the same answer, another body is refused.
//!
//! A handler that does everything in one transaction claims and completes in it, or does both at its end with [`recorded`],
//! and nobody ever sees [`Claim::InFlight`]. One that must call out in between commits the claim first; after a
//! crash in between, the same key finds `InFlight`, and the handler goes on from its own state.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Row};

use crate::exchanges::PURGE_ROWS_MAX;
use crate::{StoreError, Tx, Write};

/// Why nothing is kept when a key was used before: see [`find`].
pub const KNOWN: &str = "the idempotency key stands for another call, whose answer is stored";

/// How often [`claim`] looks again when the row it collided with vanished at the same moment.
const CLAIM_TRIES_MAX: u8 = 3;

/// What [`claim`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Claim {
    /// The key is the caller's, in this transaction: do the work, then [`complete`].
    New,
    /// The work was done before: give this answer again.
    Replay {
        /// HTTP status.
        status: u16,
        /// The body as it was sent.
        body: Vec<u8>,
    },
    /// The first call is still at work (or was cut off by a crash).
    InFlight,
    /// The key was used with another body: 422.
    Mismatch,
}

/// A call under a key.
#[derive(Debug, Clone, Copy)]
pub struct Keyed<'a> {
    /// Keeps callers and routes apart.
    pub scope: &'a str,
    /// The key.
    pub key: &'a str,
    /// Of what is called for.
    pub body_digest: &'a [u8; 32],
    /// Seconds since the epoch.
    pub now: i64,
    /// Seconds since the epoch; once it has passed the key counts as never used.
    pub keep_until: i64,
}

/// Claims a key.
///
/// # Errors
/// The database's own failure.
pub async fn claim(tx: &mut Tx, call: &Keyed<'_>) -> Result<Claim, StoreError> {
    for _ in 0..CLAIM_TRIES_MAX {
        let claimed = put(call, None).execute(&mut **tx).await?;
        if claimed.rows_affected() == 1 {
            return Ok(Claim::New);
        }
        if let Some(known) = find(tx, call).await? {
            return Ok(known);
        }
    }
    Err(StoreError::Conflict(
        "the idempotency key was given up while it was claimed; call again",
    ))
}

/// [`claim`] and [`complete`] in one, at the end of the transaction that did the call's work. Unless the key was new nothing
/// of it is kept, as [`KNOWN`]: the work is another call's to do, or was done.
pub fn recorded(call: &Keyed<'_>, answer: (u16, &[u8])) -> Write {
    Write::must(put(call, Some(answer)), KNOWN)
}

/// What a key stands for, if it was used; never [`Claim::New`].
///
/// # Errors
/// The database's own failure.
pub async fn find(conn: &mut AnyConnection, call: &Keyed<'_>) -> Result<Option<Claim>, StoreError> {
    let known = sqlx::query(
        "SELECT body_digest, status, body FROM idempotency \
         WHERE scope = $1 AND claim_key = $2",
    )
    .bind(call.scope)
    .bind(call.key)
    .fetch_optional(conn)
    .await?;
    let Some(row) = known else { return Ok(None) };
    let digest: Vec<u8> = row.try_get(0)?;
    if digest != call.body_digest {
        return Ok(Some(Claim::Mismatch));
    }
    let Some(status) = row.try_get::<Option<i64>, _>(1)? else {
        return Ok(Some(Claim::InFlight));
    };
    let status = u16::try_from(status).map_err(|_| StoreError::Corrupt("idempotency.status"))?;
    let body = row.try_get(2)?;
    Ok(Some(Claim::Replay { status, body }))
}

fn put<'a>(call: &Keyed<'a>, answer: Option<(u16, &'a [u8])>) -> Query<'a, Any, AnyArguments> {
    // The guarded DO UPDATE takes over a claim that has expired, for one caller.
    sqlx::query(
        "INSERT INTO idempotency \
         (scope, claim_key, body_digest, status, body, claimed_at_s, keep_until_s) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (scope, claim_key) DO UPDATE SET \
         body_digest = excluded.body_digest, status = excluded.status, body = excluded.body, \
         claimed_at_s = excluded.claimed_at_s, keep_until_s = excluded.keep_until_s \
         WHERE idempotency.keep_until_s < excluded.claimed_at_s",
    )
    .bind(call.scope)
    .bind(call.key)
    .bind(&call.body_digest[..])
    .bind(answer.map(|(status, _)| i64::from(status)))
    .bind(answer.map(|(_, body)| body))
    .bind(call.now)
    .bind(call.keep_until)
}

/// Stores the answer of a claimed key. It is written once and never replaced.
///
/// # Errors
/// [`StoreError::Conflict`] when the key is not claimed or has its answer already.
pub async fn complete(
    tx: &mut Tx,
    scope: &str,
    key: &str,
    status: u16,
    body: &[u8],
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "UPDATE idempotency SET status = $1, body = $2 \
         WHERE scope = $3 AND claim_key = $4 AND status IS NULL",
    )
    .bind(i64::from(status))
    .bind(body)
    .bind(scope)
    .bind(key)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    match rows {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(
            "the idempotency key is not claimed or has its answer already",
        )),
    }
}

/// Gives up a claim whose work failed without an effect, so that the same key may be tried again.
/// An answer that is stored stays.
///
/// # Errors
/// The database's own failure.
pub async fn abandon(tx: &mut Tx, scope: &str, key: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM idempotency WHERE scope = $1 AND claim_key = $2 AND status IS NULL")
        .bind(scope)
        .bind(key)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Removes claims whose time is over, at most [`PURGE_ROWS_MAX`]; says how many.
///
/// # Errors
/// The database's own failure.
pub async fn purge(tx: &mut Tx, now: i64) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "DELETE FROM idempotency WHERE (scope, claim_key) IN \
         (SELECT scope, claim_key FROM idempotency WHERE keep_until_s < $1 \
          ORDER BY keep_until_s LIMIT $2)",
    )
    .bind(now)
    .bind(PURGE_ROWS_MAX)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}
