//! Authorizations and the holds that they are.

use openset_protocol::money::Currency;
use openset_service::paging::Asked;
use openset_store::{StoreError, Tx, Write};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use utoipa::ToSchema;

use super::accounts::{self, Room};
use super::one_row;
use crate::decision::Decline;
use crate::money::Money;

/// What has become of an authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// The amount is set aside.
    Held,
    /// Some or all of it was taken, the rest is free again.
    Captured,
    /// Given back by the gateway.
    Released,
    /// Given back because nobody captured it in time.
    Expired,
    /// Never set aside.
    Declined,
}

/// An authorization, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) id: String,
    pub(crate) gateway: String,
    /// None for an unknown card.
    pub(crate) account_id: Option<String>,
    pub(crate) state: State,
    pub(crate) reason: Option<Decline>,
    pub(crate) approval_code: Option<String>,
    pub(crate) currency: Currency,
    pub(crate) amount_minor: i64,
    pub(crate) captured_minor: i64,
    /// What of it was given back: before it was captured, and what the capture left over.
    pub(crate) reversed_minor: i64,
    /// What is held now.
    pub(crate) held_minor: i64,
    /// The sum of the credits that stand.
    pub(crate) credited_minor: i64,
    /// Credits ever made, reversed ones included.
    pub(crate) credits: i64,
    /// Captures ever made, undone ones included.
    pub(crate) captures: i64,
    pub(crate) merchant_id: String,
    pub(crate) merchant_name: String,
    pub(crate) reference: String,
    pub(crate) created_at_s: i64,
    pub(crate) expires_at_s: i64,
}

const COLUMNS: &str = "id, gateway, account_id, state, reason, approval_code, currency, \
     amount_minor, captured_minor, credited_minor, credits, merchant_id, merchant_name, \
     reference, created_at_s, expires_at_s, reversed_minor, held_minor, captures";

pub(crate) fn insert(new: &Authorization) -> Write {
    let insert = sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO authorizations ({COLUMNS}) VALUES \
         ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
    )))
    .bind(new.id.as_str())
    .bind(new.gateway.as_str())
    .bind(new.account_id.as_deref())
    .bind(new.state.name())
    .bind(new.reason.map(Decline::name))
    .bind(new.approval_code.as_deref())
    .bind(new.currency.alpha())
    .bind(new.amount_minor)
    .bind(new.captured_minor)
    .bind(new.credited_minor)
    .bind(new.credits)
    .bind(new.merchant_id.as_str())
    .bind(new.merchant_name.as_str())
    .bind(new.reference.as_str())
    .bind(new.created_at_s)
    .bind(new.expires_at_s)
    .bind(new.reversed_minor)
    .bind(new.held_minor)
    .bind(new.captures);
    Write::may(insert)
}

pub(crate) async fn find(
    conn: &mut AnyConnection,
    id: &str,
) -> Result<Option<Authorization>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM authorizations WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(authorization).transpose()
}

/// The authorization, which nobody else can change until the transaction ends.
pub(crate) async fn lock(tx: &mut Tx, id: &str) -> Result<Option<Authorization>, StoreError> {
    // An UPDATE locks the row on both databases; SQLite has no FOR UPDATE.
    let sql = format!("UPDATE authorizations SET state = state WHERE id = $1 RETURNING {COLUMNS}");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(authorization).transpose()
}

/// An account's authorizations, the newest first; with `state`, those in it alone.
pub(crate) async fn of_account(
    conn: &mut AnyConnection,
    account_id: &str,
    state: Option<State>,
    limit: u32,
) -> Result<Vec<Authorization>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM authorizations WHERE account_id = $1 AND (state = $2 OR $2 = '') \
         ORDER BY created_at_s DESC, id LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(account_id)
        .bind(state.map_or("", State::name))
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await?;
    rows.iter().map(authorization).collect()
}

/// What a list of authorizations is to have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter<'a> {
    /// In this state at `now_s`.
    pub(crate) state: Option<State>,
    pub(crate) account_id: Option<&'a str>,
    pub(crate) now_s: i64,
}

/// Authorizations, the newest first.
pub(crate) async fn list(
    conn: &mut AnyConnection,
    filter: Filter<'_>,
    asked: &Asked,
) -> Result<Vec<Authorization>, StoreError> {
    // As Authorization::state_at has it: the sweep may not have come by yet.
    let sql = format!(
        "SELECT {COLUMNS} FROM authorizations WHERE ($1 = '' OR account_id = $1) \
         AND ($2 = '' OR $2 = CASE WHEN state = 'held' AND expires_at_s <= $3 THEN 'expired' ELSE state END) \
         AND ($4 = '' OR (created_at_s, id) < ($5, $4)) \
         ORDER BY created_at_s DESC, id DESC LIMIT $6"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(filter.account_id.unwrap_or_default())
        .bind(filter.state.map_or("", State::name))
        .bind(filter.now_s)
        .bind(asked.id())
        .bind(asked.at())
        .bind(asked.rows())
        .fetch_all(conn)
        .await?;
    rows.iter().map(authorization).collect()
}

/// Holds whose time is over, the oldest first.
pub(crate) async fn overdue(
    conn: &mut AnyConnection,
    now_s: i64,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let ids = sqlx::query_scalar(
        "SELECT id FROM authorizations WHERE state = 'held' AND expires_at_s <= $1 \
         ORDER BY expires_at_s LIMIT $2",
    )
    .bind(now_s)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?;
    Ok(ids)
}

/// Changes a locked authorization, and its account by what it holds and owes more or less. When the
/// account has no room for it, nothing is changed.
pub(crate) async fn change(
    tx: &mut Tx,
    before: &Authorization,
    after: &Authorization,
) -> Result<Room, StoreError> {
    let account_id = before.account_id.as_deref();
    let account_id = account_id.ok_or(StoreError::Corrupt("authorizations.account_id"))?;
    let held_minor = after.held_minor - before.held_minor;
    let owed_minor = after.owed_minor() - before.owed_minor();
    if accounts::change(tx, account_id, held_minor, owed_minor).await? == Room::TooLittle {
        return Ok(Room::TooLittle);
    }
    let rows = sqlx::query(
        "UPDATE authorizations SET state = $1, reversed_minor = $2, held_minor = $3, \
         captured_minor = $4, credited_minor = $5, credits = $6, captures = $7 \
         WHERE id = $8 AND state = $9 AND held_minor = $10 AND captured_minor = $11 \
         AND credited_minor = $12 AND credits = $13 AND captures = $14",
    )
    .bind(after.state.name())
    .bind(after.reversed_minor)
    .bind(after.held_minor)
    .bind(after.captured_minor)
    .bind(after.credited_minor)
    .bind(after.credits)
    .bind(after.captures)
    .bind(before.id.as_str())
    .bind(before.state.name())
    .bind(before.held_minor)
    .bind(before.captured_minor)
    .bind(before.credited_minor)
    .bind(before.credits)
    .bind(before.captures)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    one_row(rows, "the authorization was changed meanwhile")?;
    Ok(Room::Enough)
}

fn authorization(row: &AnyRow) -> Result<Authorization, StoreError> {
    let reason: Option<String> = row.try_get(4)?;
    let reason = reason
        .map(|name| Decline::from_name(&name).ok_or(StoreError::Corrupt("authorizations.reason")));
    Ok(Authorization {
        id: row.try_get(0)?,
        gateway: row.try_get(1)?,
        account_id: row.try_get(2)?,
        state: State::from_name(row.try_get(3)?)
            .ok_or(StoreError::Corrupt("authorizations.state"))?,
        reason: reason.transpose()?,
        approval_code: row.try_get(5)?,
        currency: Currency::from_alpha(row.try_get(6)?)
            .map_err(|_| StoreError::Corrupt("authorizations.currency"))?,
        amount_minor: row.try_get(7)?,
        captured_minor: row.try_get(8)?,
        credited_minor: row.try_get(9)?,
        credits: row.try_get(10)?,
        merchant_id: row.try_get(11)?,
        merchant_name: row.try_get(12)?,
        reference: row.try_get(13)?,
        created_at_s: row.try_get(14)?,
        expires_at_s: row.try_get(15)?,
        reversed_minor: row.try_get(16)?,
        held_minor: row.try_get(17)?,
        captures: row.try_get(18)?,
    })
}

impl State {
    const ALL: [Self; 5] = [
        Self::Held,
        Self::Captured,
        Self::Released,
        Self::Expired,
        Self::Declined,
    ];

    /// As answers and the database spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Captured => "captured",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Declined => "declined",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl Authorization {
    /// What takes a new one's hold, unless it is declined.
    pub(crate) fn hold(&self) -> Option<Write> {
        let account_id = self.account_id.as_deref()?;
        (self.state == State::Held).then(|| accounts::hold(account_id, self.amount_minor))
    }

    /// What the cardholder owes by it.
    pub(crate) fn owed_minor(&self) -> i64 {
        self.captured_minor - self.credited_minor
    }

    /// An amount in the authorization's currency.
    pub(crate) fn money(&self, amount_minor: i64) -> Money {
        Money::new(self.currency, amount_minor)
    }

    /// Its state at `now_s`: a hold that has come of age counts as expired before the sweep sees it.
    pub(crate) fn state_at(&self, now_s: i64) -> State {
        match self.state {
            State::Held if self.expires_at_s <= now_s => State::Expired,
            state => state,
        }
    }
}
