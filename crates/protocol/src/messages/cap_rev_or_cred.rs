//! CapRev, Cred and CredRev, requests and responses: a capture is cancelled, money goes back, a refund is cancelled
//! (reference 3.7).

use serde::{Deserialize, Serialize};

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
