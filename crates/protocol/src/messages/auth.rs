//! AuthReq / AuthRes: the merchant asks the gateway for an authorization (reference 3.4).

use crate::BrandId;
use crate::Timestamp;
use crate::digest::Digest;
use crate::ids::{ExactBytes, RrTags, Rrpid, TransIds};
use crate::messages::batch::BatchPlace;
use crate::messages::cap::CapCode;
use crate::messages::install_recur::InstallRecurData;
use crate::money::CurrencyAmount;
use crate::thumbs::Thumbs;
use crate::wrapper::{Jwe, Jws};
use serde::{Deserialize, Serialize};

/// AuthReq, sealed for the gateway: with the payment instruction and the cardholder's signature over it or, after the
/// first authorization of a purchase, with the gateway's own token in their place.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthReqTbe {
    /// [`AuthReqData`], signed by the merchant.
    pub auth_req: Jws,
    /// The cardholder's dual signature, as it came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dual_signature: Option<Jws>,
    /// The payment instruction, as it came: the merchant cannot open it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pi: Option<Jwe>,
    /// What came with an earlier approval; the merchant cannot open it either.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auth_token: Option<Jwe>,
}

/// AuthReqData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthReqData {
    /// Names of request and purchase.
    pub auth_tags: AuthTags,
    /// What the merchant computed for itself; absent beside a token, with which the gateway has compared it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub check_digests: Option<CheckDigests>,
    /// What is asked.
    pub auth_req_payload: AuthReqPayload,
    /// Whether what is approved is to be captured at once: a sale.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub capture_now: bool,
    /// The digest of the sealed payment instruction or of the token, so that no other can be put in its place.
    pub pi_digest: Digest,
    /// The digest of the dual signature; absent beside a token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dual_signature_digest: Option<Digest>,
    /// The merchant's key-exchange certificate and its chain: AuthRes is sealed for it.
    pub merchant_key_exchange: Vec<ExactBytes>,
    /// What the merchant holds of the brand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub m_thumbs: Option<Thumbs>,
}

/// AuthTags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthTags {
    /// The request.
    pub auth_rr_tags: RrTags,
    /// The purchase.
    pub trans_ids: TransIds,
}

/// CheckDigests: what the merchant computed for itself, to be compared with what the cardholder signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckDigests {
    /// The digest of the order information that the merchant received.
    pub hoi: Digest,
    /// HOD from the merchant's own order.
    pub hod2: Digest,
}

/// AuthReqPayload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthReqPayload {
    /// How much.
    pub auth_req_amt: CurrencyAmount,
    /// MerchData: the merchant category code (ISO 18245), four digits.
    pub merch_cat_code: String,
    /// Whether more authorizations may follow under this purchase: an approval then brings an AuthToken.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub subsequent_auth_ind: bool,
    /// InstallRecurData, as the cardholder signed it: in which parts, or how often, the purchase is paid.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub install_recur_data: Option<InstallRecurData>,
}

/// AuthRes, sealed for the merchant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthResTbe {
    /// [`AuthResData`], signed by the gateway.
    pub auth_res: Jws,
    /// [`AuthResBaggage`] as the bytes whose digest is signed.
    pub baggage: ExactBytes,
}

/// AuthResData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthResData {
    /// As in the request.
    pub auth_tags: AuthTags,
    /// The bank's answer.
    pub auth_res_payload: AuthResPayload,
    /// The digest of the baggage.
    pub baggage_digest: Digest,
}

/// AuthResPayload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthResPayload {
    /// The answer.
    pub auth_code: AuthCode,
    /// How much was authorized; 0 unless approved.
    pub auth_amt: CurrencyAmount,
    /// When.
    pub auth_date: Timestamp,
    /// The issuer's approval code, if approved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approval_code: Option<String>,
    /// Why not, if declined.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resp_reason: Option<RespReason>,
    /// What became of the capture, of an approval that was to be captured at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cap_res_payload: Option<CapResPayload>,
}

/// CapResPayload: what became of a capture that was asked for with its authorization. One that failed leaves the
/// authorization as it is, to be captured later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapResPayload {
    /// With what result.
    pub cap_code: CapCode,
    /// How much was captured: all that was authorized, or 0.
    pub cap_amt: CurrencyAmount,
    /// Where the capture stands; absent where `cap_amt` is 0.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch: Option<BatchPlace>,
}

impl CapResPayload {
    /// Whether it was captured.
    #[must_use]
    pub fn captured(&self) -> bool {
        self.cap_code == CapCode::Success
    }
}

/// What rides with an authorization response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthResBaggage {
    /// To be shown when the merchant asks for its money.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cap_token: Option<Jwe>,
    /// To be shown with the next authorization of the purchase.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auth_token: Option<Jwe>,
    /// For the cardholder alone; the merchant copies it into PRes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acq_card_msg: Option<Jwe>,
    /// For the cardholder; the merchant copies it into PRes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<Jws>,
}

/// The sequence number of an authorization's only token, until reversals replace tokens.
pub const CAP_TOKEN_SEQUENCE: u32 = 1;

/// CapTokenData: for the gateway's own eyes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapTokenData {
    /// The merchant that it was given to.
    pub merchant_id: String,
    /// The purchase.
    pub trans_ids: TransIds,
    /// The authorization.
    pub auth_rrpid: Rrpid,
    /// How much may be captured.
    pub auth_amt: CurrencyAmount,
    /// Which token of this authorization, from 1: later ones replace earlier ones.
    pub sequence: u32,
}

/// AuthTokenData: for the gateway's own eyes. Only names: what was signed and the card stay in its database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthTokenData {
    /// The merchant that it was given to.
    pub merchant_id: String,
    /// The brand under which it was given.
    pub brand_id: BrandId,
    /// The purchase.
    pub trans_ids: TransIds,
    /// The payment instruction that began the purchase.
    pub hpi: Digest,
    /// Approved authorizations of the purchase, the one that it came with included: the next approval uses it up.
    pub approvals: u32,
}

/// AuthCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AuthCode {
    /// The issuer approves (0).
    Approved,
    /// Something failed (1).
    UnspecifiedFailure,
    /// The issuer declines (2).
    Declined,
    /// The issuer does not answer (3).
    NoReply,
    /// The issuer wants to be called (4).
    CallIssuer,
    /// The amount is not what the cardholder signed (5).
    AmountError,
    /// The card is past its expiry (6).
    ExpiredCard,
    /// The transaction is not allowed (7).
    InvalidTransaction,
    /// The card network failed (8).
    SystemError,
    /// The payment instruction was used before (9).
    PiPreviouslyUsed,
    /// Too soon after the previous recurring payment (10).
    RecurringTooSoon,
    /// Recurring payments have ended (11).
    RecurringExpired,
    /// Payment instruction and request do not belong together (12).
    PiAuthMismatch,
    /// Instalment data differ (13).
    InstallRecurMismatch,
    /// Authorization with capture is not offered (14).
    CaptureNotSupported,
    /// Unsigned payment instructions are not taken (15).
    SignatureRequired,
    /// The cardholder's brand is not the merchant's (16).
    CardMerchBrandMismatch,
}

/// RespReason: why the issuer declines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum RespReason {
    /// Not enough credit left.
    InsufficientFunds,
    /// No such card.
    UnknownCard,
    /// Past its expiry.
    ExpiredCard,
    /// Blocked by the issuer.
    BlockedCard,
    /// The account is in another currency.
    WrongCurrency,
}

impl AuthResPayload {
    /// Whether the issuer approved.
    #[must_use]
    pub fn approved(&self) -> bool {
        self.auth_code == AuthCode::Approved
    }
}
