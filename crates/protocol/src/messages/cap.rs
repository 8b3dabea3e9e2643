//! CapReq / CapRes: the merchant asks for its money (reference 3.6).

use crate::Timestamp;
use crate::digest::Digest;
use crate::ids::{ExactBytes, LocalId, RrTags, Rrpid, TransIds};
use crate::messages::batch::BatchPlace;
use crate::money::CurrencyAmount;
use crate::thumbs::Thumbs;
use crate::wrapper::Jws;
use serde::{Deserialize, Serialize};

/// The most items of one request.
pub const CAP_ITEMS_MAX: usize = 32;

/// CapReq, sealed for the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapReqTbe {
    /// [`CapReqData`], signed by the merchant.
    pub cap_req: Jws,
    /// CapTokenSeq as the bytes whose digest is signed: a list with one token, or null, for each item.
    pub cap_token_seq: ExactBytes,
}

/// CapReqData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapReqData {
    /// The request.
    pub cap_rr_tags: RrTags,
    /// What is to be captured.
    pub cap_item_seq: Vec<CapItem>,
    /// The digest of CapTokenSeq.
    pub cap_token_seq_digest: Digest,
    /// The merchant's key-exchange certificate and its chain: CapRes is sealed for it.
    pub merchant_key_exchange: Vec<ExactBytes>,
    /// What the merchant holds of the brand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub m_thumbs: Option<Thumbs>,
}

/// One capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapItem {
    /// The purchase.
    pub trans_ids: TransIds,
    /// The authorization.
    pub auth_rrpid: Rrpid,
    /// When.
    pub cap_date: Timestamp,
    /// How much; at most what was authorized.
    pub cap_req_amt: CurrencyAmount,
    /// Into which batch; without, the one that is open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_id: Option<LocalId>,
}

/// CapRes, sealed for the merchant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapResTbe {
    /// [`CapResData`], signed by the gateway.
    pub cap_res: Jws,
}

/// CapResData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapResData {
    /// As in the request.
    pub cap_rr_tags: RrTags,
    /// One answer for each item, in the request's order.
    pub cap_res_item_seq: Vec<CapResItem>,
}

/// The answer to one capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapResItem {
    /// As in the request.
    pub trans_ids: TransIds,
    /// As in the request.
    pub auth_rrpid: Rrpid,
    /// With what result.
    pub cap_code: CapCode,
    /// How much was captured: what was asked for; or, of a duplicate, what the capture that stands took; 0 otherwise.
    pub cap_amt: CurrencyAmount,
    /// Where the capture stands; absent where `cap_amt` is 0.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch: Option<BatchPlace>,
    /// For the cardholder, in place of the earlier ones; absent where the first one still says all, and where nothing was
    /// done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<Jws>,
}

/// CapCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CapCode {
    /// Captured (0).
    Success,
    /// Something failed (1).
    UnspecifiedFailure,
    /// Captured before (2).
    DuplicateRequest,
    /// The authorization has expired (3).
    AuthExpired,
    /// The authorization's data are missing (4).
    AuthDataMissing,
    /// The amount is above what was authorized, or the data contradict (5).
    InvalidAuthData,
    /// No capture token (6).
    CapTokenMissing,
    /// Not a capture token of this authorization (7).
    InvalidCapToken,
    /// No such batch (8).
    BatchUnknown,
    /// The batch is closed (9).
    BatchClosed,
    /// No such purchase (10).
    #[serde(rename = "unknownXID")]
    UnknownXid,
    /// No such order (11).
    #[serde(rename = "unknownLID")]
    UnknownLid,
}
