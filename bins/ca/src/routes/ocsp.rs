//! OCSP (RFC 6960): whether one certificate is revoked, at this very moment. Every answer is made from the
//! database, so that none is older than the question.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use openset_pki::ocsp::{self, OCSP_BYTES_MAX, Refusal, Request, Status};
use openset_service::clock;
use openset_service::offload::offload;
use openset_service::problem::Problem;

use crate::CertificateAuthority;
use crate::error::CaError;
use crate::hierarchy::Ca;
use crate::store::certificates;

/// The media type of a request.
const OCSP_REQUEST: &str = "application/ocsp-request";
/// The media type of a response.
const OCSP_RESPONSE: &str = "application/ocsp-response";
/// Base64 in a URL, with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an OCSP request is answered with.
struct Answer {
    outcome: &'static str,
    der: Vec<u8>,
}

/// Whether certificates that an issuing CA issued are revoked (RFC 6960).
///
/// CertIDs with SHA-1 and SHA-256 are answered, 16 in one request at most; a nonce is repeated. A request that
/// cannot be answered gets an OCSP error: malformedRequest, unauthorized (no issuing CA of this id, or none of the
/// certificates is its own), tryLater, internalError.
#[utoipa::path(
    post, path = "/ocsp/{ca}", tag = "public",
    params(("ca" = String, Path, description = "The issuing CA's id in the trust document")),
    request_body(content = Vec<u8>, content_type = "application/ocsp-request"),
    responses(
        (status = 200, content_type = "application/ocsp-response", body = Vec<u8>),
        (status = 415, description = "Not application/ocsp-request"),
    )
)]
pub(crate) async fn post(
    State(ca): State<Arc<CertificateAuthority>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok()?.split(';').next());
    if !media_type.is_some_and(|name| name.trim().eq_ignore_ascii_case(OCSP_REQUEST)) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong-media-type",
            format!("send the OCSP request as {OCSP_REQUEST}"),
        ));
    }
    let body = axum::body::to_bytes(body, OCSP_BYTES_MAX).await;
    Ok(reply(&ca, &id, body.ok()).await)
}

/// As by POST, with the request in the URL: base64 of its DER, in which `/`, `+` and `=` are escaped.
#[utoipa::path(
    get, path = "/ocsp/{ca}/{*request}", tag = "public",
    params(
        ("ca" = String, Path, description = "The issuing CA's id in the trust document"),
        ("request" = String, Path, description = "The request: base64 of its DER"),
    ),
    responses((status = 200, content_type = "application/ocsp-response", body = Vec<u8>))
)]
pub(crate) async fn get(
    State(ca): State<Arc<CertificateAuthority>>,
    Path((id, request)): Path<(String, String)>,
) -> Response {
    reply(&ca, &id, BASE64.decode(request).ok().map(Bytes::from)).await
}

async fn reply(ca: &CertificateAuthority, id: &str, request: Option<Bytes>) -> Response {
    let answer = answer(ca, id, request).await.unwrap_or_else(|error| {
        tracing::error!(
            error = format!("{:#}", anyhow::Error::from(error)),
            "OCSP failed"
        );
        Answer::refused(Refusal::InternalError)
    });
    ca.metrics.count_ocsp(answer.outcome);
    // What is kept anywhere would hide a revocation that comes next.
    let headers = [
        (header::CONTENT_TYPE, OCSP_RESPONSE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, answer.der).into_response()
}

async fn answer(
    ca: &CertificateAuthority,
    id: &str,
    request: Option<Bytes>,
) -> Result<Answer, CaError> {
    let Some(request) = request.and_then(|bytes| Request::from_der(&bytes).ok()) else {
        return Ok(Answer::refused(Refusal::MalformedRequest));
    };
    let Some(asked) = answering(ca, id).await else {
        return Ok(Answer::refused(Refusal::Unauthorized));
    };
    let own = asked.authority.certificate();
    let serials = request.serials_of(own);
    if serials.is_empty() {
        return Ok(Answer::refused(Refusal::Unauthorized));
    }
    let Some(responder) = ca
        .authorities
        .responder_or_new(&ca.responders, &asked)
        .await?
    else {
        return Ok(Answer::refused(Refusal::TryLater));
    };
    let now = clock::now_seconds();
    let statuses = statuses(ca, &asked, serials).await?;
    // The answer is worth nothing without the certificate of its responder.
    let next = now
        .saturating_add(ca.settings.ocsp_lifetime_s)
        .min(responder.certificate().not_after());
    let outcome = outcome(&statuses);
    let der = offload(move || {
        let status_of = |serial: &[u8]| statuses.get(serial).copied().unwrap_or(Status::Unknown);
        responder.respond(&request, status_of, now, next)
    })
    .await?;
    Ok(Answer { outcome, der })
}

/// The issuing CA of this id that still answers, also if another process has made it just now.
async fn answering(ca: &CertificateAuthority, id: &str) -> Option<Arc<Ca>> {
    let now_s = clock::now_seconds();
    let find = || {
        let held = ca.hierarchy();
        crate::responders::answering(&held, now_s)
            .find(|held| held.id == id)
            .cloned()
    };
    if let Some(found) = find() {
        return Some(found);
    }
    match ca.authorities.refresh().await {
        Ok(true) => find(),
        _ => None,
    }
}

async fn statuses(
    ca: &CertificateAuthority,
    issuer: &Ca,
    serials: Vec<Vec<u8>>,
) -> Result<HashMap<Vec<u8>, Status>, CaError> {
    let mut conn = ca.db.read().await?;
    let mut statuses = HashMap::with_capacity(serials.len());
    for serial in serials {
        let found = certificates::find(&mut conn, &hex::encode(&serial)).await?;
        let status = match found.filter(|found| found.authority == issuer.id) {
            None => Status::Unknown,
            Some(found) => match (found.revoked_at_s, found.revocation_reason) {
                (Some(at), Some(reason)) => Status::Revoked { at, reason },
                _ => Status::Good,
            },
        };
        statuses.insert(serial, status);
    }
    Ok(statuses)
}

/// What is counted: the worst that is said.
fn outcome(statuses: &HashMap<Vec<u8>, Status>) -> &'static str {
    let any = |matches: fn(&Status) -> bool| statuses.values().any(matches);
    if any(|status| matches!(status, Status::Revoked { .. })) {
        "revoked"
    } else if any(|status| matches!(status, Status::Unknown)) {
        "unknown"
    } else {
        "good"
    }
}

impl Answer {
    fn refused(refusal: Refusal) -> Self {
        Self {
            outcome: match refusal {
                Refusal::MalformedRequest => "malformed_request",
                Refusal::InternalError => "internal_error",
                Refusal::TryLater => "try_later",
                Refusal::Unauthorized => "unauthorized",
            },
            der: ocsp::refusal(refusal),
        }
    }
}
