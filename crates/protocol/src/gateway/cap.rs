//! After step 10: CapReq is verified, CapRes tells what was captured.

use super::asking::{Asking, Request, open as open_asked, verify_asking};
use super::auth::{TokenKey, open_cap_token};
use crate::content_type::ContentType;
use crate::digest::digest;
use crate::identity::Credentials;
use crate::ids::{ExactBytes, RrTags};
use crate::messages::auth::{CAP_TOKEN_SEQUENCE, CapTokenData};
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
    const MESSAGE: &'static str = "CapReq";
    const TBS: ContentType = ContentType::CapReqTbs;
    const TBE: ContentType = ContentType::CapReqTbe;

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
    } = open_asked(jwe, CapReqData::TBE, ours)?;
    let request = (wire, wrapper);
    let (asker, data): (_, CapReqData) =
        verify_asking(request, (jwe, &cap_req), ours, verifier, now)?;
    if data.cap_token_seq_digest != digest(ContentType::CapTokenSeq, &cap_token_seq.0) {
        return Err(Rejection::DigestMismatch("the capture tokens"));
    }
    let token_seq: Vec<Jwe> = decode(&cap_token_seq.0)?;
    let count = data.cap_item_seq.len();
    if count == 0 || count > CAP_ITEMS_MAX || count != token_seq.len() {
        return Err(Rejection::Disagreement(
            "cap_item_seq: 1 to 32 items with a token each",
        ));
    }
    let judge = |(item, token): (CapItem, Jwe)| {
        let refused = judge_token(&item, &token, asker.merchant_id(), tokens);
        (item, refused)
    };
    let items = data
        .cap_item_seq
        .into_iter()
        .zip(token_seq)
        .map(judge)
        .collect();
    Ok(VerifiedCapReq { asker, items })
}

fn judge_token(
    item: &CapItem,
    token: &Jwe,
    merchant_id: &str,
    tokens: &TokenKey,
) -> Option<CapCode> {
    let Ok(token) = open_cap_token(token, tokens) else {
        return Some(CapCode::InvalidCapToken);
    };
    let CapTokenData {
        merchant_id: holder,
        trans_ids,
        auth_rrpid,
        auth_amt,
        sequence,
    } = token;
    let ours = holder == merchant_id && sequence == CAP_TOKEN_SEQUENCE;
    if !ours || trans_ids != item.trans_ids || auth_rrpid != item.auth_rrpid {
        return Some(CapCode::InvalidCapToken);
    }
    let amount = item.cap_req_amt;
    let fits = amount.currency() == auth_amt.currency()
        && amount.minor() > 0
        && amount.minor() <= auth_amt.minor();
    if fits {
        None
    } else {
        Some(CapCode::InvalidAuthData)
    }
}

/// Makes CapRes from the outcome of each item, in the request's order. Store it with the outcome, in
/// one transaction, before it is sent.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign or seal, or when outcomes are missing.
pub fn answer(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    request: &VerifiedCapReq,
    outcomes: &[CapCode],
    state: &RevocationState,
) -> Result<Vec<u8>, Rejection> {
    if outcomes.len() != request.items.len() {
        return Err(Rejection::Internal);
    }
    let items = request
        .items
        .iter()
        .zip(outcomes)
        .map(|((item, _), code)| cap_res_item(item, *code));
    let asker = &request.asker;
    let data = CapResData {
        cap_rr_tags: asker.rr_tags.clone(),
        cap_res_item_seq: items.collect::<Result<_, _>>()?,
    };
    let content = ("CapRes", ContentType::CapResData);
    let cap_res = asker.sign(ctx, ours, state, content, &data)?;
    let sealed = asker.seal(ctx, ContentType::CapResTbe, &CapResTbe { cap_res })?;
    let message = Message::CapRes(sealed);
    Ok(MessageWrapper::new(ctx, MessageIds::default(), asker.rrpid(), message).encode())
}

fn cap_res_item(item: &CapItem, cap_code: CapCode) -> Result<CapResItem, Rejection> {
    let minor = if cap_code == CapCode::Success {
        item.cap_req_amt.minor()
    } else {
        0
    };
    let cap_amt =
        CurrencyAmount::new(item.cap_req_amt.currency(), minor).map_err(|_| Rejection::Internal)?;
    Ok(CapResItem {
        trans_ids: item.trans_ids.clone(),
        auth_rrpid: item.auth_rrpid,
        cap_code,
        cap_amt,
    })
}
