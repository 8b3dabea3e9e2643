//! CardCInitReq / CardCInitRes: a cardholder begins a registration (reference section 2).

use crate::BrandId;
use crate::ids::{Challenge, ExactBytes, LocalId, Rrpid};
use crate::thumbs::Thumbs;
use openset_jose::Thumbprint;
use serde::{Deserialize, Serialize};

/// CardCInitReq, in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardCInitReq {
    /// As in the header.
    pub rrpid: Rrpid,
    /// The cardholder's name for the registration.
    pub lid_ee: LocalId,
    /// To be repeated in the answer.
    pub chall_ee: Challenge,
    /// The brand of the card.
    pub brand_id: BrandId,
    /// What the cardholder holds of the brand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thumbs: Option<Thumbs>,
}

/// CardCInitRes, signed by the cardholders' CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardCInitResTbs {
    /// As in the request.
    pub lid_ee: LocalId,
    /// As in the request.
    pub chall_ee: Challenge,
    /// The CA's name for the registration.
    pub lid_ca: LocalId,
    /// The thumbprint of the CA's key-exchange certificate.
    pub cae_thumb: Thumbprint,
    /// The CA's key-exchange certificate and its chain, leaf first.
    pub ca_key_exchange: Vec<ExactBytes>,
}
