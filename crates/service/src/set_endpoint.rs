//! `POST /set`: one MessageWrapper in, one out.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
pub use openset_protocol::wrapper::MediaType;

use crate::body::{self, BodyError};
use crate::problem::Problem;
use crate::server::SET_BODY_LIMIT_BYTES;

/// Payment messages: PInit, P, Inq, Auth, Cap.
pub const SET_PAYMENT: &str = MediaType::Payment.name();
/// Registration messages: CardCInit, RegForm, Me-AqCInit, Cert.
pub const SET_REGISTRATION: &str = MediaType::Registration.name();

/// A message as it came off the wire, size and media type checked, nothing else.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The media type that it came under.
    pub media_type: MediaType,
    /// The wrapper's bytes.
    pub bytes: Bytes,
}

/// Why a body was refused before it was looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Not SET, or the other one of SET's two media types.
    #[error("send the message as {}", .expected.name())]
    WrongMediaType {
        /// What this service takes.
        expected: MediaType,
    },
    /// Over [`SET_BODY_LIMIT_BYTES`].
    #[error("the message is larger than {SET_BODY_LIMIT_BYTES} bytes")]
    TooLarge,
    /// It did not arrive whole.
    #[error("the message did not arrive whole and in time; send it again")]
    Incomplete,
}

/// What `POST /set` answers.
#[derive(Debug, Clone)]
pub enum SetReply {
    /// A protocol answer, declines included: 200.
    Answer(Vec<u8>),
    /// A wrapper with SET's Error message: 400.
    Error(Vec<u8>),
    /// Nothing: it was an Error, which is never answered: 204.
    Heard,
    /// Still at work or out of order; the same bytes may be sent again: 503 with `Retry-After`.
    Busy,
    /// Not now, for a reason that the sender may know; the same bytes may be sent again.
    PutOff(Box<Problem>),
}

/// One party's side of `POST /set`.
pub trait SetHandler: Send + Sync + 'static {
    /// The media type that this service takes and answers in.
    const MEDIA_TYPE: MediaType;

    /// Answers a message.
    fn handle(&self, wire: Wire) -> impl Future<Output = SetReply> + Send;

    /// SET's Error message for a body that was refused before it was looked into.
    fn refuse(&self, rejection: Rejection) -> impl Future<Output = SetReply> + Send;
}

/// `POST /set` for a handler.
pub fn router<H: SetHandler>(handler: Arc<H>) -> Router {
    let route = post(move |request: Request| {
        let handler = Arc::clone(&handler);
        async move { answer(&*handler, request).await }
    });
    Router::new().route("/set", route)
}

/// What a handler answers to a request, wherever it came in.
pub async fn answer<H: SetHandler>(handler: &H, request: Request) -> Response {
    let reply = match read_wire(request, H::MEDIA_TYPE).await {
        Ok(wire) => handler.handle(wire).await,
        Err(rejection) => {
            tracing::warn!(outcome = "refused", error = %rejection, "SET message refused");
            handler.refuse(rejection).await
        }
    };
    reply.into_response_as(H::MEDIA_TYPE)
}

/// Takes a message off a request.
///
/// # Errors
/// Another media type than `expected`, too many bytes, or too few.
pub async fn read_wire(request: Request, expected: MediaType) -> Result<Wire, Rejection> {
    if media_type(request.headers()) != Some(expected) {
        return Err(Rejection::WrongMediaType { expected });
    }
    let bytes = body::read(request.into_body(), SET_BODY_LIMIT_BYTES)
        .await
        .map_err(|error| match error {
            BodyError::TooLarge => Rejection::TooLarge,
            BodyError::Incomplete => Rejection::Incomplete,
        })?;
    Ok(Wire {
        media_type: expected,
        bytes,
    })
}

/// The SET media type that a header names, parameters ignored.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    MediaType::from_name(value.split(';').next()?.trim())
}

impl SetReply {
    /// The HTTP answer; messages go out under `media_type`.
    #[must_use]
    pub fn into_response_as(self, media_type: MediaType) -> Response {
        let (status, body) = match self {
            Self::Answer(body) => (StatusCode::OK, body),
            Self::Error(body) => (StatusCode::BAD_REQUEST, body),
            Self::Heard => return StatusCode::NO_CONTENT.into_response(),
            Self::PutOff(problem) => return problem.into_response(),
            Self::Busy => {
                return Problem::unavailable("busy", "send the same bytes again later")
                    .into_response();
            }
        };
        let content_type = HeaderValue::from_static(media_type.name());
        (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
    }
}
