//! Registrations: the certificate authority asks whether a merchant's keys may be certified.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use openset_jose::Thumbprint;
use openset_protocol::BrandId;
use openset_protocol::card::Bin;
use openset_service::clock;
use openset_service::problem::{Json, Problem};
use openset_store::{SecretString, Tx};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::CertificateAuthority;
use crate::Gateway;
use crate::config::Merchant;
use crate::error::GatewayError;
use crate::store::registrations::{self, Registration, WRONG_ATTEMPTS_MAX};

/// What a merchant's registration form claims, and the keys that it is for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalRequest {
    #[schema(examples("shop-1"))]
    merchant_id: String,
    /// The acquirer that the merchant names.
    #[schema(value_type = String, examples("411111"))]
    merchant_bin: Bin,
    #[schema(value_type = String, examples("Visa"))]
    brand: BrandId,
    /// The code that came with the contract; used up by the first approval under a brand.
    activation_code: Option<String>,
    /// Instead of the code: SHA-256 of a certificate that the merchant has, base64url. The certificate
    /// authority has verified it for this merchant; asked is whether the merchant is in good standing.
    #[schema(value_type = Option<String>)]
    renews: Option<Thumbprint>,
    /// Answers to what the certificate authority's form asks beside that. This bank looks at none of them.
    #[serde(default, rename = "answers")]
    #[schema(value_type = BTreeMap<String, String>)]
    _answers: BTreeMap<String, SecretString>,
    /// SHA-256 of the signature key's SPKI, base64url: the approval is for these keys alone.
    #[schema(value_type = Option<String>)]
    key_thumbprint: Option<Thumbprint>,
    /// The same of the key-exchange key; one of the two at least.
    #[schema(value_type = Option<String>)]
    key_exchange_thumbprint: Option<Thumbprint>,
}

/// Whether the keys may be certified, and what the certificates are to say.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ApprovalAnswer {
    approved: bool,
    /// The merchant's name for cardholders.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// ISO 3166 numeric.
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acquirer_name: Option<String>,
    /// ISO 18245.
    #[serde(skip_serializing_if = "Option::is_none")]
    merch_cat_code: Option<String>,
    /// Why not, if it does not approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Disapproval>,
}

/// Why a registration is not approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Disapproval {
    /// No merchant of this acquirer has this name and may take this brand.
    UnknownMerchant,
    /// The activation code is another one; the attempt was counted.
    WrongCode,
    /// Too many wrong attempts within an hour.
    CodeLocked,
    /// The code was used for other keys.
    CodeUsed,
}

/// Approves keys for a merchant, or says why not. The same keys may ask again and get the same answer.
#[utoipa::path(
    post, path = "/registrations/approve", tag = "ca",
    request_body = ApprovalRequest,
    responses(
        (status = 200, body = ApprovalAnswer, description = "Approved or not"),
        (status = 422, description = "A field must be mended"),
    )
)]
pub(super) async fn approve(
    State(gateway): State<Arc<Gateway>>,
    _: CertificateAuthority,
    Json(request): Json<ApprovalRequest>,
) -> Result<Json<ApprovalAnswer>, Problem> {
    request.check()?;
    let settings = &gateway.settings;
    let ours = request.merchant_bin == settings.acquirer_bin;
    let merchant = settings
        .merchant(&request.merchant_id, &request.brand)
        .filter(|_| ours);
    let decided = match merchant {
        None => Err(Disapproval::UnknownMerchant),
        Some(merchant) => {
            let mut tx = gateway.db.begin().await?;
            let decided = decide(&gateway, &mut tx, merchant, &request).await?;
            tx.commit().await?;
            decided.map(|()| merchant)
        }
    };
    let outcome = if decided.is_ok() {
        "approved"
    } else {
        "refused"
    };
    tracing::info!(outcome, "registration");
    Ok(Json(match decided {
        Err(reason) => ApprovalAnswer {
            reason: Some(reason),
            ..ApprovalAnswer::default()
        },
        Ok(merchant) => ApprovalAnswer {
            approved: true,
            name: Some(merchant.name.clone()),
            country: Some(merchant.country.clone()),
            acquirer_name: Some(settings.acquirer_name.clone()),
            merch_cat_code: Some(merchant.merch_cat_code.clone()),
            reason: None,
        },
    }))
}

impl ApprovalRequest {
    fn check(&self) -> Result<(), Problem> {
        if self.activation_code.is_some() == self.renews.is_some() {
            return Err(
                Problem::unprocessable("invalid-field", "a field must be mended")
                    .with_field("/renews", "give activation_code or renews, and not both"),
            );
        }
        if self.key_thumbprint.is_none() && self.key_exchange_thumbprint.is_none() {
            return Err(
                Problem::unprocessable("invalid-field", "a field must be mended")
                    .with_field("/key_thumbprint", "give one key at least"),
            );
        }
        Ok(())
    }
}

/// A key as the use of a code names it; empty if none is to be certified.
fn key_name(key: Option<Thumbprint>) -> String {
    key.map(|key| key.to_string()).unwrap_or_default()
}

/// Decides, and counts the attempt or uses up the code.
async fn decide(
    gateway: &Gateway,
    tx: &mut Tx,
    merchant: &Merchant,
    request: &ApprovalRequest,
) -> Result<Result<(), Disapproval>, GatewayError> {
    let Some(code) = &request.activation_code else {
        // It shows a certificate that it has, and its contract stands in the configuration still.
        return Ok(Ok(()));
    };
    let (id, brand) = (merchant.merchant_id.as_str(), request.brand.as_str());
    let keys = (
        key_name(request.key_thumbprint),
        key_name(request.key_exchange_thumbprint),
    );
    let (code_hash, now_s) = (code_hash(gateway, merchant, brand), clock::now_seconds());
    let held = registrations::lock(tx, id, brand, &code_hash, now_s).await?;
    let decided = judge(&held, &keys, same_code(merchant, code));
    match decided {
        Ok(()) if held.keys.is_none() => {
            registrations::bind_to_keys(tx, id, brand, (&keys.0, &keys.1), now_s).await?;
        }
        Err(Disapproval::WrongCode) if held.keys.is_none() => {
            registrations::count_wrong_attempt(tx, id, brand, now_s).await?;
        }
        _ => {}
    }
    Ok(decided)
}

/// The configured code as it is recorded. Keyed: a plain hash would give a short one away.
fn code_hash(gateway: &Gateway, merchant: &Merchant, brand: &str) -> [u8; 32] {
    let context = format!("registrations/code_hash/{}/{brand}", merchant.merchant_id);
    let code = merchant.activation_code.expose().trim();
    gateway.vault.index(&context, code.as_bytes())
}

fn judge(held: &Registration, keys: &(String, String), same_code: bool) -> Result<(), Disapproval> {
    match &held.keys {
        Some(bound) if bound != keys => Err(Disapproval::CodeUsed),
        None if held.wrong_attempts >= WRONG_ATTEMPTS_MAX => Err(Disapproval::CodeLocked),
        _ if !same_code => Err(Disapproval::WrongCode),
        _ => Ok(()),
    }
}

/// Compares hashes in constant time: neither length nor place of a difference shows.
fn same_code(merchant: &Merchant, claimed: &str) -> bool {
    let hash = |code: &str| openset_jose::sha256(code.trim().as_bytes());
    let held = merchant.activation_code.expose();
    bool::from(hash(held).ct_eq(&hash(claimed)))
}
