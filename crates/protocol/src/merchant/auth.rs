//! Steps 8 and 10: AuthReq asks the gateway, AuthRes answers.

use super::p::VerifiedPReq;
use super::{ExpectedAnswer, merchant_data, open_ours, verify_answer};
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::identity::Credentials;
use crate::ids::{ExactBytes, RrTags, Rrpid, TransIds};
use crate::messages::auth::{
    AuthReqData, AuthReqPayload, AuthReqTbe, AuthResBaggage, AuthResData, AuthResPayload,
    AuthResTbe, AuthTags, CheckDigests,
};
use crate::messages::install_recur::InstallRecurData;
use crate::money::CurrencyAmount;
use crate::receipt::{ExpectedReceipt, Which};
use crate::sealed::seal;
use crate::signed::{Frame, Who, decode, read_again, request_digest, sign_for};
use crate::thumbs::{Receiver, Thumbs};
use crate::wrapper::{Jwe, Jws, Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, PathVerifier};
use serde::{Deserialize, Serialize};

/// After AuthReq was made: what its answer is checked against. It holds nothing secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingAuthRes {
    auth_tags: AuthTags,
    brand_id: BrandId,
    amount: CurrencyAmount,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    subsequent_auth_ind: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    capture_now: bool,
    hod: Digest,
    gateway_key_exchange: ExactBytes,
    request: Digest,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    m_thumbs: Option<Thumbs>,
    /// The certificate that signed AuthReq, to which the answer is addressed; absent in what was stored before
    /// merchants had more than one.
    #[serde(default)]
    merchant: Option<Thumbprint>,
}

impl AwaitingAuthRes {
    /// The request/response pair: the name of the authorization from now on.
    #[must_use]
    pub fn rrpid(&self) -> Rrpid {
        self.auth_tags.auth_rr_tags.rrpid
    }

    /// HOD from the merchant's own order.
    #[must_use]
    pub fn hod(&self) -> Digest {
        self.hod
    }

    /// Whether it is to be captured at once: a sale.
    #[must_use]
    pub fn is_sale(&self) -> bool {
        self.capture_now
    }
}

/// What is asked of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The purchase.
    pub trans_ids: &'a TransIds,
    /// What the authorization is asked for with.
    pub instrument: Instrument<'a>,
    /// HOD from the merchant's own order.
    pub hod2: Digest,
    /// How much.
    pub amount: CurrencyAmount,
    /// The merchant category code.
    pub merch_cat_code: &'a str,
    /// Whether more authorizations may follow: an approval then brings a token for the next one.
    pub subsequent_auth_ind: bool,
    /// Whether what is approved is to be captured at once: a sale.
    pub capture_now: bool,
    /// In which parts, or how often, the purchase is paid, as the order says; none if once.
    pub install_recur_data: Option<InstallRecurData>,
}

/// What an authorization is asked for with.
#[derive(Clone, Copy, Debug)]
pub enum Instrument<'a> {
    /// The payment instruction, as it came with PReq.
    Pi {
        /// The digest of the order information that came with it.
        hoi: Digest,
        /// The cardholder's dual signature, if the cardholder has a certificate.
        dual_signature: Option<&'a Jws>,
        /// The instruction itself.
        pi: &'a Jwe,
    },
    /// The AuthToken of the purchase's newest approval.
    Token(&'a Jwe),
}

impl VerifiedPReq {
    /// What the purchase's first authorization is asked for with.
    #[must_use]
    pub fn payment_instruction(&self) -> Instrument<'_> {
        Instrument::Pi {
            hoi: self.hoi,
            dual_signature: self.dual_signature.as_ref(),
            pi: &self.pi,
        }
    }
}

/// What travels beside the signed data, and what the signed data says of it.
struct Shown {
    check_digests: Option<CheckDigests>,
    pi_digest: Digest,
    dual_signature_digest: Option<Digest>,
    dual_signature: Option<Jws>,
    pi: Option<Jwe>,
    auth_token: Option<Jwe>,
}

impl Shown {
    fn of(asking: &Asking<'_>) -> Self {
        match asking.instrument {
            Instrument::Pi {
                hoi,
                dual_signature,
                pi,
            } => Self {
                check_digests: Some(CheckDigests {
                    hoi,
                    hod2: asking.hod2,
                }),
                pi_digest: digest(sealed_as(dual_signature.is_some()), pi.0.as_bytes()),
                dual_signature_digest: dual_signature
                    .map(|signature| digest(ContentType::PiTbs, signature.0.as_bytes())),
                dual_signature: dual_signature.cloned(),
                pi: Some(pi.clone()),
                auth_token: None,
            },
            Instrument::Token(token) => Self {
                check_digests: None,
                pi_digest: digest(ContentType::AuthToken, token.0.as_bytes()),
                dual_signature_digest: None,
                dual_signature: None,
                pi: None,
                auth_token: Some(token.clone()),
            },
        }
    }
}

/// How a payment instruction is sealed.
pub(crate) fn sealed_as(signed: bool) -> ContentType {
    if signed {
        ContentType::PiDualSignedTbe
    } else {
        ContentType::PiUnsignedTbe
    }
}

/// Makes AuthReq.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign or seal.
pub fn request(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    gateway: &Certificate,
    asking: &Asking<'_>,
    verifier: &PathVerifier,
) -> Result<(AwaitingAuthRes, Vec<u8>), Rejection> {
    let shown = Shown::of(asking);
    let brand_id = ours
        .signature
        .brand()
        .cloned()
        .ok_or(Rejection::MissingCertificate("brand"))?;
    let receiver = Receiver::holding_chain_of(gateway, verifier);
    let m_thumbs = Some(Thumbs::of(verifier, &brand_id));
    let rrpid = Rrpid::generate(&mut ctx.again());
    let merchant_id = merchant_data(ours)?.merchant_id.clone();
    let auth_rr_tags = RrTags {
        rrpid,
        merchant_id,
        current_date: ctx.now,
    };
    let auth_tags = AuthTags {
        auth_rr_tags,
        trans_ids: asking.trans_ids.clone(),
    };
    let data = AuthReqData {
        auth_tags: auth_tags.clone(),
        check_digests: shown.check_digests,
        auth_req_payload: AuthReqPayload {
            auth_req_amt: asking.amount,
            merch_cat_code: asking.merch_cat_code.to_owned(),
            subsequent_auth_ind: asking.subsequent_auth_ind,
            install_recur_data: asking.install_recur_data,
        },
        capture_now: asking.capture_now,
        pi_digest: shown.pi_digest,
        dual_signature_digest: shown.dual_signature_digest,
        merchant_key_exchange: receiver.carried(ours.key_exchange.chain()),
        m_thumbs: m_thumbs.clone(),
    };
    let to = Who::Certificate(gateway.thumbprint());
    let frame = Frame {
        to,
        message: "AuthReq",
        rrpid,
        answers: None,
    };
    let auth_req = sign_for(
        ctx,
        &ours.signature,
        ContentType::AuthReqTbs,
        frame,
        &receiver,
        &data,
    )?;
    let sealed = seal(
        ctx,
        gateway,
        ContentType::AuthReqTbe,
        &AuthReqTbe {
            auth_req,
            dual_signature: shown.dual_signature,
            pi: shown.pi,
            auth_token: shown.auth_token,
        },
    )?;
    let ids = MessageIds::of(asking.trans_ids);
    let wire = MessageWrapper::new(ctx, ids, rrpid, Message::AuthReq(sealed)).encode();
    let state = AwaitingAuthRes {
        auth_tags,
        brand_id,
        amount: asking.amount,
        subsequent_auth_ind: asking.subsequent_auth_ind,
        capture_now: asking.capture_now,
        hod: asking.hod2,
        gateway_key_exchange: ExactBytes(gateway.der().to_vec()),
        request: request_digest(&wire),
        m_thumbs,
        merchant: Some(ours.signature.thumbprint()),
    };
    Ok((state, wire))
}

/// The gateway's answer, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthAnswer {
    /// The bank's answer.
    pub payload: AuthResPayload,
    /// Tokens, card message and receipt.
    pub baggage: AuthResBaggage,
    /// What was verified: the proof of the bank's answer, for whoever asks later.
    pub proof: AuthResProof,
}

/// AuthRes as it came, opened: the gateway's signature, and the exact bytes whose digest it signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthResProof {
    /// AuthResData, signed by the gateway.
    pub auth_res: Jws,
    /// The baggage.
    pub baggage: ExactBytes,
}

impl AuthResProof {
    /// What the gateway answered; it was verified when it came.
    ///
    /// # Errors
    /// It is no AuthResData.
    pub fn payload(auth_res: &Jws) -> Result<AuthResPayload, Rejection> {
        read_again::<AuthResData>(auth_res).map(|said| said.data.auth_res_payload)
    }
}

impl AwaitingAuthRes {
    /// Verifies AuthRes; `ours` are all credentials that it may have been sealed for.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails; the authorization stays unanswered.
    pub fn handle(
        &self,
        wire: &[u8],
        ours: &[&Credentials],
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<AuthAnswer, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        let Message::AuthRes(jwe) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        let rrpid = self.rrpid();
        if wrapper.rrpid()? != rrpid {
            return Err(Rejection::UnknownRrpid);
        }
        let (sealed, opened_by): (AuthResTbe, _) = open_ours(jwe, ours, ContentType::AuthResTbe)?;
        let expected = ExpectedAnswer {
            content: ContentType::AuthResTbs,
            message: "AuthRes",
            brand: &self.brand_id,
            to: self.merchant.unwrap_or(opened_by),
            rrpid,
            request: self.request,
            thumbs: self.m_thumbs.as_ref(),
            gateway: &self.gateway_key_exchange,
        };
        let (data, chosen): (AuthResData, _) =
            verify_answer(&wrapper, &sealed.auth_res, &expected, verifier, now)?;
        let answer = self.check(&wrapper, data, sealed)?;
        self.check_contents(&answer, &chosen, verifier, now)?;
        Ok(answer)
    }

    fn check(
        &self,
        wrapper: &MessageWrapper,
        data: AuthResData,
        sealed: AuthResTbe,
    ) -> Result<AuthAnswer, Rejection> {
        wrapper.check_ids(
            &MessageIds::of(&data.auth_tags.trans_ids),
            data.auth_tags.auth_rr_tags.rrpid,
        )?;
        if data.auth_tags != self.auth_tags {
            return Err(Rejection::Disagreement("auth_tags"));
        }
        if data.baggage_digest != digest(ContentType::AuthResBaggage, &sealed.baggage.0) {
            return Err(Rejection::DigestMismatch("the baggage"));
        }
        let AuthResTbe { auth_res, baggage } = sealed;
        Ok(AuthAnswer {
            payload: data.auth_res_payload,
            baggage: decode(&baggage.0)?,
            proof: AuthResProof { auth_res, baggage },
        })
    }

    /// An approval is for the amount asked and brings approval code, tokens and receipt; anything else brings none
    /// of them. The receipt is verified here too: goods must not leave on one that the wallet would refuse.
    fn check_contents(
        &self,
        answer: &AuthAnswer,
        gateway: &Certificate,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let AuthAnswer {
            payload, baggage, ..
        } = answer;
        let approved = payload.approved();
        let amount = if approved { self.amount.minor() } else { 0 };
        if payload.auth_amt.minor() != amount
            || payload.auth_amt.currency() != self.amount.currency()
        {
            return Err(Rejection::Disagreement("auth_amt"));
        }
        if payload.approval_code.is_some() != approved
            || (approved && payload.resp_reason.is_some())
        {
            return Err(Rejection::Disagreement("approval_code or resp_reason"));
        }
        self.check_capture(payload)?;
        if baggage.cap_token.is_some() != approved || baggage.receipt.is_some() != approved {
            return Err(Rejection::Disagreement(
                "baggage of an approval: cap_token and receipt",
            ));
        }
        if baggage.auth_token.is_some() != (approved && self.subsequent_auth_ind) {
            return Err(Rejection::Disagreement(
                "baggage of an approval: auth_token",
            ));
        }
        let Some(receipt) = &baggage.receipt else {
            return Ok(());
        };
        let expected = ExpectedReceipt {
            gateway,
            brand: &self.brand_id,
            trans_ids: &self.auth_tags.trans_ids,
            hod: self.hod,
            amount: self.amount,
            merchant_id: &self.auth_tags.auth_rr_tags.merchant_id,
            rrpid: Some(self.rrpid()),
            which: Which::First,
        };
        let receipt = expected.verify(receipt, verifier, now)?.receipt;
        if receipt.auth_date != payload.auth_date {
            return Err(Rejection::Disagreement("receipt auth_date"));
        }
        if Some(&receipt.approval_code) != payload.approval_code.as_ref() {
            return Err(Rejection::Disagreement("receipt approval_code"));
        }
        Ok(())
    }

    /// An approval that was to be captured at once tells what became of that: all of it, in a place, or nothing.
    fn check_capture(&self, payload: &AuthResPayload) -> Result<(), Rejection> {
        let told = payload.cap_res_payload.as_ref();
        let sound = match told {
            None => !(self.capture_now && payload.approved()),
            Some(_) if !(self.capture_now && payload.approved()) => false,
            Some(told) if told.captured() => told.cap_amt == self.amount && told.batch.is_some(),
            Some(told) => {
                let nothing = told.cap_amt.minor() == 0 && told.batch.is_none();
                nothing && told.cap_amt.currency() == self.amount.currency()
            }
        };
        if sound {
            Ok(())
        } else {
            Err(Rejection::Disagreement("cap_res_payload"))
        }
    }
}
