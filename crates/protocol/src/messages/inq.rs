//! InqReq / InqRes: what became of my order? (reference 3.3). InqRes is a
//! [`PResData`](super::p::PResData).

use crate::Timestamp;
use crate::ids::{Challenge, Nonce, Rrpid, TransIds};
use crate::wrapper::Jws;
use serde::{Deserialize, Serialize};

/// InqReq, sealed for the merchant: SET 1.0 sent the cardholder's certificate in clear. One of both members.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InqReqTbe {
    /// [`InqReqData`], signed by the cardholder who made the purchase.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inq_req: Option<Jws>,
    /// The inquiry of a cardholder without a certificate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unsigned: Option<InqReqUnsigned>,
}

/// InqReqData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InqReqData {
    /// The purchase.
    pub trans_ids: TransIds,
    /// To be repeated in the answer.
    pub chall_c2: Challenge,
}

/// An inquiry that nobody signed: who knows the salt of the order's digest made the purchase, or is its merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InqReqUnsigned {
    /// As in the header.
    pub rrpid: Rrpid,
    /// As in the header.
    pub date: Timestamp,
    /// What is asked.
    pub data: InqReqData,
    /// The salt that PReq brought.
    pub od_salt: Nonce,
}
