//! Registrations that wait for an operator.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use openset_jose::Thumbprint;
use openset_pki::Role;
use openset_protocol::ids::LocalId;
use openset_protocol::{BrandId, Timestamp};
use openset_service::auth::Scope;
use openset_service::paging::{Asked, Page, Place, Query};
use openset_service::problem::{Json, Problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::CertificateAuthority;
use crate::decisions::Decision;
use crate::store::registrations::{self, Registration, State};

/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 200;

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Only those that are pended, issued or rejected.
    state: Option<State>,
    /// The `next` of the page before.
    after: Option<String>,
    /// At most so many, 1 to 200; 50 unless given.
    limit: Option<u16>,
}

/// A registration that waits for an operator, or waited.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct View {
    /// The CA's name for it.
    lid_ca: String,
    state: State,
    /// The CA that was asked.
    authority: String,
    #[schema(value_type = String, examples("merchant"))]
    role: Role,
    #[schema(value_type = String)]
    brand: BrandId,
    /// The bank that has approved.
    organizational_unit: String,
    /// The applicant, as the certificate is to name it; a cardholder's is a pseudonym.
    common_name: String,
    /// SHA-256 of the certificate that is renewed, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    renews: Option<Thumbprint>,
    #[schema(value_type = String)]
    received_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    decided_at: Option<Timestamp>,
}

/// Why there will be no certificates.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reject {
    /// For the applicant to read, 1 to 200 characters.
    reason: String,
}

/// What became of a decision.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Decided {
    lid_ca: String,
    state: State,
    /// False if it was decided so before.
    newly: bool,
    /// Serial numbers of the certificates that were issued now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    serials: Vec<String>,
}

/// Registrations that wait for an operator, or waited within the last 30 days, oldest first.
#[utoipa::path(
    get, path = "/registrations", tag = "operator", params(Which), security(("bearer" = [])),
    responses((status = 200, body = Page<View>))
)]
pub(crate) async fn list(
    Shared(ca): Shared<Arc<CertificateAuthority>>,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Result<Json<Page<View>>, Problem> {
    ca.settings.tokens.require(&headers, &[Scope::Operator])?;
    let asked = Asked::new(which.after.as_deref(), which.limit)?;
    let mut conn = ca.db.read().await?;
    let found = registrations::list(&mut conn, which.state, &asked).await?;
    let place = |one: &Registration| Place {
        at: one.received_at_s,
        id: one.lid_ca.clone(),
    };
    Ok(Json(asked.page(found, place, View::from)))
}

/// Issues the certificates. The applicant gets them when it asks next.
#[utoipa::path(
    post, path = "/registrations/{lid_ca}/approve", tag = "operator", security(("bearer" = [])),
    params(("lid_ca" = String, Path, description = "As in the list")),
    responses(
        (status = 200, body = Decided),
        (status = 404, description = "No such registration"),
        (status = 409, description = "It was rejected, or its certificates cannot be issued any more; with the code overtaken it waits still: try again"),
    )
)]
pub(crate) async fn approve(
    Shared(ca): Shared<Arc<CertificateAuthority>>,
    Path(lid_ca): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Decided>, Problem> {
    ca.settings.tokens.require(&headers, &[Scope::Operator])?;
    let name = named(&lid_ca)?;
    // A client that hangs up changes nothing about what was begun.
    let decided = tokio::spawn(async move { ca.approve(&name).await });
    told(
        lid_ca,
        State::Issued,
        decided.await.map_err(Problem::internal)??,
    )
}

/// Ends a registration that waits: the applicant is told rejectedByCA and the reason.
#[utoipa::path(
    post, path = "/registrations/{lid_ca}/reject", tag = "operator", security(("bearer" = [])),
    params(("lid_ca" = String, Path, description = "As in the list")),
    request_body = Reject,
    responses(
        (status = 200, body = Decided),
        (status = 404, description = "No such registration"),
        (status = 409, description = "Its certificates are issued; revoke them"),
    )
)]
pub(crate) async fn reject(
    Shared(ca): Shared<Arc<CertificateAuthority>>,
    Path(lid_ca): Path<String>,
    headers: HeaderMap,
    Json(asked): Json<Reject>,
) -> Result<Json<Decided>, Problem> {
    ca.settings.tokens.require(&headers, &[Scope::Operator])?;
    let reason = asked.reason.trim();
    let chars = reason.chars().count();
    if !(1..=REASON_CHARS_MAX).contains(&chars) || reason.chars().any(char::is_control) {
        return Err(Problem::unprocessable(
            "bad-reason",
            "a reason has 1 to 200 characters in one line",
        ));
    }
    let decision = ca.reject(&named(&lid_ca)?, reason).await?;
    told(lid_ca, State::Rejected, decision)
}

fn named(lid_ca: &str) -> Result<LocalId, Problem> {
    lid_ca.parse().map_err(|_| unknown())
}

fn unknown() -> Problem {
    Problem::not_found(
        "no-such-registration",
        "no registration that waits or waited has this name; GET /registrations lists them",
    )
}

fn told(lid_ca: String, state: State, decision: Decision) -> Result<Json<Decided>, Problem> {
    let (newly, serials) = match decision {
        Decision::Made(serials) => (true, serials),
        Decision::MadeBefore => (false, Vec::new()),
        Decision::Unknown => return Err(unknown()),
        Decision::Against(State::Issued) => {
            return Err(Problem::conflict(
                "issued",
                "its certificates are issued; revoke them (POST /certificates/{serial}/revoke)",
            ));
        }
        Decision::Against(_) => {
            return Err(Problem::conflict(
                "rejected",
                "it was rejected; the applicant has to begin anew",
            ));
        }
        Decision::Refused(why) => {
            return Err(Problem::conflict(
                "not-issuable",
                format!("its certificates cannot be issued any more, and it is rejected: {why}"),
            ));
        }
    };
    Ok(Json(Decided {
        lid_ca,
        state,
        newly,
        serials,
    }))
}

impl From<Registration> for View {
    fn from(found: Registration) -> Self {
        Self {
            lid_ca: found.lid_ca,
            state: found.state,
            authority: found.authority,
            role: found.role,
            brand: found.brand,
            organizational_unit: found.organizational_unit,
            common_name: found.common_name,
            renews: found.renews,
            received_at: Timestamp::from_seconds(found.received_at_s),
            decided_at: found.decided_at_s.map(Timestamp::from_seconds),
        }
    }
}
