//! The merchant's own certificates and its gateway's, for the shop's own staff.

use std::sync::Arc;

use axum::extract::State;
use openset_jose::Thumbprint;
use openset_protocol::messages::p_cert::PCertCode;
use openset_protocol::{BrandId, Timestamp};
use openset_service::clock;
use openset_service::enrolment::{OwnCertificates, days_left};
use openset_service::problem::{Json, Problem};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::Operator;
use crate::Merchant;
use crate::gateway::certificates::{self, Told};

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

/// The certificates that the merchant seals for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GatewayCertificates {
    /// One for each brand of the shop, in the order of its configuration.
    certificates: Vec<GatewayCertificate>,
}

/// The gateway's key-exchange certificate of a brand.
#[derive(Debug, Serialize, ToSchema)]
struct GatewayCertificate {
    #[schema(value_type = String, examples("Visa"))]
    brand: BrandId,
    /// SET's PCertCode, where the gateway was asked: `success`, or why it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, examples("success"))]
    p_cert_code: Option<PCertCode>,
    /// Whether PCertRes brought another one than was held.
    #[serde(skip_serializing_if = "Option::is_none")]
    renewed: Option<bool>,
    /// What is sealed for; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Held>,
}

/// A certificate that is held.
#[derive(Debug, Serialize, ToSchema)]
struct Held {
    #[schema(examples("454545:gateway-1"))]
    common_name: String,
    /// SHA-256 of the certificate, base64url.
    #[schema(value_type = String)]
    thumbprint: Thumbprint,
    #[schema(value_type = String, format = DateTime)]
    not_before: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    not_after: Timestamp,
    /// Whole days until it ends; negative when it has.
    days_left: i64,
    /// Why it is not used now: it has ended, or was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Why nobody could ask: for the API's description alone.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never made")]
enum NotAsked {
    /// No token
    #[response(status = 401, content_type = "application/problem+json")]
    NoToken,
    /// A token of another scope
    #[response(status = 403, content_type = "application/problem+json")]
    OtherScope,
    /// The gateway does not answer, or not with its signature
    #[response(status = 502, content_type = "application/problem+json")]
    NoAnswer,
    /// The shop has no certificates of its own yet
    #[response(status = 503, content_type = "application/problem+json")]
    NotReady,
}

/// The gateway's certificates, as they were asked for last. The shop asks once a minute by itself.
#[utoipa::path(
    get, path = "/certificates/gateway", tag = "operator", security(("bearer" = [])),
    responses(
        (status = 200, body = GatewayCertificates),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
    )
)]
pub(crate) async fn of_gateway(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
) -> Json<GatewayCertificates> {
    let brands = merchant.settings.brands.iter();
    let shown = brands.map(|brand| GatewayCertificate::of(&merchant, brand, None));
    Json(GatewayCertificates {
        certificates: shown.collect(),
    })
}

/// Asks the gateway for its certificates now, by PCertReq. It may be sent again: it moves nothing, and each asks anew.
#[utoipa::path(
    post, path = "/certificates/gateway/refresh", tag = "operator", security(("bearer" = [])),
    responses((status = 200, body = GatewayCertificates, description = "What the gateway said, brand by brand"), NotAsked)
)]
pub(crate) async fn refresh(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
) -> Result<Json<GatewayCertificates>, Problem> {
    let mut certificates = Vec::new();
    for brand in &merchant.settings.brands {
        merchant.credentials(brand)?;
        let told = certificates::ask(&merchant, brand).await;
        let told = told.map_err(|error| super::batches::no_answer(&error))?;
        certificates.push(GatewayCertificate::of(&merchant, brand, Some(told)));
    }
    Ok(Json(GatewayCertificates { certificates }))
}

impl GatewayCertificate {
    fn of(merchant: &Merchant, brand: &BrandId, told: Option<Told>) -> Self {
        Self {
            brand: brand.clone(),
            p_cert_code: told.map(|told| match told {
                Told::None(code) => code,
                Told::Same | Told::New => PCertCode::Success,
            }),
            renewed: told.map(|told| told == Told::New),
            certificate: Held::of(merchant, brand),
        }
    }
}

impl Held {
    fn of(merchant: &Merchant, brand: &BrandId) -> Option<Self> {
        let chain = merchant.gateways.last_of(brand)?;
        let verifier = merchant.verifier().ok();
        let refused =
            verifier.and_then(|verifier| certificates::verify(&chain, brand, &verifier).err());
        let leaf = chain.leaf();
        Some(Self {
            common_name: leaf.common_name().to_owned(),
            thumbprint: leaf.thumbprint(),
            not_before: Timestamp::from_seconds(leaf.not_before()),
            not_after: Timestamp::from_seconds(leaf.not_after()),
            days_left: days_left(leaf, clock::now_seconds()),
            refused: refused.map(|refusal| refusal.to_string()),
        })
    }
}
