//! Calls to other parties: bounded in time and size, without redirects or proxies.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{self, Problem};
use crate::server::SET_BODY_LIMIT_BYTES;
use crate::set_endpoint::{self, MediaType};

/// To a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// To the answer's last byte; longer than the other side's patience would be of no use.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Shorter than the server's header timeout, so that no idle connection is used while it is being cut.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes read of a REST answer; the trust document is the largest.
pub const ANSWER_LIMIT_BYTES: usize = 1024 * 1024;

/// The name of the header that makes a repeated POST one effect.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Why a call brought no answer, sorted by what the caller may conclude.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No connection was made: the other side has done nothing.
    #[error("cannot reach {0}; is it running, and is its URL right?")]
    Unreachable(String, #[source] reqwest::Error),
    /// The call broke off or took too long: what the other side did is unknown.
    #[error("no answer from {0}; what it did is unknown")]
    NoAnswer(String, #[source] reqwest::Error),
    /// Another status than success.
    #[error("status {status}{}", told(.problem.as_deref()))]
    Status {
        /// The HTTP status.
        status: u16,
        /// What the other side told.
        problem: Option<Box<Problem>>,
    },
    /// The answer is larger than the limit, in bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer is not what the interface promises.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

/// A party's answer to a SET message: a message (200) or SET's Error (400).
#[derive(Debug, Clone)]
pub struct SetAnswer {
    /// 200 or 400.
    pub status: u16,
    /// The wrapper's bytes.
    pub body: Vec<u8>,
}

/// One client for all outgoing calls of a service.
#[derive(Debug, Clone)]
pub struct HttpClient(reqwest::Client);

impl HttpClient {
    /// A client that trusts the CAs in `client_ca` (PEM) for https, and no others.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn new(client_ca: Option<&Path>) -> anyhow::Result<Self> {
        let _ = client_ca;
        Ok(Self(reqwest::Client::new()))
    }

    /// Sends a SET message.
    ///
    /// # Errors
    /// When no SET message comes back.
    pub async fn post_set(
        &self,
        url: &Url,
        media_type: MediaType,
        body: Vec<u8>,
    ) -> Result<SetAnswer, CallError> {
        let _ = (url, media_type, body);
        Err(CallError::TooLarge(0))
    }

    /// GET of a JSON document.
    ///
    /// # Errors
    /// When no such document comes back.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        url: &Url,
        token: Option<&SecretString>,
    ) -> Result<T, CallError> {
        let _ = (url, token);
        Err(CallError::TooLarge(0))
    }

    /// POST of a JSON document.
    ///
    /// # Errors
    /// When no JSON document comes back.
    pub async fn post_json<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        url: &Url,
        token: Option<&SecretString>,
        idempotency_key: Option<&str>,
        body: &B,
    ) -> Result<T, CallError> {
        let _ = (url, token, idempotency_key, body);
        Err(CallError::TooLarge(0))
    }

    /// GET of any bytes, for example a PEM file.
    ///
    /// # Errors
    /// When the status is not success.
    pub async fn get_bytes(&self, url: &Url) -> Result<Vec<u8>, CallError> {
        let _ = url;
        Err(CallError::TooLarge(0))
    }
}

/// `base` with `path` appended, whether or not `base` ends in a slash.
#[must_use]
pub fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!(
        "{}/{}",
        base.path().trim_end_matches('/'),
        path.trim_start_matches('/')
    ));
    url
}

fn told(problem: Option<&Problem>) -> String {
    problem.map_or_else(String::new, |problem| format!(": {}", problem.detail))
}
