//! BatchAdminReq is about a batch, BatchAdminRes tells how it stands.

use super::{ExpectedAnswer, merchant_data, open_ours, verify_answer};
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::Credentials;
use crate::ids::{ExactBytes, LocalId, RrTags, Rrpid};
use crate::messages::batch_admin::{
    BaStatus, BatchAdminReqData, BatchAdminReqTbe, BatchAdminResData, BatchAdminResTbe,
    BatchOperation, BatchTotals, ReturnTransactionDetail,
};
use crate::money::Currency;
use crate::sealed::seal;
use crate::signed::{Frame, Who, request_digest, sign_for};
use crate::thumbs::{Receiver, Thumbs};
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, PathVerifier};
use serde::{Deserialize, Serialize};

/// What is asked about a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Which one; without, the one that is open in the currency.
    pub batch_id: Option<LocalId>,
    /// In which currency.
    pub currency: Currency,
    /// What is to be done; without, nothing but to tell.
    pub operation: Option<BatchOperation>,
    /// Whether to sum it up.
    pub summary: bool,
    /// Which items to list.
    pub details: Option<ReturnTransactionDetail>,
    /// What we count, to close it.
    pub totals: Option<BatchTotals>,
}

/// After BatchAdminReq was made: what its answer is checked against.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingBatchAdminRes {
    rr_tags: RrTags,
    asked: Asked,
    brand_id: BrandId,
    gateway_key_exchange: ExactBytes,
    request: Digest,
    m_thumbs: Option<Thumbs>,
    /// The certificate that signed BatchAdminReq, to which the answer is addressed.
    merchant: Thumbprint,
}

/// Makes BatchAdminReq.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign or seal.
pub fn request(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    gateway: &Certificate,
    asked: Asked,
    verifier: &PathVerifier,
) -> Result<(AwaitingBatchAdminRes, Vec<u8>), Rejection> {
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
    let data = BatchAdminReqData {
        batch_admin_rr_tags: rr_tags.clone(),
        batch_id: asked.batch_id.clone(),
        currency: asked.currency,
        batch_operation: asked.operation,
        return_batch_summary_ind: asked.summary,
        return_transaction_detail: asked.details,
        batch_totals: asked.totals,
        merchant_key_exchange: receiver.carried(ours.key_exchange.chain()),
        m_thumbs: m_thumbs.clone(),
    };
    let frame = Frame {
        to: Who::Certificate(gateway.thumbprint()),
        message: "BatchAdminReq",
        rrpid,
        answers: None,
    };
    let content = ContentType::BatchAdminReqData;
    let batch_admin_req = sign_for(ctx, &ours.signature, content, frame, &receiver, &data)?;
    let tbe = BatchAdminReqTbe { batch_admin_req };
    let sealed = seal(ctx, gateway, ContentType::BatchAdminReqTbe, &tbe)?;
    let message = Message::BatchAdminReq(sealed);
    let wire = MessageWrapper::new(ctx, MessageIds::default(), rrpid, message).encode();
    let state = AwaitingBatchAdminRes {
        rr_tags,
        asked,
        brand_id,
        gateway_key_exchange: ExactBytes(gateway.der().to_vec()),
        request: request_digest(&wire),
        m_thumbs,
        merchant: ours.signature.thumbprint(),
    };
    Ok((state, wire))
}

impl AwaitingBatchAdminRes {
    /// The request/response pair.
    #[must_use]
    pub fn rrpid(&self) -> Rrpid {
        self.rr_tags.rrpid
    }

    /// What was asked.
    #[must_use]
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Verifies BatchAdminRes; `ours` are all credentials that it may have been sealed for.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails; the request stays unanswered.
    pub fn handle(
        &self,
        wire: &[u8],
        ours: &[&Credentials],
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<BatchAdminResData, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        let Message::BatchAdminRes(jwe) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        let rrpid = self.rrpid();
        if wrapper.rrpid()? != rrpid {
            return Err(Rejection::UnknownRrpid);
        }
        let (opened, _): (BatchAdminResTbe, _) =
            open_ours(jwe, ours, ContentType::BatchAdminResTbe)?;
        let expected = ExpectedAnswer {
            content: ContentType::BatchAdminResData,
            message: "BatchAdminRes",
            brand: &self.brand_id,
            to: self.merchant,
            rrpid,
            request: self.request,
            thumbs: self.m_thumbs.as_ref(),
            gateway: &self.gateway_key_exchange,
        };
        let (data, _): (BatchAdminResData, _) =
            verify_answer(&wrapper, &opened.batch_admin_res, &expected, verifier, now)?;
        wrapper.check_ids(&MessageIds::default(), data.batch_admin_rr_tags.rrpid)?;
        self.check(&data)?;
        Ok(data)
    }

    fn check(&self, data: &BatchAdminResData) -> Result<(), Rejection> {
        let currency = self.asked.currency;
        let paid = data.settlement_info.as_ref();
        let listed = data.trans_details.as_ref();
        let agrees = [
            (
                data.batch_admin_rr_tags == self.rr_tags,
                "batch_admin_rr_tags",
            ),
            (
                // A batch that is not known is not named.
                data.batch_id == self.asked.batch_id
                    || self.asked.batch_id.is_none()
                    || (data.ba_status != BaStatus::Success && data.batch_id.is_none()),
                "batch_id",
            ),
            (
                paid.is_none_or(|paid| paid.currency == currency),
                "settlement_info",
            ),
            (
                listed.is_none_or(|listed| {
                    listed
                        .transaction_detail_seq
                        .iter()
                        .all(|item| item.transaction_amt.currency() == currency)
                }),
                "trans_details",
            ),
        ];
        match agrees.iter().find(|(same, _)| !same) {
            Some((_, what)) => Err(Rejection::Disagreement(what)),
            None => Ok(()),
        }
    }
}
