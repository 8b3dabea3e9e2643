//! Double-entry book-keeping: every movement is a set of postings that sums to zero per currency.
//!
//! Each account keeps its running balance and the count of its postings, and each posting the
//! balance that it led to; [`check`] recomputes all of it. A balance stays within 63 bits either
//! side of zero: beyond them SQLite would go over to floating point without a word.

mod audit;

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

pub use audit::{Audit, FAULTS_MAX, Fault, check};

use crate::{StoreError, Tx};

/// Why a movement was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A movement has a from and a to.
    #[error("an entry needs two postings at least")]
    TooFewPostings,
    /// The postings of one currency do not cancel out.
    #[error("the postings in {currency} sum to {sum_minor}, not to zero")]
    Unbalanced {
        /// The currency at fault.
        currency: String,
        /// What is left over, in minor units.
        sum_minor: i128,
    },
    /// A balance would leave the range of 64 bits.
    #[error("account {account} cannot hold that much; post a smaller amount")]
    Overflow {
        /// The account at fault.
        account: String,
    },
    /// There is no such account.
    #[error("there is no account {account}; open it first")]
    UnknownAccount {
        /// The account at fault.
        account: String,
    },
    /// The account is kept in another currency.
    #[error("account {account} is kept in {kept}, not in {posted}")]
    CurrencyMismatch {
        /// The account at fault.
        account: String,
        /// Its currency.
        kept: String,
        /// The posting's currency.
        posted: String,
    },
    /// The account was opened before as something else.
    #[error("account {account} was opened before with another kind or currency")]
    AccountDiffers {
        /// The account at fault.
        account: String,
    },
    /// The reference was posted before with other postings.
    #[error("{kind} {reference} was posted before with other postings; use a new reference")]
    ReferenceReused {
        /// The entry's kind.
        kind: String,
        /// The entry's reference.
        reference: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// One side of a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting<'a> {
    /// The account's id.
    pub account: &'a str,
    /// The account's currency.
    pub currency: &'a str,
    /// Signed, in minor units.
    pub amount_minor: i64,
}

/// A movement of money. `kind` and `reference` together name it once and for all.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What sort of movement, for example `capture`.
    pub kind: &'a str,
    /// Its id among those of its kind.
    pub reference: &'a str,
    /// Seconds since the epoch.
    pub at: i64,
    /// For the reader of a statement. Never a card number.
    pub memo: &'a str,
    /// Two at least.
    pub postings: &'a [Posting<'a>],
}

/// What [`post`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// Booked, in this transaction.
    New,
    /// Booked before, with the same postings; nothing was done now.
    Already,
}

/// A line of an account's statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryLine {
    /// 1, 2, 3... in the order in which the account was posted to.
    pub account_line: i64,
    /// The entry's kind.
    pub kind: String,
    /// The entry's reference.
    pub reference: String,
    /// Seconds since the epoch.
    pub at: i64,
    /// The entry's memo.
    pub memo: String,
    /// The account's currency.
    pub currency: String,
    /// Signed, in minor units.
    pub amount_minor: i64,
    /// The account's balance after this line, in minor units.
    pub balance_after_minor: i64,
}

/// Opens an account with balance zero; once opened, opening it again changes nothing.
///
/// # Errors
/// [`LedgerError::AccountDiffers`] when it exists with another kind or currency.
pub async fn open_account(
    tx: &mut Tx,
    id: &str,
    kind: &str,
    currency: &str,
) -> Result<(), LedgerError> {
    let opened = sqlx::query(
        "INSERT INTO ledger_accounts (id, kind, currency, balance_minor, postings) \
         VALUES ($1, $2, $3, 0, 0) ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(kind)
    .bind(currency)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if opened == 1 {
        return Ok(());
    }
    let same =
        sqlx::query("SELECT 1 FROM ledger_accounts WHERE id = $1 AND kind = $2 AND currency = $3")
            .bind(id)
            .bind(kind)
            .bind(currency)
            .fetch_optional(&mut **tx)
            .await?;
    match same {
        Some(_) => Ok(()),
        None => Err(LedgerError::AccountDiffers {
            account: id.to_owned(),
        }),
    }
}

/// Books a movement, once. Of two replicas that book the same one, the second waits for the first's
/// commit and finds it done. When a posting is refused, the whole transaction is: its commit fails.
///
/// # Errors
/// The reason for which the movement was refused.
pub async fn post(tx: &mut Tx, entry: &Entry<'_>) -> Result<Posted, LedgerError> {
    require_zero_sums(entry.postings)?;
    let inserted = sqlx::query(
        "INSERT INTO ledger_entries (kind, reference, at_s, memo) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING",
    )
    .bind(entry.kind)
    .bind(entry.reference)
    .bind(entry.at)
    .bind(entry.memo)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if inserted == 0 {
        return require_same_postings(tx, entry).await;
    }
    let step = tx.step_begun("a ledger entry was refused half-way; begin anew");
    let mut lines: Vec<(i64, &Posting<'_>)> = (1..).zip(entry.postings).collect();
    // Accounts are locked in one order everywhere: two entries cannot wait for each other.
    lines.sort_by_key(|(_, posting)| posting.account);
    for (line, posting) in lines {
        post_line(tx, entry, line, posting).await?;
    }
    tx.step_done(&step);
    Ok(Posted::New)
}

fn require_zero_sums(postings: &[Posting<'_>]) -> Result<(), LedgerError> {
    if postings.len() < 2 {
        return Err(LedgerError::TooFewPostings);
    }
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for posting in postings {
        // As many 64-bit amounts as fit into memory do not overflow 128 bits.
        *sums.entry(posting.currency).or_default() += i128::from(posting.amount_minor);
    }
    match sums.into_iter().find(|(_, sum)| *sum != 0) {
        None => Ok(()),
        Some((currency, sum_minor)) => Err(LedgerError::Unbalanced {
            currency: currency.to_owned(),
            sum_minor,
        }),
    }
}

async fn post_line(
    tx: &mut Tx,
    entry: &Entry<'_>,
    line: i64,
    posting: &Posting<'_>,
) -> Result<(), LedgerError> {
    let amount = posting.amount_minor;
    // The balances that may be before, for the balance after to lie within ±(2^63-1).
    let before_min = -i64::MAX - amount.min(0);
    let before_max = i64::MAX - amount.max(0);
    let moved = sqlx::query(
        "UPDATE ledger_accounts SET balance_minor = balance_minor + $1, postings = postings + 1 \
         WHERE id = $2 AND currency = $3 AND balance_minor >= $4 AND balance_minor <= $5 \
         RETURNING balance_minor, postings",
    )
    .bind(amount)
    .bind(posting.account)
    .bind(posting.currency)
    .bind(before_min)
    .bind(before_max)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(moved) = moved else {
        return Err(refusal(tx, posting).await?);
    };
    sqlx::query(
        "INSERT INTO ledger_postings (kind, reference, line, account, account_line, currency, \
         amount_minor, balance_after_minor) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(entry.kind)
    .bind(entry.reference)
    .bind(line)
    .bind(posting.account)
    .bind(moved.try_get::<i64, _>(1)?)
    .bind(posting.currency)
    .bind(amount)
    .bind(moved.try_get::<i64, _>(0)?)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Why no account took the posting.
async fn refusal(tx: &mut Tx, posting: &Posting<'_>) -> Result<LedgerError, LedgerError> {
    let kept: Option<String> =
        sqlx::query_scalar("SELECT currency FROM ledger_accounts WHERE id = $1")
            .bind(posting.account)
            .fetch_optional(&mut **tx)
            .await?;
    let account = posting.account.to_owned();
    Ok(match kept {
        None => LedgerError::UnknownAccount { account },
        Some(kept) if kept != posting.currency => LedgerError::CurrencyMismatch {
            account,
            kept,
            posted: posting.currency.to_owned(),
        },
        Some(_) => LedgerError::Overflow { account },
    })
}

async fn require_same_postings(tx: &mut Tx, entry: &Entry<'_>) -> Result<Posted, LedgerError> {
    let rows = sqlx::query(
        "SELECT account, currency, amount_minor FROM ledger_postings \
         WHERE kind = $1 AND reference = $2 ORDER BY line",
    )
    .bind(entry.kind)
    .bind(entry.reference)
    .fetch_all(&mut **tx)
    .await?;
    let mut same = rows.len() == entry.postings.len();
    for (row, posting) in rows.iter().zip(entry.postings) {
        same &= row.try_get::<String, _>(0)? == posting.account
            && row.try_get::<String, _>(1)? == posting.currency
            && row.try_get::<i64, _>(2)? == posting.amount_minor;
    }
    if same {
        return Ok(Posted::Already);
    }
    Err(LedgerError::ReferenceReused {
        kind: entry.kind.to_owned(),
        reference: entry.reference.to_owned(),
    })
}

/// The balance of an account, in minor units.
///
/// # Errors
/// [`LedgerError::UnknownAccount`], or the database's own failure.
pub async fn balance(conn: &mut AnyConnection, account: &str) -> Result<i64, LedgerError> {
    let balance_minor =
        sqlx::query_scalar("SELECT balance_minor FROM ledger_accounts WHERE id = $1")
            .bind(account)
            .fetch_optional(conn)
            .await?;
    balance_minor.ok_or_else(|| unknown(account))
}

/// The balance of an account, which nobody else can change until the transaction ends. To decide by
/// a balance, decide by this one.
///
/// # Errors
/// [`LedgerError::UnknownAccount`], or the database's own failure.
pub async fn lock_balance(tx: &mut Tx, account: &str) -> Result<i64, LedgerError> {
    // An UPDATE locks the row on both databases; SQLite has no FOR UPDATE.
    let balance_minor = sqlx::query_scalar(
        "UPDATE ledger_accounts SET postings = postings WHERE id = $1 RETURNING balance_minor",
    )
    .bind(account)
    .fetch_optional(&mut **tx)
    .await?;
    balance_minor.ok_or_else(|| unknown(account))
}

fn unknown(account: &str) -> LedgerError {
    LedgerError::UnknownAccount {
        account: account.to_owned(),
    }
}

/// The newest lines of an account, newest first.
///
/// # Errors
/// The database's own failure.
pub async fn entries(
    conn: &mut AnyConnection,
    account: &str,
    limit: u32,
) -> Result<Vec<EntryLine>, LedgerError> {
    let rows = sqlx::query(
        "SELECT p.account_line, p.kind, p.reference, e.at_s, e.memo, p.currency, \
         p.amount_minor, p.balance_after_minor FROM ledger_postings p \
         JOIN ledger_entries e ON e.kind = p.kind AND e.reference = p.reference \
         WHERE p.account = $1 ORDER BY p.account_line DESC LIMIT $2",
    )
    .bind(account)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?;
    rows.iter().map(entry_line).collect()
}

/// Lines of an account in the order in which it was posted to: those after the line `after`, booked from `from` on and
/// before `until` (seconds since the epoch).
///
/// # Errors
/// The database's own failure.
pub async fn statement(
    conn: &mut AnyConnection,
    account: &str,
    (from, until): (i64, i64),
    after: i64,
    limit: i64,
) -> Result<Vec<EntryLine>, LedgerError> {
    let rows = sqlx::query(
        "SELECT p.account_line, p.kind, p.reference, e.at_s, e.memo, p.currency, \
         p.amount_minor, p.balance_after_minor FROM ledger_postings p \
         JOIN ledger_entries e ON e.kind = p.kind AND e.reference = p.reference \
         WHERE p.account = $1 AND p.account_line > $2 AND e.at_s >= $3 AND e.at_s < $4 \
         ORDER BY p.account_line LIMIT $5",
    )
    .bind(account)
    .bind(after)
    .bind(from)
    .bind(until)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(entry_line).collect()
}

fn entry_line(row: &AnyRow) -> Result<EntryLine, LedgerError> {
    Ok(EntryLine {
        account_line: row.try_get(0)?,
        kind: row.try_get(1)?,
        reference: row.try_get(2)?,
        at: row.try_get(3)?,
        memo: row.try_get(4)?,
        currency: row.try_get(5)?,
        amount_minor: row.try_get(6)?,
        balance_after_minor: row.try_get(7)?,
    })
}
