//! CapRev, Cred and CredRev, requests and responses: a capture is cancelled, money goes back, a refund is cancelled
//! (reference 3.7). Three pairs of one form.

use crate::Timestamp;
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::ids::{ExactBytes, LocalId, RrTags, Rrpid, TransIds};
use crate::messages::batch::BatchPlace;
use crate::money::CurrencyAmount;
use crate::thumbs::Thumbs;
use crate::wrapper::{Jwe, Jws, Message};
use serde::{Deserialize, Serialize};

/// The most items of one request.
pub const ITEMS_MAX: usize = 32;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CapRevOrCred {
    /// Captures are cancelled: the authorizations are as before them, as far as they were captured.
    CapRev,
    /// Money goes back to the cardholder, once or in parts, up to what was captured.
    Cred,
    /// Refunds are cancelled.
    CredRev,
}

impl CapRevOrCred {
    /// All three.
    pub const ALL: [Self; 3] = [Self::CapRev, Self::Cred, Self::CredRev];

    /// The request's name on the wire.
    #[must_use]
    pub const fn request(self) -> &'static str {
        match self {
            Self::CapRev => "CapRevReq",
            Self::Cred => "CredReq",
            Self::CredRev => "CredRevReq",
        }
    }

    /// The response's name on the wire.
    #[must_use]
    pub const fn response(self) -> &'static str {
        match self {
            Self::CapRev => "CapRevRes",
            Self::Cred => "CredRes",
            Self::CredRev => "CredRevRes",
        }
    }

    /// Which request this is, and what is sealed in it.
    #[must_use]
    pub fn of_request(message: &Message) -> Option<(Self, &Jwe)> {
        match message {
            Message::CapRevReq(sealed) => Some((Self::CapRev, sealed)),
            Message::CredReq(sealed) => Some((Self::Cred, sealed)),
            Message::CredRevReq(sealed) => Some((Self::CredRev, sealed)),
            _ => None,
        }
    }

    /// Which response this is, and what is sealed in it.
    #[must_use]
    pub fn of_response(message: &Message) -> Option<(Self, &Jwe)> {
        match message {
            Message::CapRevRes(sealed) => Some((Self::CapRev, sealed)),
            Message::CredRes(sealed) => Some((Self::Cred, sealed)),
            Message::CredRevRes(sealed) => Some((Self::CredRev, sealed)),
            _ => None,
        }
    }

    pub(crate) const fn in_request(self, sealed: Jwe) -> Message {
        match self {
            Self::CapRev => Message::CapRevReq(sealed),
            Self::Cred => Message::CredReq(sealed),
            Self::CredRev => Message::CredRevReq(sealed),
        }
    }

    pub(crate) const fn in_response(self, sealed: Jwe) -> Message {
        match self {
            Self::CapRev => Message::CapRevRes(sealed),
            Self::Cred => Message::CredRes(sealed),
            Self::CredRev => Message::CredRevRes(sealed),
        }
    }

    pub(crate) const fn req_tbs(self) -> ContentType {
        match self {
            Self::CapRev => ContentType::CapRevReqTbs,
            Self::Cred => ContentType::CredReqTbs,
            Self::CredRev => ContentType::CredRevReqTbs,
        }
    }

    pub(crate) const fn req_tbe(self) -> ContentType {
        match self {
            Self::CapRev => ContentType::CapRevReqTbe,
            Self::Cred => ContentType::CredReqTbe,
            Self::CredRev => ContentType::CredRevReqTbe,
        }
    }

    pub(crate) const fn res_data(self) -> ContentType {
        match self {
            Self::CapRev => ContentType::CapRevResData,
            Self::Cred => ContentType::CredResData,
            Self::CredRev => ContentType::CredRevResData,
        }
    }

    pub(crate) const fn res_tbe(self) -> ContentType {
        match self {
            Self::CapRev => ContentType::CapRevResTbe,
            Self::Cred => ContentType::CredResTbe,
            Self::CredRev => ContentType::CredRevResTbe,
        }
    }
}

/// CapRevReq, CredReq or CredRevReq, sealed for the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapRevOrCredReqTbe {
    /// [`CapRevOrCredReqData`], signed by the merchant.
    pub cap_rev_or_cred_req: Jws,
    /// CapTokenSeq as the bytes whose digest is signed: a list with one token, or null, for each item.
    pub cap_token_seq: ExactBytes,
}

/// CapRevOrCredReqData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapRevOrCredReqData {
    /// The request.
    pub cap_rev_or_cred_rr_tags: RrTags,
    /// The first request that asked for the same, item by item, if this is not it: what that one began is answered
    /// for, and not done again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub earlier: Option<Rrpid>,
    /// What is to be cancelled or given back.
    pub cap_rev_or_cred_req_item_seq: Vec<CapRevOrCredReqItem>,
    /// The digest of CapTokenSeq.
    pub cap_token_seq_digest: Digest,
    /// The merchant's key-exchange certificate and its chain: the response is sealed for it.
    pub merchant_key_exchange: Vec<ExactBytes>,
    /// What the merchant holds of the brand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub m_thumbs: Option<Thumbs>,
}

/// One cancellation or refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapRevOrCredReqItem {
    /// The purchase.
    pub trans_ids: TransIds,
    /// The authorization that was captured.
    pub auth_rrpid: Rrpid,
    /// What is to be cancelled, as the gateway's answer named it; of a refund, the capture. A CredRev needs it: an
    /// authorization has several refunds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub original: Option<BatchPlace>,
    /// Into which batch; without, the one that is open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new_batch_id: Option<LocalId>,
    /// When.
    pub cap_rev_or_cred_req_date: Timestamp,
    /// How much is to go back; of a cancellation, the whole amount of what is cancelled.
    pub cap_rev_or_cred_req_amt: CurrencyAmount,
}

/// CapRevRes, CredRes or CredRevRes, sealed for the merchant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapRevOrCredResTbe {
    /// [`CapRevOrCredResData`], signed by the gateway.
    pub cap_rev_or_cred_res: Jws,
}

/// CapRevOrCredResData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapRevOrCredResData {
    /// As in the request.
    pub cap_rev_or_cred_rr_tags: RrTags,
    /// One answer for each item, in the request's order.
    pub cap_rev_or_cred_res_item_seq: Vec<CapRevOrCredResItem>,
}

/// The answer to one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapRevOrCredResItem {
    /// As in the request.
    pub trans_ids: TransIds,
    /// As in the request.
    pub auth_rrpid: Rrpid,
    /// With what result.
    pub cap_rev_or_cred_code: CapRevOrCredCode,
    /// How much went back, or was cancelled; 0 unless it succeeded.
    pub cap_rev_or_cred_actual_amt: CurrencyAmount,
    /// Where it stands; absent unless it succeeded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch: Option<BatchPlace>,
    /// For the cardholder, in place of the earlier ones; absent where the first one still says all, and where nothing was
    /// done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<Jws>,
}

/// CapRevOrCredCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CapRevOrCredCode {
    /// Done (0).
    Success,
    /// Something failed (1).
    UnspecifiedFailure,
    /// Done before (2).
    DuplicateRequest,
    /// The original was cancelled before, or a refund of it stands (3).
    OriginalProcessed,
    /// There is no such capture or refund (4).
    OriginalNotFound,
    /// The capture was purged from its batch (5).
    CapPurged,
    /// The request contradicts the capture: amount, currency, names (6).
    CapDataMismatch,
    /// The capture's data are missing (7).
    MissingCapData,
    /// No capture token (8).
    MissingCapToken,
    /// Not a capture token of this authorization (9).
    InvalidCapToken,
    /// No such batch (10).
    BatchUnknown,
    /// The batch is closed (11).
    BatchClosed,
}
