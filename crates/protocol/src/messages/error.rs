//! Error: a message could not be taken (reference 3.10). Business refusals go in the normal answers.

use crate::Context;
use crate::ids::{LocalId, Nonce, Rrpid, Xid};
use crate::rejection::{ErrorCode, Rejection};
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use serde::{Deserialize, Serialize};

/// Error: what was wrong with a message. Never answered by another Error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorMessage {
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

impl ErrorMessage {
    /// The wrapper that answers a refused message; `refused` is its wrapper where it could be read.
    #[must_use]
    pub fn answer(
        ctx: &mut Context<'_>,
        rejection: &Rejection,
        refused: Option<&MessageWrapper>,
    ) -> MessageWrapper {
        let header = refused.map(|w| &w.message_header);
        let error_msg = header.map_or_else(RefusedMessage::default, |h| RefusedMessage {
            rrpid: h.rrpid,
            lid_c: h.message_ids.lid_c.clone(),
            xid: h.message_ids.xid,
        });
        let error = Self {
            error_code: rejection.code(),
            error_nonce: Nonce::generate(ctx.rng),
            error_text: rejection.to_string(),
            error_msg,
        };
        let ids = header.map_or_else(MessageIds::default, |h| h.message_ids.clone());
        let rrpid = header.and_then(|h| h.rrpid);
        let mut wrapper = MessageWrapper::new(
            ctx,
            ids,
            rrpid.unwrap_or_else(|| Rrpid::from_bytes([0; 32])),
            Message::Error(error),
        );
        wrapper.message_header.rrpid = rrpid;
        wrapper
    }
}
