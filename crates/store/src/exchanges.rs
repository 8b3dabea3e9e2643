//! What was received, exactly once.
//!
//! A request is known by (authenticated sender, message, RRPID). It is recorded after its
//! signature was verified, together with its effect and its response in one transaction. The same
//! bytes again get the stored response; other bytes under the same three names are refused.

use openset_jose::ContentKey;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Row};

use crate::packed::{Packer, unpack};
use crate::{StoreError, Tx, Write};

/// How many expired rows one call of [`purge`] removes at most, to keep its transaction short.
pub const PURGE_ROWS_MAX: i64 = 10_000;
/// Why nothing is kept when a request of these three names is on record: see [`find`].
pub const KNOWN: &str = "the request is on record; send what it was answered";
/// Why nothing is kept when there is nothing to answer.
pub const ANSWERED: &str =
    "the exchange is unknown or has its response already; send the stored one";
/// How often [`open`] looks again when the row it collided with was purged at the same moment.
const OPEN_TRIES_MAX: u8 = 3;

/// A request that was recorded before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// SHA-256 of the bytes as received.
    pub digest: [u8; 32],
    /// The bytes that were answered; `None` while the answer is not known yet.
    pub response: Option<Vec<u8>>,
}

/// A request whose signature was verified.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Who signed it.
    pub sender: &'a str,
    /// The message's name, for example `AuthReq`.
    pub message: &'a str,
    /// The request-response pair's id.
    pub rrpid: &'a str,
    /// SHA-256 of the bytes as received.
    pub digest: [u8; 32],
    /// Seconds since the epoch.
    pub received_at: i64,
    /// Seconds since the epoch; must lie beyond the time in which the request's date is accepted.
    pub keep_until: i64,
}

/// What [`open`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Opened {
    /// Not seen before; it is recorded now, in this transaction.
    New,
    /// The same bytes were received before.
    Same {
        /// What was answered; `None` while the answer is not known yet.
        response: Option<Vec<u8>>,
    },
    /// Other bytes were received before under the same sender, message and RRPID: refuse.
    Different,
}

/// Looks up bytes that were received before, ahead of any decryption or signature check: by the RRPID in their header, which
/// tells about when they were made.
///
/// # Errors
/// The database's own failure.
pub async fn find_same(
    conn: &mut AnyConnection,
    rrpid: &str,
    digest: &[u8; 32],
) -> Result<Option<Recorded>, StoreError> {
    // A row that has its response goes first.
    let row = sqlx::query(
        "SELECT response FROM exchanges WHERE rrpid = $1 AND digest = $2 \
         ORDER BY CASE WHEN response IS NULL THEN 1 ELSE 0 END LIMIT 1",
    )
    .bind(rrpid)
    .bind(&digest[..])
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Recorded {
        digest: *digest,
        response: response(conn, row.try_get(0)?).await?,
    }))
}

async fn response(
    conn: &mut AnyConnection,
    stored: Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, StoreError> {
    match stored {
        Some(stored) => unpack(conn, stored).await.map(Some),
        None => Ok(None),
    }
}

/// Records a request, or says that it is known. Of two replicas that open the same one, the second
/// waits for the first's commit and then finds what that one stored.
///
/// # Errors
/// The database's own failure.
pub async fn open(tx: &mut Tx, received: &Received<'_>) -> Result<Opened, StoreError> {
    record(tx, received, None).await
}

/// [`open`] and [`answer`] in one, for a response that is known before.
///
/// # Errors
/// The database's own failure.
pub async fn open_answered(
    tx: &mut Tx,
    received: &Received<'_>,
    response: &[u8],
) -> Result<Opened, StoreError> {
    let packed = tx.packer().pack(&kind_of(received.message), response);
    record(tx, received, Some(packed)).await
}

/// Records a request that is new, with its response if that is known, or else nothing is kept: [`KNOWN`].
pub fn received(packer: &Packer, received: &Received<'_>, response: Option<&[u8]>) -> Write {
    let packed = response.map(|response| packer.pack(&kind_of(received.message), response));
    Write::must(insert(received, packed.as_deref()), KNOWN)
}

/// What is on record under a request's sender, message and RRPID, if anything; never [`Opened::New`].
///
/// # Errors
/// The database's own failure.
pub async fn find(
    conn: &mut AnyConnection,
    received: &Received<'_>,
) -> Result<Option<Opened>, StoreError> {
    let known = sqlx::query(
        "SELECT digest, response FROM exchanges \
         WHERE sender = $1 AND message = $2 AND rrpid = $3",
    )
    .bind(received.sender)
    .bind(received.message)
    .bind(received.rrpid)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = known else { return Ok(None) };
    let digest: Vec<u8> = row.try_get(0)?;
    if digest != received.digest {
        return Ok(Some(Opened::Different));
    }
    let response = response(conn, row.try_get(1)?).await?;
    Ok(Some(Opened::Same { response }))
}

fn insert<'a>(received: &Received<'a>, packed: Option<&'a [u8]>) -> Query<'a, Any, AnyArguments> {
    sqlx::query(
        "INSERT INTO exchanges \
         (sender, message, rrpid, digest, response, received_at_s, keep_until_s) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(received.sender)
    .bind(received.message)
    .bind(received.rrpid)
    .bind(received.digest.to_vec())
    .bind(packed)
    .bind(received.received_at)
    .bind(received.keep_until)
}

async fn record(
    tx: &mut Tx,
    received: &Received<'_>,
    packed: Option<Vec<u8>>,
) -> Result<Opened, StoreError> {
    for _ in 0..OPEN_TRIES_MAX {
        let inserted = insert(received, packed.as_deref())
            .execute(&mut **tx)
            .await?;
        if inserted.rows_affected() == 1 {
            return Ok(Opened::New);
        }
        if let Some(known) = find(tx, received).await? {
            return Ok(known);
        }
    }
    Err(StoreError::Conflict(
        "the exchange was removed while it was opened; receive it again",
    ))
}

/// Stores the response of an opened exchange. It is written once and never replaced.
///
/// # Errors
/// [`StoreError::Conflict`] when there is no such exchange or it has a response already.
pub async fn answer(
    tx: &mut Tx,
    sender: &str,
    message: &str,
    rrpid: &str,
    response: &[u8],
) -> Result<(), StoreError> {
    let answered = answered(tx.packer(), (sender, message, rrpid), response);
    tx.write(answered).await
}

/// [`answer`], at a transaction's end: refused as [`ANSWERED`].
pub fn answered(packer: &Packer, names: (&str, &str, &str), response: &[u8]) -> Write {
    let (_, message, _) = names;
    respond(names, packer.pack(&kind_of(message), response))
}

/// The same as [`answered`], of a response with a sealed object in it that this key opens, stored as what it says (see
/// [`packed`](crate::packed)).
pub fn answered_sealed(
    packer: &Packer,
    names: (&str, &str, &str),
    (response, key): (&[u8], &ContentKey),
) -> Write {
    let (_, message, _) = names;
    respond(names, packer.pack_sealed(&kind_of(message), response, key))
}

fn kind_of(message: &str) -> String {
    format!("exchanges/{message}")
}

fn respond((sender, message, rrpid): (&str, &str, &str), packed: Vec<u8>) -> Write {
    let update = sqlx::query(
        "UPDATE exchanges SET response = $1 \
         WHERE sender = $2 AND message = $3 AND rrpid = $4 AND response IS NULL",
    )
    .bind(packed)
    .bind(sender)
    .bind(message)
    .bind(rrpid);
    Write::must(update, ANSWERED)
}

/// Removes exchanges that were answered and whose time is over, at most [`PURGE_ROWS_MAX`]; says how many. One that was not is
/// still at work: whoever ends it stores its answer here.
///
/// # Errors
/// The database's own failure.
pub async fn purge(tx: &mut Tx, now: i64) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "DELETE FROM exchanges WHERE (sender, message, rrpid) IN \
         (SELECT sender, message, rrpid FROM exchanges WHERE keep_until_s < $1 AND response IS NOT NULL \
          ORDER BY keep_until_s LIMIT $2)",
    )
    .bind(now)
    .bind(PURGE_ROWS_MAX)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}
