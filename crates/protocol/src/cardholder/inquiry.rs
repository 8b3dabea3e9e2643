//! The wallet asks what became of its order: InqReq, InqRes.

use super::Card;
use super::purchase::{Answer, Purchase, PurchaseOutcome, Step, read_answer};
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::ids::{Challenge, Rrpid};
use crate::messages::inq::{InqReqData, InqReqTbe};
use crate::sealed::seal;
use crate::signed::{Frame, Who, request_digest, sign_for};
use crate::thumbs::Receiver;
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use crate::{Context, Rejection};
use openset_pki::PathVerifier;
use serde::{Deserialize, Serialize};

/// After InqReq was made: what its answer is checked against.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingInqRes {
    rrpid: Rrpid,
    chall_c2: Challenge,
    request: Digest,
}

/// Makes InqReq, signed with the card that made the purchase and sealed for its merchant.
///
/// # Errors
/// [`Rejection::Internal`] when the key cannot sign or seal.
pub fn start(
    ctx: &mut Context<'_>,
    card: &Card,
    purchase: &Purchase,
    verifier: &PathVerifier,
) -> Result<Step<AwaitingInqRes>, Rejection> {
    let rrpid = Rrpid::generate(ctx.rng);
    let chall_c2 = Challenge::generate(ctx.rng);
    let merchant = purchase.merchant_key_exchange_certificate()?;
    let data = InqReqData {
        trans_ids: purchase.trans_ids.clone(),
        chall_c2,
    };
    let to = Who::Certificate(merchant.thumbprint());
    let frame = Frame {
        to,
        message: "InqReq",
        rrpid,
        answers: None,
    };
    let receiver = Receiver::holding_chain_of(&merchant, verifier);
    let inq_req = sign_for(
        ctx,
        &card.signature,
        ContentType::InqReqData,
        frame,
        &receiver,
        &data,
    )?;
    let sealed = seal(
        ctx,
        &merchant,
        ContentType::InqReqTbe,
        &InqReqTbe { inq_req },
    )?;
    let ids = MessageIds::of(&purchase.trans_ids);
    let wire = MessageWrapper::new(ctx, ids, rrpid, Message::InqReq(sealed)).encode();
    Ok(Step {
        state: AwaitingInqRes {
            rrpid,
            chall_c2,
            request: request_digest(&wire),
        },
        wire,
    })
}

impl AwaitingInqRes {
    /// Verifies InqRes.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails.
    pub fn handle(
        &self,
        ctx: &Context<'_>,
        purchase: &Purchase,
        wire: &[u8],
        verifier: &PathVerifier,
    ) -> Result<PurchaseOutcome, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        let Message::InqRes(jws) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        let answer = Answer {
            purchase,
            rrpid: self.rrpid,
            challenge: self.chall_c2,
            request: self.request,
            message: "InqRes",
        };
        read_answer(ctx, &wrapper, jws, &answer, verifier)
    }
}
