//! After the capture: CapRevReq, CredReq and CredRevReq are verified, their responses tell what went back.

use super::SealedAnswer;
use super::asking::{Asking, Request, open as open_asked, verify_asking};
use super::auth::TokenKey;
use super::cap::{open_cap_token_seq, token_is_of};
use super::receipt::{NewReceipt, Receipts};
use crate::content_type::ContentType;
use crate::digest::digest;
use crate::identity::Credentials;
use crate::ids::{ExactBytes, RrTags, Rrpid};
use crate::messages::batch::BatchPlace;
use crate::messages::cap_rev_or_cred::{
    CapRevOrCred, CapRevOrCredCode, CapRevOrCredReqData, CapRevOrCredReqItem, CapRevOrCredReqTbe,
    CapRevOrCredResData, CapRevOrCredResItem, CapRevOrCredResTbe, ITEMS_MAX,
};
use crate::money::CurrencyAmount;
use crate::thumbs::{RevocationState, Thumbs};
use crate::wrapper::{Jwe, MessageIds, MessageWrapper};
use crate::{Context, Rejection, Timestamp};
use openset_pki::PathVerifier;
use serde::{Deserialize, Serialize};

impl Request for CapRevOrCredReqData {
    fn rr_tags(&self) -> &RrTags {
        &self.cap_rev_or_cred_rr_tags
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

/// A CapRevReq, CredReq or CredRevReq after the checks that need no database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifiedCapRevOrCredReq {
    /// Which of them.
    pub which: CapRevOrCred,
    /// Who asked.
    pub asker: Asking,
    /// The first request that asked for the same; none in the first, and in what was stored before requests named it.
    #[serde(default)]
    pub earlier: Option<Rrpid>,
    /// What is asked for: `None` beside an item whose token allows it, or the code that refuses it.
    pub items: Vec<(CapRevOrCredReqItem, Option<CapRevOrCredCode>)>,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// All of it was done; it stands in this batch.
    Done(BatchPlace),
    /// Nothing was done.
    Refused(CapRevOrCredCode),
}

/// Opens the request, verifies the merchant, and compares each item with its token. The gateway's database has the
/// last word on what may be cancelled or given back.
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
) -> Result<VerifiedCapRevOrCredReq, Rejection> {
    let asked = CapRevOrCred::of_request(&wrapper.message);
    let (which, jwe) = asked.ok_or_else(|| wrapper.not_taken())?;
    let CapRevOrCredReqTbe {
        cap_rev_or_cred_req,
        cap_token_seq,
    } = open_asked(jwe, which.req_tbe(), ours)?;
    let (request, signed) = ((wire, wrapper), (jwe, &cap_rev_or_cred_req));
    let names = (which.request(), which.req_tbs());
    let (asker, data): (_, CapRevOrCredReqData) =
        verify_asking(request, signed, names, ours, verifier, now)?;
    if data.cap_token_seq_digest != digest(ContentType::CapTokenSeq, &cap_token_seq.0) {
        return Err(Rejection::DigestMismatch("the capture tokens"));
    }
    let items = data.cap_rev_or_cred_req_item_seq;
    let token_seq = open_cap_token_seq(&cap_token_seq, items.len(), ITEMS_MAX)?;
    let judge = |(item, token): (CapRevOrCredReqItem, Option<Jwe>)| {
        let refused = judge(which, &item, token.as_ref(), (asker.merchant_id(), tokens));
        (item, refused)
    };
    let items = items.into_iter().zip(token_seq).map(judge).collect();
    Ok(VerifiedCapRevOrCredReq {
        which,
        asker,
        earlier: data.earlier,
        items,
    })
}

fn judge(
    which: CapRevOrCred,
    item: &CapRevOrCredReqItem,
    token: Option<&Jwe>,
    (merchant_id, tokens): (&str, &TokenKey),
) -> Option<CapRevOrCredCode> {
    let Some(token) = token else {
        return Some(CapRevOrCredCode::MissingCapToken);
    };
    let names = (&item.trans_ids, &item.auth_rrpid);
    if token_is_of(token, tokens, merchant_id, names).is_none() {
        return Some(CapRevOrCredCode::InvalidCapToken);
    }
    let unnamed = which == CapRevOrCred::CredRev && item.original.is_none();
    unnamed.then_some(CapRevOrCredCode::MissingCapData)
}

/// Makes the response from the outcome of each item, in the request's order, with the cardholder's newest receipt where it
/// is not the first. Store it with the outcomes before it is sent; the content key
/// that comes with it serves to store it shorter.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign or seal, or when outcomes are missing.
pub fn answer(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    request: &VerifiedCapRevOrCredReq,
    outcomes: &[(Outcome, Option<NewReceipt>)],
    state: &RevocationState,
) -> Result<SealedAnswer, Rejection> {
    if outcomes.len() != request.items.len() {
        return Err(Rejection::Internal);
    }
    let (which, asker) = (request.which, &request.asker);
    let mut receipts = Receipts::new(ours, asker.merchant_id());
    let mut items = Vec::with_capacity(outcomes.len());
    for ((item, _), (outcome, receipt)) in request.items.iter().zip(outcomes) {
        let mut told = res_item(item, outcome)?;
        let stands = receipt.as_ref().filter(|_| told.batch.is_some());
        told.receipt = receipts.sign(ctx, (item.trans_ids.xid, item.auth_rrpid), stands)?;
        items.push(told);
    }
    let data = CapRevOrCredResData {
        cap_rev_or_cred_rr_tags: asker.rr_tags.clone(),
        cap_rev_or_cred_res_item_seq: items,
    };
    let content = (which.response(), which.res_data());
    let cap_rev_or_cred_res = asker.sign(ctx, ours, state, content, &data)?;
    let answer = CapRevOrCredResTbe {
        cap_rev_or_cred_res,
    };
    let (sealed, key) = asker.seal(ctx, which.res_tbe(), &answer)?;
    let message = which.in_response(sealed);
    let message = MessageWrapper::new(ctx, MessageIds::default(), asker.rrpid(), message);
    Ok(SealedAnswer::new(&message, key))
}

fn res_item(
    item: &CapRevOrCredReqItem,
    outcome: &Outcome,
) -> Result<CapRevOrCredResItem, Rejection> {
    let asked = item.cap_rev_or_cred_req_amt;
    let (code, minor, batch) = match outcome {
        Outcome::Done(place) => (
            CapRevOrCredCode::Success,
            asked.minor(),
            Some(place.clone()),
        ),
        Outcome::Refused(code) => (*code, 0, None),
    };
    Ok(CapRevOrCredResItem {
        trans_ids: item.trans_ids.clone(),
        auth_rrpid: item.auth_rrpid,
        cap_rev_or_cred_code: code,
        cap_rev_or_cred_actual_amt: CurrencyAmount::new(asked.currency(), minor)
            .map_err(|_| Rejection::Internal)?,
        batch,
        receipt: None,
    })
}
