//! Once a request that writes has been taken in, it runs to its end, whoever hangs up.

use std::any::Any;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The header under which an answer carries its request id.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// The id of the request that this task answers.
#[must_use]
pub fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}
