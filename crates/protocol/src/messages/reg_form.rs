//! RegFormReq / RegFormRes: the form that an applicant fills in (reference section 2).

use crate::Timestamp;
use crate::card::Pan;
use crate::ids::{Challenge, Language, LocalId, Nonce, Rrpid};
use serde::{Deserialize, Serialize};

/// What is applied for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum RequestType {
    /// A cardholder's first signature certificate (1).
    CardInitialSig,
    /// A merchant's first signature and key-exchange certificates (6).
    MerInitialBoth,
    /// A gateway's first signature and key-exchange certificates (9).
    PgwyInitialBoth,
}

/// RegFormReq, sealed for the CA.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegFormReqTbe {
    /// As in the header.
    pub rrpid: Rrpid,
    /// When it was made.
    pub date: Timestamp,
    /// The applicant's name for the registration.
    pub lid_ee: LocalId,
    /// To be repeated in the answer.
    pub chall_ee2: Challenge,
    /// The CA's name for the registration.
    pub lid_ca: LocalId,
    /// What is applied for.
    pub request_type: RequestType,
    /// The language of the form.
    pub language: Language,
    /// The card.
    pub pan_only: PanOnly,
}

/// PANOnly.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PanOnly {
    /// The card number.
    pub pan: Pan,
    /// Fresh.
    pub ex_nonce: Nonce,
}

/// RegFormRes, signed by the CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegFormResTbs {
    /// As in the request.
    pub lid_ee: LocalId,
    /// As in the request.
    pub chall_ee2: Challenge,
    /// As in the request.
    pub lid_ca: LocalId,
    /// To be repeated in CertReq.
    pub chall_ca: Challenge,
    /// As in the request.
    pub request_type: RequestType,
    /// The form, or where to go instead.
    pub reg_form_or_referral: RegFormOrReferral,
}

/// The form, or where to go instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegFormOrReferral {
    /// The form to fill in.
    RegForm(RegFormData),
    /// This CA does not serve the account.
    Referral(ReferralData),
}

/// RegFormData: a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegFormData {
    /// Which form, to be repeated in CertReq.
    pub reg_form_id: String,
    /// What to ask.
    pub fields: Vec<FormField>,
    /// What the applicant accepts by going on.
    pub policy_text: String,
}

/// One field of a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormField {
    /// Its name, to be repeated with the answer.
    pub name: String,
    /// What to show beside it.
    pub description: String,
    /// The longest answer, in characters.
    pub length_max: u32,
    /// Whether it must be answered.
    pub required: bool,
    /// Whether the answer must not be shown while it is typed.
    pub invisible: bool,
}

/// ReferralData: why there is no form, and where to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferralData {
    /// For the person to read.
    pub reason: String,
    /// Where to go instead.
    pub referral_urls: Vec<String>,
}

/// An answer in a form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormAnswer {
    /// The field's name.
    pub name: String,
    /// What was answered.
    pub value: String,
}

/// Answers may be activation codes.
impl std::fmt::Debug for FormAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FormAnswer({}: [redacted])", self.name)
    }
}

/// The field of every form that proves who applies: the code that the issuer, acquirer or brand gave.
pub const ACTIVATION_CODE: &str = "activation_code";
/// The field of a cardholder's form with the name on the card.
pub const HOLDER: &str = "holder";
