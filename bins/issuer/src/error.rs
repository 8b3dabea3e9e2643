//! What can go wrong inside the bank, and how a caller is told.

use openset_protocol::card::NotAPan;
use openset_service::problem::Problem;
use openset_store::ledger::LedgerError;
use openset_store::{StoreError, VaultError};

/// A failure that is no answer: nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IssuerError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The books refused a movement that the account's own row allowed.
    #[error("the books and the accounts disagree; run the audit before anything else")]
    Ledger(#[source] LedgerError),
    /// A new movement stands in the books already.
    #[error(
        "the books have {kind} {reference} before it was made; run the audit before anything else"
    )]
    BookedBefore {
        /// The entry's kind.
        kind: String,
        /// The entry's reference.
        reference: String,
    },
    /// A sealed value does not open.
    #[error(transparent)]
    Vault(VaultError),
    /// A sealed card number is none, or a BIN makes none.
    #[error("a card number could not be made or read; check [[brands]] and the database")]
    Pan(#[from] NotAPan),
    /// No free card number was found.
    #[error("the BIN {0} has hardly a free card number left; give the brand another one")]
    BinExhausted(String),
    /// A new card's expiry lies outside of 2000 to 2099.
    #[error(
        "a new card would expire after 2099 or before 2000; set the clock and expiry_years right"
    )]
    ExpiryOutOfRange,
    /// An answer could not be written as JSON.
    #[error("an answer could not be written")]
    Json(#[from] serde_json::Error),
}

impl From<LedgerError> for IssuerError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(store) => Self::Store(store),
            other => Self::Ledger(other),
        }
    }
}

impl From<VaultError> for IssuerError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(store) => Self::Store(store),
            other => Self::Vault(other),
        }
    }
}

impl From<IssuerError> for Problem {
    fn from(error: IssuerError) -> Self {
        match error {
            IssuerError::Store(store) => store.into(),
            other => Self::internal(other),
        }
    }
}
