//! Registrations: the certificate authority asks whether a key may be certified for a card.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use openset_jose::Thumbprint;
use openset_protocol::BrandId;
use openset_protocol::card::{CardExpiry, Pan};
use openset_service::problem::{Json, Problem};
use openset_store::{SecretString, Tx};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Issuer;
use crate::enrolment::{self, Approval, Claimed, Disapproval};
use crate::error::IssuerError;
use crate::request::{CertificateAuthority, Decoded};
use crate::store::{accounts, codes};

/// What a cardholder's registration form claims, and the key that it is for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalRequest {
    #[schema(value_type = String, examples("4000001234567899"))]
    pan: Pan,
    #[schema(value_type = String, examples("202912"))]
    expiry: CardExpiry,
    /// Compared without regard to case and outer spaces. Together with `activation_code`.
    #[schema(examples("Alice Example"))]
    holder: Option<String>,
    #[schema(value_type = String, examples("Visa"))]
    brand: BrandId,
    /// The code that came with the account; used up by the first approval.
    #[schema(examples("K7QWE-2MX9A"))]
    activation_code: Option<String>,
    /// Instead of holder and code: SHA-256 of the certificate that is renewed, base64url. The certificate
    /// authority has verified it for this card; asked is whether the card is in good standing.
    #[schema(value_type = Option<String>)]
    renews: Option<Thumbprint>,
    /// Answers to what the certificate authority's form asks beside that. This bank looks at none of them.
    #[serde(default, rename = "answers")]
    #[schema(value_type = BTreeMap<String, String>)]
    _answers: BTreeMap<String, SecretString>,
    /// SHA-256 of the key's SPKI, base64url: the approval is for this key alone.
    #[schema(value_type = String)]
    key_thumbprint: Thumbprint,
}

/// Whether the key may be certified.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalAnswer {
    approved: bool,
    /// The bank's name, if it approves.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_name: Option<String>,
    /// Why not, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Disapproval>,
}

/// Approves a key for a card, or says why not. The same key may ask again and gets the same answer.
#[utoipa::path(
    post, path = "/registrations/approve", tag = "ca",
    request_body = ApprovalRequest,
    responses(
        (status = 200, body = ApprovalAnswer, description = "Approved or not"),
        (status = 422, description = "A field must be mended"),
    )
)]
pub(crate) async fn approve(
    State(issuer): State<Arc<Issuer>>,
    authority: CertificateAuthority,
    body: Decoded<ApprovalRequest>,
) -> Result<Json<ApprovalAnswer>, Problem> {
    let credential = body.value.credential()?;
    let mut tx = issuer.db.begin().await?;
    let decided = decide(&issuer, &mut tx, &body.value, credential).await?;
    tx.commit().await?;
    tracing::info!(
        kind = authority.0.name,
        outcome = if decided.is_ok() {
            "approved"
        } else {
            "refused"
        },
        "registration"
    );
    Ok(Json(ApprovalAnswer {
        approved: decided.is_ok(),
        issuer_name: decided.is_ok().then(|| issuer.settings.issuer_name.clone()),
        reason: decided.err(),
    }))
}

/// How the applicant shows who it is.
#[derive(Clone, Copy)]
enum Credential<'a> {
    /// The name on the card and the code that came with it.
    Code(&'a str, &'a str),
    /// A certificate for the card, which the certificate authority has verified.
    Certificate,
}

impl ApprovalRequest {
    fn credential(&self) -> Result<Credential<'_>, Problem> {
        match (&self.holder, &self.activation_code, &self.renews) {
            (Some(holder), Some(code), None) => Ok(Credential::Code(holder, code)),
            (None, None, Some(_)) => Ok(Credential::Certificate),
            _ => Err(
                Problem::unprocessable("invalid-field", "a field must be mended").with_field(
                    "/renews",
                    "give holder and activation_code, or renews alone",
                ),
            ),
        }
    }
}

/// Decides, and counts the attempt or uses up the code.
async fn decide(
    issuer: &Issuer,
    tx: &mut Tx,
    request: &ApprovalRequest,
    credential: Credential<'_>,
) -> Result<Result<(), Disapproval>, IssuerError> {
    let digits = request.pan.danger_digits().as_bytes();
    let pan_index = issuer.vault.index(accounts::PAN_INDEX, digits);
    let Some(account) = accounts::find_by_pan(&mut *tx, &pan_index).await? else {
        return Ok(Err(Disapproval::UnknownCard));
    };
    let Credential::Code(holder, activation_code) = credential else {
        let now = issuer.clock.now();
        let standing = enrolment::standing(&account, &request.brand, request.expiry, now);
        return Ok(standing);
    };
    let card_id = account.card.id.as_str();
    let now = issuer.clock.now();
    let code = codes::lock(tx, card_id, now.seconds()).await?;
    let key_thumbprint = request.key_thumbprint.to_string();
    let claimed = Claimed {
        holder,
        brand: &request.brand,
        expiry: request.expiry,
        code_hash: &issuer.code_hash(card_id, activation_code),
        key_thumbprint: &key_thumbprint,
    };
    let decided = enrolment::decide(&account, &code, &claimed, now);
    match decided {
        Ok(Approval::UseCode) => {
            codes::bind_to_key(tx, card_id, &key_thumbprint, now.seconds()).await?;
        }
        // Once a code is used, guessing at it leads nowhere and locks nobody out.
        Err(Disapproval::WrongCode) if code.key_thumbprint.is_none() && claimed.fits(&account) => {
            codes::count_wrong_attempt(tx, card_id, now.seconds()).await?;
        }
        Ok(Approval::Again) | Err(_) => {}
    }
    Ok(decided.map(drop))
}
