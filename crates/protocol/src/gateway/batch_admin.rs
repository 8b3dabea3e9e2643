//! BatchAdminReq is verified, BatchAdminRes tells how a batch stands.

use super::SealedAnswer;
use super::asking::{Asking, Request, open as open_asked, verify_asking};
use crate::content_type::ContentType;
use crate::identity::Credentials;
use crate::ids::{ExactBytes, LocalId, RrTags};
use crate::messages::batch_admin::{
    BaStatus, BatchAdminReqData, BatchAdminReqTbe, BatchAdminResData, BatchAdminResTbe,
    BatchOperation, BatchStatus, BatchTotals, DETAILS_MAX, ReturnTransactionDetail, SettlementInfo,
    TransDetails, TransmissionStatus,
};
use crate::money::Currency;
use crate::thumbs::{RevocationState, Thumbs};
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use crate::{Context, Rejection, Timestamp};
use openset_pki::PathVerifier;
use serde::{Deserialize, Serialize};

impl Request for BatchAdminReqData {
    fn rr_tags(&self) -> &RrTags {
        &self.batch_admin_rr_tags
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

/// A BatchAdminReq after the checks that need no database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifiedBatchAdminReq {
    /// Who asked.
    pub asker: Asking,
    /// Which batch; without, the one that is open in the currency.
    pub batch_id: Option<LocalId>,
    /// In which currency.
    pub currency: Currency,
    /// What is to be done.
    pub operation: Option<BatchOperation>,
    /// Whether to sum it up.
    pub summary: bool,
    /// Which items to list.
    pub details: Option<ReturnTransactionDetail>,
    /// What the merchant counts.
    pub totals: Option<BatchTotals>,
}

/// How a batch stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchReport {
    /// With what result.
    pub ba_status: BaStatus,
    /// Which batch.
    pub batch_id: Option<LocalId>,
    /// The summary.
    pub batch_status: Option<BatchStatus>,
    /// How far it is paid out.
    pub transmission_status: Option<TransmissionStatus>,
    /// The payout.
    pub settlement_info: Option<SettlementInfo>,
    /// The items.
    pub trans_details: Option<TransDetails>,
}

impl BatchReport {
    /// Nothing but a result.
    #[must_use]
    pub fn of(ba_status: BaStatus) -> Self {
        Self {
            ba_status,
            batch_id: None,
            batch_status: None,
            transmission_status: None,
            settlement_info: None,
            trans_details: None,
        }
    }
}

/// Opens BatchAdminReq and verifies the merchant.
///
/// # Errors
/// The [`Rejection`] of the first check that fails.
pub fn open(
    wire: &[u8],
    wrapper: &MessageWrapper,
    ours: &[&Credentials],
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<VerifiedBatchAdminReq, Rejection> {
    let Message::BatchAdminReq(jwe) = &wrapper.message else {
        return Err(wrapper.not_taken());
    };
    let BatchAdminReqTbe { batch_admin_req } =
        open_asked(jwe, ContentType::BatchAdminReqTbe, ours)?;
    let (request, signed) = ((wire, wrapper), (jwe, &batch_admin_req));
    let names = ("BatchAdminReq", ContentType::BatchAdminReqData);
    let (asker, data): (_, BatchAdminReqData) =
        verify_asking(request, signed, names, ours, verifier, now)?;
    let fits = |details: ReturnTransactionDetail| {
        details.starting_point > 0 && (1..=DETAILS_MAX).contains(&details.maximum_items)
    };
    if !data.return_transaction_detail.is_none_or(fits) {
        return Err(Rejection::Disagreement(
            "return_transaction_detail: from 1 on, 1 to 100 items",
        ));
    }
    Ok(VerifiedBatchAdminReq {
        asker,
        batch_id: data.batch_id,
        currency: data.currency,
        operation: data.batch_operation,
        summary: data.return_batch_summary_ind,
        details: data.return_transaction_detail,
        totals: data.batch_totals,
    })
}

/// Makes BatchAdminRes. Store it with what was done, before it is sent; the content key
/// that comes with it serves to store it shorter.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign or seal.
pub fn answer(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    request: &VerifiedBatchAdminReq,
    report: BatchReport,
    state: &RevocationState,
) -> Result<SealedAnswer, Rejection> {
    let asker = &request.asker;
    let data = BatchAdminResData {
        batch_admin_rr_tags: asker.rr_tags.clone(),
        ba_status: report.ba_status,
        batch_id: report.batch_id,
        batch_status: report.batch_status,
        transmission_status: report.transmission_status,
        settlement_info: report.settlement_info,
        trans_details: report.trans_details,
    };
    let content = ("BatchAdminRes", ContentType::BatchAdminResData);
    let batch_admin_res = asker.sign(ctx, ours, state, content, &data)?;
    let answer = BatchAdminResTbe { batch_admin_res };
    let (sealed, key) = asker.seal(ctx, ContentType::BatchAdminResTbe, &answer)?;
    let message = Message::BatchAdminRes(sealed);
    let message = MessageWrapper::new(ctx, MessageIds::default(), asker.rrpid(), message);
    Ok(SealedAnswer::new(&message, key))
}
