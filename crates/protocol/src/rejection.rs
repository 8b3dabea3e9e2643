//! Why a message is refused, and the ErrorCode that says so on the wire.

use openset_jose::{jwe::JweError, jws::JwsError};
use openset_pki::PathError;
use serde::{Deserialize, Serialize};

/// ErrorCode of SET's Error message (reference 3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "SET's names say what each code means; the reference lists them"
)]
pub enum ErrorCode {
    UnspecifiedFailure,
    MessageNotSupported,
    DecodingFailure,
    InvalidCertificate,
    ExpiredCertificate,
    RevokedCertificate,
    MissingCertificate,
    SignatureFailure,
    BadMessageHeader,
    WrapperMsgMismatch,
    VersionTooOld,
    VersionTooNew,
    UnrecognizedExtension,
    MessageTooBig,
    SignatureRequired,
    MessageTooOld,
    MessageTooNew,
    ThumbsMismatch,
    #[serde(rename = "unknownRRPID")]
    UnknownRrpid,
    #[serde(rename = "unknownXID")]
    UnknownXid,
    #[serde(rename = "unknownLID")]
    UnknownLid,
    ChallengeMismatch,
}

/// Why a message was refused. Sorted by who is to blame; its text names what to mend and is sent with
/// the Error. Nothing here tells one failed decryption, padding or signature from another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    // The form of the message.
    /// Larger than the limit, in bytes.
    #[error("message larger than {limit_bytes} bytes")]
    TooBig {
        /// The limit that was passed.
        limit_bytes: usize,
    },
    /// Not JSON, or not of the message's structure.
    #[error("message not understood: {0}")]
    Malformed(String),
    /// Not sent as one of SET's media types.
    #[error(
        "send SET messages as application/set-payment+json or application/set-registration+json"
    )]
    MediaType,
    /// A message that does not exist.
    #[error("no message is called {0:?}")]
    UnknownMessage(String),
    /// A message that this party does not take here.
    #[error("{0} is not taken here")]
    MessageNotTaken(&'static str),
    /// A version before this one.
    #[error("version {0} is too old; this is version 2.0")]
    VersionTooOld(u8),
    /// A version after this one.
    #[error("version {0} is too new; this is version 2.0")]
    VersionTooNew(u8),
    /// The header's date is before the window.
    #[error("message date is too far in the past")]
    TooOld,
    /// The header's date is after the window.
    #[error("message date is in the future")]
    TooNew,
    /// A critical extension that is not known.
    #[error("critical extension {0} is not known")]
    UnrecognizedExtension(String),
    /// The header lacks or doubles something.
    #[error("message header: {0}")]
    BadHeader(&'static str),
    /// The header contradicts the message inside.
    #[error("header and message differ in {0}")]
    HeaderMismatch(&'static str),
    /// The RRPID was used before for another message.
    #[error("this RRPID was used before with another content; use a new one")]
    RrpidReused,

    // Signatures, seals and certificates.
    /// A signed object's header breaks the profile.
    #[error("signed object refused: {0}")]
    SignedObject(JwsError),
    /// A sealed object's header breaks the profile.
    #[error("sealed object refused: {0}")]
    SealedObject(JweError),
    /// The content type is not the one that belongs here.
    #[error("content type {found:?} where {expected} belongs")]
    ContentType {
        /// The content type that belongs here.
        expected: &'static str,
        /// The one that was found.
        found: String,
    },
    /// A signature, decryption or padding failed: one answer for all.
    #[error("message could not be opened or verified")]
    Unauthentic,
    /// A certificate or its path was refused.
    #[error("certificate refused: {0}")]
    Certificate(PathError),
    /// A certificate that should be there is not.
    #[error("certificate missing: {0}")]
    MissingCertificate(&'static str),
    /// Sealed for a certificate that is not (or no longer) ours.
    #[error("sealed for another certificate")]
    NotSealedForUs,
    /// The signed payload names another sender than its signer.
    #[error("signer is not the sender named inside")]
    NotFromSigner,
    /// The signed payload is for somebody else.
    #[error("signed for another receiver")]
    NotForUs,
    /// The signer is a genuine party, but not the one that this exchange is with.
    #[error("signed by another {0} than this exchange is with")]
    AnotherParty(&'static str),
    /// The answer is to another request.
    #[error("answer to another request")]
    AnotherRequest,
    /// The response repeats other thumbs than the request named.
    #[error("response repeats other thumbs than the request named")]
    ThumbsMismatch,
    /// A signed digest does not fit the data that came with it.
    #[error("signed digest does not fit {0}")]
    DigestMismatch(&'static str),
    /// The dual signature covers something else.
    #[error("dual signature does not cover this {0}")]
    DualSignature(&'static str),
    /// The cardholder must have a certificate, and sign.
    #[error("purchases without the cardholder's certificate are not taken here")]
    SignatureRequired,
    /// Possession of the key to be certified was not shown.
    #[error("possession of the {0} key not shown")]
    Possession(&'static str),

    // The exchange.
    /// No such request is waiting for an answer.
    #[error("no request with this RRPID")]
    UnknownRrpid,
    /// No such purchase.
    #[error("no purchase with this XID")]
    UnknownXid,
    /// No such order or exchange.
    #[error("no order or exchange with this local identifier")]
    UnknownLid,
    /// The challenge is not the one that was sent.
    #[error("challenge is not the one that was sent ({0})")]
    ChallengeMismatch(&'static str),
    /// A field is not what this exchange agreed.
    #[error("{0} is not what was agreed in this exchange")]
    Disagreement(&'static str),
    /// Something that this party does not serve.
    #[error("{0} is not served here")]
    NotServed(&'static str),
    /// The step does not fit the state of the exchange.
    #[error("{0}")]
    OutOfOrder(&'static str),

    // Ourselves.
    /// Something here failed; the sender can try again.
    #[error("the message could not be handled now; send it again")]
    Internal,
}

impl Rejection {
    /// The code that tells it to the sender.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooBig { .. } => ErrorCode::MessageTooBig,
            Self::Malformed(_) | Self::MediaType => ErrorCode::DecodingFailure,
            Self::UnknownMessage(_) | Self::MessageNotTaken(_) => ErrorCode::MessageNotSupported,
            Self::VersionTooOld(_) => ErrorCode::VersionTooOld,
            Self::VersionTooNew(_) => ErrorCode::VersionTooNew,
            Self::TooOld => ErrorCode::MessageTooOld,
            Self::TooNew => ErrorCode::MessageTooNew,
            Self::UnrecognizedExtension(_) => ErrorCode::UnrecognizedExtension,
            Self::BadHeader(_) | Self::RrpidReused => ErrorCode::BadMessageHeader,
            Self::HeaderMismatch(_) => ErrorCode::WrapperMsgMismatch,
            Self::SignedObject(_)
            | Self::SealedObject(_)
            | Self::ContentType { .. }
            | Self::Unauthentic
            | Self::NotSealedForUs
            | Self::NotFromSigner
            | Self::NotForUs
            | Self::AnotherRequest
            | Self::DigestMismatch(_)
            | Self::DualSignature(_)
            | Self::Possession(_) => ErrorCode::SignatureFailure,
            Self::Certificate(PathError::Expired(_)) => ErrorCode::ExpiredCertificate,
            Self::Certificate(PathError::Revoked(_)) => ErrorCode::RevokedCertificate,
            Self::Certificate(_) | Self::AnotherParty(_) => ErrorCode::InvalidCertificate,
            Self::SignatureRequired => ErrorCode::SignatureRequired,
            Self::ThumbsMismatch => ErrorCode::ThumbsMismatch,
            Self::MissingCertificate(_) => ErrorCode::MissingCertificate,
            Self::UnknownRrpid => ErrorCode::UnknownRrpid,
            Self::UnknownXid => ErrorCode::UnknownXid,
            Self::UnknownLid => ErrorCode::UnknownLid,
            Self::ChallengeMismatch(_) => ErrorCode::ChallengeMismatch,
            Self::Disagreement(_) | Self::NotServed(_) | Self::OutOfOrder(_) | Self::Internal => {
                ErrorCode::UnspecifiedFailure
            }
        }
    }
}

/// A failed signature looks like every other failure; a refused header is named.
impl From<JwsError> for Rejection {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::Signature | JwsError::Encoding { .. } => Self::Unauthentic,
            other => Self::SignedObject(other),
        }
    }
}

impl From<JweError> for Rejection {
    fn from(error: JweError) -> Self {
        match error {
            JweError::Unopened | JweError::Encoding { .. } => Self::Unauthentic,
            other => Self::SealedObject(other),
        }
    }
}

impl From<PathError> for Rejection {
    fn from(error: PathError) -> Self {
        Self::Certificate(error)
    }
}
