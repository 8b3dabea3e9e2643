//! Calls to other parties: bounded in time and size, without redirects or proxies.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use reqwest::{Certificate, ClientBuilder, RequestBuilder, Response, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::server::SET_BODY_LIMIT_BYTES;
use crate::set_endpoint::{self, MediaType};

/// To a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// To the answer's last byte; less than a server's own patience, so that a chain of calls unwinds.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Less than the server's header timeout, so that no idle connection is used while it is being cut.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes read of a REST answer; the trust document is the largest.
pub const ANSWER_LIMIT_BYTES: usize = 1024 * 1024;
/// Idle connections kept for each other party: as many as are likely to be wanted at once, since a new one costs more.
const IDLE_CONNECTIONS_MAX: usize = 128;

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
    #[error("{from} answered with status {status}{}", told(.problem.as_deref()))]
    Status {
        /// Who answered.
        from: String,
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

/// One client for all outgoing calls of a service; clones share its connections.
#[derive(Debug, Clone)]
pub struct HttpClient(reqwest::Client);

impl HttpClient {
    /// A client that trusts the system's CAs for https, and those in `client_ca` (PEM).
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn new(client_ca: Option<&Path>) -> anyhow::Result<Self> {
        let extra = client_ca.map(certificates).transpose()?.unwrap_or_default();
        // A slim image has no CAs at all, which the builder takes for an error.
        let client = builder()
            .tls_certs_merge(extra.clone())
            .build()
            .or_else(|_| builder().tls_certs_only(extra).build())
            .context("cannot set up the HTTP client")?;
        Ok(Self(client))
    }

    /// Sends a SET message; SET's Error is an answer too.
    ///
    /// # Errors
    /// When no SET message comes back.
    pub async fn post_set(
        &self,
        url: &Url,
        media_type: MediaType,
        body: Vec<u8>,
    ) -> Result<SetAnswer, CallError> {
        let request = self.0.post(url.clone());
        let request = request.header(CONTENT_TYPE, media_type.name()).body(body);
        let response = send(request, url).await?;
        let status = response.status().as_u16();
        let is_set = set_endpoint::media_type(response.headers()) == Some(media_type);
        if !(is_set && matches!(status, 200 | 400)) {
            return Err(refused(response, url).await);
        }
        let body = bounded(response, url, SET_BODY_LIMIT_BYTES).await?;
        Ok(SetAnswer { status, body })
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
        json(authorized(self.0.get(url.clone()), token), url).await
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
        let mut request = authorized(self.0.post(url.clone()), token).json(body);
        if let Some(key) = idempotency_key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        json(request, url).await
    }

    /// POST of bytes that are answered with bytes, for example OCSP.
    ///
    /// # Errors
    /// When the status is not success.
    pub async fn post_bytes(
        &self,
        url: &Url,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, CallError> {
        let request = self.0.post(url.clone());
        let request = request.header(CONTENT_TYPE, content_type).body(body);
        let response = successful(request, url).await?;
        bounded(response, url, ANSWER_LIMIT_BYTES).await
    }

    /// GET of any bytes, for example a PEM file.
    ///
    /// # Errors
    /// When the status is not success.
    pub async fn get_bytes(&self, url: &Url) -> Result<Vec<u8>, CallError> {
        let response = successful(self.0.get(url.clone()), url).await?;
        bounded(response, url, ANSWER_LIMIT_BYTES).await
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

fn builder() -> ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .user_agent(concat!("openset/", env!("CARGO_PKG_VERSION")))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let pem =
        std::fs::read(path).with_context(|| format!("cannot read client_ca {}", path.display()))?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    anyhow::ensure!(
        !certificates.is_empty(),
        "client_ca {} holds no PEM certificate",
        path.display()
    );
    Ok(certificates)
}

fn authorized(request: RequestBuilder, token: Option<&SecretString>) -> RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token.expose_secret()),
        None => request,
    }
}

async fn json<T: DeserializeOwned>(request: RequestBuilder, url: &Url) -> Result<T, CallError> {
    let response = successful(request.header(ACCEPT, "application/json"), url).await?;
    let body = bounded(response, url, ANSWER_LIMIT_BYTES).await?;
    serde_json::from_slice(&body).map_err(|error| CallError::Unreadable(error.to_string()))
}

async fn successful(request: RequestBuilder, url: &Url) -> Result<Response, CallError> {
    let response = send(request, url).await?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(refused(response, url).await)
    }
}

async fn send(request: RequestBuilder, url: &Url) -> Result<Response, CallError> {
    request.send().await.map_err(|error| broken(error, url))
}

async fn refused(response: Response, url: &Url) -> CallError {
    let status = response.status().as_u16();
    let body = bounded(response, url, ANSWER_LIMIT_BYTES).await;
    let problem = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok());
    CallError::Status {
        from: origin(url),
        status,
        problem,
    }
}

async fn bounded(mut response: Response, url: &Url, limit: usize) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(error, url))? {
        if body.len() + chunk.len() > limit {
            return Err(CallError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn broken(error: reqwest::Error, url: &Url) -> CallError {
    let error = error.without_url();
    if error.is_connect() {
        CallError::Unreachable(origin(url), error)
    } else {
        CallError::NoAnswer(origin(url), error)
    }
}

/// Scheme, host and port: what a log may have of a URL.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn told(problem: Option<&Problem>) -> String {
    problem.map_or_else(String::new, |problem| format!(": {}", problem.detail))
}
