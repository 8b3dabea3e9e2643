//! What can go wrong inside the CA, and how a caller is told.

use openset_pki::PathError;
use openset_pki::authority::IssueError;
use openset_protocol::Rejection;
use openset_protocol::ca::cert::CompleteError;
use openset_service::client::CallError;
use openset_service::problem::Problem;
use openset_store::{StoreError, VaultError};

use crate::journal::JournalError;

/// A failure that is no answer: nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CaError {
    /// The message is refused.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sealed value does not open.
    #[error(transparent)]
    Vault(VaultError),
    /// A certificate or CRL could not be issued.
    #[error("a certificate or CRL could not be issued")]
    Issue(#[from] IssueError),
    /// A key could not be made.
    #[error("a key could not be made")]
    Key(#[from] openset_jose::KeyError),
    /// The bank that has to approve did not answer.
    #[error("the bank that has to approve did not answer")]
    Bank(#[from] CallError),
    /// The bank's answer does not say what it must.
    #[error("the bank approves without saying {0}; mend its configuration")]
    BankAnswer(&'static str),
    /// A list of our own does not hold.
    #[error("a revocation list of our own was refused")]
    OwnList(#[from] PathError),
    /// The CAs cannot be read from the database.
    #[error("the hierarchy cannot be read: {0}")]
    Hierarchy(String),
    /// The journal could not be written, so nothing was changed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Another message of the same registration, another operator or another replica was faster.
    #[error("another change was faster; try again")]
    Overtaken,
}

impl From<VaultError> for CaError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(store) => Self::Store(store),
            other => Self::Vault(other),
        }
    }
}

impl From<CompleteError> for CaError {
    fn from(error: CompleteError) -> Self {
        match error {
            CompleteError::Issue(issue) => Self::Issue(issue),
            CompleteError::Answer(rejection) => Self::Rejected(rejection),
            other => {
                tracing::error!(error = %other, "an application was not completed");
                Self::Rejected(Rejection::Internal)
            }
        }
    }
}

impl From<CaError> for Problem {
    fn from(error: CaError) -> Self {
        match error {
            CaError::Store(store) => store.into(),
            CaError::Overtaken => {
                Self::conflict("overtaken", "another change was faster; try again")
            }
            other => Self::internal(other),
        }
    }
}
