//! CertReq / CertRes: keys are certified (reference section 2).

use crate::Timestamp;
use crate::card::{CardExpiry, CardSecret, NonceCca, Pan, PanSecret};
use crate::digest::Digest;
use crate::ids::{Challenge, ExactBytes, LocalId, Nonce};
use crate::messages::reg_form::{FormAnswer, RequestType};
use crate::thumbs::Thumbs;
use crate::wrapper::{Jwe, Jws};
use openset_jose::{ContentKey, Thumbprint};
use serde::{Deserialize, Serialize};

/// CertReq, sealed for the CA.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertReqTbe {
    /// [`CertReqData`], signed with the new signature key; if none is to be certified, with the signature
    /// certificate that the applicant has.
    pub cert_req: Jws,
    /// [`RenewalData`], signed with the signature certificate that is renewed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub renewal: Option<Jws>,
    /// The key-exchange certificate that is renewed alone, and its chain, leaf first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub renewed: Vec<ExactBytes>,
    /// A cardholder's [`AcctInfo`] as the bytes whose digest is signed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acct_info: Option<ExactBytes>,
}

/// The second signature of a renewal: whoever holds the certificate that is renewed asks for this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalData {
    /// The digest of [`CertReqTbe::cert_req`] as it travels.
    pub cert_req: Digest,
}

/// CertReqData, signed with the key that is to be certified.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertReqData {
    /// The applicant's name for the registration.
    pub lid_ee: LocalId,
    /// To be repeated in the answer.
    pub chall_ee3: Challenge,
    /// The CA's name for the registration.
    pub lid_ca: LocalId,
    /// As in the form's message.
    pub chall_ca: Challenge,
    /// As in the first message.
    pub request_type: RequestType,
    /// When it was made.
    pub request_date: Timestamp,
    /// Which form.
    pub reg_form_id: String,
    /// Its answers.
    pub reg_form: Vec<FormAnswer>,
    /// SHA-256 of the policy that the applicant accepts: the form's text, in UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy_accepted: Option<Thumbprint>,
    /// CABackKeyData: the key that seals the answer to a cardholder.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ca_back_key_data: Option<ContentKey>,
    /// The signature key (SubjectPublicKeyInfo, DER), if one is to be certified.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub public_key_s: Option<ExactBytes>,
    /// The key-exchange key, if one is to be certified; merchants and gateways only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub public_key_e: Option<ExactBytes>,
    /// The secret from the key-exchange challenge.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_exchange_proof: Option<Nonce>,
    /// The digest of [`AcctInfo`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acct_info_digest: Option<Digest>,
    /// EEThumb: the certificate that is renewed; of two, the signature certificate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ee_thumb: Option<Thumbprint>,
    /// What the applicant holds of the brand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thumbs: Option<Thumbs>,
}

/// AcctInfo: PANData0, a cardholder's account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcctInfo {
    /// The card number.
    pub pan: Pan,
    /// Its expiry.
    pub card_expiry: CardExpiry,
    /// The cardholder's half of PANSecret.
    pub card_secret: CardSecret,
    /// In a renewal: the expiry that the card had when the old certificate was issued.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old_expiry: Option<CardExpiry>,
    /// In a renewal: the old PANSecret, from which and from number and old expiry the old certificate's name follows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pan_secret: Option<PanSecret>,
    /// Fresh.
    pub ex_nonce: Nonce,
}

/// CertRes: sealed for a cardholder, who has no key-exchange certificate, under CABackKeyData; signed
/// alone for merchants and gateways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertRes {
    /// [`Jws`] of [`CertResData`], sealed.
    Sealed(Jwe),
    /// [`CertResData`], signed.
    Signed(Jws),
}

/// CertResData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertResData {
    /// As in the request.
    pub lid_ee: LocalId,
    /// As in the request.
    pub chall_ee3: Challenge,
    /// As in the request.
    pub lid_ca: LocalId,
    /// What became of the request.
    pub cert_status: CertStatus,
    /// The new signature certificate and its chain, leaf first, without the CAs that the request's thumbs name;
    /// empty unless one was asked for and issued.
    pub signature: Vec<ExactBytes>,
    /// The new key-exchange certificate and its chain; likewise.
    pub key_exchange: Vec<ExactBytes>,
}

/// CertStatus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertStatus {
    /// What became of the request.
    pub cert_status_code: CertStatusCode,
    /// The CA's half of PANSecret; cardholders only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nonce_cca: Option<NonceCca>,
    /// For the person to read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ee_message: Option<String>,
    /// Answers that have to be mended.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub failed_items: Vec<FailedItem>,
}

/// An answer that has to be mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedItem {
    /// The place of the field in the form, from 0. The policy stands after the last field, and after it the answers
    /// that the form does not ask for, in the order of the request.
    pub item_number: u32,
    /// What is wrong with the answer.
    pub item_reason: String,
}

/// CertStatusCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CertStatusCode {
    /// The certificates are there (1).
    RequestComplete,
    /// The language is not spoken here (2).
    InvalidLanguage,
    /// The BIN is not served here (3).
    #[serde(rename = "invalidBIN")]
    InvalidBin,
    /// The signature does not verify (4).
    SigValidationFail,
    /// The request could not be opened (5).
    DecryptionError,
    /// The request is being worked on (6).
    RequestInProgress,
    /// The issuer refuses (7).
    RejectedByIssuer,
    /// The request waits for a person (8).
    RequestPended,
    /// The acquirer refuses (9).
    RejectedByAcquirer,
    /// Answers have to be mended (10).
    RegFormAnswerMalformed,
    /// The CA refuses (11).
    #[serde(rename = "rejectedByCA")]
    RejectedByCa,
    /// The answer cannot be sealed (12).
    UnableToEncryptResponse,
}
