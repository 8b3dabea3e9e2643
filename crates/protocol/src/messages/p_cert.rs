//! PCertReq / PCertRes: the merchant asks for the gateway's key-exchange certificates (reference 3.8).

use crate::BrandId;
use crate::ids::{ExactBytes, RrTags};
use crate::thumbs::Thumbs;
use openset_jose::Thumbprint;
use serde::{Deserialize, Serialize};

/// The most brands of one request.
pub const BRANDS_MAX: usize = 16;

/// PCertReqData, signed by the merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PCertReqData {
    /// The request.
    pub p_cert_rr_tags: RrTags,
    /// Of which brands.
    pub brand_and_bin_seq: Vec<BrandAndBin>,
    /// What the merchant holds of the brand that it signs for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub m_thumbs: Option<Thumbs>,
}

/// BrandAndBIN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrandAndBin {
    /// The brand.
    pub brand_id: BrandId,
    /// The BIN of the acquirer; without, the one that the request is addressed to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bin: Option<String>,
}

/// PCertResData, signed by the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PCertResData {
    /// As in the request.
    pub p_cert_rr_tags: RrTags,
    /// One answer for each brand, in the request's order.
    pub p_cert_res_item_seq: Vec<PCertResItem>,
}

/// The answer about one brand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PCertResItem {
    /// With what result.
    pub p_cert_code: PCertCode,
    /// Which certificate; absent unless it succeeded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cert_thumb: Option<Thumbprint>,
    /// The certificate and its chain, without what the merchant holds; empty unless it succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub key_exchange: Vec<ExactBytes>,
}

/// PCertCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum PCertCode {
    /// Here it is (0).
    Success,
    /// Something failed (1).
    UnspecifiedFailure,
    /// Not a brand of this gateway (2).
    BrandNotSupported,
    /// Not a BIN of this gateway (3).
    #[serde(rename = "unknownBIN")]
    UnknownBin,
}
