//! Applications that wait for the bank's word, and how they end when it is yes.

use super::issuance::{CertReply, Issued, KeyPair, Order, complete_status, subject};
use crate::card::{Bin, CardExpiry, CardSecret, NonceCca, Pan};
use crate::identity::Credentials;
use crate::messages::cert::CertStatus;
use crate::{BrandId, Context, Rejection};
use openset_jose::{PublicKey, Thumbprint};
use openset_pki::authority::{Authority, IssueError};
use openset_pki::{MerchantData, Purpose, Role};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// What the issuer is asked.
#[derive(Serialize)]
pub struct CardApprovalRequest {
    /// The card number.
    pub pan: Pan,
    /// Its expiry.
    pub expiry: CardExpiry,
    /// The name on the card, as the applicant wrote it.
    #[serde(serialize_with = "text")]
    pub holder: Zeroizing<String>,
    /// The brand.
    pub brand: BrandId,
    /// The code that the issuer gave with the account.
    #[serde(serialize_with = "text")]
    pub activation_code: Zeroizing<String>,
    /// The key to be certified: the approval is for it alone.
    pub key_thumbprint: Thumbprint,
}

/// What the acquirer is asked.
#[derive(Serialize)]
pub struct MerchantApprovalRequest {
    /// The merchant's name at the acquirer.
    pub merchant_id: String,
    /// The acquirer.
    pub merchant_bin: Bin,
    /// The brand.
    pub brand: BrandId,
    /// The code that the acquirer gave.
    #[serde(serialize_with = "text")]
    pub activation_code: Zeroizing<String>,
    /// The signature key to be certified.
    pub key_thumbprint: Thumbprint,
    /// The key-exchange key to be certified.
    pub key_exchange_thumbprint: Thumbprint,
}

/// What the brand is asked.
#[derive(Serialize)]
pub struct GatewayApprovalRequest {
    /// The gateway's name at the acquirer.
    pub gateway_id: String,
    /// The acquirer.
    pub acquirer_bin: Bin,
    /// The brand.
    pub brand: BrandId,
    /// The code that the brand gave.
    #[serde(serialize_with = "text")]
    pub activation_code: Zeroizing<String>,
    /// The signature key to be certified.
    pub key_thumbprint: Thumbprint,
    /// The key-exchange key to be certified.
    pub key_exchange_thumbprint: Thumbprint,
}

fn text<S: Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

macro_rules! redacted {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    )*};
}
redacted!(
    CardApprovalRequest,
    MerchantApprovalRequest,
    GatewayApprovalRequest
);

/// The issuer's word for a cardholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardApproval {
    /// The issuer's name, for the certificate's OU.
    pub issuer_name: String,
}

/// The acquirer's word for a merchant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerchantApproval {
    /// The merchant's name, as it stands on statements.
    pub name: String,
    /// ISO 3166 numeric.
    pub country: u16,
    /// The acquirer's name, for the certificate's OU.
    pub acquirer_name: String,
}

/// The brand's word for a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayApproval {
    /// The acquirer that runs the gateway, for the certificate's OU.
    pub organization: String,
}

/// A cardholder's application, to be put before the issuer.
#[derive(Debug)]
pub struct CardApplication {
    /// What to ask.
    pub request: CardApprovalRequest,
    pub(super) key: PublicKey,
    pub(super) card_secret: CardSecret,
    /// How to answer; a refusal is [`CertReply::refuse`].
    pub reply: CertReply,
}

/// A merchant's application, to be put before the acquirer.
#[derive(Debug)]
pub struct MerchantApplication {
    /// What to ask.
    pub request: MerchantApprovalRequest,
    pub(super) keys: KeyPair,
    /// How to answer; a refusal is [`CertReply::refuse`].
    pub reply: CertReply,
}

/// A gateway's application, to be put before the brand.
#[derive(Debug)]
pub struct GatewayApplication {
    /// What to ask.
    pub request: GatewayApprovalRequest,
    pub(super) keys: KeyPair,
    /// How to answer; a refusal is [`CertReply::refuse`].
    pub reply: CertReply,
}

/// Why an approved application was not completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompleteError {
    /// What the bank approved cannot stand in a certificate.
    #[error("what was approved cannot stand in a certificate")]
    Issue(#[from] IssueError),
    /// The answer could not be made.
    #[error(transparent)]
    Answer(#[from] Rejection),
}

impl CardApplication {
    /// Issues the certificate and answers. Card number and CardSecret are dropped here.
    ///
    /// # Errors
    /// [`CompleteError`].
    pub fn complete(
        self,
        ctx: &mut Context<'_>,
        ca: &Credentials,
        authority: &Authority,
        approval: CardApproval,
    ) -> Result<Issued, CompleteError> {
        let CardApprovalRequest {
            pan, expiry, brand, ..
        } = &self.request;
        let nonce_cca = NonceCca::generate(ctx.rng);
        let common_name = self
            .card_secret
            .pan_secret(&nonce_cca)
            .account_name(pan, *expiry);
        let card_ends = expiry.ends_at().plus(-1).seconds();
        let order = Order {
            authority,
            role: Role::Cardholder,
            subject: subject(brand, approval.issuer_name, common_name),
            not_after_max: card_ends,
            merchant_data: None,
        };
        let certificate = order.issue(ctx, Purpose::Signature, &self.key)?;
        let status = CertStatus {
            nonce_cca: Some(nonce_cca),
            ..complete_status()
        };
        self.reply
            .issued(ctx, ca, authority, status, vec![certificate])
    }
}

impl MerchantApplication {
    /// Issues both certificates and answers.
    ///
    /// # Errors
    /// [`CompleteError`].
    pub fn complete(
        self,
        ctx: &mut Context<'_>,
        ca: &Credentials,
        authority: &Authority,
        approval: MerchantApproval,
    ) -> Result<Issued, CompleteError> {
        let MerchantApprovalRequest {
            merchant_id,
            merchant_bin,
            brand,
            ..
        } = &self.request;
        let merchant_data = MerchantData {
            merchant_id: merchant_id.clone(),
            acquirer_bin: merchant_bin.as_str().to_owned(),
            name: approval.name.clone(),
            country: approval.country,
            auth_flag: false,
        };
        let order = Order {
            authority,
            role: Role::Merchant,
            subject: subject(brand, approval.acquirer_name, approval.name),
            not_after_max: i64::MAX,
            merchant_data: Some(merchant_data),
        };
        let certificates = order.issue_pair(ctx, &self.keys)?;
        self.reply
            .issued(ctx, ca, authority, complete_status(), certificates)
    }
}

impl GatewayApplication {
    /// Issues both certificates and answers. Purchases must be signed: cardCertRequired is set.
    ///
    /// # Errors
    /// [`CompleteError`].
    pub fn complete(
        self,
        ctx: &mut Context<'_>,
        ca: &Credentials,
        authority: &Authority,
        approval: GatewayApproval,
    ) -> Result<Issued, CompleteError> {
        let GatewayApprovalRequest {
            gateway_id,
            acquirer_bin,
            brand,
            ..
        } = &self.request;
        let order = Order {
            authority,
            role: Role::Gateway,
            subject: subject(
                brand,
                approval.organization,
                format!("{acquirer_bin}:{gateway_id}"),
            ),
            not_after_max: i64::MAX,
            merchant_data: None,
        };
        let certificates = order.issue_pair(ctx, &self.keys)?;
        self.reply
            .issued(ctx, ca, authority, complete_status(), certificates)
    }
}
