//! Why a message or a call was not answered as wished, sorted by who can mend it.

use axum::http::StatusCode;
use openset_protocol::Rejection;
use openset_service::problem::Problem;
use openset_store::StoreError;

/// Why there is no ordinary answer. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The sender's message: told with SET's Error.
    #[error(transparent)]
    Rejected(Rejection),
    /// This service lacks something that it will have; the same bytes may be sent again.
    #[error("not ready: {0}")]
    NotReady(&'static str),
    /// Nobody says whether the cardholder's certificate is revoked, and the merchant's policy is to wait; the same
    /// bytes may be sent again.
    #[error(
        "nobody can say whether the cardholder's certificate is revoked; send the same message again later"
    )]
    RevocationUnknown,
    /// Somebody else was faster; the same bytes may be sent again.
    #[error("overtaken: {0}")]
    Overtaken(&'static str),
    /// The database, or a key that does not sign; the same bytes may be sent again.
    #[error("the merchant failed")]
    Internal(#[source] anyhow::Error),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Internal => Self::Internal(rejection.into()),
            other => Self::Rejected(other),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Internal(error.into())
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejected(rejection) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                rejection.to_string(),
            ),
            Failure::NotReady(what) => Self::unavailable("not-ready", what),
            Failure::RevocationUnknown => {
                Self::unavailable("revocation-unknown", failure.to_string())
            }
            Failure::Overtaken(what) => Self::unavailable("overtaken", what),
            Failure::Internal(error) => match error.downcast::<StoreError>() {
                Ok(store) => store.into(),
                Err(error) => Self::internal(error),
            },
        }
    }
}
