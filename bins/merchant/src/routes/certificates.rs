//! The merchant's own certificates, for the shop's own staff.

use std::sync::Arc;

use axum::extract::State;
use openset_service::enrolment::OwnCertificates;
use openset_service::problem::Json;

use super::Operator;
use crate::Merchant;

/// The merchant's own certificates, with their status and the days that they have left.
#[utoipa::path(
    get, path = "/certificates/own", tag = "operator", security(("bearer" = [])),
    responses((status = 200, body = OwnCertificates))
)]
pub(crate) async fn own(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
) -> Json<OwnCertificates> {
    let verifier = merchant.verifier().ok();
    Json(OwnCertificates::of(&merchant.keyring, verifier.as_deref()))
}
