//! The gateway's certificates: merchants fetch them here, and verify them to the root that they pin.

use std::sync::Arc;

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openset_pki::Chain;
use openset_service::enrolment::OwnCertificates;
use openset_service::problem::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::Operator;
use crate::Gateway;

/// The current certificates of every brand.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CertificatesView {
    certificates: Vec<CertificateView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CertificateView {
    #[schema(examples("Visa"))]
    brand: String,
    /// What the key is for.
    purpose: PurposeView,
    /// DER in base64, the leaf first, without the root.
    chain: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PurposeView {
    KeyExchange,
    Signature,
}

/// The certificates that PI and AuthReq are sealed for, and that AuthRes is signed with.
#[utoipa::path(
    get, path = "/certificates", tag = "public", security(()),
    responses((status = 200, body = CertificatesView))
)]
pub(super) async fn show(State(gateway): State<Arc<Gateway>>) -> Json<CertificatesView> {
    let view = |purpose, chain: &Chain| CertificateView {
        brand: chain
            .leaf()
            .brand()
            .map(ToString::to_string)
            .unwrap_or_default(),
        purpose,
        chain: chain
            .to_x5c()
            .iter()
            .map(|der| STANDARD.encode(der))
            .collect(),
    };
    let held = gateway.keyring.pairs();
    let current = held.iter().filter(|pair| pair.current);
    let certificates = current.map(|pair| &pair.credentials).flat_map(|held| {
        [
            view(PurposeView::KeyExchange, held.key_exchange.chain()),
            view(PurposeView::Signature, held.signature.chain()),
        ]
    });
    Json(CertificatesView {
        certificates: certificates.collect(),
    })
}

/// All that the gateway holds, with their status and the days that they have left.
#[utoipa::path(
    get, path = "/certificates/own", tag = "operator",
    responses((status = 200, body = OwnCertificates))
)]
pub(super) async fn own(State(gateway): State<Arc<Gateway>>, _: Operator) -> Json<OwnCertificates> {
    let verifier = gateway.verifier().ok();
    Json(OwnCertificates::of(&gateway.keyring, verifier.as_deref()))
}
