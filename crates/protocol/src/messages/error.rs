//! Error: a message could not be taken (reference 3.10). Business refusals go in the normal answers.
//!
//! SET's choice: signed by whoever has a certificate, or plain. Signed here is what may be counted on, an Error about a
//! request whose sender was verified and that will never be taken. Anybody may write the other one, so nothing ends by it.

use crate::content_type::ContentType;
use crate::identity::{SigningIdentity, same_party};
use crate::ids::{LocalId, Nonce, Rrpid, Xid};
use crate::plain::plain;
use crate::rejection::{ErrorCode, Rejection};
use crate::signed::{Expected, Frame, Signer, Verified, Who, request_digest, sign, verify};
use crate::wrapper::{Jws, Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, PathVerifier, Role};
use serde::{Deserialize, Serialize};

/// Error: what was wrong with a message. Never answered by another Error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ErrorMessage {
    /// By the party that was asked, about one request, for good.
    Signed(Jws),
    /// By anybody.
    Unsigned(ErrorTbs),
}

/// What an Error says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorTbs {
    /// The code.
    pub error_code: ErrorCode,
    /// Fresh.
    pub error_nonce: Nonce,
    /// For a person to read: what to mend. Never a hint about keys.
    pub error_text: String,
    /// The header's names of the message that could not be taken, where they could be read.
    pub error_msg: RefusedMessage,
}

/// Which message was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedMessage {
    /// Its RRPID.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rrpid: Option<Rrpid>,
    /// Its lid-C.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lid_c: Option<LocalId>,
    /// Its XID.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub xid: Option<Xid>,
}

/// A request that is refused for good, after its sender was verified.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// As it came.
    pub wire: &'a [u8],
    /// The same, read.
    pub wrapper: &'a MessageWrapper,
    /// The certificate that signed it.
    pub sender: Thumbprint,
    /// Its RRPID, as signed.
    pub rrpid: Rrpid,
}

/// Who may have signed an Error about a request of ours.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// A certificate of the party that was asked; it may have another by now.
    pub party: &'a Certificate,
    /// Its role.
    pub role: Role,
    /// Its brand.
    pub brand: &'a BrandId,
}

impl ErrorMessage {
    /// The wrapper that answers a refused message; `refused` is its wrapper where it could be read.
    #[must_use]
    pub fn answer(
        ctx: &mut Context<'_>,
        rejection: &Rejection,
        refused: Option<&MessageWrapper>,
    ) -> MessageWrapper {
        let tbs = ErrorTbs::about(ctx, rejection, refused);
        wrap(ctx, Self::Unsigned(tbs), refused)
    }

    /// The wrapper that answers, signed, a request that will never be taken: bound to its bytes and to its sender.
    ///
    /// # Errors
    /// [`Rejection::Internal`] when the key cannot sign.
    pub fn answer_signed(
        ctx: &mut Context<'_>,
        by: &SigningIdentity,
        rejection: &Rejection,
        refused: &Refused<'_>,
    ) -> Result<MessageWrapper, Rejection> {
        let tbs = ErrorTbs::about(ctx, rejection, Some(refused.wrapper));
        let frame = Frame {
            to: Who::Certificate(refused.sender),
            message: "Error",
            rrpid: refused.rrpid,
            answers: Some(request_digest(refused.wire)),
        };
        let jws = sign(ctx, by, ContentType::ErrorTbs, frame, &tbs)?;
        Ok(wrap(ctx, Self::Signed(jws), Some(refused.wrapper)))
    }

    /// What it says, whoever says it; none where that cannot be read. For people and logs, its text fit for a terminal: see
    /// [`Self::verify`].
    #[must_use]
    pub fn claim(&self) -> Option<ErrorTbs> {
        #[derive(Deserialize)]
        struct Data {
            data: ErrorTbs,
        }
        let said = match self {
            Self::Unsigned(tbs) => tbs.clone(),
            Self::Signed(jws) => {
                let object = openset_jose::jws::Unverified::parse(&jws.0).ok()?;
                let data: Data = serde_json::from_slice(object.danger_unverified_payload()).ok()?;
                data.data
            }
        };
        Some(said.for_people())
    }

    /// Verifies a signed Error about the request `wire`, which we signed with this certificate: by the party that was asked.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails; [`Rejection::MissingCertificate`] for an unsigned one.
    pub fn verify(
        &self,
        (wire, rrpid, sender): (&[u8], Rrpid, Thumbprint),
        asked: &Asked<'_>,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<ErrorTbs, Rejection> {
        let Self::Signed(jws) = self else {
            return Err(Rejection::MissingCertificate("of who wrote the Error"));
        };
        let expected = Expected {
            content: ContentType::ErrorTbs,
            signer: Signer {
                role: asked.role,
                brand: Some(asked.brand),
            },
            to: Who::Certificate(sender),
            message: "Error",
            rrpid,
            answers: Some(request_digest(wire)),
            thumbs: None,
        };
        let verified: Verified<ErrorTbs> = verify(jws, &expected, verifier, now)?;
        if !same_party(&verified.certificate, asked.party) {
            return Err(Rejection::AnotherParty("party"));
        }
        Ok(verified.data.for_people())
    }
}

/// The most of an Error's text that is shown, in characters.
const TEXT_CHARS_MAX: usize = 200;

impl ErrorTbs {
    /// The text is a stranger's: nothing of it may move a terminal's cursor.
    fn for_people(mut self) -> Self {
        let shown: String = self.error_text.chars().take(TEXT_CHARS_MAX).collect();
        self.error_text = plain(&shown);
        self
    }

    fn about(
        ctx: &mut Context<'_>,
        rejection: &Rejection,
        refused: Option<&MessageWrapper>,
    ) -> Self {
        let error_msg = refused.map_or_else(RefusedMessage::default, |wrapper| RefusedMessage {
            rrpid: wrapper.message_header.rrpid,
            lid_c: wrapper.message_header.message_ids.lid_c.clone(),
            xid: wrapper.message_header.message_ids.xid,
        });
        Self {
            error_code: rejection.code(),
            error_nonce: Nonce::generate(ctx.rng),
            error_text: rejection.to_string(),
            error_msg,
        }
    }
}

fn wrap(
    ctx: &Context<'_>,
    error: ErrorMessage,
    refused: Option<&MessageWrapper>,
) -> MessageWrapper {
    let header = refused.map(|wrapper| &wrapper.message_header);
    let ids = header.map_or_else(MessageIds::default, |header| header.message_ids.clone());
    let rrpid = header.and_then(|header| header.rrpid);
    let mut wrapper = MessageWrapper::new(
        ctx,
        ids,
        rrpid.unwrap_or_else(|| Rrpid::from_bytes([0; 32])),
        Message::Error(error),
    );
    wrapper.message_header.rrpid = rrpid;
    wrapper
}
