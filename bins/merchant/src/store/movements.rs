//! Movements: what was asked of the gateway about an authorization after it was given, and what became of that. Only an
//! answer that the gateway signed ends one.

use openset_protocol::balance::{self, Kind, Progress};
use openset_protocol::ids::Xid;
use openset_protocol::messages::batch::BatchPlace;
use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::{books, long_text, one_row, stored};

/// A movement, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Movement {
    /// The RRPID of the request; of what a capture released, the capture's with `-rest` after it.
    pub(crate) id: String,
    /// The authorization, within its payment.
    pub(crate) auth_number: i64,
    pub(crate) kind: Kind,
    pub(crate) amount_minor: u64,
    pub(crate) progress: Progress,
    /// Why it was refused.
    pub(crate) refusal: Option<String>,
    /// Where the gateway put it.
    pub(crate) batch: Option<BatchPlace>,
    /// Undone by a purge of its batch.
    pub(crate) purged: bool,
    pub(crate) asked_at_ms: i64,
    pub(crate) done_at_ms: Option<i64>,
}

/// The caller's name for a movement, and what it stands for.
#[derive(Debug, Clone)]
pub(crate) struct RestKey {
    pub(crate) key: String,
    pub(crate) digest: [u8; 32],
}

/// A movement that begins, or one that is done as soon as it is known.
#[derive(Debug)]
pub(crate) struct New<'a> {
    pub(crate) id: &'a str,
    pub(crate) xid: &'a Xid,
    pub(crate) auth_number: i64,
    pub(crate) kind: &'a Kind,
    pub(crate) amount_minor: u64,
    pub(crate) progress: Progress,
    /// None where the shop's own program asks.
    pub(crate) rest: Option<&'a RestKey>,
    /// What the answer is checked against.
    pub(crate) awaiting: Option<&'a str>,
    pub(crate) at_ms: i64,
}

/// How a movement ended.
#[derive(Debug, Clone)]
pub(crate) struct End {
    /// As the gateway says; 0 for one that was refused.
    pub(crate) amount_minor: u64,
    /// Why it was refused; none for one that was done.
    pub(crate) refusal: Option<String>,
    /// Where the gateway put it, if it says so.
    pub(crate) batch: Option<BatchPlace>,
}

const COLUMNS: &str = "id, auth_number, kind, undoes, amount_minor, state, refusal, asked_at_ms, done_at_ms, batch_id, \
     batch_seq, purged";

/// Records a movement, after all others of its authorization. The caller holds the payment.
pub(crate) async fn insert(tx: &mut Tx, new: &New<'_>) -> Result<(), StoreError> {
    let done_at_ms = (new.progress == Progress::Done).then_some(new.at_ms);
    sqlx::query(
        "INSERT INTO movements (id, xid, auth_number, number, kind, undoes, amount_minor, state, rest_key, \
         rest_digest, awaiting_packed, asked_at_ms, done_at_ms) SELECT $1, $2, $3, COALESCE(MAX(m.number), 0) + 1, \
         $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM movements m WHERE m.xid = $2 AND m.auth_number = $3",
    )
    .bind(new.id)
    .bind(new.xid.to_string())
    .bind(new.auth_number)
    .bind(new.kind.name())
    .bind(new.kind.undoes())
    .bind(stored_minor(new.amount_minor)?)
    .bind(new.progress.name())
    .bind(new.rest.map(|rest| rest.key.as_str()))
    .bind(new.rest.map(|rest| rest.digest.to_vec()))
    .bind(new.awaiting.map(|awaiting| packed(tx, awaiting)))
    .bind(new.at_ms)
    .bind(done_at_ms)
    .execute(&mut **tx)
    .await?;
    books::done(tx, new.id).await
}

fn packed(tx: &Tx, awaiting: &str) -> Vec<u8> {
    tx.packer().pack("movements/awaiting", awaiting.as_bytes())
}

/// Of all authorizations of a payment, in the order in which they were asked for.
pub(crate) async fn of_payment(
    conn: &mut AnyConnection,
    xid: &Xid,
) -> Result<Vec<Movement>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM movements WHERE xid = $1 ORDER BY auth_number, number");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(xid.to_string())
        .fetch_all(conn)
        .await?;
    rows.iter().map(read).collect()
}

/// The movement that a key stands for, and for what else.
pub(crate) async fn of_key(
    conn: &mut AnyConnection,
    key: &str,
) -> Result<Option<(String, RestKey)>, StoreError> {
    let row = sqlx::query("SELECT id, rest_digest FROM movements WHERE rest_key = $1")
        .bind(key)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let digest: Vec<u8> = row.try_get(1)?;
    let digest = digest.try_into();
    let rest = RestKey {
        key: key.to_owned(),
        digest: digest.map_err(|_| StoreError::Corrupt("movements.rest_digest"))?,
    };
    Ok(Some((row.try_get(0)?, rest)))
}

/// The payment of a movement that is asked for, and what its answer is checked against; none once it has ended.
pub(crate) async fn awaiting(
    conn: &mut AnyConnection,
    id: &str,
) -> Result<Option<(Xid, String)>, StoreError> {
    let row = sqlx::query(
        "SELECT xid, awaiting_packed, awaiting FROM movements WHERE id = $1 AND state = 'asked'",
    )
    .bind(id)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let xid: String = row.try_get(0)?;
    let awaiting = long_text(conn, row.try_get(1)?, row.try_get(2)?).await?;
    let awaiting = awaiting.ok_or(StoreError::Corrupt("movements.awaiting"))?;
    Ok(Some((stored(&xid, "movements.xid")?, awaiting)))
}

/// The same is asked for with another request.
pub(crate) async fn await_anew(tx: &mut Tx, id: &str, awaiting: &str) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE movements SET awaiting_packed = $1, awaiting = NULL WHERE id = $2 AND state = 'asked'",
    )
    .bind(packed(tx, awaiting))
    .bind(id)
    .execute(&mut **tx)
    .await?;
    one_row(
        done.rows_affected(),
        "the movement was not waiting for an answer",
    )
}

/// Ends a movement.
pub(crate) async fn end(tx: &mut Tx, id: &str, end: &End, at_ms: i64) -> Result<(), StoreError> {
    let progress = match end.refusal {
        Some(_) => Progress::Refused,
        None => Progress::Done,
    };
    let done = sqlx::query(
        "UPDATE movements SET state = $1, refusal = $2, amount_minor = $3, done_at_ms = $4, awaiting = NULL, awaiting_packed = NULL, \
         batch_id = $5, batch_seq = $6 WHERE id = $7 AND state = 'asked'",
    )
    .bind(progress.name())
    .bind(end.refusal.as_deref())
    .bind(stored_minor(end.amount_minor)?)
    .bind(at_ms)
    .bind(end.batch.as_ref().map(|place| place.batch_id.as_str()))
    .bind(end.batch.as_ref().map(|place| i64::from(place.batch_sequence_num)))
    .bind(id)
    .execute(&mut **tx)
    .await?;
    one_row(
        done.rows_affected(),
        "the movement was not waiting for an answer",
    )?;
    books::done(tx, id).await
}

/// Writes down where the acquirer says that a movement stands, if that was not known.
pub(crate) async fn set_place(tx: &mut Tx, id: &str, place: &BatchPlace) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE movements SET batch_id = $1, batch_seq = $2 WHERE id = $3 AND state = 'done' AND batch_id IS NULL",
    )
    .bind(place.batch_id.as_str())
    .bind(i64::from(place.batch_sequence_num))
    .bind(id)
    .execute(&mut **tx)
    .await?;
    one_row(done.rows_affected(), "the movement has another place")
}

/// Its batch was purged.
pub(crate) async fn set_purged(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    let done = sqlx::query("UPDATE movements SET purged = 1 WHERE id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await?;
    one_row(done.rows_affected(), "there is no such movement")
}

fn read(row: &AnyRow) -> Result<Movement, StoreError> {
    let (kind, undoes): (String, Option<String>) = (row.try_get(2)?, row.try_get(3)?);
    let progress: String = row.try_get(5)?;
    Ok(Movement {
        id: row.try_get(0)?,
        auth_number: row.try_get(1)?,
        kind: Kind::from_name(&kind, undoes).ok_or(StoreError::Corrupt("movements.kind"))?,
        amount_minor: u64::try_from(row.try_get::<i64, _>(4)?)
            .map_err(|_| StoreError::Corrupt("movements.amount_minor"))?,
        progress: Progress::from_name(&progress).ok_or(StoreError::Corrupt("movements.state"))?,
        refusal: row.try_get(6)?,
        batch: batch(row.try_get(9)?, row.try_get(10)?)?,
        purged: row.try_get::<i64, _>(11)? != 0,
        asked_at_ms: row.try_get(7)?,
        done_at_ms: row.try_get(8)?,
    })
}

fn batch(id: Option<String>, number: Option<i64>) -> Result<Option<BatchPlace>, StoreError> {
    let (Some(id), Some(number)) = (id, number) else {
        return Ok(None);
    };
    Ok(Some(BatchPlace {
        batch_id: stored(&id, "movements.batch_id")?,
        batch_sequence_num: u32::try_from(number)
            .map_err(|_| StoreError::Corrupt("movements.batch_seq"))?,
    }))
}

fn stored_minor(minor: u64) -> Result<i64, StoreError> {
    i64::try_from(minor).map_err(|_| StoreError::Corrupt("movements.amount_minor"))
}

impl Movement {
    /// As the state rules read it.
    pub(super) fn for_rules(&self) -> balance::Movement {
        balance::Movement {
            id: self.id.clone(),
            kind: self.kind.clone(),
            amount_minor: self.amount_minor,
            progress: self.progress,
            purged: self.purged,
        }
    }
}
