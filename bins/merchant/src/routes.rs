//! The routes, and the document that describes them.

mod authorize;
mod batch_changes;
mod batches;
mod capture;
mod catalogue;
mod certificates;
mod ledger;
mod money;
mod order_list;
mod order_view;
mod orders;
mod products;
mod refund;
mod replay;
mod reverse;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use openset_service::auth::Scope;
use openset_service::openapi::Bearer;
use openset_service::problem::Problem;
use openset_service::set_endpoint;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Merchant;
use crate::set::SetEndpoint;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenSET merchant",
        description = "A web shop that never sees a card number. Amounts are integers in minor units. \
                       Errors are application/problem+json (RFC 9457) and name the field that must be \
                       mended. A POST with an Idempotency-Key may be sent again and brings the same answer. \
                       What moves money needs one, which stands for that one movement for good."
    ),
    paths(set),
    modifiers(&Bearer)
)]
struct Document;

/// SET messages of wallets: PInitReq, PReq and InqReq, one MessageWrapper in, one out.
#[utoipa::path(
    post, path = "/set", tag = "wallet",
    request_body(content = Object, content_type = "application/set-payment+json"),
    responses(
        (status = 200, content_type = "application/set-payment+json", description = "PInitRes, PRes or InqRes, declines included"),
        (status = 400, content_type = "application/set-payment+json", description = "SET's Error"),
        (status = 503, content_type = "application/problem+json", description = "Still at work: send the same bytes again"),
    )
)]
#[expect(
    dead_code,
    reason = "only describes the route, which is made by set_endpoint"
)]
fn set() {}

pub(crate) fn router(merchant: Arc<Merchant>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, api) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(products::list))
        .routes(routes!(catalogue::signed))
        .routes(routes!(orders::place, order_list::list))
        .routes(routes!(orders::show))
        .routes(routes!(authorize::authorize))
        .routes(routes!(reverse::reverse))
        .routes(routes!(capture::capture))
        .routes(routes!(refund::void_capture))
        .routes(routes!(refund::refund))
        .routes(routes!(refund::void_refund))
        .routes(routes!(certificates::own))
        .routes(routes!(certificates::of_gateway))
        .routes(routes!(certificates::refresh))
        .routes(routes!(batches::list, batch_changes::open))
        .routes(routes!(batches::show))
        .routes(routes!(batch_changes::close))
        .routes(routes!(batch_changes::purge))
        .routes(routes!(batches::refresh))
        .routes(routes!(batches::reconcile))
        .routes(routes!(ledger::show))
        .split_for_parts();
    let set = set_endpoint::router(Arc::new(SetEndpoint(Arc::clone(&merchant))));
    (router.with_state(merchant).merge(set), api)
}

/// A caller with the shop's own token.
#[derive(Debug)]
pub(crate) struct Operator;

impl FromRequestParts<Arc<Merchant>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        merchant: &Arc<Merchant>,
    ) -> Result<Self, Problem> {
        let tokens = &merchant.settings.tokens;
        tokens
            .require(&parts.headers, &[Scope::Operator])
            .map(|_| Self)
    }
}
