//! What moved money between a cardholder and a gateway, by the gateway's own name for it: its idempotency key.

use openset_protocol::money::Currency;
use openset_store::{StoreError, Tx};
use sqlx::Row;

use super::one_row;

/// What a movement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The cardholder owes so much more.
    Capture,
    /// The capture is as if it had not been.
    CaptureReversal,
    /// So much of a capture is given back.
    Credit,
    /// The credit is as if it had not been.
    CreditReversal,
}

/// A movement of money, as the database keeps it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Movement<'a> {
    pub(crate) gateway: &'a str,
    /// The idempotency key under which it was asked for.
    pub(crate) id: &'a str,
    pub(crate) authorization_id: &'a str,
    pub(crate) kind: Kind,
    /// The how manieth of its kind; of a reversal, that of what it undoes.
    pub(crate) n: i64,
    pub(crate) currency: Currency,
    /// How much more the cardholder owes; below zero, how much less.
    pub(crate) amount_minor: i64,
    pub(crate) at_s: i64,
}

/// A credit, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credit {
    /// The how manieth of its authorization.
    pub(crate) n: i64,
    /// How much was given back.
    pub(crate) amount_minor: i64,
    /// It was not reversed.
    pub(crate) stands: bool,
}

/// Records a movement, and what it undoes as undone; false when its id is another movement's.
pub(crate) async fn insert(tx: &mut Tx, new: &Movement<'_>) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO movements (gateway, id, authorization_id, kind, n, currency, amount_minor, \
         at_s) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (gateway, id) DO NOTHING",
    )
    .bind(new.gateway)
    .bind(new.id)
    .bind(new.authorization_id)
    .bind(new.kind.name())
    .bind(new.n)
    .bind(new.currency.alpha())
    .bind(new.amount_minor)
    .bind(new.at_s)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if inserted == 0 {
        return Ok(false);
    }
    if let Some(undone) = new.kind.undoes() {
        let rows = sqlx::query(
            "UPDATE movements SET undone_by = $1 WHERE authorization_id = $2 AND kind = $3 AND n = $4 \
             AND amount_minor = $5 AND undone_by IS NULL",
        )
        .bind(new.id)
        .bind(new.authorization_id)
        .bind(undone.name())
        .bind(new.n)
        .bind(-new.amount_minor)
        .execute(&mut **tx)
        .await?
        .rows_affected();
        one_row(rows, "what is reversed does not stand any more")?;
    }
    Ok(true)
}

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) authorization_id: String,
    pub(crate) kind: Kind,
    pub(crate) n: i64,
    /// How much more the cardholder owes; below zero, how much less.
    pub(crate) amount_minor: i64,
}

/// The movement that was made under a key, however long ago.
pub(crate) async fn made(tx: &mut Tx, gateway: &str, id: &str) -> Result<Option<Made>, StoreError> {
    let row = sqlx::query(
        "SELECT authorization_id, kind, n, amount_minor FROM movements WHERE gateway = $1 AND id = $2",
    )
    .bind(gateway)
    .bind(id)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let kind: String = row.try_get(1)?;
    Ok(Some(Made {
        authorization_id: row.try_get(0)?,
        kind: Kind::from_name(&kind).ok_or(StoreError::Corrupt("movements.kind"))?,
        n: row.try_get(2)?,
        amount_minor: row.try_get(3)?,
    }))
}

/// A credit of an authorization, by the key under which it was made. Lock the authorization first.
pub(crate) async fn credit(
    tx: &mut Tx,
    gateway: &str,
    authorization_id: &str,
    id: &str,
) -> Result<Option<Credit>, StoreError> {
    let row = sqlx::query(
        "SELECT n, amount_minor, CASE WHEN undone_by IS NULL THEN 1 ELSE 0 END FROM movements \
         WHERE gateway = $1 AND id = $2 AND authorization_id = $3 AND kind = 'credit'",
    )
    .bind(gateway)
    .bind(id)
    .bind(authorization_id)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Credit {
        n: row.try_get(0)?,
        amount_minor: -row.try_get::<i64, _>(1)?,
        stands: row.try_get::<i64, _>(2)? == 1,
    }))
}

impl Kind {
    /// As the database and the books spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::CaptureReversal => "capture_reversal",
            Self::Credit => "credit",
            Self::CreditReversal => "credit_reversal",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [
            Self::Capture,
            Self::CaptureReversal,
            Self::Credit,
            Self::CreditReversal,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }

    /// What one of this kind undoes.
    fn undoes(self) -> Option<Self> {
        match self {
            Self::Capture | Self::Credit => None,
            Self::CaptureReversal => Some(Self::Capture),
            Self::CreditReversal => Some(Self::Credit),
        }
    }

    /// The reference in the books: each movement has its own. That of the first capture is as it
    /// was when there could be but one.
    pub(crate) fn reference(self, authorization_id: &str, n: i64) -> String {
        match self {
            Self::Capture if n == 1 => authorization_id.to_owned(),
            Self::Capture => format!("{authorization_id}/c{n}"),
            Self::CaptureReversal => format!("{authorization_id}/cr{n}"),
            Self::Credit => format!("{authorization_id}/{n}"),
            Self::CreditReversal => format!("{authorization_id}/r{n}"),
        }
    }
}
