//! What can go wrong inside the gateway, and how a caller is told.

use openset_jose::Thumbprint;
use openset_protocol::ids::Rrpid;
use openset_protocol::{BrandId, Rejection};
use openset_service::client::CallError;
use openset_service::enrolment::EnrolmentError;
use openset_service::problem::Problem;
use openset_store::ledger::LedgerError;
use openset_store::{StoreError, VaultError};

/// Why there is no answer (yet).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum GatewayError {
    /// The message is refused: its sender is told so by SET's Error.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The request came for the first time after its date had passed: its sender, who was verified, is told so for good.
    #[error("the request came too late")]
    TooLate(Box<TooLate>),
    /// The work goes on; the same bytes may be sent again.
    #[error("the issuer has not answered yet")]
    Working,
    /// Certificates or trust are not there yet.
    #[error("not enrolled yet; see /readyz")]
    NotReady,
    /// The own keys cannot be read.
    #[error(transparent)]
    Keys(#[from] EnrolmentError),
    /// The issuer did not say what became of a request.
    #[error("what the issuer did is unknown")]
    Unknown(#[source] CallError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The books refused a movement that the authorization's own row allowed.
    #[error("the books and the authorizations disagree; run the audit before anything else")]
    Ledger(#[source] LedgerError),
    /// A sealed value does not open.
    #[error(transparent)]
    Vault(VaultError),
    /// Something stored could not be written or read as JSON.
    #[error("what is stored cannot be read or written")]
    Json(#[from] serde_json::Error),
}

/// Whose request came too late.
#[derive(Debug, Clone)]
pub(crate) struct TooLate {
    /// The certificate that signed it.
    pub(crate) sender: Thumbprint,
    pub(crate) rrpid: Rrpid,
    pub(crate) brand: BrandId,
}

impl From<LedgerError> for GatewayError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(store) => Self::Store(store),
            other => Self::Ledger(other),
        }
    }
}

impl From<VaultError> for GatewayError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(store) => Self::Store(store),
            other => Self::Vault(other),
        }
    }
}

impl From<sqlx::Error> for GatewayError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<GatewayError> for Problem {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Store(store) => store.into(),
            other => Self::internal(other),
        }
    }
}

impl GatewayError {
    /// The error and its causes in one line, for the log.
    pub(crate) fn chain(self) -> String {
        format!("{:#}", anyhow::Error::from(self))
    }
}
