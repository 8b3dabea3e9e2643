//! The REST routes, and the document that describes them.

pub(crate) mod certificates;
mod ocsp;
mod public;
mod registrations;

use std::sync::Arc;

use axum::Router;
use openset_service::openapi::Bearer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::CertificateAuthority;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenSET certificate authority",
        description = "Registrations run by SET messages at POST /set, and at POST /regions/{region}/set \
                       for the CAs of another region (application/set-registration+json). \
                       Here is what everybody may read, and what the operator does. Errors are \
                       application/problem+json (RFC 9457)."
    ),
    modifiers(&Bearer)
)]
struct Document;

pub(crate) fn router(ca: Arc<CertificateAuthority>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, mut api) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(public::root))
        .routes(routes!(public::roots))
        .routes(routes!(public::trust))
        .routes(routes!(public::crl))
        .routes(routes!(public::brand_crl_identifier))
        .routes(routes!(ocsp::post))
        .routes(routes!(ocsp::get))
        .routes(routes!(certificates::list))
        .routes(routes!(certificates::revoke))
        .routes(routes!(registrations::list))
        .routes(routes!(registrations::approve))
        .routes(routes!(registrations::reject))
        .split_for_parts();
    // OpenAPI has no sign for a parameter that may hold slashes.
    let paths = std::mem::take(&mut api.paths.paths);
    let plain = |(path, item): (String, _)| (path.replace("{*", "{"), item);
    api.paths.paths = paths.into_iter().map(plain).collect();
    (router.with_state(ca), api)
}
