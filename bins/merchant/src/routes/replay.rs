//! Answers that are kept under their `Idempotency-Key` and given again byte for byte.

use axum::extract::OptionalFromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use openset_service::client::IDEMPOTENCY_KEY;
use openset_service::clock;
use openset_service::problem::{self, Problem};
use openset_store::Write;
use openset_store::idempotency::{self, Claim, Keyed};
use serde::Serialize;
use sqlx::AnyConnection;

/// The longest key; a UUID has 36 characters.
const KEY_CHARS_MAX: usize = 200;
/// Shorter keys of customers, whom no token tells apart, are refused: others may think of the same.
const SECRET_KEY_CHARS_MIN: usize = 16;

/// The caller's name for one effect: sent again, it brings the first answer again.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKey(String);

impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(first) = keys.next() else {
            return Ok(None);
        };
        let text = first.to_str().unwrap_or_default();
        let readable = (1..=KEY_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if keys.next().is_some() || !readable {
            return Err(Problem::bad_request(
                "idempotency-key-unusable",
                format!(
                    "send one Idempotency-Key of at most {KEY_CHARS_MAX} visible ASCII characters, a \
                     UUID for example"
                ),
            ));
        }
        Ok(Some(Self(text.to_owned())))
    }
}

impl IdempotencyKey {
    /// Refuses a key that another customer may take as well, by chance or to be given this one's answer.
    pub(crate) fn check_secret(&self) -> Result<(), Problem> {
        if self.0.len() < SECRET_KEY_CHARS_MIN {
            return Err(Problem::bad_request(
                "idempotency-key-unusable",
                format!(
                    "send an Idempotency-Key of at least {SECRET_KEY_CHARS_MIN} random characters, a fresh \
                     UUID for example, and keep it to yourself"
                ),
            ));
        }
        Ok(())
    }
}

impl From<IdempotencyKey> for String {
    fn from(key: IdempotencyKey) -> Self {
        key.0
    }
}

/// A status and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value).map_err(Problem::internal)?;
        Ok(Self {
            status: status.as_u16(),
            body,
        })
    }

    /// A refusal that is an answer: the same for each repeated request, so without the id of one.
    pub(crate) fn problem(problem: Problem) -> Result<Self, Problem> {
        let problem = Problem {
            request_id: None,
            ..problem
        };
        let body = serde_json::to_vec(&problem).map_err(Problem::internal)?;
        Ok(Self {
            status: problem.status,
            body,
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

/// One call that may be made again: of what operation, under which key, with what content.
#[derive(Debug)]
pub(crate) struct Call {
    scope: String,
    key: String,
    digest: [u8; 32],
    keep_s: i64,
}

impl Call {
    /// None without a key: such a call is never made again. With one it is remembered for `keep_s` seconds.
    pub(crate) fn new(
        key: Option<IdempotencyKey>,
        scope: &str,
        body: &[u8],
        keep_s: i64,
    ) -> Option<Self> {
        let digest = openset_jose::sha256(body);
        key.map(|key| Self {
            scope: scope.to_owned(),
            key: key.0,
            digest,
            keep_s,
        })
    }

    /// Keeps the answer, at the end of the transaction that does the work; refused as [`idempotency::KNOWN`] if the call was
    /// made before.
    pub(crate) fn recorded(&self, answer: &Answer) -> Write {
        idempotency::recorded(&self.keyed(), (answer.status, &answer.body))
    }

    /// The answer given before, of a call that was made before.
    pub(crate) async fn given(&self, conn: &mut AnyConnection) -> Result<Answer, Problem> {
        match idempotency::find(conn, &self.keyed()).await? {
            Some(Claim::Replay { status, body }) => Ok(Answer { status, body }),
            Some(Claim::Mismatch) => Err(Problem::unprocessable(
                "idempotency-key-reused",
                "this Idempotency-Key was used for another request; take a new key for a new effect",
            )),
            Some(Claim::New | Claim::InFlight) | None => Err(Problem::unavailable(
                "overtaken",
                "the same request is at work; send the same again",
            )),
        }
    }

    fn keyed(&self) -> Keyed<'_> {
        let now_s = clock::now_seconds();
        Keyed {
            scope: &self.scope,
            key: &self.key,
            body_digest: &self.digest,
            now: now_s,
            keep_until: now_s.saturating_add(self.keep_s),
        }
    }
}
