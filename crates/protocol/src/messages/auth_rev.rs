//! AuthRevReq / AuthRevRes: the merchant gives an authorization back, or a part of it, before it is captured
//! (reference 3.5).

use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::ids::{ExactBytes, RrTags, Rrpid, TransIds};
use crate::money::CurrencyAmount;
use crate::thumbs::Thumbs;
use crate::wrapper::{Jwe, Jws};
use serde::{Deserialize, Serialize};

/// AuthRevReq, sealed for the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRevReqTbe {
    /// [`AuthRevReqData`], signed by the merchant.
    pub auth_rev_req: Jws,
    /// The token that came with the authorization. A merchant that never heard what came of its AuthReq has none, and
    /// may reverse all of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cap_token: Option<Jwe>,
}

/// AuthRevReqData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRevReqData {
    /// The request.
    pub auth_rev_rr_tags: RrTags,
    /// The purchase.
    pub trans_ids: TransIds,
    /// The authorization: the RRPID of its AuthReq.
    pub auth_rrpid: Rrpid,
    /// How much is to stay authorized; 0 for nothing.
    pub auth_new_amt: CurrencyAmount,
    /// The digest of the token, so that no other can be put in its place; absent without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cap_token_digest: Option<Digest>,
    /// The merchant's key-exchange certificate and its chain: AuthRevRes is sealed for it.
    pub merchant_key_exchange: Vec<ExactBytes>,
    /// What the merchant holds of the brand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub m_thumbs: Option<Thumbs>,
}

/// What [`AuthRevReqData::cap_token_digest`] is of a token.
pub(crate) fn token_digest(token: &Jwe) -> Digest {
    digest(ContentType::CapToken, token.0.as_bytes())
}

/// AuthRevRes, sealed for the merchant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRevResTbe {
    /// [`AuthRevResData`], signed by the gateway.
    pub auth_rev_res: Jws,
    /// [`AuthRevResBaggage`] as the bytes whose digest is signed.
    pub baggage: ExactBytes,
}

/// AuthRevResData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRevResData {
    /// As in the request.
    pub auth_rev_rr_tags: RrTags,
    /// As in the request.
    pub trans_ids: TransIds,
    /// As in the request.
    pub auth_rrpid: Rrpid,
    /// With what result.
    pub auth_rev_code: AuthRevCode,
    /// How much is authorized now, if it was approved; 0 otherwise.
    pub auth_new_amt: CurrencyAmount,
    /// The digest of the baggage.
    pub baggage_digest: Digest,
}

/// What rides with the answer. The tokens of the authorization stay good for what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRevResBaggage {
    /// For the cardholder, in place of the one that came with the authorization; the merchant copies it into InqRes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<Jws>,
}

/// AuthRevCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AuthRevCode {
    /// So much is authorized from now on (0).
    Approved,
    /// Something failed (1).
    UnspecifiedFailure,
    /// The issuer does not answer (2).
    NoReply,
    /// Another currency than the authorization's (3).
    AmountError,
    /// The card is past its expiry (4).
    ExpiredCard,
    /// The authorization cannot be reversed: declined, captured or expired (5).
    InvalidTransaction,
    /// The card network failed (6).
    SystemError,
    /// No capture token (7).
    MissingCapToken,
    /// Not a capture token of this authorization (8).
    InvalidCapToken,
    /// More than is authorized now (9).
    InvalidAmount,
}
