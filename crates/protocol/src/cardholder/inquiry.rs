//! The wallet asks what became of its order: InqReq, InqRes.

use super::PayingCard;
use super::purchase::{Answer, Purchase, PurchaseOutcome, Step, read_answer};
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::ids::{Challenge, Rrpid};
use crate::messages::inq::{InqReqData, InqReqTbe, InqReqUnsigned};
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

/// Makes InqReq, signed with the card that made the purchase (if it has a certificate) and sealed for its merchant.
///
/// # Errors
/// [`Rejection::Internal`] when the key cannot sign or seal; [`Rejection::Disagreement`] for a card without a certificate
/// with which this purchase was not made.
pub fn start<'a>(
    ctx: &mut Context<'_>,
    card: impl Into<PayingCard<'a>>,
    purchase: &Purchase,
    verifier: &PathVerifier,
) -> Result<Step<AwaitingInqRes>, Rejection> {
    let rrpid = Rrpid::generate(&mut ctx.again());
    let chall_c2 = Challenge::generate(ctx.rng);
    let merchant = &purchase.merchant_key_exchange;
    let data = InqReqData {
        trans_ids: purchase.trans_ids.clone(),
        chall_c2,
    };
    let asked = match card.into() {
        PayingCard::Certified(card) => {
            let frame = Frame {
                to: Who::Certificate(merchant.thumbprint()),
                message: "InqReq",
                rrpid,
                answers: None,
            };
            let receiver = Receiver::holding_chain_of(merchant, verifier);
            let (by, content) = (&card.signature, ContentType::InqReqData);
            let inq_req = sign_for(ctx, by, content, frame, &receiver, &data)?;
            InqReqTbe {
                inq_req: Some(inq_req),
                unsigned: None,
            }
        }
        PayingCard::Bare(_) => {
            let od_salt = purchase.od_salt;
            let od_salt = od_salt.ok_or(Rejection::Disagreement("od_salt"))?;
            InqReqTbe {
                inq_req: None,
                unsigned: Some(InqReqUnsigned {
                    rrpid,
                    date: ctx.now,
                    data,
                    od_salt,
                }),
            }
        }
    };
    let sealed = seal(ctx, merchant, ContentType::InqReqTbe, &asked)?;
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
