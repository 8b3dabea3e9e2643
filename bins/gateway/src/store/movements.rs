//! Movements: what was done with an authorization after it was given, asked for and then done or refused, once.

use openset_protocol::balance::{self, Kind, Progress};
use openset_protocol::messages::batch::BatchPlace;
use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::batches::place;
use super::one_row;
use super::payments::minor;

/// A movement, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Movement {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) amount_minor: u64,
    pub(crate) progress: Progress,
    /// Why it was refused, as the wire spells it.
    pub(crate) code: Option<String>,
    pub(crate) purged: bool,
    pub(crate) ended_at_s: Option<i64>,
    /// The batch that it is for; none for reversals of authorizations.
    pub(crate) batch_id: Option<String>,
    /// Where it stands there, once it is done.
    pub(crate) place: Option<BatchPlace>,
}

/// A movement that begins, or (with an end) one that is done already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New<'a> {
    pub(crate) id: &'a str,
    pub(crate) authorization_id: &'a str,
    pub(crate) kind: &'a Kind,
    pub(crate) amount_minor: i64,
    pub(crate) at_s: i64,
    pub(crate) progress: Progress,
    pub(crate) batch_id: Option<&'a str>,
    /// What a later request for the same finds it by; none for what is not asked for by an item.
    pub(crate) effect: Option<&'a str>,
}

const COLUMNS: &str =
    "id, kind, undoes, amount_minor, state, code, purged, ended_at_s, batch_id, batch_seq";

pub(crate) async fn insert(tx: &mut Tx, new: &New<'_>) -> Result<(), StoreError> {
    let ended_at_s = (new.progress == Progress::Done).then_some(new.at_s);
    sqlx::query(
        "INSERT INTO movements (id, authorization_id, kind, undoes, amount_minor, state, asked_at_s, \
         ended_at_s, batch_id, effect) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(new.id)
    .bind(new.authorization_id)
    .bind(new.kind.name())
    .bind(new.kind.undoes())
    .bind(new.amount_minor)
    .bind(new.progress.name())
    .bind(new.at_s)
    .bind(ended_at_s)
    .bind(new.batch_id)
    .bind(new.effect)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What was done with an authorization, in the order in which it was asked for.
pub(crate) async fn of_authorization(
    conn: &mut AnyConnection,
    authorization_id: &str,
) -> Result<Vec<Movement>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM movements WHERE authorization_id = $1 ORDER BY asked_at_s, id"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(authorization_id)
        .fetch_all(conn)
        .await?;
    rows.iter().map(movement).collect()
}

pub(crate) async fn find(
    conn: &mut AnyConnection,
    id: &str,
) -> Result<Option<Movement>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM movements WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(movement).transpose()
}

/// The movement of an authorization that has this effect; of those from before effects had names, the one of this id.
pub(crate) async fn of_effect(
    conn: &mut AnyConnection,
    authorization_id: &str,
    (effect, id): (&str, &str),
) -> Result<Option<Movement>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM movements WHERE authorization_id = $1 AND (effect = $2 OR (effect IS NULL AND id = $3))"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(authorization_id)
        .bind(effect)
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(movement).transpose()
}

/// Ends a movement. `false`: it has ended already, so the caller's transaction must be dropped.
pub(crate) async fn end(
    tx: &mut Tx,
    id: &str,
    code: Option<&str>,
    amount_minor: i64,
    batch_seq: Option<u32>,
    at_s: i64,
) -> Result<bool, StoreError> {
    let progress = if code.is_some() {
        Progress::Refused
    } else {
        Progress::Done
    };
    let rows = sqlx::query(
        "UPDATE movements SET state = $1, code = $2, amount_minor = $3, ended_at_s = $4, \
         batch_seq = $5 WHERE id = $6 AND state = 'asked'",
    )
    .bind(progress.name())
    .bind(code)
    .bind(amount_minor)
    .bind(at_s)
    .bind(batch_seq.map(i64::from))
    .bind(id)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    match rows {
        0 => Ok(false),
        rows => one_row(rows, "one movement has one name").map(|()| true),
    }
}

/// What this kind of movement undoes was undone by a purge of its batch.
pub(crate) async fn set_purged(tx: &mut Tx, kind: &Kind) -> Result<(), StoreError> {
    let rows = sqlx::query("UPDATE movements SET purged = 1 WHERE id = $1")
        .bind(kind.undoes())
        .execute(&mut **tx)
        .await?
        .rows_affected();
    one_row(rows, "a purge undoes one movement at a time")
}

fn movement(row: &AnyRow) -> Result<Movement, StoreError> {
    let (kind, undoes): (String, Option<String>) = (row.try_get(1)?, row.try_get(2)?);
    let progress: String = row.try_get(4)?;
    let (batch_id, seq): (Option<String>, Option<i64>) = (row.try_get(8)?, row.try_get(9)?);
    let place = match (&batch_id, seq) {
        (Some(id), Some(seq)) => Some(place(id, seq)?),
        _ => None,
    };
    Ok(Movement {
        id: row.try_get(0)?,
        kind: Kind::from_name(&kind, undoes).ok_or(StoreError::Corrupt("movements.kind"))?,
        amount_minor: minor(row.try_get(3)?, "movements.amount_minor")?,
        progress: Progress::from_name(&progress).ok_or(StoreError::Corrupt("movements.state"))?,
        code: row.try_get(5)?,
        purged: row.try_get::<i64, _>(6)? != 0,
        ended_at_s: row.try_get(7)?,
        batch_id,
        place,
    })
}

impl From<Movement> for balance::Movement {
    fn from(stored: Movement) -> Self {
        Self {
            id: stored.id,
            kind: stored.kind,
            amount_minor: stored.amount_minor,
            progress: stored.progress,
            purged: stored.purged,
        }
    }
}
