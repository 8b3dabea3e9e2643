//! RegFormReq / RegFormRes: the form that an applicant fills in (reference section 2).

use crate::Timestamp;
use crate::card::Pan;
use crate::ids::{Challenge, Language, LocalId, Nonce, Rrpid};
use openset_jose::Thumbprint;
use openset_pki::Role;
use serde::{Deserialize, Serialize};

/// What is applied for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum RequestType {
    /// A cardholder's first signature certificate (1).
    CardInitialSig,
    /// A merchant's first signature certificate (4).
    MerInitialSig,
    /// A merchant's first key-exchange certificate, beside a signature certificate that it has (5).
    MerInitialEnc,
    /// A merchant's first signature and key-exchange certificates (6).
    MerInitialBoth,
    /// A gateway's first signature certificate (7).
    PgwyInitialSig,
    /// A gateway's first key-exchange certificate, beside a signature certificate that it has (8).
    PgwyInitialEnc,
    /// A gateway's first signature and key-exchange certificates (9).
    PgwyInitialBoth,
    /// A new signature certificate in place of a cardholder's old one (10).
    CardRenewalSig,
    /// A new signature certificate in place of a merchant's old one (13).
    MerRenewalSig,
    /// A new key-exchange certificate in place of a merchant's old one (14).
    MerRenewalEnc,
    /// Both new certificates in place of a merchant's old ones (15).
    MerRenewalBoth,
    /// A new signature certificate in place of a gateway's old one (16).
    PgwyRenewalSig,
    /// A new key-exchange certificate in place of a gateway's old one (17).
    PgwyRenewalEnc,
    /// Both new certificates in place of a gateway's old ones (18).
    PgwyRenewalBoth,
}

impl RequestType {
    /// The role of who applies.
    #[must_use]
    pub fn role(self) -> Role {
        match self {
            Self::CardInitialSig | Self::CardRenewalSig => Role::Cardholder,
            Self::MerInitialSig
            | Self::MerInitialEnc
            | Self::MerInitialBoth
            | Self::MerRenewalSig
            | Self::MerRenewalEnc
            | Self::MerRenewalBoth => Role::Merchant,
            Self::PgwyInitialSig
            | Self::PgwyInitialEnc
            | Self::PgwyInitialBoth
            | Self::PgwyRenewalSig
            | Self::PgwyRenewalEnc
            | Self::PgwyRenewalBoth => Role::Gateway,
        }
    }

    /// The role of the CA that is applied to.
    #[must_use]
    pub fn ca_role(self) -> Role {
        match self.role() {
            Role::Merchant => Role::MerchantCa,
            Role::Gateway => Role::GatewayCa,
            _ => Role::CardholderCa,
        }
    }

    /// Whether certificates that are there are to be replaced.
    #[must_use]
    pub fn renews(self) -> bool {
        matches!(
            self,
            Self::CardRenewalSig
                | Self::MerRenewalSig
                | Self::MerRenewalEnc
                | Self::MerRenewalBoth
                | Self::PgwyRenewalSig
                | Self::PgwyRenewalEnc
                | Self::PgwyRenewalBoth
        )
    }

    /// Whether a signature key is to be certified. If not, the signature certificate that is there signs.
    #[must_use]
    pub fn certifies_signature(self) -> bool {
        !matches!(
            self,
            Self::MerInitialEnc | Self::PgwyInitialEnc | Self::MerRenewalEnc | Self::PgwyRenewalEnc
        )
    }

    /// Whether a key-exchange key is to be certified.
    #[must_use]
    pub fn certifies_key_exchange(self) -> bool {
        !matches!(
            self,
            Self::CardInitialSig
                | Self::CardRenewalSig
                | Self::MerInitialSig
                | Self::MerRenewalSig
                | Self::PgwyInitialSig
                | Self::PgwyRenewalSig
        )
    }

    /// Whether the applicant shows a certificate that it has: then no activation code is asked for.
    #[must_use]
    pub fn has_certificate(self) -> bool {
        self.renews() || !self.certifies_signature()
    }
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

/// What an applicant signs to accept a form's policy: SHA-256 of its text.
#[must_use]
pub fn policy_digest(form: &RegFormData) -> Thumbprint {
    Thumbprint::of(form.policy_text.as_bytes())
}
