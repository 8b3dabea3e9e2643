//! PRes and InqRes as the wallet reads them: what the merchant tells of each authorization, and the gateway's receipts,
//! which alone say what was paid.

use super::{AwaitingPRes, Purchase};
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::same_party;
use crate::ids::{Challenge, Rrpid};
use crate::messages::auth::AuthCode;
use crate::messages::cap::CapCode;
use crate::messages::cap_rev_or_cred::CapRevOrCredCode;
use crate::messages::p::{
    AcqCardMsg, AuthStatus, CompletionCode, CredStatus, Credited, P_RES_PAYLOADS_MAX, PResData,
    PResPayload, Receipt, Results,
};
use crate::receipt::{self, ExpectedReceipt, Which};
use crate::sealed::open_direct;
use crate::signed::{Expected, Signer, Verified, Who, read_again, verify};
use crate::wrapper::{Jws, Message, MessageIds, MessageWrapper};
use crate::{Context, Rejection};
use openset_pki::{PathVerifier, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a purchase stands, as far as the wallet could verify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PaymentStatus {
    /// The bank's receipts say so: something stands authorized.
    Paid,
    /// The order is there; the bank has not answered yet.
    Pending,
    /// The bank's receipts say that all of it was given back before it was captured.
    Reversed,
    /// The bank's receipts say that a part of what was captured went back.
    PartlyRefunded,
    /// The bank's receipts say that all of what was captured went back.
    Refunded,
    /// The bank declined.
    Declined,
    /// The merchant does not take the order.
    Rejected,
    /// The merchant does not know the order.
    Unknown,
}

/// What PRes or InqRes said, verified. Of several authorizations the newest leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseOutcome {
    /// Where the purchase stands.
    pub status: PaymentStatus,
    /// The merchant's completion code.
    pub completion_code: CompletionCode,
    /// The bank's answer as the merchant tells it.
    pub auth_status: Option<AuthStatus>,
    /// The gateway's receipt, its signature verified.
    pub receipt: Option<Receipt>,
    /// The receipt as it was signed, to keep.
    pub receipt_jws: Option<Jws>,
    /// The gateway's message for the cardholder alone.
    pub message: Option<String>,
    /// The newest receipt of each authorization, by the authorization's RRPID.
    #[serde(default)]
    pub receipts: BTreeMap<String, KeptReceipt>,
}

/// A receipt that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReceipt {
    /// What it says.
    pub receipt: Receipt,
    /// As it was signed.
    pub jws: Jws,
}

/// What an answer is checked against.
pub struct Answer<'a> {
    pub(crate) purchase: &'a Purchase,
    pub(crate) rrpid: Rrpid,
    pub(crate) challenge: Challenge,
    pub(crate) request: Digest,
    pub(crate) message: &'static str,
}

impl PurchaseOutcome {
    /// Whether it tells something newer than `known`: an answer that was sent before a reversal may come after it.
    #[must_use]
    pub fn is_newer_than(&self, known: &Self) -> bool {
        let (told, known) = (self.all_receipts(), known.all_receipts());
        let older = |(rrpid, one): (&String, &KeptReceipt)| {
            known
                .get(rrpid)
                .is_some_and(|known| one.receipt.sequence < known.receipt.sequence)
        };
        told.len() >= known.len().min(P_RES_PAYLOADS_MAX) && !told.iter().any(older)
    }

    /// What is known after this answer: no receipt is ever given up, and they say what was paid, not this answer alone.
    #[must_use]
    pub fn after(self, known: Option<Self>) -> Self {
        let Some(known) = known else { return self };
        let mut receipts = known.all_receipts();
        for (rrpid, told) in self.all_receipts() {
            let is_newer = |held: &KeptReceipt| told.receipt.sequence > held.receipt.sequence;
            if receipts.get(&rrpid).is_none_or(is_newer) {
                receipts.insert(rrpid, told);
            }
        }
        let leading = if self.is_newer_than(&known) {
            self
        } else {
            known
        };
        Self {
            status: status_of(&receipts).unwrap_or(leading.status),
            receipts,
            ..leading
        }
    }

    /// What the receipts come to, in minor units of the purchase's currency.
    #[must_use]
    pub fn paid_minor(&self) -> u64 {
        sum_minor(&self.all_receipts())
    }

    /// What went back of that, in minor units.
    #[must_use]
    pub fn refunded_minor(&self) -> u64 {
        sum_refunded_minor(&self.all_receipts())
    }

    /// With the one receipt of what was kept before there were several.
    #[must_use]
    pub fn all_receipts(&self) -> BTreeMap<String, KeptReceipt> {
        let mut all = self.receipts.clone();
        if let (true, Some(receipt), Some(jws)) = (all.is_empty(), &self.receipt, &self.receipt_jws)
            && let Ok(known) = read_again::<Receipt>(jws)
        {
            let kept = KeptReceipt {
                receipt: receipt.clone(),
                jws: jws.clone(),
            };
            all.insert(known.rrpid.to_string(), kept);
        }
        all
    }
}

fn sum_minor(receipts: &BTreeMap<String, KeptReceipt>) -> u64 {
    let minor = |kept: &KeptReceipt| kept.receipt.auth_amt.minor();
    receipts
        .values()
        .fold(0, |sum, kept| sum.saturating_add(minor(kept)))
}

fn sum_refunded_minor(receipts: &BTreeMap<String, KeptReceipt>) -> u64 {
    let minor = |kept: &KeptReceipt| kept.receipt.refunded_minor();
    receipts
        .values()
        .fold(0, |sum, kept| sum.saturating_add(minor(kept)))
}

/// What the bank says, if it has said something.
fn status_of(receipts: &BTreeMap<String, KeptReceipt>) -> Option<PaymentStatus> {
    if receipts.is_empty() {
        return None;
    }
    Some(match (sum_minor(receipts), sum_refunded_minor(receipts)) {
        (0, _) => PaymentStatus::Reversed,
        (_, 0) => PaymentStatus::Paid,
        (paid, refunded) if refunded < paid => PaymentStatus::PartlyRefunded,
        _ => PaymentStatus::Refunded,
    })
}

impl AwaitingPRes {
    /// Step 10: verifies PRes.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails; the purchase stays as it was, to be inquired about.
    pub fn handle(
        &self,
        ctx: &Context<'_>,
        wire: &[u8],
        verifier: &PathVerifier,
    ) -> Result<PurchaseOutcome, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        let Message::PRes(jws) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        let answer = Answer {
            purchase: &self.purchase,
            rrpid: self.rrpid,
            challenge: self.chall_c,
            request: self.request,
            message: "PRes",
        };
        read_answer(ctx, &wrapper, jws, &answer, verifier)
    }
}

/// Verifies PRes or InqRes: signed by the same merchant, for this purchase and request.
pub(crate) fn read_answer(
    ctx: &Context<'_>,
    wrapper: &MessageWrapper,
    jws: &Jws,
    answer: &Answer<'_>,
    verifier: &PathVerifier,
) -> Result<PurchaseOutcome, Rejection> {
    let purchase = answer.purchase;
    if wrapper.rrpid()? != answer.rrpid {
        return Err(Rejection::UnknownRrpid);
    }
    let expected = Expected {
        content: ContentType::PResData,
        signer: Signer {
            role: Role::Merchant,
            brand: Some(&purchase.brand_id),
        },
        to: Who::Exchange(purchase.trans_ids.lid_c.clone()),
        message: answer.message,
        rrpid: answer.rrpid,
        answers: Some(answer.request),
        thumbs: None,
    };
    let Verified {
        certificate,
        date,
        data,
    }: Verified<PResData> = verify(jws, &expected, verifier, ctx.now)?;
    wrapper.check_signed_date(date)?;
    if !same_party(&certificate, &purchase.merchant) {
        return Err(Rejection::AnotherParty("merchant"));
    }
    wrapper.check_ids(&MessageIds::of(&data.trans_ids), answer.rrpid)?;
    if data.trans_ids != purchase.trans_ids {
        return Err(Rejection::Disagreement("trans_ids"));
    }
    if data.chall_c != answer.challenge {
        return Err(Rejection::ChallengeMismatch("chall_c"));
    }
    let payloads = data.p_res_payload_seq.as_slice();
    if payloads.len() > P_RES_PAYLOADS_MAX {
        return Err(Rejection::Disagreement("p_res_payload_seq"));
    }
    let mut outcome: Option<PurchaseOutcome> = None;
    for payload in payloads {
        // An order without an answer from the bank has one payload, which says so.
        if payloads.len() > 1 && payload.results.is_none() {
            return Err(Rejection::Disagreement("p_res_payload_seq"));
        }
        let next = read_payload(ctx, payload, purchase, verifier)?;
        outcome = Some(match outcome {
            None => next,
            Some(before) => beside(before, next)?,
        });
    }
    outcome.ok_or(Rejection::Disagreement("p_res_payload_seq"))
}

/// Two authorizations of one purchase, the newer one second.
fn beside(before: PurchaseOutcome, next: PurchaseOutcome) -> Result<PurchaseOutcome, Rejection> {
    let mut receipts = before.receipts;
    for (rrpid, kept) in next.receipts {
        if receipts.insert(rrpid, kept).is_some() {
            return Err(Rejection::Disagreement("one receipt shown twice"));
        }
    }
    Ok(PurchaseOutcome {
        status: status_of(&receipts).unwrap_or(next.status),
        message: next.message.or(before.message),
        receipt: next.receipt.or(before.receipt),
        receipt_jws: next.receipt_jws.or(before.receipt_jws),
        receipts,
        ..next
    })
}

fn read_payload(
    ctx: &Context<'_>,
    payload: &PResPayload,
    purchase: &Purchase,
    verifier: &PathVerifier,
) -> Result<PurchaseOutcome, Rejection> {
    let none = Results {
        acq_card_msg: None,
        auth_status: None,
        cap_status: None,
        cred_status_seq: Vec::new(),
        receipt: None,
    };
    let results = payload.results.clone().unwrap_or(none);
    let status = read_status(payload.completion_code, &results)?;
    check_ratio(&results, purchase)?;
    let mut receipts = BTreeMap::new();
    if let Some(jws) = &results.receipt {
        let verified = verify_receipt(ctx, jws, purchase, verifier)?;
        let kept = KeptReceipt {
            receipt: verified.receipt,
            jws: jws.clone(),
        };
        receipts.insert(verified.auth_rrpid.to_string(), kept);
    }
    let receipt = receipts.values().next().map(|kept| kept.receipt.clone());
    check_told_as_signed(results.auth_status.as_ref(), receipt.as_ref())?;
    let credits = receipt.as_ref().map_or(&[][..], |signed| &signed.credits);
    check_credits(&results.cred_status_seq, credits, purchase)?;
    let status = status_of(&receipts).unwrap_or(status);
    let message = results
        .acq_card_msg
        .as_ref()
        .map(|jwe| open_message(jwe, purchase))
        .transpose()?;
    Ok(PurchaseOutcome {
        status,
        completion_code: payload.completion_code,
        auth_status: results.auth_status,
        receipt,
        receipt_jws: results.receipt,
        message,
        receipts,
    })
}

/// The status that completion code and results give, which must not contradict each other.
fn read_status(
    completion_code: CompletionCode,
    results: &Results,
) -> Result<PaymentStatus, Rejection> {
    let auth_code = results.auth_status.as_ref().map(|a| a.auth_code);
    let status = match (completion_code, auth_code) {
        (
            CompletionCode::AuthorizationPerformed
            | CompletionCode::CapturePerformed
            | CompletionCode::CreditPerformed,
            Some(AuthCode::Approved),
        ) => PaymentStatus::Paid,
        (CompletionCode::AuthorizationPerformed, Some(_)) => PaymentStatus::Declined,
        (CompletionCode::OrderReceived, None) => PaymentStatus::Pending,
        (CompletionCode::OrderNotReceived, None) => PaymentStatus::Unknown,
        (CompletionCode::OrderRejected, None) => PaymentStatus::Rejected,
        _ => return Err(Rejection::Disagreement("completion_code")),
    };
    let credited = completion_code == CompletionCode::CreditPerformed;
    if credited == results.cred_status_seq.is_empty() {
        return Err(Rejection::Disagreement("cred_status_seq"));
    }
    let cap_code = results.cap_status.as_ref().map(|c| c.cap_code);
    let agrees = match completion_code {
        CompletionCode::CapturePerformed => cap_code == Some(CapCode::Success),
        // What went back was captured, whether or not the merchant says so.
        CompletionCode::CreditPerformed => cap_code.is_none_or(|code| code == CapCode::Success),
        _ => cap_code.is_none(),
    };
    if !agrees {
        return Err(Rejection::Disagreement("cap_status"));
    }
    // "Paid" rests on the bank's word, never on the merchant's alone; and where the bank's word is, nothing else is told.
    match (status == PaymentStatus::Paid, results.receipt.is_some()) {
        (true, false) => Err(Rejection::MissingCertificate("the gateway's receipt")),
        (false, true) => Err(Rejection::Disagreement("receipt beside a refusal")),
        _ => Ok(status),
    }
}

fn check_ratio(results: &Results, purchase: &Purchase) -> Result<(), Rejection> {
    let auth = results.auth_status.as_ref().map(|a| a.auth_ratio);
    let cap = results.cap_status.as_ref().map(|c| c.cap_ratio);
    let whole = purchase.purch_amt.minor();
    let of_all = |r: crate::money::Ratio| r.denominator == whole;
    // What was authorized the receipt says; more than that is not captured.
    let within = cap.is_none_or(|cap| auth.is_some_and(|auth| cap.numerator <= auth.numerator));
    if auth.into_iter().chain(cap).all(of_all) && within {
        Ok(())
    } else {
        Err(Rejection::Disagreement("ratio"))
    }
}

/// What the merchant tells of the authorization is what the receipt says: its date and its amount, or nothing at all
/// without one.
fn check_told_as_signed(
    told: Option<&AuthStatus>,
    receipt: Option<&Receipt>,
) -> Result<(), Rejection> {
    let Some(told) = told else { return Ok(()) };
    if told.auth_ratio.numerator != receipt.map_or(0, |r| r.auth_amt.minor()) {
        return Err(Rejection::Disagreement("ratio"));
    }
    if receipt.is_some_and(|r| r.auth_date != told.auth_date) {
        return Err(Rejection::Disagreement("auth_date"));
    }
    Ok(())
}

/// The refunds that the merchant tells are those of the receipt, each of them.
fn check_credits(
    told: &[CredStatus],
    signed: &[Credited],
    purchase: &Purchase,
) -> Result<(), Rejection> {
    let whole = purchase.purch_amt.minor();
    let same = |(told, signed): (&CredStatus, &Credited)| {
        told.cred_code == CapRevOrCredCode::Success
            && told.cred_date == signed.cred_date
            && told.cred_ratio.numerator == signed.cred_amt.minor()
            && told.cred_ratio.denominator == whole
    };
    if told.len() == signed.len() && told.iter().zip(signed).all(same) {
        Ok(())
    } else {
        Err(Rejection::Disagreement("cred_status_seq"))
    }
}

fn open_message(jwe: &crate::wrapper::Jwe, purchase: &Purchase) -> Result<String, Rejection> {
    let key = &purchase.acq_back_key_data;
    let message: AcqCardMsg = open_direct(
        jwe,
        openset_jose::default_provider(),
        key,
        ContentType::AcqCardCodeMsg,
    )?;
    if message.xid != purchase.trans_ids.xid {
        return Err(Rejection::Disagreement("acq_card_msg"));
    }
    Ok(message.acq_card_text)
}

/// Verifies the gateway's receipt. The pair is merchant's and gateway's own, so its RRPID is not known here.
fn verify_receipt(
    ctx: &Context<'_>,
    jws: &Jws,
    purchase: &Purchase,
    verifier: &PathVerifier,
) -> Result<receipt::Verified, Rejection> {
    let expected = ExpectedReceipt {
        gateway: &purchase.gateway_key_exchange,
        brand: &purchase.brand_id,
        trans_ids: &purchase.trans_ids,
        hod: purchase.hod,
        amount: purchase.purch_amt,
        merchant_id: &purchase.merchant_id,
        rrpid: None,
        which: Which::Any,
    };
    expected.verify(jws, verifier, ctx.now)
}
