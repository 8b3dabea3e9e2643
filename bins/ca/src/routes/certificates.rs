//! What the operator sees and does: certificates issued, and their revocation.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use openset_jose::Thumbprint;
use openset_pki::authority::RevocationReason;
use openset_pki::{Purpose, Role};
use openset_protocol::{BrandId, Timestamp};
use openset_service::auth::Scope;
use openset_service::clock;
use openset_service::paging::{Asked, Page, Place, Query};
use openset_service::problem::{Json, Problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::CertificateAuthority;
use crate::crl::Revocation;
use crate::store::certificates::{self, Filter, Issued, Status};

/// The longest time ahead that can be asked about.
const DAYS_MAX: u32 = 36_500;

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The `next` of the page before.
    after: Option<String>,
    /// At most so many, 1 to 200; 50 unless given.
    limit: Option<u16>,
    /// Only of owners with this role, such as merchant or brand_ca.
    #[param(value_type = Option<String>)]
    role: Option<Role>,
    /// Only of this brand.
    #[param(value_type = Option<String>)]
    brand: Option<BrandId>,
    /// Only good, expired, revoked or retired ones.
    status: Option<Status>,
    /// Only those in force that run out within so many days, without OCSP responders'.
    expiring_days: Option<u32>,
}

/// A certificate that was issued.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct View {
    /// Its serial number, hexadecimal.
    serial: String,
    authority: String,
    /// The CA whose own it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    status: Status,
    /// Whole days until it runs out; negative when it has.
    days_left: i64,
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
    get, path = "/certificates", tag = "operator", params(Which), security(("bearer" = [])),
    responses((status = 200, body = Page<View>))
)]
pub(crate) async fn list(
    State(ca): State<Arc<CertificateAuthority>>,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Result<Json<Page<View>>, Problem> {
    ca.settings.tokens.require(&headers, &[Scope::Operator])?;
    let asked = Asked::new(which.after.as_deref(), which.limit)?;
    let now_s = clock::now_seconds();
    let ahead = |days: u32| now_s.saturating_add(i64::from(days.min(DAYS_MAX)) * 86_400);
    let filter = Filter {
        role: which.role,
        brand: which.brand,
        status: which.status,
        expiring_before_s: which.expiring_days.map(ahead),
        own: false,
    };
    let mut conn = ca.db.read().await?;
    let after = (asked.at(), asked.id());
    let issued = certificates::list(&mut conn, &filter, after, asked.rows(), now_s).await?;
    let place = |one: &Issued| Place {
        at: one.issued_at_s,
        id: certificates::serial(&one.certificate),
    };
    Ok(Json(
        asked.page(issued, place, |issued| View::of(issued, now_s)),
    ))
}

/// Revokes a certificate. The new CRL is in force as soon as the others fetch it.
#[utoipa::path(
    post, path = "/certificates/{serial}/revoke", tag = "operator", security(("bearer" = [])),
    params(("serial" = String, Path, description = "Hexadecimal, as in the list")),
    request_body = Revoke,
    responses(
        (status = 200, body = RevokedView),
        (status = 404, description = "No such certificate"),
        (status = 409, description = "A root's, or one that only an offline root can revoke"),
    )
)]
pub(crate) async fn revoke(
    State(ca): State<Arc<CertificateAuthority>>,
    Path(serial): Path<String>,
    headers: HeaderMap,
    Json(asked): Json<Revoke>,
) -> Result<Json<RevokedView>, Problem> {
    ca.settings.tokens.require(&headers, &[Scope::Operator])?;
    match ca.authorities.revoke(&serial, asked.reason).await? {
        Revocation::Unknown => Err(Problem::not_found(
            "no-such-certificate",
            "no certificate has this serial; GET /certificates lists them",
        )),
        Revocation::Root => Err(Problem::conflict(
            "root",
            "nobody stands above a root who could revoke it; roll it over (openset-ca root rollover), and tell \
             everybody who pins it",
        )),
        Revocation::OfflineRoot => Err(Problem::conflict(
            "offline-root",
            "the root's key is kept elsewhere; revoke it there (openset-ca root crl --revoke) and import the new \
             root.crl here (openset-ca import)",
        )),
        outcome => Ok(Json(RevokedView {
            serial,
            newly: outcome == Revocation::Revoked,
        })),
    }
}

impl View {
    /// A certificate as it is shown now.
    pub(crate) fn of(issued: Issued, now_s: i64) -> Self {
        let certificate = &issued.certificate;
        Self {
            status: issued.status(now_s),
            days_left: issued.days_left(now_s),
            owner: issued.owner.clone(),
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
}
