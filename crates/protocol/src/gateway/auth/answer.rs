//! AuthRes: the bank's word, a capture token for later, a receipt and a message for the cardholder.

use super::{Asker, VerifiedPayment};
use crate::content_type::ContentType;
use crate::digest::digest;
use crate::gateway::SealedAnswer;
use crate::gateway::cap::{Outcome, told_of};
use crate::identity::Credentials;
use crate::ids::{ExactBytes, LocalId, Rrpid};
use crate::messages::auth::{
    AuthCode, AuthResBaggage, AuthResData, AuthResPayload, AuthResTbe, AuthTokenData,
    CAP_TOKEN_SEQUENCE, CapResPayload, CapTokenData, RespReason,
};
use crate::messages::p::{AcqCardCode, AcqCardMsg, RECEIPT_SEQUENCE_FIRST, Receipt};
use crate::money::CurrencyAmount;
use crate::sealed::{open_direct, seal_direct, seal_keeping};
use crate::signed::{Frame, Who, sign_for};
use crate::thumbs::{Receiver, RevocationState};
use crate::wrapper::{Jwe, Jws, Message, MessageIds, MessageWrapper};
use crate::{Context, Rejection};
use openset_jose::{ContentKey, Thumbprint};

/// The symmetric key of tokens: only the gateway's replicas hold it.
#[derive(Clone, Debug)]
pub struct TokenKey(ContentKey);

impl TokenKey {
    /// Wraps the key.
    #[must_use]
    pub fn new(key: ContentKey) -> Self {
        Self(key)
    }

    pub(crate) fn key(&self) -> &ContentKey {
        &self.0
    }
}

/// What the gateway decided, or what the issuer told it.
#[derive(Clone, Debug)]
pub enum Decision<'a> {
    /// The issuer holds the amount.
    Approved(Approval<'a>),
    /// Refused by the gateway's own checks or by the issuer.
    Refused {
        /// The code.
        code: AuthCode,
        /// Why, if the issuer said.
        reason: Option<RespReason>,
    },
}

/// An approval.
#[derive(Clone, Debug)]
pub struct Approval<'a> {
    /// The verified payment.
    pub payment: &'a VerifiedPayment,
    /// The issuer's approval code.
    pub approval_code: String,
    /// A text for the cardholder alone, if there is one.
    pub message: Option<String>,
    /// Approved authorizations of the payment, this one included.
    pub approvals: u32,
    /// What became of the capture that was asked for with it; it must be there if one was, and only then.
    pub captured: Option<Outcome>,
}

/// What the gateway signs and seals with, and what it can tell.
#[derive(Clone, Copy, Debug)]
pub struct Answering<'a> {
    /// Its credentials.
    pub ours: &'a Credentials,
    /// The key of its tokens.
    pub tokens: &'a TokenKey,
    /// The brand's newest revocations that it holds.
    pub state: &'a RevocationState,
}

/// Makes AuthRes. Store it with the outcome, in one transaction, before it is sent; the content key
/// that comes with it serves to store it shorter.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign or seal.
pub fn answer(
    ctx: &mut Context<'_>,
    with: Answering<'_>,
    asker: &Asker,
    decision: &Decision<'_>,
) -> Result<SealedAnswer, Rejection> {
    let zero = CurrencyAmount::new(asker.amount.currency(), 0).map_err(|_| Rejection::Internal)?;
    let none = AuthResBaggage {
        cap_token: None,
        auth_token: None,
        acq_card_msg: None,
        receipt: None,
    };
    let refused = |auth_code, resp_reason| AuthResPayload {
        auth_code,
        auth_amt: zero,
        auth_date: ctx.now,
        approval_code: None,
        resp_reason,
        cap_res_payload: None,
    };
    let (payload, baggage) = match decision {
        Decision::Refused { code, reason } => (refused(*code, *reason), none),
        Decision::Approved(approval) => {
            let payload = AuthResPayload {
                auth_code: AuthCode::Approved,
                auth_amt: asker.amount,
                auth_date: ctx.now,
                approval_code: Some(approval.approval_code.clone()),
                resp_reason: None,
                cap_res_payload: cap_res_payload(asker, approval.captured.as_ref())?,
            };
            (payload, approval_baggage(ctx, with, asker, approval)?)
        }
    };
    seal_answer(ctx, with, asker, payload, &baggage)
}

/// What the merchant is told of a capture that it asked for with the authorization.
fn cap_res_payload(
    asker: &Asker,
    captured: Option<&Outcome>,
) -> Result<Option<CapResPayload>, Rejection> {
    if asker.capture_now != captured.is_some() {
        return Err(Rejection::Internal);
    }
    let told = |outcome| {
        let (cap_code, cap_amt, batch) = told_of(asker.amount, outcome)?;
        Ok(CapResPayload {
            cap_code,
            cap_amt,
            batch,
        })
    };
    captured.map(told).transpose()
}

fn seal_answer(
    ctx: &mut Context<'_>,
    with: Answering<'_>,
    asker: &Asker,
    auth_res_payload: AuthResPayload,
    baggage: &AuthResBaggage,
) -> Result<SealedAnswer, Rejection> {
    let baggage = ExactBytes(serde_json::to_vec(baggage).map_err(|_| Rejection::Internal)?);
    let baggage_digest = digest(ContentType::AuthResBaggage, &baggage.0);
    let data = AuthResData {
        auth_tags: asker.auth_tags.clone(),
        auth_res_payload,
        baggage_digest,
    };
    let frame = Frame {
        to: Who::Certificate(asker.merchant),
        message: "AuthRes",
        rrpid: asker.rrpid(),
        answers: Some(asker.request),
    };
    let receiver = Receiver::asking(asker.m_thumbs.as_ref(), with.state);
    let auth_res = sign_for(
        ctx,
        &with.ours.signature,
        ContentType::AuthResTbs,
        frame,
        &receiver,
        &data,
    )?;
    let (sealed, key) = seal_keeping(
        ctx,
        &asker.merchant_key_exchange,
        ContentType::AuthResTbe,
        &AuthResTbe { auth_res, baggage },
    )?;
    let ids = MessageIds::of(&asker.auth_tags.trans_ids);
    let message = MessageWrapper::new(ctx, ids, asker.rrpid(), Message::AuthRes(sealed));
    Ok(SealedAnswer::new(&message, key))
}

fn approval_baggage(
    ctx: &mut Context<'_>,
    with: Answering<'_>,
    asker: &Asker,
    approval: &Approval<'_>,
) -> Result<AuthResBaggage, Rejection> {
    let Answering { ours, tokens, .. } = with;
    let payment = approval.payment;
    let xid = asker.auth_tags.trans_ids.xid;
    let provider = openset_jose::default_provider();
    let token = CapTokenData {
        merchant_id: asker.merchant_id().to_owned(),
        trans_ids: asker.auth_tags.trans_ids.clone(),
        auth_rrpid: asker.rrpid(),
        auth_amt: asker.amount,
        sequence: CAP_TOKEN_SEQUENCE,
    };
    let cap_token = seal_direct(ctx, provider, tokens.key(), ContentType::CapToken, &token)?;
    let receipt = Receipt {
        xid,
        hod: payment.hod,
        auth_amt: asker.amount,
        approval_code: approval.approval_code.clone(),
        auth_date: ctx.now,
        merchant_id: asker.merchant_id().to_owned(),
        sequence: RECEIPT_SEQUENCE_FIRST,
        credits: Vec::new(),
    };
    let to = (payment.lid_c.clone(), payment.gateway);
    let receipt = sign_receipt(ctx, ours, to, asker.rrpid(), &receipt)?;
    let acq_card_msg = match (&approval.message, &payment.acq_back_key_data) {
        (Some(text), Some(key)) => {
            let message = AcqCardMsg {
                acq_card_code: AcqCardCode::MessageOfDay,
                xid,
                acq_card_text: text.clone(),
            };
            Some(seal_direct(
                ctx,
                provider,
                key,
                ContentType::AcqCardCodeMsg,
                &message,
            )?)
        }
        _ => None,
    };
    Ok(AuthResBaggage {
        cap_token: Some(cap_token),
        auth_token: auth_token(ctx, tokens, asker, approval)?,
        acq_card_msg,
        receipt: Some(receipt),
    })
}

/// The token for the next authorization, if the merchant wants there to be one.
fn auth_token(
    ctx: &mut Context<'_>,
    tokens: &TokenKey,
    asker: &Asker,
    approval: &Approval<'_>,
) -> Result<Option<Jwe>, Rejection> {
    if !asker.subsequent_auth_ind {
        return Ok(None);
    }
    let token = AuthTokenData {
        merchant_id: asker.merchant_id().to_owned(),
        brand_id: asker.brand_id.clone(),
        trans_ids: asker.auth_tags.trans_ids.clone(),
        hpi: approval.payment.hpi,
        approvals: approval.approvals,
    };
    let provider = openset_jose::default_provider();
    let content = ContentType::AuthToken;
    seal_direct(ctx, provider, tokens.key(), content, &token).map(Some)
}

/// Signs a receipt for the cardholder, who named its purchase `lid_c` and sealed its payment for the certificate
/// `gateway`.
pub(in crate::gateway) fn sign_receipt(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    (lid_c, gateway): (LocalId, Thumbprint),
    auth_rrpid: Rrpid,
    receipt: &Receipt,
) -> Result<Jws, Rejection> {
    let frame = Frame {
        to: Who::Exchange(lid_c),
        message: "AuthRes",
        rrpid: auth_rrpid,
        answers: None,
    };
    // Whoever sealed or forwarded the payment for this certificate holds the CAs above it.
    let receiver = if gateway == ours.key_exchange.thumbprint() {
        Receiver::holding(ours.key_exchange.chain())
    } else {
        Receiver::unknown()
    };
    let content = ContentType::Receipt;
    sign_for(ctx, &ours.signature, content, frame, &receiver, receipt)
}

/// Opens one of our own capture tokens.
///
/// # Errors
/// [`Rejection::Unauthentic`] when it is not one of ours.
pub fn open_cap_token(token: &Jwe, tokens: &TokenKey) -> Result<CapTokenData, Rejection> {
    open_direct(
        token,
        openset_jose::default_provider(),
        tokens.key(),
        ContentType::CapToken,
    )
}
