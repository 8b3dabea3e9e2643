//! InqReq / InqRes: what became of my order? (reference 3.3). InqRes is a
//! [`PResData`](super::p::PResData).

use crate::ids::{Challenge, TransIds};
use crate::wrapper::Jws;
use serde::{Deserialize, Serialize};

/// InqReq, sealed for the merchant: SET 1.0 sent the cardholder's certificate in clear.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InqReqTbe {
    /// [`InqReqData`], signed by the cardholder who made the purchase.
    pub inq_req: Jws,
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
