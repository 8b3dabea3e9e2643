//! The routes, and the document that describes them.

mod account_view;
mod accounts;
mod activation_codes;
mod authorizations;
mod lists;
mod movements;
mod registrations;
mod settlements;

use std::sync::Arc;

use axum::Router;
use openset_service::openapi::Bearer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Issuer;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenSET issuer",
        description = "The cardholder's bank. Amounts are integers in minor units, beside \
                       which answers have them as people write them. Lists come in pages: `next` is the \
                       `after` of the next one. Errors are \
                       application/problem+json (RFC 9457) and name the field that must be mended. \
                       A POST with an Idempotency-Key may be sent again and brings the same answer."
    ),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Document;

pub(crate) fn router(issuer: Arc<Issuer>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, api) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(accounts::open, lists::accounts))
        .routes(routes!(accounts::show))
        .routes(routes!(lists::statement))
        .routes(routes!(accounts::block))
        .routes(routes!(accounts::unblock))
        .routes(routes!(activation_codes::renew))
        .routes(routes!(authorizations::authorize, lists::authorizations))
        .routes(routes!(authorizations::show))
        .routes(routes!(movements::capture))
        .routes(routes!(movements::reverse))
        .routes(routes!(movements::reverse_capture))
        .routes(routes!(movements::credit))
        .routes(routes!(movements::reverse_credit))
        .routes(routes!(settlements::settle, lists::settlements))
        .routes(routes!(registrations::approve))
        .split_for_parts();
    (router.with_state(issuer), api)
}
