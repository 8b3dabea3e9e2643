//! After step 10: CapReq is verified, CapRes tells what was captured.

use super::SealedAnswer;
use super::asking::{Asking, Request, open as open_asked, verify_asking};
use super::auth::{TokenKey, open_cap_token};
use super::receipt::{NewReceipt, Receipts};
use crate::content_type::ContentType;
use crate::digest::digest;
use crate::identity::Credentials;
use crate::ids::{ExactBytes, RrTags, Rrpid, TransIds};
use crate::messages::auth::{CAP_TOKEN_SEQUENCE, CapTokenData};
use crate::messages::batch::BatchPlace;
use crate::messages::cap::{
    CAP_ITEMS_MAX, CapCode, CapItem, CapReqData, CapReqTbe, CapResData, CapResItem, CapResTbe,
};
use crate::money::CurrencyAmount;
use crate::signed::decode;
use crate::thumbs::{RevocationState, Thumbs};
use crate::wrapper::{Jwe, Message, MessageIds, MessageWrapper};
use crate::{Context, Rejection, Timestamp};
use openset_pki::PathVerifier;
use serde::{Deserialize, Serialize};

impl Request for CapReqData {
    fn rr_tags(&self) -> &RrTags {
        &self.cap_rr_tags
    }

    fn merchant_key_exchange(&self) -> &[ExactBytes] {
        &self.merchant_key_exchange
    }

    fn m_thumbs(&self) -> Option<&Thumbs> {
        self.m_thumbs.as_ref()
    }

    fn message_ids(&self) -> MessageIds {
        MessageIds::default()
    }
}

/// A CapReq after the checks that need no database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifiedCapReq {
    /// Who asked.
    pub asker: Asking,
    /// What is to be captured: `None` beside an item whose token allows it, or the code that refuses it.
    pub items: Vec<(CapItem, Option<CapCode>)>,
}

/// Opens CapReq, verifies the merchant, and compares each item with its token. The gateway's
/// database has the last word on what is left to capture.
///
/// # Errors
/// The [`Rejection`] of the first check that fails.
pub fn open(
    wire: &[u8],
    wrapper: &MessageWrapper,
    ours: &[&Credentials],
    tokens: &TokenKey,
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<VerifiedCapReq, Rejection> {
    let Message::CapReq(jwe) = &wrapper.message else {
        return Err(wrapper.not_taken());
    };
    let CapReqTbe {
        cap_req,
        cap_token_seq,
    } = open_asked(jwe, ContentType::CapReqTbe, ours)?;
    let request = (wire, wrapper);
    let names = ("CapReq", ContentType::CapReqTbs);
    let (asker, data): (_, CapReqData) =
        verify_asking(request, (jwe, &cap_req), names, ours, verifier, now)?;
    if data.cap_token_seq_digest != digest(ContentType::CapTokenSeq, &cap_token_seq.0) {
        return Err(Rejection::DigestMismatch("the capture tokens"));
    }
    let items = data.cap_item_seq;
    let token_seq = open_cap_token_seq(&cap_token_seq, items.len(), CAP_ITEMS_MAX)?;
    let judge = |(item, token): (CapItem, Option<Jwe>)| {
        let refused = judge_token(&item, token.as_ref(), asker.merchant_id(), tokens);
        (item, refused)
    };
    let items = items.into_iter().zip(token_seq).map(judge).collect();
    Ok(VerifiedCapReq { asker, items })
}

/// CapTokenSeq: a token, or none, for each item.
pub(super) fn open_cap_token_seq(
    cap_token_seq: &ExactBytes,
    items: usize,
    items_max: usize,
) -> Result<Vec<Option<Jwe>>, Rejection> {
    let token_seq: Vec<Option<Jwe>> = decode(&cap_token_seq.0)?;
    if items == 0 || items > items_max || items != token_seq.len() {
        return Err(Rejection::Disagreement(
            "the items: 1 to 32, with a token or null for each",
        ));
    }
    Ok(token_seq)
}

/// What a token says, if we gave it to this merchant for this purchase and authorization.
pub(super) fn token_is_of(
    token: &Jwe,
    tokens: &TokenKey,
    merchant_id: &str,
    (trans_ids, auth_rrpid): (&TransIds, &Rrpid),
) -> Option<CapTokenData> {
    let token = open_cap_token(token, tokens).ok()?;
    let ours = token.merchant_id == merchant_id
        && token.sequence == CAP_TOKEN_SEQUENCE
        && token.trans_ids == *trans_ids
        && token.auth_rrpid == *auth_rrpid;
    ours.then_some(token)
}

fn judge_token(
    item: &CapItem,
    token: Option<&Jwe>,
    merchant_id: &str,
    tokens: &TokenKey,
) -> Option<CapCode> {
    let Some(token) = token else {
        return Some(CapCode::CapTokenMissing);
    };
    let names = (&item.trans_ids, &item.auth_rrpid);
    let Some(token) = token_is_of(token, tokens, merchant_id, names) else {
        return Some(CapCode::InvalidCapToken);
    };
    let (amount, most) = (item.cap_req_amt, token.auth_amt);
    let fits = amount.currency() == most.currency() && (1..=most.minor()).contains(&amount.minor());
    (!fits).then_some(CapCode::InvalidAuthData)
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// All of it was captured; it stands in this batch.
    Captured(BatchPlace),
    /// So much had been captured before, and stands there.
    Duplicate(CurrencyAmount, Option<BatchPlace>),
    /// Nothing was captured.
    Refused(CapCode),
}

/// Makes CapRes from the outcome of each item, in the request's order, with the cardholder's newest receipt where it is not
/// the first. Store it with the outcome, in one transaction, before it is sent; the content key
/// that comes with it serves to store it shorter.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign or seal, or when outcomes are missing.
pub fn answer(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    request: &VerifiedCapReq,
    outcomes: &[(Outcome, Option<NewReceipt>)],
    state: &RevocationState,
) -> Result<SealedAnswer, Rejection> {
    if outcomes.len() != request.items.len() {
        return Err(Rejection::Internal);
    }
    let asker = &request.asker;
    let mut receipts = Receipts::new(ours, asker.merchant_id());
    let mut items = Vec::with_capacity(outcomes.len());
    for ((item, _), (outcome, receipt)) in request.items.iter().zip(outcomes) {
        let mut told = cap_res_item(item, outcome)?;
        let stands = receipt.as_ref().filter(|_| told.cap_amt.minor() > 0);
        told.receipt = receipts.sign(ctx, (item.trans_ids.xid, item.auth_rrpid), stands)?;
        items.push(told);
    }
    let data = CapResData {
        cap_rr_tags: asker.rr_tags.clone(),
        cap_res_item_seq: items,
    };
    let content = ("CapRes", ContentType::CapResData);
    let cap_res = asker.sign(ctx, ours, state, content, &data)?;
    let (sealed, key) = asker.seal(ctx, ContentType::CapResTbe, &CapResTbe { cap_res })?;
    let message = Message::CapRes(sealed);
    let message = MessageWrapper::new(ctx, MessageIds::default(), asker.rrpid(), message);
    Ok(SealedAnswer::new(&message, key))
}

fn cap_res_item(item: &CapItem, outcome: &Outcome) -> Result<CapResItem, Rejection> {
    let (cap_code, cap_amt, batch) = told_of(item.cap_req_amt, outcome)?;
    Ok(CapResItem {
        trans_ids: item.trans_ids.clone(),
        auth_rrpid: item.auth_rrpid,
        cap_code,
        cap_amt,
        batch,
        receipt: None,
    })
}

/// What the merchant is told of a capture of so much: the code, how much was captured, and where that stands.
pub(super) fn told_of(
    asked: CurrencyAmount,
    outcome: &Outcome,
) -> Result<(CapCode, CurrencyAmount, Option<BatchPlace>), Rejection> {
    let zero = CurrencyAmount::new(asked.currency(), 0).map_err(|_| Rejection::Internal)?;
    Ok(match outcome {
        Outcome::Captured(place) => (CapCode::Success, asked, Some(place.clone())),
        Outcome::Duplicate(stands, place) => (CapCode::DuplicateRequest, *stands, place.clone()),
        Outcome::Refused(code) => (*code, zero, None),
    })
}
