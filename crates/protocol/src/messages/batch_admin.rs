//! BatchAdminReq / BatchAdminRes: the merchant opens, empties, closes a batch, or asks how it stands (reference 3.9).

use crate::Timestamp;
use crate::ids::{ExactBytes, LocalId, RrTags, Rrpid, Xid};
use crate::messages::batch::BatchPlace;
use crate::money::{Currency, CurrencyAmount};
use crate::thumbs::Thumbs;
use crate::wrapper::Jws;
use serde::{Deserialize, Serialize};

/// The most items that one answer lists.
pub const DETAILS_MAX: u32 = 100;

/// BatchAdminReq, sealed for the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchAdminReqTbe {
    /// [`BatchAdminReqData`], signed by the merchant.
    pub batch_admin_req: Jws,
}

/// BatchAdminReqData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchAdminReqData {
    /// The request.
    pub batch_admin_rr_tags: RrTags,
    /// Which batch; without, the one that is open in the currency.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_id: Option<LocalId>,
    /// In which currency: a batch has one.
    pub currency: Currency,
    /// What is to be done; without, nothing but to tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_operation: Option<BatchOperation>,
    /// Whether the answer is to sum the batch up.
    pub return_batch_summary_ind: bool,
    /// Which of its items the answer is to list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub return_transaction_detail: Option<ReturnTransactionDetail>,
    /// What the merchant counts: a batch is closed only if the gateway counts the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_totals: Option<BatchTotals>,
    /// The merchant's key-exchange certificate and its chain: BatchAdminRes is sealed for it.
    pub merchant_key_exchange: Vec<ExactBytes>,
    /// What the merchant holds of the brand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub m_thumbs: Option<Thumbs>,
}

/// BatchOperation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BatchOperation {
    /// Open one (0).
    Open,
    /// Undo what stands in it, up to 32 items at a time (1).
    Purge,
    /// Close it, so that it is paid out (2).
    Close,
}

/// Which items are to be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnTransactionDetail {
    /// From which BatchSequenceNum on.
    pub starting_point: u32,
    /// How many, 1 to [`DETAILS_MAX`].
    pub maximum_items: u32,
}

/// BatchTotals: by what comes to the merchant's account and what leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchTotals {
    /// How many captures, and cancelled refunds.
    pub transaction_count_credit: u64,
    /// Their sum, in minor units.
    pub transaction_total_credit_minor: u64,
    /// How many refunds, and cancelled captures.
    pub transaction_count_debit: u64,
    /// Their sum, in minor units.
    pub transaction_total_debit_minor: u64,
}

/// BatchAdminRes, sealed for the merchant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchAdminResTbe {
    /// [`BatchAdminResData`], signed by the gateway.
    pub batch_admin_res: Jws,
}

/// BatchAdminResData.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchAdminResData {
    /// As in the request.
    pub batch_admin_rr_tags: RrTags,
    /// With what result.
    pub ba_status: BaStatus,
    /// Which batch; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_id: Option<LocalId>,
    /// The summary.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_status: Option<BatchStatus>,
    /// How far it is paid out; absent before it is closed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transmission_status: Option<TransmissionStatus>,
    /// The payout, once it was made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settlement_info: Option<SettlementInfo>,
    /// The items; of a purge, those that it made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trans_details: Option<TransDetails>,
}

/// BatchStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchStatus {
    /// When it was opened.
    pub open_date: Timestamp,
    /// When it was closed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub close_date: Option<Timestamp>,
    /// What stands in it; of a closed one, for good.
    pub batch_totals: BatchTotals,
}

/// TransmissionStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum TransmissionStatus {
    /// The issuers are yet to be asked.
    Pending,
    /// They are being asked, or the payout is on its way.
    InProgress,
    /// An issuer does not agree: the acquirer's people look into it.
    BatchRejectedByAcquirer,
    /// Paid out.
    CompletedSuccessfully,
    /// Paid out but for a part.
    CompletedWithErrors,
}

/// SettlementInfo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettlementInfo {
    /// In which currency.
    pub currency: Currency,
    /// How much, in minor units: more, perhaps, than one purchase may come to.
    pub settlement_amount_minor: u64,
    /// To the merchant's account, or from it.
    pub settlement_type: AmountType,
    /// When.
    pub settlement_deposit_date: Timestamp,
    /// The acquirer's name for it.
    pub settlement_reference: String,
}

/// AmountType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AmountType {
    /// To the merchant's account.
    Credit,
    /// From it.
    Debit,
}

/// TransDetails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransDetails {
    /// Where to go on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_starting_point: Option<u32>,
    /// The items, by BatchSequenceNum.
    pub transaction_detail_seq: Vec<TransactionDetail>,
}

/// One item of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionDetail {
    /// The purchase.
    pub xid: Xid,
    /// The authorization.
    pub auth_rrpid: Rrpid,
    /// Where it stands.
    pub batch_sequence_num: u32,
    /// How much.
    pub transaction_amt: CurrencyAmount,
    /// To the merchant's account, or from it.
    pub transaction_amt_type: AmountType,
    /// What it cancels.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub original: Option<BatchPlace>,
    /// When.
    pub transaction_date: Timestamp,
}

/// BAStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum BaStatus {
    /// Done (0).
    Success,
    /// Something failed (1).
    UnspecifiedFailure,
    /// Not a brand of this acquirer (2).
    BrandNotSupported,
    /// Not a BIN of this acquirer (3).
    #[serde(rename = "unknownBIN")]
    UnknownBin,
    /// The gateway draws the names of batches itself (4).
    #[serde(rename = "batchIDUnavailable")]
    BatchIdUnavailable,
    /// One is open in this currency (5).
    BatchAlreadyOpen,
    /// No such batch, or not an open one where it must be open (6).
    #[serde(rename = "unknownBatchID")]
    UnknownBatchId,
    /// The batch is of another brand or currency (7).
    BrandBatchMismatch,
    /// The gateway counts otherwise (8).
    TotalsOutOfBalance,
}
