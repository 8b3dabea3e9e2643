//! AuthRevReq gives an authorization back, or a part of it; AuthRevRes answers.

use super::{ExpectedAnswer, merchant_data, open_ours, verify_answer};
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::identity::Credentials;
use crate::ids::{ExactBytes, RrTags, Rrpid, TransIds};
use crate::messages::auth_rev::{
    AuthRevCode, AuthRevReqData, AuthRevReqTbe, AuthRevResBaggage, AuthRevResData, AuthRevResTbe,
    token_digest,
};
use crate::money::CurrencyAmount;
use crate::receipt::{ExpectedReceipt, Which};
use crate::sealed::seal;
use crate::signed::{Frame, Who, decode, request_digest, sign_for};
use crate::thumbs::{Receiver, Thumbs};
use crate::wrapper::{Jwe, Jws, Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, PathVerifier};
use serde::{Deserialize, Serialize};

/// An authorization to reverse.
#[derive(Clone, Debug)]
pub struct Reverse {
    /// The purchase.
    pub trans_ids: TransIds,
    /// The authorization.
    pub auth_rrpid: Rrpid,
    /// HOD from the merchant's own order.
    pub hod: Digest,
    /// How much is to stay authorized.
    pub new_amount: CurrencyAmount,
    /// The token that came with the authorization; none if no answer ever came.
    pub cap_token: Option<Jwe>,
}

/// After AuthRevReq was made: what its answer is checked against.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitingAuthRevRes {
    auth_rev_rr_tags: RrTags,
    trans_ids: TransIds,
    auth_rrpid: Rrpid,
    hod: Digest,
    new_amount: CurrencyAmount,
    brand_id: BrandId,
    gateway_key_exchange: ExactBytes,
    request: Digest,
    m_thumbs: Option<Thumbs>,
    /// The certificate that signed AuthRevReq, to which the answer is addressed.
    merchant: Thumbprint,
}

/// What the gateway answered, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversalAnswer {
    /// With what result.
    pub code: AuthRevCode,
    /// How much is authorized now, if it was approved; 0 otherwise.
    pub new_amount: CurrencyAmount,
    /// For the cardholder, in place of the earlier one, and its date.
    pub receipt: Option<(Jws, Timestamp)>,
}

/// Makes AuthRevReq.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign or seal.
pub fn request(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    gateway: &Certificate,
    reverse: Reverse,
    verifier: &PathVerifier,
) -> Result<(AwaitingAuthRevRes, Vec<u8>), Rejection> {
    let brand_id = ours
        .signature
        .brand()
        .cloned()
        .ok_or(Rejection::MissingCertificate("brand"))?;
    let receiver = Receiver::holding_chain_of(gateway, verifier);
    let m_thumbs = Some(Thumbs::of(verifier, &brand_id));
    let rrpid = Rrpid::generate(&mut ctx.again());
    let auth_rev_rr_tags = RrTags {
        rrpid,
        merchant_id: merchant_data(ours)?.merchant_id.clone(),
        current_date: ctx.now,
    };
    let data = AuthRevReqData {
        auth_rev_rr_tags: auth_rev_rr_tags.clone(),
        trans_ids: reverse.trans_ids.clone(),
        auth_rrpid: reverse.auth_rrpid,
        auth_new_amt: reverse.new_amount,
        cap_token_digest: reverse.cap_token.as_ref().map(token_digest),
        merchant_key_exchange: receiver.carried(ours.key_exchange.chain()),
        m_thumbs: m_thumbs.clone(),
    };
    let frame = Frame {
        to: Who::Certificate(gateway.thumbprint()),
        message: "AuthRevReq",
        rrpid,
        answers: None,
    };
    let content = ContentType::AuthRevReqTbs;
    let auth_rev_req = sign_for(ctx, &ours.signature, content, frame, &receiver, &data)?;
    let tbe = AuthRevReqTbe {
        auth_rev_req,
        cap_token: reverse.cap_token,
    };
    let sealed = seal(ctx, gateway, ContentType::AuthRevReqTbe, &tbe)?;
    let ids = MessageIds::of(&reverse.trans_ids);
    let wire = MessageWrapper::new(ctx, ids, rrpid, Message::AuthRevReq(sealed)).encode();
    let state = AwaitingAuthRevRes {
        auth_rev_rr_tags,
        trans_ids: reverse.trans_ids,
        auth_rrpid: reverse.auth_rrpid,
        hod: reverse.hod,
        new_amount: reverse.new_amount,
        brand_id,
        gateway_key_exchange: ExactBytes(gateway.der().to_vec()),
        request: request_digest(&wire),
        m_thumbs,
        merchant: ours.signature.thumbprint(),
    };
    Ok((state, wire))
}

impl AwaitingAuthRevRes {
    /// How much is to stay authorized.
    #[must_use]
    pub fn new_amount(&self) -> CurrencyAmount {
        self.new_amount
    }

    /// The request/response pair.
    #[must_use]
    pub fn rrpid(&self) -> Rrpid {
        self.auth_rev_rr_tags.rrpid
    }

    /// Verifies AuthRevRes; `ours` are all credentials that it may have been sealed for.
    ///
    /// # Errors
    /// The [`Rejection`] of the first check that fails; the reversal stays unanswered.
    pub fn handle(
        &self,
        wire: &[u8],
        ours: &[&Credentials],
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<ReversalAnswer, Rejection> {
        let wrapper = MessageWrapper::decode(wire)?;
        let Message::AuthRevRes(jwe) = &wrapper.message else {
            return Err(wrapper.not_taken());
        };
        let rrpid = self.rrpid();
        if wrapper.rrpid()? != rrpid {
            return Err(Rejection::UnknownRrpid);
        }
        let (opened, _): (AuthRevResTbe, _) = open_ours(jwe, ours, ContentType::AuthRevResTbe)?;
        let expected = ExpectedAnswer {
            content: ContentType::AuthRevResData,
            message: "AuthRevRes",
            brand: &self.brand_id,
            to: self.merchant,
            rrpid,
            request: self.request,
            thumbs: self.m_thumbs.as_ref(),
            gateway: &self.gateway_key_exchange,
        };
        let (data, chosen): (AuthRevResData, _) =
            verify_answer(&wrapper, &opened.auth_rev_res, &expected, verifier, now)?;
        wrapper.check_ids(
            &MessageIds::of(&data.trans_ids),
            data.auth_rev_rr_tags.rrpid,
        )?;
        self.check_names(&data)?;
        if data.baggage_digest != digest(ContentType::AuthRevResBaggage, &opened.baggage.0) {
            return Err(Rejection::DigestMismatch("the baggage"));
        }
        let baggage: AuthRevResBaggage = decode(&opened.baggage.0)?;
        let date = self.check_receipt(&data, &baggage, &chosen, verifier, now)?;
        Ok(ReversalAnswer {
            code: data.auth_rev_code,
            new_amount: data.auth_new_amt,
            receipt: baggage.receipt.zip(date),
        })
    }

    fn check_names(&self, data: &AuthRevResData) -> Result<(), Rejection> {
        let approved = data.auth_rev_code == AuthRevCode::Approved;
        let minor = if approved { self.new_amount.minor() } else { 0 };
        let amount_agrees = data.auth_new_amt.minor() == minor
            && data.auth_new_amt.currency() == self.new_amount.currency();
        let agrees = [
            (
                data.auth_rev_rr_tags == self.auth_rev_rr_tags,
                "auth_rev_rr_tags",
            ),
            (data.trans_ids == self.trans_ids, "trans_ids"),
            (data.auth_rrpid == self.auth_rrpid, "auth_rrpid"),
            (amount_agrees, "auth_new_amt"),
        ];
        match agrees.iter().find(|(same, _)| !same) {
            Some((_, what)) => Err(Rejection::Disagreement(what)),
            None => Ok(()),
        }
    }

    /// A receipt comes with an approval alone, and says what was approved: the wallet would refuse another.
    fn check_receipt(
        &self,
        data: &AuthRevResData,
        baggage: &AuthRevResBaggage,
        gateway: &Certificate,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Rejection> {
        let Some(receipt) = &baggage.receipt else {
            return Ok(None);
        };
        if data.auth_rev_code != AuthRevCode::Approved {
            return Err(Rejection::Disagreement("receipt beside a refusal"));
        }
        let expected = ExpectedReceipt {
            gateway,
            brand: &self.brand_id,
            trans_ids: &self.trans_ids,
            hod: self.hod,
            amount: self.new_amount,
            merchant_id: &self.auth_rev_rr_tags.merchant_id,
            rrpid: Some(self.auth_rrpid),
            which: Which::Later,
        };
        let receipt = expected.verify(receipt, verifier, now)?.receipt;
        Ok(Some(receipt.auth_date))
    }
}
