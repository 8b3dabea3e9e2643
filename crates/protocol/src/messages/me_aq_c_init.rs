//! Me-AqCInitReq / Me-AqCInitRes: a merchant or gateway begins a registration (reference section 2).

use crate::BrandId;
use crate::card::Bin;
use crate::ids::{Challenge, ExactBytes, Language, LocalId, Nonce, Rrpid};
use crate::messages::reg_form::{RegFormOrReferral, RequestType};
use crate::thumbs::Thumbs;
use crate::wrapper::Jwe;
use openset_jose::Thumbprint;
use serde::{Deserialize, Serialize};

/// Me-AqCInitReq, in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeAqCInitReq {
    /// As in the header.
    pub rrpid: Rrpid,
    /// The applicant's name for the registration.
    pub lid_ee: LocalId,
    /// To be repeated in the answer.
    pub chall_ee: Challenge,
    /// What is applied for.
    pub request_type: RequestType,
    /// Who applies.
    pub id_data: IdData,
    /// The brand.
    pub brand_id: BrandId,
    /// The language of the form.
    pub language: Language,
    /// The key-exchange key to be certified (SubjectPublicKeyInfo, DER), if one is. It comes this early so
    /// that the answer can seal a challenge for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub public_key_e: Option<ExactBytes>,
    /// What the applicant holds of the brand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thumbs: Option<Thumbs>,
}

/// IDData: who applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdData {
    /// A merchant, as its acquirer names it.
    Merchant {
        /// The acquirer.
        merchant_bin: Bin,
        /// The merchant's name at the acquirer.
        merchant_id: String,
    },
    /// A payment gateway.
    Gateway {
        /// The acquirer.
        acquirer_bin: Bin,
        /// The gateway's name at the acquirer.
        gateway_id: String,
    },
}

/// Me-AqCInitRes, signed by the CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeAqCInitResTbs {
    /// As in the request.
    pub lid_ee: LocalId,
    /// As in the request.
    pub chall_ee: Challenge,
    /// The CA's name for the registration.
    pub lid_ca: LocalId,
    /// To be repeated in CertReq.
    pub chall_ca: Challenge,
    /// As in the request.
    pub request_type: RequestType,
    /// The form, or where to go instead.
    pub reg_form_or_referral: RegFormOrReferral,
    /// The thumbprint of the CA's key-exchange certificate.
    pub cae_thumb: Thumbprint,
    /// The CA's key-exchange certificate and its chain, leaf first.
    pub ca_key_exchange: Vec<ExactBytes>,
    /// [`KeyExchangeChallenge`] sealed for the key-exchange key: opening it proves possession.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_exchange_challenge: Option<Jwe>,
}

/// What the applicant opens and repeats in CertReq.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyExchangeChallenge {
    /// The CA's name for the registration, so that an answer fits one registration alone.
    pub lid_ca: LocalId,
    /// To be repeated.
    pub secret: Nonce,
}
