//! After step 10: CapReq asks for the money, CapRes answers.

use super::receipts::{About, ItemReceipts};
use super::{ExpectedAnswer, merchant_data, open_ours, verify_answer};
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::identity::Credentials;
use crate::ids::{ExactBytes, LocalId, RrTags, Rrpid, TransIds};
use crate::messages::cap::{
    CAP_ITEMS_MAX, CapCode, CapItem, CapReqData, CapReqTbe, CapResData, CapResItem, CapResTbe,
};
use crate::money::CurrencyAmount;
use crate::receipt::Which;
use crate::sealed::seal;
use crate::signed::{Frame, Who, request_digest, sign_for};
use crate::thumbs::{Receiver, Thumbs};
use crate::wrapper::{Jwe, Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, PathVerifier};
use serde::{Deserialize, Serialize};

/// An authorization to capture.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The purchase.
    pub trans_ids: TransIds,
    /// The authorization.
    pub auth_rrpid: Rrpid,
    /// HOD from the merchant's own order.
    pub hod: Digest,
    /// How much.
    pub amount: CurrencyAmount,
    /// Into which batch; without, the one that is open.
    pub batch_id: Option<LocalId>,
    /// The token that came with the authorization.
    pub cap_token: Jwe,
}

/// After CapReq was made: what its answer is checked against.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingCapRes {
    cap_rr_tags: RrTags,
    items: Vec<CapItem>,
    /// HOD of each item; none in what was stored before captures brought receipts, which are left out then.
    #[serde(default)]
    hods: Vec<Digest>,
    brand_id: BrandId,
    gateway_key_exchange: ExactBytes,
    request: Digest,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    m_thumbs: Option<Thumbs>,
    /// The certificate that signed CapReq, to which the answer is addressed; absent in what was stored before
    /// merchants had more than one.
    #[serde(default)]
    merchant: Option<Thumbprint>,
}

/// Makes CapReq for up to [`CAP_ITEMS_MAX`] authorizations.
///
/// # Errors
/// [`Rejection::OutOfOrder`] for no or too many captures, [`Rejection::Internal`] when a key cannot sign or seal.
pub fn request(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    gateway: &Certificate,
    captures: Vec<Capture>,
    verifier: &PathVerifier,
) -> Result<(AwaitingCapRes, Vec<u8>), Rejection> {
    if captures.is_empty() || captures.len() > CAP_ITEMS_MAX {
        return Err(Rejection::OutOfOrder("a capture request has 1 to 32 items"));
    }
    let brand_id = ours
        .signature
        .brand()
        .cloned()
        .ok_or(Rejection::MissingCertificate("brand"))?;
    let receiver = Receiver::holding_chain_of(gateway, verifier);
    let m_thumbs = Some(Thumbs::of(verifier, &brand_id));
    let rrpid = Rrpid::generate(&mut ctx.again());
    let merchant_id = merchant_data(ours)?.merchant_id.clone();
    let cap_rr_tags = RrTags {
        rrpid,
        merchant_id,
        current_date: ctx.now,
    };
    let hods = captures.iter().map(|capture| capture.hod).collect();
    let (items, tokens): (Vec<_>, Vec<_>) = captures
        .into_iter()
        .map(|c| {
            let Capture {
                trans_ids,
                auth_rrpid,
                amount,
                batch_id,
                cap_token,
                ..
            } = c;
            (
                CapItem {
                    trans_ids,
                    auth_rrpid,
                    cap_date: ctx.now,
                    cap_req_amt: amount,
                    batch_id,
                },
                Some(cap_token),
            )
        })
        .unzip();
    let cap_token_seq = ExactBytes(serde_json::to_vec(&tokens).map_err(|_| Rejection::Internal)?);
    let data = CapReqData {
        cap_rr_tags: cap_rr_tags.clone(),
        cap_item_seq: items.clone(),
        cap_token_seq_digest: digest(ContentType::CapTokenSeq, &cap_token_seq.0),
        merchant_key_exchange: receiver.carried(ours.key_exchange.chain()),
        m_thumbs: m_thumbs.clone(),
    };
    let to = Who::Certificate(gateway.thumbprint());
    let frame = Frame {
        to,
        message: "CapReq",
        rrpid,
        answers: None,
    };
    let cap_req = sign_for(
        ctx,
        &ours.signature,
        ContentType::CapReqTbs,
        frame,
        &receiver,
        &data,
    )?;
    let sealed = seal(
        ctx,
        gateway,
        ContentType::CapReqTbe,
        &CapReqTbe {
            cap_req,
            cap_token_seq,
        },
    )?;
    let wire =
        MessageWrapper::new(ctx, MessageIds::default(), rrpid, Message::CapReq(sealed)).encode();
    let gateway_key_exchange = ExactBytes(gateway.der().to_vec());
    Ok((
        AwaitingCapRes {
            cap_rr_tags,
            items,
            hods,
            brand_id,
            gateway_key_exchange,
            request: request_digest(&wire),
            m_thumbs,
            merchant: Some(ours.signature.thumbprint()),
        },
        wire,
    ))
}

impl AwaitingCapRes {
    /// The request/response pair.
    #[must_use]
    pub fn rrpid(&self) -> Rrpid {
        self.cap_rr_tags.rrpid
    }

    /// Verifies CapRes; `ours` are all credentials that it may have been sealed for. Gives one answer for each capture, in the
    /// request's order, with the cardholder's newest receipt if it came.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails; the captures stay unanswered.
    pub fn handle(
        &self,
        wire: &[u8],
        ours: &[&Credentials],
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Vec<CapResItem>, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        let Message::CapRes(jwe) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        if wrapper.rrpid()? != self.rrpid() {
            return Err(Rejection::UnknownRrpid);
        }
        let (CapResTbe { cap_res }, opened_by) = open_ours(jwe, ours, ContentType::CapResTbe)?;
        let expected = ExpectedAnswer {
            content: ContentType::CapResData,
            message: "CapRes",
            brand: &self.brand_id,
            to: self.merchant.unwrap_or(opened_by),
            rrpid: self.rrpid(),
            request: self.request,
            thumbs: self.m_thumbs.as_ref(),
            gateway: &self.gateway_key_exchange,
        };
        let (data, gateway): (CapResData, _) =
            verify_answer(&wrapper, &cap_res, &expected, verifier, now)?;
        let mut answers = self.check(&wrapper, data)?;
        let receipts = ItemReceipts {
            gateway: &gateway,
            brand: &self.brand_id,
            merchant_id: &self.cap_rr_tags.merchant_id,
            hods: &self.hods,
        };
        for (place, answer) in answers.iter_mut().enumerate() {
            let about = About {
                trans_ids: &answer.trans_ids,
                auth_rrpid: answer.auth_rrpid,
                amount: answer.cap_amt,
                which: Which::Later,
            };
            receipts.keep(place, &about, &mut answer.receipt, verifier, now)?;
        }
        Ok(answers)
    }

    fn check(
        &self,
        wrapper: &MessageWrapper,
        data: CapResData,
    ) -> Result<Vec<CapResItem>, Rejection> {
        wrapper.check_ids(&MessageIds::default(), data.cap_rr_tags.rrpid)?;
        if data.cap_rr_tags != self.cap_rr_tags {
            return Err(Rejection::Disagreement("cap_rr_tags"));
        }
        let answers = data.cap_res_item_seq;
        if answers.len() != self.items.len() || !self.items.iter().zip(&answers).all(fits) {
            return Err(Rejection::Disagreement("cap_res_item_seq"));
        }
        Ok(answers)
    }
}

/// Whether an answer is about the item, and says how much of it was captured and where that stands.
fn fits((item, answer): (&CapItem, &CapResItem)) -> bool {
    let (asked, captured) = (item.cap_req_amt, answer.cap_amt);
    let amount_fits = match answer.cap_code {
        CapCode::Success => captured.minor() == asked.minor(),
        // What another request captured.
        CapCode::DuplicateRequest => true,
        _ => captured.minor() == 0,
    };
    answer.trans_ids == item.trans_ids
        && answer.auth_rrpid == item.auth_rrpid
        && amount_fits
        && captured.currency() == asked.currency()
        && (answer.batch.is_none() || captured.minor() > 0)
        && (answer.receipt.is_none() || captured.minor() > 0)
}
