//! PRes and InqRes as the wallet reads them.

use super::{AwaitingPRes, Purchase};
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::same_party;
use crate::ids::{Challenge, Rrpid};
use crate::messages::auth::AuthCode;
use crate::messages::p::{AcqCardMsg, AuthStatus, CompletionCode, PResData, PResPayload, Receipt, Results};
use crate::sealed::open_direct;
use crate::signed::{Expected, Payload, Signer, Verified, VerifiedBytes, Who, decode, verify};
use crate::wrapper::{Jws, Message, MessageIds, MessageWrapper};
use crate::{Context, Rejection};
use openset_pki::{PathVerifier, Role};
use serde::{Deserialize, Serialize};

/// Where a purchase stands, as far as the wallet could verify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PaymentStatus {
    /// The bank's receipt says so.
    Paid,
    /// The order is there; the bank has not answered yet.
    Pending,
    /// The bank declined.
    Declined,
    /// The merchant does not take the order.
    Rejected,
    /// The merchant does not know the order.
    Unknown,
}

/// What PRes or InqRes said, verified.
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
}

/// What an answer is checked against.
pub struct Answer<'a> {
    pub(crate) purchase: &'a Purchase,
    pub(crate) rrpid: Rrpid,
    pub(crate) challenge: Challenge,
    pub(crate) request: Digest,
    pub(crate) message: &'static str,
}

impl AwaitingPRes {
    /// Step 10: verifies PRes.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails; the purchase stays as it was, to be inquired about.
    pub fn handle(&self, ctx: &Context<'_>, wire: &[u8], verifier: &PathVerifier) -> Result<PurchaseOutcome, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        let Message::PRes(jws) = &wrapper.message else { return Err(wrapper.not_taken()) };
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
        signer: Signer { role: Role::Merchant, brand: Some(&purchase.brand_id) },
        to: Who::Exchange(purchase.trans_ids.lid_c.clone()),
        message: answer.message,
        rrpid: answer.rrpid,
        answers: Some(answer.request),
    };
    let Verified { certificate, data, .. }: Verified<PResData> = verify(jws, &expected, verifier, ctx.now)?;
    if !same_party(&certificate, &purchase.merchant_certificate()?) {
        return Err(Rejection::AnotherParty("merchant"));
    }
    wrapper.check_ids(&MessageIds::of(&data.trans_ids), answer.rrpid)?;
    if data.trans_ids != purchase.trans_ids {
        return Err(Rejection::Disagreement("trans_ids"));
    }
    if data.chall_c != answer.challenge {
        return Err(Rejection::ChallengeMismatch("chall_c"));
    }
    // One authorization for each purchase until split shipments come.
    let [payload] = data.p_res_payload_seq.as_slice() else {
        return Err(Rejection::Disagreement("p_res_payload_seq"));
    };
    read_payload(ctx, payload, purchase, verifier)
}

fn read_payload(
    ctx: &Context<'_>,
    payload: &PResPayload,
    purchase: &Purchase,
    verifier: &PathVerifier,
) -> Result<PurchaseOutcome, Rejection> {
    let none = Results { acq_card_msg: None, auth_status: None, cap_status: None, receipt: None };
    let results = payload.results.clone().unwrap_or(none);
    check_ratio(&results, purchase)?;
    let approved = results.auth_status.as_ref().is_some_and(|a| a.auth_code == AuthCode::Approved);
    let receipt = results.receipt.as_ref().map(|jws| verify_receipt(ctx, jws, purchase, verifier)).transpose()?;
    let status = match payload.completion_code {
        CompletionCode::AuthorizationPerformed | CompletionCode::CapturePerformed if approved => PaymentStatus::Paid,
        CompletionCode::AuthorizationPerformed => PaymentStatus::Declined,
        CompletionCode::OrderReceived => PaymentStatus::Pending,
        CompletionCode::OrderNotReceived => PaymentStatus::Unknown,
        CompletionCode::OrderRejected => PaymentStatus::Rejected,
        CompletionCode::CapturePerformed | CompletionCode::CreditPerformed | CompletionCode::MeaninglessRatio => {
            return Err(Rejection::Disagreement("completion_code"));
        }
    };
    // "Paid" rests on the bank's word, never on the merchant's alone.
    if status == PaymentStatus::Paid && receipt.is_none() {
        return Err(Rejection::MissingCertificate("the gateway's receipt"));
    }
    let message = results.acq_card_msg.as_ref().map(|jwe| open_message(jwe, purchase)).transpose()?;
    Ok(PurchaseOutcome {
        status,
        completion_code: payload.completion_code,
        auth_status: results.auth_status,
        receipt,
        receipt_jws: results.receipt,
        message,
    })
}

fn check_ratio(results: &Results, purchase: &Purchase) -> Result<(), Rejection> {
    let auth = results.auth_status.as_ref().map(|a| a.auth_ratio);
    let cap = results.cap_status.as_ref().map(|c| c.cap_ratio);
    let fits = |r: crate::money::Ratio| r.denominator == purchase.purch_amt.minor() && r.numerator <= r.denominator;
    if auth.into_iter().chain(cap).all(fits) { Ok(()) } else { Err(Rejection::Disagreement("ratio")) }
}

fn open_message(jwe: &crate::wrapper::Jwe, purchase: &Purchase) -> Result<String, Rejection> {
    let key = &purchase.acq_back_key_data;
    let message: AcqCardMsg = open_direct(jwe, openset_jose::default_provider(), key, ContentType::AcqCardCodeMsg)?;
    if message.xid != purchase.trans_ids.xid {
        return Err(Rejection::Disagreement("acq_card_msg"));
    }
    Ok(message.acq_card_text)
}

/// Verifies the gateway's receipt: of the gateway that the payment was sealed for, for this very
/// order and amount.
fn verify_receipt(
    ctx: &Context<'_>,
    jws: &Jws,
    purchase: &Purchase,
    verifier: &PathVerifier,
) -> Result<Receipt, Rejection> {
    let signer = Signer { role: Role::Gateway, brand: Some(&purchase.brand_id) };
    let object = VerifiedBytes::verify(jws, ContentType::Receipt, signer, verifier, ctx.now)?;
    if !same_party(&object.certificate, &purchase.gateway_certificate()?) {
        return Err(Rejection::AnotherParty("gateway"));
    }
    // The pair is merchant's and gateway's own, so its RRPID is not known here; XID and HOD bind it.
    let payload: Payload<Receipt> = decode(object.payload()?)?;
    if payload.from != Who::Certificate(object.certificate.thumbprint()) {
        return Err(Rejection::NotFromSigner);
    }
    if payload.to != Who::Exchange(purchase.trans_ids.lid_c.clone()) {
        return Err(Rejection::NotForUs);
    }
    if payload.message != "AuthRes" {
        return Err(Rejection::HeaderMismatch("message"));
    }
    let receipt = payload.data;
    let agrees = [
        (receipt.xid == purchase.trans_ids.xid, "receipt xid"),
        (receipt.hod == purchase.hod, "receipt hod"),
        (receipt.auth_amt == purchase.purch_amt, "receipt amount"),
        (receipt.merchant_id == purchase.merchant_id, "receipt merchant_id"),
    ];
    match agrees.iter().find(|(same, _)| !same) {
        Some((_, what)) => Err(Rejection::Disagreement(what)),
        None => Ok(receipt),
    }
}
