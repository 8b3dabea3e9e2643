//! PInitReq / PInitRes: a purchase begins, the merchant shows its certificates (reference 3.1).

use crate::BrandId;
use crate::card::Bin;
use crate::ids::{Challenge, ExactBytes, Language, LocalId, Rrpid, TransIds};
use crate::thumbs::Thumbs;
use openset_jose::Thumbprint;
use serde::{Deserialize, Serialize};

/// PInitReq, in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PInitReq {
    /// As in the header.
    pub rrpid: Rrpid,
    /// The language of texts for the cardholder.
    pub language: Language,
    /// The cardholder's name for the purchase.
    pub lid_c: LocalId,
    /// The merchant's name for the order, from the payment initiation.
    pub lid_m: LocalId,
    /// To be repeated in the answer.
    pub chall_c: Challenge,
    /// The card's brand.
    pub brand_id: BrandId,
    /// The card's BIN, by which the merchant chooses the gateway.
    pub bin: Bin,
    /// What the wallet holds of the brand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thumbs: Option<Thumbs>,
}

/// PInitResData, signed by the merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PInitResData {
    /// The purchase's names; the merchant has made the XID.
    pub trans_ids: TransIds,
    /// As in the request.
    pub chall_c: Challenge,
    /// To be repeated in PReq.
    pub chall_m: Challenge,
    /// The thumbprint of the gateway's key-exchange certificate.
    pub pe_thumb: Thumbprint,
    /// The gateway's key-exchange certificate (Cert-PE) and its chain, leaf first.
    pub gateway_key_exchange: Vec<ExactBytes>,
    /// The merchant's key-exchange certificate and its chain: PReq is sealed for it.
    pub merchant_key_exchange: Vec<ExactBytes>,
}
