//! PReq / PRes: order, payment and dual signature; what became of them (reference 3.2).

use crate::card::{Bin, PanData, PanToken, TransStain};
use crate::digest::{Digest, digest, length_prefixed};
use crate::ids::{Challenge, ExactBytes, Nonce, Rrpid, TransIds};
use crate::messages::install_recur::InstallRecurData;
use crate::messages::mail_order::MailOrder;
use crate::money::{CurrencyAmount, Ratio};
use crate::wrapper::{Jwe, Jws};
use crate::{BrandId, Timestamp, content_type::ContentType};
use openset_jose::{ContentKey, Thumbprint};
use serde::{Deserialize, Serialize};

/// Sealed payment instructions are padded to this many bytes.
pub const PI_PLAINTEXT_BYTES: usize = 2048;

/// PReq, sealed for the merchant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PReqTbe {
    /// [`OiData`] as the bytes that were hashed.
    pub oi_data: ExactBytes,
    /// HPIData: the digest of the payment data, which the merchant never sees.
    pub hpi: Digest,
    /// The dual signature; absent where the cardholder has no certificate (SET's PReqUnsigned).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dual_signature: Option<Jws>,
    /// PI: the payment instruction, sealed for the gateway.
    pub pi: Jwe,
    /// A fresh OCSP response about the cardholder's certificate, DER (RFC 6960): stapled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ocsp: Option<ExactBytes>,
    /// What is ordered, where no order was placed before: of mail orders alone. HOD covers it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub order: Option<MailOrder>,
}

/// OIData: what the merchant learns. The amount is absent on purpose: the merchant knows its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OiData {
    /// The purchase's names.
    pub trans_ids: TransIds,
    /// As in the header.
    pub rrpid: Rrpid,
    /// To be repeated in PRes.
    pub chall_c: Challenge,
    /// The digest of order description, amount and salt.
    pub hod: Digest,
    /// The salt of HOD, so that the gateway cannot guess the order from it.
    pub od_salt: Nonce,
    /// As in PInitRes; absent in a mail order, which has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chall_m: Option<Challenge>,
    /// The card's brand.
    pub brand_id: BrandId,
    /// The card's BIN.
    pub bin: Bin,
}

/// HODInput: order description, amount and salt. Both sides hold them; only the digest travels.
#[derive(Clone, Copy, Debug)]
pub struct HodInput<'a> {
    /// The order description in its exact bytes, agreed outside SET.
    pub od: &'a [u8],
    /// The amount.
    pub purch_amt: CurrencyAmount,
    /// The salt.
    pub od_salt: &'a Nonce,
    /// In which parts, or how often, it is paid.
    pub install_recur_data: Option<&'a InstallRecurData>,
}

impl HodInput<'_> {
    /// HOD: the digest over description, currency number, minor units, exponent and salt, each with
    /// its length in front (32 bits, big-endian), numbers in decimal; after them, if there is a plan, its fields
    /// likewise ([`InstallRecurData::hash_fields`]).
    #[must_use]
    pub fn hod(&self) -> Digest {
        let [currency, amount, exponent] = self.purch_amt.hash_fields();
        let plan = self.install_recur_data.map(InstallRecurData::hash_fields);
        let mut fields = vec![
            self.od,
            currency.as_bytes(),
            amount.as_bytes(),
            exponent.as_bytes(),
            self.od_salt.as_bytes(),
        ];
        fields.extend(plan.iter().flatten().map(String::as_bytes));
        digest(ContentType::HodInput, &length_prefixed(&fields))
    }
}

/// The payment instruction as the gateway opens it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PiTbe {
    /// [`PiData`] or [`PiDataUnsigned`] as the bytes that were hashed.
    pub(crate) pi_data: ExactBytes,
    /// HOIData: the digest of the order information, which the gateway never sees.
    pub(crate) hoi: Digest,
}

/// PIData: what only the gateway learns.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PiData {
    pub(crate) pi_head: PiHead,
    pub(crate) pan_data: PanData,
}

/// PIDataUnsigned: the same from a cardholder without a certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PiDataUnsigned {
    pub(crate) pi_head: PiHead,
    pub(crate) pan_token: PanToken,
    /// Whom it is for: what the dual signature names otherwise. Sealed with the rest, so that nobody takes a signature off
    /// a purchase that has one.
    pub(crate) unsigned_for: UnsignedFor,
}

/// For whom an unsigned payment instruction is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnsignedFor {
    /// The merchant's signature certificate.
    pub(crate) merchant: Thumbprint,
    /// The gateway's key-exchange certificate.
    pub(crate) gateway: Thumbprint,
}

/// PIHead: what is to be paid to whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PiHead {
    pub(crate) trans_ids: TransIds,
    pub(crate) inputs: PiInputs,
    pub(crate) merchant_id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) install_recur_data: Option<InstallRecurData>,
    /// Absent without a certificate, whose secret it is made with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) trans_stain: Option<TransStain>,
    pub(crate) sw_ident: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) acq_back_key_data: Option<ContentKey>,
}

/// What the order came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PiInputs {
    pub(crate) hod: Digest,
    pub(crate) purch_amt: CurrencyAmount,
}

/// Authorizations of one purchase that are told at once at most: the newest. Each brings a receipt with its signer's
/// certificate, and answers have a size.
pub const P_RES_PAYLOADS_MAX: usize = 32;

/// PResData, signed by the merchant; the answer to PReq and to InqReq.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PResData {
    /// The purchase's names.
    pub trans_ids: TransIds,
    /// As in the request.
    pub chall_c: Challenge,
    /// One entry for each authorization; one while there is none.
    pub p_res_payload_seq: Vec<PResPayload>,
}

/// What became of the order, or of one authorization of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PResPayload {
    /// How far it came.
    pub completion_code: CompletionCode,
    /// With what result.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub results: Option<Results>,
}

/// CompletionCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CompletionCode {
    /// The purchase amount is 0 (0).
    MeaninglessRatio,
    /// The merchant does not take the order (1).
    OrderRejected,
    /// The order is there, nothing was done yet (2).
    OrderReceived,
    /// No such order (3).
    OrderNotReceived,
    /// The bank has answered (4).
    AuthorizationPerformed,
    /// The merchant has asked for its money and got it (5).
    CapturePerformed,
    /// Money went back (6).
    CreditPerformed,
}

/// With what result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The gateway's message for the cardholder alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acq_card_msg: Option<Jwe>,
    /// The bank's answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auth_status: Option<AuthStatus>,
    /// The capture.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cap_status: Option<CapStatus>,
    /// What went back of it and was not cancelled: each as the receipt has it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cred_status_seq: Vec<CredStatus>,
    /// The gateway's receipt: "paid" rests on the bank's word, not on the merchant's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<Jws>,
}

/// The bank's answer, as the merchant tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthStatus {
    /// When.
    pub auth_date: Timestamp,
    /// With what code.
    pub auth_code: crate::messages::auth::AuthCode,
    /// How much of the purchase amount.
    pub auth_ratio: Ratio,
}

/// The capture, as the merchant tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapStatus {
    /// When.
    pub cap_date: Timestamp,
    /// With what code.
    pub cap_code: crate::messages::cap::CapCode,
    /// How much of the purchase amount.
    pub cap_ratio: Ratio,
}

/// A refund, as the merchant tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredStatus {
    /// When.
    pub cred_date: Timestamp,
    /// With what code.
    pub cred_code: crate::messages::cap_rev_or_cred::CapRevOrCredCode,
    /// How much of the purchase amount.
    pub cred_ratio: Ratio,
}

/// The gateway's receipt for the cardholder, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The purchase.
    pub xid: crate::ids::Xid,
    /// The order and amount, as the cardholder hashed them.
    pub hod: Digest,
    /// The amount authorized, of a capture the amount captured; 0 once all of it was reversed.
    pub auth_amt: CurrencyAmount,
    /// The issuer's approval code.
    pub approval_code: String,
    /// When.
    pub auth_date: Timestamp,
    /// The merchant, as the acquirer names it.
    pub merchant_id: String,
    /// Which receipt of this authorization, from 1: whatever changes the amounts gives a new one, and the last one
    /// counts.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub sequence: u32,
    /// What went back of it and was not cancelled, in the order in which it did; of more than [`CREDITS_MAX`] refunds the
    /// oldest as one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub credits: Vec<Credited>,
}

/// Money that went back to the cardholder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credited {
    /// When.
    pub cred_date: Timestamp,
    /// How much.
    pub cred_amt: CurrencyAmount,
}

/// Refunds that one receipt tells by themselves at most: answers have a size.
pub const CREDITS_MAX: usize = 8;

impl Receipt {
    /// What went back, in minor units.
    #[must_use]
    pub fn refunded_minor(&self) -> u64 {
        let minor = |credit: &Credited| credit.cred_amt.minor();
        self.credits
            .iter()
            .fold(0, |sum, credit| sum.saturating_add(minor(credit)))
    }
}

/// The sequence number of an authorization's own receipt.
pub const RECEIPT_SEQUENCE_FIRST: u32 = 1;

fn first() -> u32 {
    RECEIPT_SEQUENCE_FIRST
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_first(sequence: &u32) -> bool {
    *sequence == RECEIPT_SEQUENCE_FIRST
}

/// AcqCardMsg: the gateway's message for the cardholder alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcqCardMsg {
    /// What kind of message.
    pub acq_card_code: AcqCardCode,
    /// The purchase that it belongs to.
    pub xid: crate::ids::Xid,
    /// For the person to read.
    pub acq_card_text: String,
}

/// AcqCardCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AcqCardCode {
    /// A greeting.
    MessageOfDay,
    /// About the account.
    AccountInfo,
    /// The cardholder should call.
    CallCustomerService,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    fn hod(plan: Option<InstallRecurData>) -> Digest {
        let currency = Currency::from_alpha("EUR").expect("ISO 4217");
        let input = HodInput {
            od: b"beans",
            purch_amt: CurrencyAmount::new(currency, 1500).expect("small"),
            od_salt: &Nonce::from_bytes([7; 32]),
            install_recur_data: plan.as_ref(),
        };
        input.hod()
    }

    #[test]
    fn hod_without_a_plan_is_over_what_it_always_was() {
        let fields: [&[u8]; 5] = [b"beans", b"978", b"1500", b"-2", &[7; 32]];
        let as_before = digest(ContentType::HodInput, &length_prefixed(&fields));
        assert_eq!(hod(None), as_before);
    }

    #[test]
    fn every_plan_has_a_hod_of_its_own() {
        let recurring = |frequency_days, expiry_s| InstallRecurData::Recurring {
            frequency_days,
            expiry: Timestamp::from_seconds(expiry_s),
        };
        let plans = [
            None,
            Some(InstallRecurData::InstallTotalTrans(2)),
            Some(InstallRecurData::InstallTotalTrans(28)),
            Some(recurring(2, 1_800_000_000)),
            Some(recurring(28, 1_800_000_000)),
            Some(recurring(28, 1_800_000_001)),
        ];
        let all: std::collections::BTreeSet<String> = plans
            .into_iter()
            .map(|plan| hod(plan).to_string())
            .collect();
        assert_eq!(all.len(), plans.len());
    }
}
