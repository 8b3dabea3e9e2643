//! Applications that wait for the bank's word, and what becomes of them when it is yes.

use super::issuance::{Approved, CertReply, Issued, Issuer};
use super::renewal::Held;
use crate::card::{Bin, CardExpiry, CardSecret, NonceCca, Pan};
use crate::ids::ExactBytes;
use crate::messages::cert::CertReqData;
use crate::{BrandId, Context, Rejection};
use openset_jose::{PublicKey, Thumbprint};
use openset_pki::authority::IssueError;
use openset_pki::{MerchantData, Role};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// What the issuer is asked.
#[derive(Serialize)]
pub struct CardApprovalRequest {
    /// The card number.
    pub pan: Pan,
    /// Its expiry.
    pub expiry: CardExpiry,
    /// The brand.
    pub brand: BrandId,
    /// The key to be certified: the approval is for it alone.
    pub key_thumbprint: Thumbprint,
    /// How the applicant shows who it is.
    #[serde(flatten)]
    pub credential: CardCredential,
    /// Answers to fields of the operator's own, by the fields' names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "texts")]
    pub answers: BTreeMap<String, Zeroizing<String>>,
}

/// How a cardholder shows who it is.
#[derive(Serialize)]
#[serde(untagged)]
pub enum CardCredential {
    /// By what the issuer gave it.
    Code {
        /// The name on the card, as the applicant wrote it.
        #[serde(serialize_with = "text")]
        holder: Zeroizing<String>,
        /// The code that the issuer gave with the account.
        #[serde(serialize_with = "text")]
        activation_code: Zeroizing<String>,
    },
    /// By the certificate that is renewed, which the CA has verified: the issuer says only whether the
    /// account is still in good standing.
    Certificate {
        /// The certificate's thumbprint.
        renews: Thumbprint,
    },
}

/// How a merchant or gateway shows who it is.
#[derive(Serialize)]
#[serde(untagged)]
pub enum PartyCredential {
    /// By what the acquirer or brand gave it.
    Code {
        /// The code.
        #[serde(serialize_with = "text")]
        activation_code: Zeroizing<String>,
    },
    /// By a certificate that it has, which the CA has verified: the bank says only whether the applicant is
    /// still in good standing.
    Certificate {
        /// The certificate's thumbprint.
        renews: Thumbprint,
    },
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
    /// The signature key to be certified, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_thumbprint: Option<Thumbprint>,
    /// The key-exchange key to be certified, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_exchange_thumbprint: Option<Thumbprint>,
    /// How the applicant shows who it is.
    #[serde(flatten)]
    pub credential: PartyCredential,
    /// Answers to fields of the operator's own, by the fields' names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "texts")]
    pub answers: BTreeMap<String, Zeroizing<String>>,
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
    /// The signature key to be certified, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_thumbprint: Option<Thumbprint>,
    /// The key-exchange key to be certified, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_exchange_thumbprint: Option<Thumbprint>,
    /// How the applicant shows who it is.
    #[serde(flatten)]
    pub credential: PartyCredential,
}

impl CardCredential {
    /// The activation code, if that is how it is shown.
    #[must_use]
    pub fn activation_code(&self) -> Option<&str> {
        match self {
            Self::Code {
                activation_code, ..
            } => Some(activation_code),
            Self::Certificate { .. } => None,
        }
    }
}

impl PartyCredential {
    /// The activation code, if that is how it is shown.
    #[must_use]
    pub fn activation_code(&self) -> Option<&str> {
        match self {
            Self::Code { activation_code } => Some(activation_code),
            Self::Certificate { .. } => None,
        }
    }
}

fn texts<S: Serializer>(
    texts: &BTreeMap<String, Zeroizing<String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(texts.iter().map(|(name, text)| (name, text.as_str())))
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
    CardCredential,
    PartyCredential,
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

/// The keys to be certified: one at least.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) signature: Option<PublicKey>,
    pub(super) key_exchange: Option<PublicKey>,
}

/// The certificate that was shown, and whether it is renewed.
#[derive(Debug)]
pub(super) struct HeldFor {
    held: Option<Held>,
    renews: bool,
}

impl HeldFor {
    pub(super) fn new(held: Option<Held>, data: &CertReqData) -> Self {
        Self {
            held,
            renews: data.request_type.renews(),
        }
    }

    /// Enters in what was approved what the applicant has shown. Whoever shows a certificate keeps the name
    /// in it, whatever the bank calls it by now.
    fn keep(self, approved: Approved) -> Approved {
        let Some(held) = self.held else {
            return approved;
        };
        let old = &held.certificate;
        let kept = Approved {
            shown: held.shown(),
            signer: Some(held.signer.thumbprint()),
            renews: self.renews.then(|| held.thumbprint()),
            organizational_unit: old
                .organizational_unit()
                .map_or(approved.organizational_unit, str::to_owned),
            ..approved
        };
        if kept.role == Role::Cardholder {
            // A cardholder's name hides the card with NonceCCA, which is another one each time.
            return kept;
        }
        Approved {
            common_name: old.common_name().to_owned(),
            merchant_data: old.merchant_data().cloned(),
            ..kept
        }
    }
}

/// A cardholder's application, to be put before the issuer.
#[derive(Debug)]
pub struct CardApplication {
    /// What to ask.
    pub request: CardApprovalRequest,
    pub(super) key: PublicKey,
    pub(super) card_secret: CardSecret,
    pub(super) held: HeldFor,
    /// How to answer; a refusal is [`CertReply::refuse`].
    pub reply: CertReply,
}

/// A merchant's application, to be put before the acquirer.
#[derive(Debug)]
pub struct MerchantApplication {
    /// What to ask.
    pub request: MerchantApprovalRequest,
    pub(super) keys: Keys,
    pub(super) held: HeldFor,
    /// How to answer; a refusal is [`CertReply::refuse`].
    pub reply: CertReply,
}

/// A gateway's application, to be put before the brand.
#[derive(Debug)]
pub struct GatewayApplication {
    /// What to ask.
    pub request: GatewayApprovalRequest,
    pub(super) keys: Keys,
    pub(super) held: HeldFor,
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

fn spki(key: &PublicKey) -> ExactBytes {
    ExactBytes(key.spki_der().to_vec())
}

impl CardApplication {
    /// What is left to certify after the issuer's yes. Card number and CardSecret are dropped here: the name
    /// that hides them is computed now.
    #[must_use]
    pub fn approved(self, ctx: &mut Context<'_>, approval: CardApproval) -> Approved {
        let CardApprovalRequest {
            pan, expiry, brand, ..
        } = &self.request;
        let nonce_cca = NonceCca::generate(ctx.rng);
        let common_name = self
            .card_secret
            .pan_secret(&nonce_cca)
            .account_name(pan, *expiry);
        self.held.keep(Approved {
            role: Role::Cardholder,
            brand: brand.clone(),
            organizational_unit: approval.issuer_name,
            common_name,
            not_after_max: expiry.ends_at().plus(-1).seconds(),
            merchant_data: None,
            nonce_cca: Some(nonce_cca),
            signature: Some(spki(&self.key)),
            key_exchange: None,
            shown: Vec::new(),
            signer: None,
            renews: None,
            reply: self.reply,
        })
    }

    /// Issues the certificate and answers.
    ///
    /// # Errors
    /// [`CompleteError`].
    pub fn complete(
        self,
        ctx: &mut Context<'_>,
        issuer: &Issuer<'_>,
        approval: CardApproval,
    ) -> Result<Issued, CompleteError> {
        self.approved(ctx, approval).issue(ctx, issuer)
    }
}

impl MerchantApplication {
    /// What is left to certify after the acquirer's yes.
    #[must_use]
    pub fn approved(self, approval: MerchantApproval) -> Approved {
        let MerchantApprovalRequest {
            merchant_id,
            merchant_bin,
            brand,
            ..
        } = self.request;
        let merchant_data = MerchantData {
            merchant_id,
            acquirer_bin: merchant_bin.as_str().to_owned(),
            name: approval.name.clone(),
            country: approval.country,
            auth_flag: false,
        };
        self.held.keep(Approved {
            role: Role::Merchant,
            brand,
            organizational_unit: approval.acquirer_name,
            common_name: approval.name,
            not_after_max: i64::MAX,
            merchant_data: Some(merchant_data),
            nonce_cca: None,
            signature: self.keys.signature.as_ref().map(spki),
            key_exchange: self.keys.key_exchange.as_ref().map(spki),
            shown: Vec::new(),
            signer: None,
            renews: None,
            reply: self.reply,
        })
    }

    /// Issues the certificates and answers.
    ///
    /// # Errors
    /// [`CompleteError`].
    pub fn complete(
        self,
        ctx: &mut Context<'_>,
        issuer: &Issuer<'_>,
        approval: MerchantApproval,
    ) -> Result<Issued, CompleteError> {
        self.approved(approval).issue(ctx, issuer)
    }
}

impl GatewayApplication {
    /// What is left to certify after the brand's yes.
    #[must_use]
    pub fn approved(self, approval: GatewayApproval) -> Approved {
        let GatewayApprovalRequest {
            gateway_id,
            acquirer_bin,
            brand,
            ..
        } = self.request;
        self.held.keep(Approved {
            role: Role::Gateway,
            brand,
            organizational_unit: approval.organization,
            common_name: format!("{acquirer_bin}:{gateway_id}"),
            not_after_max: i64::MAX,
            merchant_data: None,
            nonce_cca: None,
            signature: self.keys.signature.as_ref().map(spki),
            key_exchange: self.keys.key_exchange.as_ref().map(spki),
            shown: Vec::new(),
            signer: None,
            renews: None,
            reply: self.reply,
        })
    }

    /// Issues the certificates and answers. Purchases must be signed: cardCertRequired is set.
    ///
    /// # Errors
    /// [`CompleteError`].
    pub fn complete(
        self,
        ctx: &mut Context<'_>,
        issuer: &Issuer<'_>,
        approval: GatewayApproval,
    ) -> Result<Issued, CompleteError> {
        self.approved(approval).issue(ctx, issuer)
    }
}
