//! What bad REST input gets: RFC 9457 `application/problem+json`.

use std::borrow::Cow;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use openset_store::StoreError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::{self, BodyError};
use crate::detached;
use crate::server::{BODY_LIMIT_BYTES, SET_BODY_LIMIT_BYTES};

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What is wrong with a request and what mends it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "ProblemDocument", into = "ProblemDocument")]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Kebab-case, stable: what programs compare.
    pub code: Cow<'static, str>,
    /// What happened here, and what to do about it.
    pub detail: String,
    /// The fields that must be mended.
    pub errors: Vec<FieldError>,
    /// The id under which the log has this request.
    pub request_id: Option<String>,
    /// After how many seconds the same request may be sent again (header `Retry-After`).
    pub retry_after_seconds: Option<u32>,
}

/// A [`Problem`] on the wire.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProblemDocument {
    /// `urn:openset:problem:<code>`.
    #[serde(rename = "type")]
    type_uri: String,
    /// The HTTP status.
    status: u16,
    /// Kebab-case, stable: what programs compare.
    code: String,
    /// The status' name.
    title: String,
    /// What happened, and what to do about it.
    detail: String,
    /// The fields that must be mended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// The id under which the service's log has this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl From<Problem> for ProblemDocument {
    fn from(problem: Problem) -> Self {
        let title = StatusCode::from_u16(problem.status)
            .ok()
            .and_then(|status| status.canonical_reason());
        Self {
            type_uri: format!("urn:openset:problem:{}", problem.code),
            status: problem.status,
            code: problem.code.into_owned(),
            title: title.unwrap_or("Problem").to_owned(),
            detail: problem.detail,
            errors: problem.errors,
            request_id: problem.request_id,
        }
    }
}

impl From<ProblemDocument> for Problem {
    fn from(document: ProblemDocument) -> Self {
        Self {
            status: document.status,
            code: Cow::Owned(document.code),
            detail: document.detail,
            errors: document.errors,
            request_id: document.request_id,
            retry_after_seconds: None,
        }
    }
}

/// One field that must be mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request's body.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Problem {
    /// A problem with any status.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            code: Cow::Borrowed(code),
            detail: detail.into(),
            errors: Vec::new(),
            request_id: detached::request_id(),
            retry_after_seconds: None,
        }
    }

    /// 400: the request itself is wrong.
    #[must_use]
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404: nothing with that id.
    #[must_use]
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 409: it does not fit the state of what it names.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422: well-formed, but its values cannot be taken.
    #[must_use]
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 502: another party that was asked did not answer as it must.
    #[must_use]
    pub fn bad_gateway(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, code, detail)
    }

    /// 503 with `Retry-After`: not now.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            retry_after_seconds: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
        }
    }

    /// 500: our fault. The cause goes to the log, not to the client.
    #[must_use]
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        let cause = cause.into();
        tracing::error!(error = %format_args!("{cause:#}"), "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the service failed; its log has the reason under this request id",
        )
    }

    /// Adds a field that must be mended.
    #[must_use]
    pub fn with_field(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        });
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.request_id.is_none() {
            self.request_id = detached::request_id();
        }
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"openset\""),
            );
        }
        response
    }
}

/// JSON in, JSON out; whatever cannot be read is refused with a [`Problem`] that names the field.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_json(request, BODY_LIMIT_BYTES).await.map(Self)
    }
}

/// [`Json`] of at most [`SET_BODY_LIMIT_BYTES`]: for the few requests that list very much.
#[derive(Debug, Clone, Copy, Default)]
pub struct LongJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for LongJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_json(request, SET_BODY_LIMIT_BYTES).await.map(Self)
    }
}

async fn read_json<T: DeserializeOwned>(
    request: Request,
    limit_bytes: usize,
) -> Result<T, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "send the body as JSON with Content-Type: application/json",
        ));
    }
    let body = body::read(request.into_body(), limit_bytes).await;
    from_json(&body.map_err(|error| unread(error, limit_bytes))?)
}

/// Reads JSON bytes; the problem names the field and what is wrong with it.
///
/// # Errors
/// 400 when it is not JSON, 422 when a field is missing, unknown or of the wrong type.
pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer_to(error.path());
        let error = error.into_inner();
        if error.is_data() {
            Problem::unprocessable("invalid-field", format!("mend the body: {error}"))
                .with_field(pointer, error.to_string())
        } else {
            not_json(&error)
        }
    })?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::bad_request("malformed-json", format!("the body is not JSON: {error}"))
}

fn pointer_to(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => pointer.push_str(variant),
            Segment::Unknown => {}
        }
    }
    pointer
}

fn unread(error: BodyError, limit_bytes: usize) -> Problem {
    match error {
        BodyError::TooLarge => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            format!("send at most {limit_bytes} bytes"),
        ),
        BodyError::Incomplete => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-incomplete",
            "the body did not arrive whole and in time; send it again",
        ),
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::error!(error = %format_args!("{:#}", anyhow::Error::from(error)), "database unavailable");
                Self::unavailable(
                    "database-unavailable",
                    "the database cannot be used now; try again",
                )
            }
            other => Self::internal(other),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let essence = value.to_str().unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
