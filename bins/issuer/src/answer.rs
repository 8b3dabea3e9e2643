//! Answers that are kept under their `Idempotency-Key` and given again byte for byte.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use openset_service::auth::Caller;
use openset_service::problem::{self, Problem};
use openset_store::idempotency::{self, Claim, Keyed};
use openset_store::{Tx, Vault, Write};
use serde::Serialize;
use sqlx::AnyConnection;

use crate::error::IssuerError;
use crate::request::IdempotencyKey;

/// Longer than any hold lives, and than any gateway goes on asking.
const KEEP_S: i64 = 30 * 24 * 60 * 60;

/// A status and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Self, IssuerError> {
        Ok(Self {
            status: status.as_u16(),
            body: serde_json::to_vec(value)?,
        })
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// A refusal that is kept as an answer.
    pub(crate) fn problem(problem: &Problem) -> Result<Self, IssuerError> {
        Ok(Self {
            status: problem.status,
            body: serde_json::to_vec(problem)?,
        })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let media_type = if status.is_success() {
            "application/json"
        } else {
            problem::MEDIA_TYPE
        };
        let media_type = HeaderValue::from_static(media_type);
        (status, [(header::CONTENT_TYPE, media_type)], self.body).into_response()
    }
}

fn in_flight() -> Problem {
    Problem {
        retry_after_seconds: Some(1),
        ..Problem::conflict(
            "idempotency-key-in-flight",
            "the first call under this Idempotency-Key is still at work; send it again",
        )
    }
}

/// The key stands for another effect.
pub(crate) fn key_reused() -> Problem {
    Problem::unprocessable(
        "idempotency-key-reused",
        "this Idempotency-Key was used for another request; take a new key for a new effect",
    )
}

/// One call that may be made again: who makes it, of what operation, under which key.
#[derive(Debug)]
pub(crate) struct Call {
    scope: String,
    key: String,
    digest: [u8; 32],
}

impl Call {
    /// `target` is what the path names, and as much a part of the call as its body.
    pub(crate) fn new(
        vault: &Vault,
        caller: &Caller,
        operation: &str,
        key: IdempotencyKey,
        target: &str,
        body: &str,
    ) -> Self {
        // Keyed: the plain digest of a body that is known but for the card number would give it away.
        let content = [target, "\n", body].concat();
        Self {
            scope: format!("{}/{operation}", caller.name),
            key: key.0,
            digest: vault.index("idempotency/body", content.as_bytes()),
        }
    }

    /// The answer given before, or none: then the call is this transaction's to answer.
    pub(crate) async fn claim(
        &self,
        tx: &mut Tx,
        vault: &Vault,
        now_s: i64,
    ) -> Result<Option<Answer>, Problem> {
        let claim = idempotency::claim(tx, &self.keyed(now_s)).await?;
        self.known(claim, vault)
    }

    /// Keeps the answer to a call that was not claimed before its work, at the end of the transaction that does it; refused as
    /// [`idempotency::KNOWN`] if the work was done before.
    pub(crate) fn recorded(&self, vault: &Vault, now_s: i64, answer: &Answer) -> Write {
        let sealed = vault.seal(&self.context(), &answer.body);
        idempotency::recorded(&self.keyed(now_s), (answer.status, &sealed))
    }

    /// The answer given before, of a call that was made before.
    pub(crate) async fn given(
        &self,
        conn: &mut AnyConnection,
        vault: &Vault,
        now_s: i64,
    ) -> Result<Answer, Problem> {
        let known = idempotency::find(conn, &self.keyed(now_s)).await?;
        let given = known.map(|known| self.known(known, vault)).transpose()?;
        given.flatten().ok_or_else(in_flight)
    }

    fn keyed(&self, now_s: i64) -> Keyed<'_> {
        Keyed {
            scope: &self.scope,
            key: &self.key,
            body_digest: &self.digest,
            now: now_s,
            keep_until: now_s.saturating_add(KEEP_S),
        }
    }

    fn known(&self, claim: Claim, vault: &Vault) -> Result<Option<Answer>, Problem> {
        match claim {
            Claim::New => Ok(None),
            Claim::Replay { status, body } => {
                let body = vault
                    .open(&self.context(), &body)
                    .map_err(IssuerError::from)?;
                Ok(Some(Answer {
                    status,
                    body: body.to_vec(),
                }))
            }
            Claim::InFlight => Err(in_flight()),
            Claim::Mismatch => Err(key_reused()),
        }
    }

    /// Keeps the answer. Sealed, since it may hold a card number.
    pub(crate) async fn complete(
        &self,
        tx: &mut Tx,
        vault: &Vault,
        answer: &Answer,
    ) -> Result<(), IssuerError> {
        let sealed = vault.seal(&self.context(), &answer.body);
        idempotency::complete(tx, &self.scope, &self.key, answer.status, &sealed).await?;
        Ok(())
    }

    fn context(&self) -> String {
        format!("idempotency/body/{}/{}", self.scope, self.key)
    }
}
