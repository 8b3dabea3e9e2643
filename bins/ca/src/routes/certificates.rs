//! What the operator sees and does: certificates issued, and their revocation.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use openset_jose::Thumbprint;
use openset_pki::authority::RevocationReason;
use openset_pki::{Purpose, Role};
use openset_protocol::{BrandId, Timestamp};
use openset_service::auth::Scope;
use openset_service::problem::{Json, Problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::CertificateAuthority;
use crate::crl::Revocation;
use crate::store::certificates::{self, Issued};

const PAGE_MAX: u16 = 500;

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// The `next` of the page before.
    after: Option<String>,
    /// At most so many, 1 to 500.
    limit: Option<u16>,
}

/// A certificate that was issued.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct View {
    /// Its serial number, hexadecimal.
    serial: String,
    /// The CA that issued it.
    authority: String,
    #[schema(value_type = String, examples("merchant"))]
    role: Role,
    #[schema(value_type = String, examples("signature"))]
    purpose: Purpose,
    #[schema(value_type = Option<String>)]
    brand: Option<BrandId>,
    /// A cardholder's is a pseudonym.
    common_name: String,
    organizational_unit: Option<String>,
    #[schema(value_type = String)]
    not_before: Timestamp,
    #[schema(value_type = String)]
    not_after: Timestamp,
    /// SHA-256 of the certificate, base64url.
    #[schema(value_type = String)]
    thumbprint: Thumbprint,
    /// SHA-256 of its key's SPKI, base64url.
    #[schema(value_type = String)]
    key_thumbprint: Thumbprint,
    #[schema(value_type = String)]
    issued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    revoked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    revocation_reason: Option<RevocationReason>,
}

/// A part of the list of certificates.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listed {
    certificates: Vec<View>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Why a certificate is revoked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    #[schema(value_type = String, examples("key_compromise"))]
    reason: RevocationReason,
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RevokedView {
    serial: String,
    /// False if it was revoked before.
    newly: bool,
}

/// Certificates in the order in which they were issued.
#[utoipa::path(
    get, path = "/certificates", tag = "operator", params(Page), security(("bearer" = [])),
    responses((status = 200, body = Listed))
)]
pub(crate) async fn list(
    State(ca): State<Arc<CertificateAuthority>>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Result<Json<Listed>, Problem> {
    ca.settings.tokens.require(&headers, &[Scope::Operator])?;
    let limit = page.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let issued = certificates::list(
        &mut *ca.db.read().await?,
        page.after.as_deref(),
        i64::from(limit),
    )
    .await?;
    let full = issued.len() == usize::from(limit);
    let next = issued
        .last()
        .map(|last| certificates::serial(&last.certificate))
        .filter(|_| full);
    Ok(Json(Listed {
        certificates: issued.into_iter().map(view).collect(),
        next,
    }))
}

/// Revokes a certificate. The new CRL is in force as soon as the others fetch it.
#[utoipa::path(
    post, path = "/certificates/{serial}/revoke", tag = "operator", security(("bearer" = [])),
    params(("serial" = String, Path, description = "Hexadecimal, as in the list")),
    request_body = Revoke,
    responses(
        (status = 200, body = RevokedView),
        (status = 404, description = "No such certificate"),
    )
)]
pub(crate) async fn revoke(
    State(ca): State<Arc<CertificateAuthority>>,
    Path(serial): Path<String>,
    headers: HeaderMap,
    Json(asked): Json<Revoke>,
) -> Result<Json<RevokedView>, Problem> {
    ca.settings.tokens.require(&headers, &[Scope::Operator])?;
    match ca.revoke(&serial, asked.reason).await? {
        Revocation::Unknown => Err(Problem::not_found(
            "no-such-certificate",
            "no certificate has this serial; GET /certificates lists them",
        )),
        outcome => Ok(Json(RevokedView {
            serial,
            newly: outcome == Revocation::Revoked,
        })),
    }
}

fn view(issued: Issued) -> View {
    let certificate = &issued.certificate;
    View {
        serial: certificates::serial(certificate),
        authority: issued.authority,
        role: certificate.role(),
        purpose: certificate.purpose(),
        brand: certificate.brand().cloned(),
        common_name: certificate.common_name().to_owned(),
        organizational_unit: certificate.organizational_unit().map(str::to_owned),
        not_before: Timestamp::from_seconds(certificate.not_before()),
        not_after: Timestamp::from_seconds(certificate.not_after()),
        thumbprint: certificate.thumbprint(),
        key_thumbprint: certificate.public_key().thumbprint(),
        issued_at: Timestamp::from_seconds(issued.issued_at_s),
        revoked_at: issued.revoked_at_s.map(Timestamp::from_seconds),
        revocation_reason: issued.revocation_reason,
    }
}
