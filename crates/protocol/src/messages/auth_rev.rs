//! AuthRevReq / AuthRevRes: the merchant gives an authorization back, or a part of it, before it is captured
//! (reference 3.5).

use serde::{Deserialize, Serialize};

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
