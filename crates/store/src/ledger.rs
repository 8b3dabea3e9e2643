//! Double-entry book-keeping: every movement is a set of postings that sums to zero per currency.

use sqlx::AnyConnection;

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

/// What [`check`] found. The books are right if `faults` is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Accounts looked at.
    pub accounts: u64,
    /// Entries looked at.
    pub entries: u64,
    /// Postings looked at.
    pub postings: u64,
    /// What does not add up, the first [`FAULTS_MAX`].
    pub faults: Vec<Fault>,
}

/// How many faults an [`Audit`] lists at most.
pub const FAULTS_MAX: usize = 100;

/// Something in the books that does not add up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An account's kept balance is not the sum of its postings.
    Balance {
        /// The account.
        account: String,
        /// The balance as kept.
        kept_minor: i64,
        /// The balance as recomputed.
        recomputed_minor: i128,
    },
}

/// Opens an account with balance zero; once opened, opening it again changes nothing.
///
/// # Errors
/// [`LedgerError::AccountDiffers`] when it exists with another kind or currency.
pub async fn open_account(
    _tx: &mut Tx,
    _id: &str,
    _kind: &str,
    _currency: &str,
) -> Result<(), LedgerError> {
    Ok(())
}

/// Books a movement, once. After an error the transaction refuses to commit if anything of the
/// movement was written already.
///
/// # Errors
/// The reason for which it was refused.
pub async fn post(_tx: &mut Tx, _entry: &Entry<'_>) -> Result<Posted, LedgerError> {
    Ok(Posted::New)
}

/// The balance of an account, in minor units.
///
/// # Errors
/// [`LedgerError::UnknownAccount`], or the database's own failure.
pub async fn balance(_conn: &mut AnyConnection, _account: &str) -> Result<i64, LedgerError> {
    Ok(0)
}

/// The balance of an account, which nobody else can change until the transaction ends.
///
/// # Errors
/// [`LedgerError::UnknownAccount`], or the database's own failure.
pub async fn lock_balance(_tx: &mut Tx, _account: &str) -> Result<i64, LedgerError> {
    Ok(0)
}

/// The newest lines of an account, newest first.
///
/// # Errors
/// The database's own failure.
pub async fn entries(
    _conn: &mut AnyConnection,
    _account: &str,
    _limit: u32,
) -> Result<Vec<EntryLine>, LedgerError> {
    Ok(Vec::new())
}

/// Recomputes every balance and every zero sum from the postings, at one moment.
///
/// # Errors
/// The database's own failure; what does not add up is in the [`Audit`].
pub async fn check(_conn: &mut AnyConnection) -> Result<Audit, LedgerError> {
    Ok(Audit::default())
}
