//! CertInqReq / CertInqRes: what became of a request for certificates? (reference section 2)
//!
//! CertInqRes has the form and the content of [`CertRes`](super::cert::CertRes).

use crate::ids::{Challenge, LocalId};
use serde::{Deserialize, Serialize};

/// CertInqReq, signed with the signature key that is to be certified; if none is, with the signature
/// certificate that the applicant has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertInqReqTbs {
    /// The applicant's name for the registration.
    pub lid_ee: LocalId,
    /// Fresh; to be repeated in the answer.
    pub chall_ee3: Challenge,
    /// The CA's name for the registration.
    pub lid_ca: LocalId,
}
