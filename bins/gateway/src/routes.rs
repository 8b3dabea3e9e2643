//! The REST routes, and the document that describes them.

mod authorizations;
mod batches;
mod certificates;
mod ledger;
mod registrations;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use openset_service::auth::Scope;
use openset_service::openapi::Bearer;
use openset_service::problem::Problem;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Gateway;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenSET payment gateway",
        description = "The merchant's bank. AuthReq and CapReq go to POST /set as \
                       application/set-payment+json, one MessageWrapper in, one out. Everything below is \
                       ordinary REST. Amounts are integers in minor units. Errors are \
                       application/problem+json (RFC 9457)."
    ),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Document;

pub(crate) fn router(gateway: Arc<Gateway>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, api) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(authorizations::show))
        .routes(routes!(batches::list))
        .routes(routes!(batches::settle))
        .routes(routes!(certificates::show))
        .routes(routes!(certificates::own))
        .routes(routes!(ledger::show))
        .routes(routes!(registrations::approve))
        .split_for_parts();
    (router.with_state(gateway), api)
}

/// The acquirer's own staff.
#[derive(Debug)]
struct Operator;

/// A certificate authority.
#[derive(Debug)]
struct CertificateAuthority;

impl FromRequestParts<Arc<Gateway>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Problem> {
        gateway
            .settings
            .tokens
            .require(&parts.headers, &[Scope::Operator])
            .map(|_| Self)
    }
}

impl FromRequestParts<Arc<Gateway>> for CertificateAuthority {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Problem> {
        gateway
            .settings
            .tokens
            .require(&parts.headers, &[Scope::Ca])
            .map(|_| Self)
    }
}
