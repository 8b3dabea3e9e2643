//! Accounts and their cards.

use openset_protocol::BrandId;
use openset_protocol::card::CardExpiry;
use openset_protocol::money::Currency;
use openset_service::paging::Asked;
use openset_store::{StoreError, Tx, Write};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::stored;
use crate::decision::CardFacts;

/// An account with its card, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) holder: String,
    pub(crate) brand: BrandId,
    pub(crate) currency: Currency,
    pub(crate) credit_limit_minor: i64,
    pub(crate) held_minor: i64,
    pub(crate) owed_minor: i64,
    pub(crate) blocked: bool,
    pub(crate) opened_at_s: i64,
    pub(crate) card: Card,
}

/// A card, its number sealed.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub(crate) id: String,
    pub(crate) expiry: CardExpiry,
    pub(crate) pan_index: [u8; 32],
    pub(crate) pan_sealed: Vec<u8>,
}

/// Whether a change found room under the credit limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Room {
    Enough,
    /// Nothing was changed.
    TooLittle,
}

const SELECT: &str = "SELECT a.id, a.holder, a.brand, a.currency, a.credit_limit_minor, \
     a.held_minor, a.owed_minor, a.blocked, a.opened_at_s, c.id, c.expiry, c.pan_index, \
     c.pan_sealed FROM accounts a JOIN cards c ON c.account_id = a.id ";

/// What a card's number is sealed under.
pub(crate) fn pan_context(card_id: &str) -> String {
    format!("cards/pan_sealed/{card_id}")
}

/// What the blind index of card numbers is keyed with.
pub(crate) const PAN_INDEX: &str = "cards/pan_index";

pub(crate) async fn insert(tx: &mut Tx, account: &Account) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO accounts (id, holder, brand, currency, credit_limit_minor, held_minor, \
         owed_minor, blocked, opened_at_s) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(account.id.as_str())
    .bind(account.holder.as_str())
    .bind(account.brand.as_str())
    .bind(account.currency.alpha())
    .bind(account.credit_limit_minor)
    .bind(account.held_minor)
    .bind(account.owed_minor)
    .bind(i64::from(account.blocked))
    .bind(account.opened_at_s)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "INSERT INTO cards (id, account_id, expiry, pan_index, pan_sealed) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(account.card.id.as_str())
    .bind(account.id.as_str())
    .bind(account.card.expiry.to_string())
    .bind(&account.card.pan_index[..])
    .bind(account.card.pan_sealed.as_slice())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(crate) async fn find(
    conn: &mut AnyConnection,
    id: &str,
) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} WHERE a.id = $1")))
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(account).transpose()
}

/// Accounts, the newest first; with `blocked`, those that are or are not.
pub(crate) async fn list(
    conn: &mut AnyConnection,
    blocked: Option<bool>,
    asked: &Asked,
) -> Result<Vec<Account>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "{SELECT} WHERE ($1 < 0 OR a.blocked = $1) AND ($2 = '' OR (a.opened_at_s, a.id) < ($3, $2)) \
         ORDER BY a.opened_at_s DESC, a.id DESC LIMIT $4"
    )))
    .bind(blocked.map_or(-1, i64::from))
    .bind(asked.id())
    .bind(asked.at())
    .bind(asked.rows())
    .fetch_all(conn)
    .await?;
    rows.iter().map(account).collect()
}

/// The account of a card number, by its blind index.
pub(crate) async fn find_by_pan(
    conn: &mut AnyConnection,
    pan_index: &[u8; 32],
) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "{SELECT} WHERE c.pan_index = $1"
    )))
    .bind(&pan_index[..])
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(account).transpose()
}

fn account(row: &AnyRow) -> Result<Account, StoreError> {
    let pan_index: Vec<u8> = row.try_get(11)?;
    Ok(Account {
        id: row.try_get(0)?,
        holder: row.try_get(1)?,
        brand: stored(row.try_get(2)?, "accounts.brand")?,
        currency: Currency::from_alpha(row.try_get(3)?)
            .map_err(|_| StoreError::Corrupt("accounts.currency"))?,
        credit_limit_minor: row.try_get(4)?,
        held_minor: row.try_get(5)?,
        owed_minor: row.try_get(6)?,
        blocked: row.try_get::<i64, _>(7)? != 0,
        opened_at_s: row.try_get(8)?,
        card: Card {
            id: row.try_get(9)?,
            expiry: stored(row.try_get(10)?, "cards.expiry")?,
            pan_index: pan_index
                .try_into()
                .map_err(|_| StoreError::Corrupt("cards.pan_index"))?,
            pan_sealed: row.try_get(12)?,
        },
    })
}

/// Why an amount is not held that was found to be there.
pub(crate) const SPENT_MEANWHILE: &str = "the account was blocked or its money spent meanwhile";

/// Holds an amount if the account may spend it. Its row decides, so of two replicas that ask for
/// the same money at the same moment one is told no: [`SPENT_MEANWHILE`].
pub(crate) fn hold(id: &str, amount_minor: i64) -> Write {
    let update = sqlx::query(
        "UPDATE accounts SET held_minor = held_minor + $1 WHERE id = $2 AND blocked = 0 \
         AND credit_limit_minor - owed_minor - held_minor >= $1",
    )
    .bind(amount_minor)
    .bind(id);
    Write::must(update, SPENT_MEANWHILE)
}

/// Changes what is held and what is owed, blocked or not, as far as the credit limit allows. What
/// lowers the sum of both, or leaves it as it is, always finds room.
pub(crate) async fn change(
    tx: &mut Tx,
    id: &str,
    held_minor: i64,
    owed_minor: i64,
) -> Result<Room, StoreError> {
    let rows = sqlx::query(
        "UPDATE accounts SET held_minor = held_minor + $1, owed_minor = owed_minor + $2 \
         WHERE id = $3 AND held_minor + $1 >= 0 AND owed_minor + $2 >= 0 \
         AND (credit_limit_minor - owed_minor - held_minor >= $4 OR $4 <= 0)",
    )
    .bind(held_minor)
    .bind(owed_minor)
    .bind(id)
    .bind(held_minor + owed_minor)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    match rows {
        1 => Ok(Room::Enough),
        _ if held_minor + owed_minor > 0 => Ok(Room::TooLittle),
        _ => Err(StoreError::Conflict(
            "the account holds or owes less than its authorizations say",
        )),
    }
}

/// Blocks or unblocks an account; false when there is none.
pub(crate) async fn set_blocked(tx: &mut Tx, id: &str, blocked: bool) -> Result<bool, StoreError> {
    let rows = sqlx::query("UPDATE accounts SET blocked = $1 WHERE id = $2")
        .bind(i64::from(blocked))
        .bind(id)
        .execute(&mut **tx)
        .await?
        .rows_affected();
    Ok(rows == 1)
}

impl Account {
    /// What may still be spent.
    pub(crate) fn available_minor(&self) -> i64 {
        self.credit_limit_minor - self.owed_minor - self.held_minor
    }

    /// What decides over an authorization.
    pub(crate) fn card_facts(&self) -> CardFacts {
        CardFacts {
            account_id: self.id.clone(),
            brand: self.brand.clone(),
            expiry: self.card.expiry,
            currency: self.currency,
            blocked: self.blocked,
            available_minor: self.available_minor(),
        }
    }
}
