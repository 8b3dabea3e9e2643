//! After the capture: CapRevReq cancels it, CredReq gives money back, CredRevReq cancels a refund; the response tells
//! what was done.

use super::receipts::{About, ItemReceipts};
use super::{ExpectedAnswer, merchant_data, open_ours, verify_answer};
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::identity::Credentials;
use crate::ids::{ExactBytes, LocalId, RrTags, Rrpid, TransIds};
use crate::messages::batch::BatchPlace;
use crate::messages::cap_rev_or_cred::{
    CapRevOrCred, CapRevOrCredCode, CapRevOrCredReqData, CapRevOrCredReqItem, CapRevOrCredReqTbe,
    CapRevOrCredResData, CapRevOrCredResItem, CapRevOrCredResTbe, ITEMS_MAX,
};
use crate::money::CurrencyAmount;
use crate::receipt::Which;
use crate::sealed::seal;
use crate::signed::{Frame, Who, request_digest, sign_for};
use crate::thumbs::{Receiver, Thumbs};
use crate::wrapper::{Jwe, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, PathVerifier};
use serde::{Deserialize, Serialize};

/// A capture or refund to be cancelled, or an amount to be given back.
#[derive(Clone, Debug)]
pub struct Item {
    /// The purchase.
    pub trans_ids: TransIds,
    /// The authorization that was captured.
    pub auth_rrpid: Rrpid,
    /// HOD from the merchant's own order.
    pub hod: Digest,
    /// What is to be cancelled, as CapRes or CredRes named it; of a refund, the capture.
    pub original: Option<BatchPlace>,
    /// How much is to go back; of a cancellation, the whole amount of what is cancelled.
    pub amount: CurrencyAmount,
    /// Into which batch; without, the one that is open.
    pub new_batch_id: Option<LocalId>,
    /// The token that came with the authorization.
    pub cap_token: Jwe,
}

/// What to ask for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// By which message.
    pub which: CapRevOrCred,
    /// Up to [`ITEMS_MAX`].
    pub items: Vec<Item>,
    /// The first request that asked for the same, item by item, if the gateway takes its bytes no more.
    pub earlier: Option<Rrpid>,
}

/// After the request was made: what its answer is checked against.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingCapRevOrCredRes {
    which: CapRevOrCred,
    rr_tags: RrTags,
    items: Vec<CapRevOrCredReqItem>,
    /// HOD of each item; none in what was stored before the answers brought receipts, which are left out then.
    #[serde(default)]
    hods: Vec<Digest>,
    brand_id: BrandId,
    gateway_key_exchange: ExactBytes,
    request: Digest,
    m_thumbs: Option<Thumbs>,
    /// The certificate that signed the request, to which the answer is addressed.
    merchant: Thumbprint,
}

/// Makes CapRevReq, CredReq or CredRevReq for up to [`ITEMS_MAX`] items.
///
/// # Errors
/// [`Rejection::OutOfOrder`] for no or too many items, [`Rejection::Internal`] when a key cannot sign or seal.
pub fn request(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    gateway: &Certificate,
    Asked {
        which,
        items,
        earlier,
    }: Asked,
    verifier: &PathVerifier,
) -> Result<(AwaitingCapRevOrCredRes, Vec<u8>), Rejection> {
    if items.is_empty() || items.len() > ITEMS_MAX {
        return Err(Rejection::OutOfOrder("such a request has 1 to 32 items"));
    }
    let brand_id = ours.signature.brand().cloned();
    let brand_id = brand_id.ok_or(Rejection::MissingCertificate("brand"))?;
    let receiver = Receiver::holding_chain_of(gateway, verifier);
    let m_thumbs = Some(Thumbs::of(verifier, &brand_id));
    let rrpid = Rrpid::generate(&mut ctx.again());
    let rr_tags = RrTags {
        rrpid,
        merchant_id: merchant_data(ours)?.merchant_id.clone(),
        current_date: ctx.now,
    };
    let hods = items.iter().map(|item| item.hod).collect();
    let (items, tokens): (Vec<_>, Vec<_>) =
        items.into_iter().map(|item| item.asked(ctx.now)).unzip();
    let cap_token_seq = ExactBytes(serde_json::to_vec(&tokens).map_err(|_| Rejection::Internal)?);
    let data = CapRevOrCredReqData {
        cap_rev_or_cred_rr_tags: rr_tags.clone(),
        earlier,
        cap_rev_or_cred_req_item_seq: items.clone(),
        cap_token_seq_digest: digest(ContentType::CapTokenSeq, &cap_token_seq.0),
        merchant_key_exchange: receiver.carried(ours.key_exchange.chain()),
        m_thumbs: m_thumbs.clone(),
    };
    let frame = Frame {
        to: Who::Certificate(gateway.thumbprint()),
        message: which.request(),
        rrpid,
        answers: None,
    };
    let content = which.req_tbs();
    let tbe = CapRevOrCredReqTbe {
        cap_rev_or_cred_req: sign_for(ctx, &ours.signature, content, frame, &receiver, &data)?,
        cap_token_seq,
    };
    let message = which.in_request(seal(ctx, gateway, which.req_tbe(), &tbe)?);
    let wire = MessageWrapper::new(ctx, MessageIds::default(), rrpid, message).encode();
    let state = AwaitingCapRevOrCredRes {
        which,
        rr_tags,
        items,
        hods,
        brand_id,
        gateway_key_exchange: ExactBytes(gateway.der().to_vec()),
        request: request_digest(&wire),
        m_thumbs,
        merchant: ours.signature.thumbprint(),
    };
    Ok((state, wire))
}

impl Item {
    fn asked(self, now: Timestamp) -> (CapRevOrCredReqItem, Option<Jwe>) {
        let item = CapRevOrCredReqItem {
            trans_ids: self.trans_ids,
            auth_rrpid: self.auth_rrpid,
            original: self.original,
            new_batch_id: self.new_batch_id,
            cap_rev_or_cred_req_date: now,
            cap_rev_or_cred_req_amt: self.amount,
        };
        (item, Some(self.cap_token))
    }
}

impl AwaitingCapRevOrCredRes {
    /// What was asked for.
    #[must_use]
    pub fn which(&self) -> CapRevOrCred {
        self.which
    }

    /// The request/response pair.
    #[must_use]
    pub fn rrpid(&self) -> Rrpid {
        self.rr_tags.rrpid
    }

    /// Verifies the response; `ours` are all credentials that it may have been sealed for. Gives one answer for each
    /// item, in the request's order, with the cardholder's newest receipt if it came.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails; the items stay unanswered.
    pub fn handle(
        &self,
        wire: &[u8],
        ours: &[&Credentials],
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Vec<CapRevOrCredResItem>, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        let which = self.which;
        let jwe = match CapRevOrCred::of_response(&wrapper.message) {
            Some((answered, jwe)) if answered == which => jwe,
            _ => return Err(wrapper.not_taken()),
        };
        if wrapper.rrpid()? != self.rrpid() {
            return Err(Rejection::UnknownRrpid);
        }
        let (opened, _): (CapRevOrCredResTbe, _) = open_ours(jwe, ours, which.res_tbe())?;
        let expected = ExpectedAnswer {
            content: which.res_data(),
            message: which.response(),
            brand: &self.brand_id,
            to: self.merchant,
            rrpid: self.rrpid(),
            request: self.request,
            thumbs: self.m_thumbs.as_ref(),
            gateway: &self.gateway_key_exchange,
        };
        let signed = &opened.cap_rev_or_cred_res;
        let (data, gateway): (CapRevOrCredResData, _) =
            verify_answer(&wrapper, signed, &expected, verifier, now)?;
        let mut answers = self.check(&wrapper, data)?;
        let receipts = ItemReceipts {
            gateway: &gateway,
            brand: &self.brand_id,
            merchant_id: &self.rr_tags.merchant_id,
            hods: &self.hods,
        };
        for (place, answer) in answers.iter_mut().enumerate() {
            let about = About {
                trans_ids: &answer.trans_ids,
                auth_rrpid: answer.auth_rrpid,
                amount: answer.cap_rev_or_cred_actual_amt,
                // What was captured is authorized as before; of refunds their sum alone changes.
                which: match self.which {
                    CapRevOrCred::CapRev => Which::Later,
                    CapRevOrCred::Cred | CapRevOrCred::CredRev => Which::Newer,
                },
            };
            receipts.keep(place, &about, &mut answer.receipt, verifier, now)?;
        }
        Ok(answers)
    }

    fn check(
        &self,
        wrapper: &MessageWrapper,
        data: CapRevOrCredResData,
    ) -> Result<Vec<CapRevOrCredResItem>, Rejection> {
        wrapper.check_ids(&MessageIds::default(), data.cap_rev_or_cred_rr_tags.rrpid)?;
        if data.cap_rev_or_cred_rr_tags != self.rr_tags {
            return Err(Rejection::Disagreement("cap_rev_or_cred_rr_tags"));
        }
        let answers = data.cap_rev_or_cred_res_item_seq;
        if answers.len() != self.items.len() || !self.items.iter().zip(&answers).all(fits) {
            return Err(Rejection::Disagreement("cap_rev_or_cred_res_item_seq"));
        }
        Ok(answers)
    }
}

/// Whether an answer is about the item and says all of what was done, or that nothing was.
fn fits((item, answer): (&CapRevOrCredReqItem, &CapRevOrCredResItem)) -> bool {
    let (asked, actual) = (
        item.cap_rev_or_cred_req_amt,
        answer.cap_rev_or_cred_actual_amt,
    );
    let done = answer.cap_rev_or_cred_code == CapRevOrCredCode::Success;
    let minor = if done { asked.minor() } else { 0 };
    answer.trans_ids == item.trans_ids
        && answer.auth_rrpid == item.auth_rrpid
        && actual.minor() == minor
        && actual.currency() == asked.currency()
        && answer.batch.is_some() == done
        && (answer.receipt.is_none() || done)
}
