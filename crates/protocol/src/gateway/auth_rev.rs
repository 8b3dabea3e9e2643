//! AuthRevReq is verified, AuthRevRes tells how much is authorized from now on.

use super::SealedAnswer;
use super::asking::{Asking, Request, open as open_asked, verify_asking};
use super::auth::{Answering, TokenKey, open_cap_token};
use super::receipt::NewReceipt;
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::identity::Credentials;
use crate::ids::{ExactBytes, LocalId, RrTags, Rrpid, TransIds};
use crate::messages::auth_rev::{
    AuthRevCode, AuthRevReqData, AuthRevReqTbe, AuthRevResBaggage, AuthRevResData, AuthRevResTbe,
    token_digest,
};
use crate::money::CurrencyAmount;
use crate::thumbs::Thumbs;
use crate::wrapper::{Jwe, Message, MessageIds, MessageWrapper};
use crate::{Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::PathVerifier;
use serde::{Deserialize, Serialize};

impl Request for AuthRevReqData {
    fn rr_tags(&self) -> &RrTags {
        &self.auth_rev_rr_tags
    }

    fn merchant_key_exchange(&self) -> &[ExactBytes] {
        &self.merchant_key_exchange
    }

    fn m_thumbs(&self) -> Option<&Thumbs> {
        self.m_thumbs.as_ref()
    }

    fn message_ids(&self) -> MessageIds {
        MessageIds::of(&self.trans_ids)
    }
}

/// An AuthRevReq after the checks that need no database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifiedAuthRevReq {
    /// Who asked.
    pub asker: Asking,
    /// The purchase.
    pub trans_ids: TransIds,
    /// The authorization.
    pub auth_rrpid: Rrpid,
    /// How much is to stay authorized.
    pub auth_new_amt: CurrencyAmount,
    /// The code that refuses it already.
    pub refused: Option<AuthRevCode>,
    /// Whether it shows the CapToken: the merchant has seen AuthRes. Absent in what was stored before anybody asked.
    #[serde(default)]
    pub shows_token: bool,
}

/// Opens AuthRevReq, verifies the merchant, and compares the request with its token. The gateway's database has the
/// last word.
///
/// # Errors
/// The [`Rejection`] of the first check that fails.
pub fn open(
    wire: &[u8],
    wrapper: &MessageWrapper,
    ours: &[&Credentials],
    tokens: &TokenKey,
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<VerifiedAuthRevReq, Rejection> {
    let Message::AuthRevReq(jwe) = &wrapper.message else {
        return Err(wrapper.not_taken());
    };
    let AuthRevReqTbe {
        auth_rev_req,
        cap_token,
    } = open_asked(jwe, ContentType::AuthRevReqTbe, ours)?;
    let request = (wire, wrapper);
    let names = ("AuthRevReq", ContentType::AuthRevReqTbs);
    let (asker, data): (_, AuthRevReqData) =
        verify_asking(request, (jwe, &auth_rev_req), names, ours, verifier, now)?;
    if data.cap_token_digest != cap_token.as_ref().map(token_digest) {
        return Err(Rejection::DigestMismatch("the capture token"));
    }
    let refused = judge_token(&data, cap_token.as_ref(), asker.merchant_id(), tokens);
    Ok(VerifiedAuthRevReq {
        asker,
        trans_ids: data.trans_ids,
        auth_rrpid: data.auth_rrpid,
        auth_new_amt: data.auth_new_amt,
        refused,
        shows_token: cap_token.is_some(),
    })
}

fn judge_token(
    data: &AuthRevReqData,
    token: Option<&Jwe>,
    merchant_id: &str,
    tokens: &TokenKey,
) -> Option<AuthRevCode> {
    let Some(token) = token else {
        // Whoever wants nothing to be held need not show what it was given, for it may have been given nothing.
        return (data.auth_new_amt.minor() > 0).then_some(AuthRevCode::MissingCapToken);
    };
    let Ok(token) = open_cap_token(token, tokens) else {
        return Some(AuthRevCode::InvalidCapToken);
    };
    let ours = token.merchant_id == merchant_id
        && token.trans_ids == data.trans_ids
        && token.auth_rrpid == data.auth_rrpid;
    (!ours).then_some(AuthRevCode::InvalidCapToken)
}

/// Whom a receipt is for, and of what order: kept since the authorization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFor {
    /// The order and amount as the cardholder hashed them.
    pub hod: Digest,
    /// The cardholder's name for the purchase.
    pub lid_c: LocalId,
    /// Our certificate that the payment instruction was sealed for.
    pub gateway: Thumbprint,
}

/// What a receipt says beside the amount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFacts {
    /// Whom it is for, and of what order.
    pub receipt_for: ReceiptFor,
    /// The issuer's approval code.
    pub approval_code: String,
    /// Which receipt of the authorization.
    pub sequence: u32,
}

/// What became of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reversal {
    /// So much is authorized as was asked for; with a new receipt for the cardholder, if there was one before.
    Approved(Option<ReceiptFacts>),
    /// Nothing has changed.
    Refused(AuthRevCode),
}

/// Makes AuthRevRes. Store it with the outcome, in one transaction, before it is sent; the content key
/// that comes with it serves to store it shorter.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign or seal.
pub fn answer(
    ctx: &mut Context<'_>,
    with: Answering<'_>,
    request: &VerifiedAuthRevReq,
    reversal: &Reversal,
) -> Result<SealedAnswer, Rejection> {
    let asker = &request.asker;
    let (auth_rev_code, auth_new_amt, receipt) = match reversal {
        Reversal::Approved(facts) => {
            let receipt = facts.clone().map(|facts| NewReceipt {
                facts,
                auth_amt: request.auth_new_amt,
                credits: Vec::new(),
            });
            let names = (request.trans_ids.xid, request.auth_rrpid);
            let receipt = receipt.map(|new| new.sign(ctx, with.ours, asker.merchant_id(), names));
            (
                AuthRevCode::Approved,
                request.auth_new_amt,
                receipt.transpose()?,
            )
        }
        Reversal::Refused(code) => {
            let zero = CurrencyAmount::new(request.auth_new_amt.currency(), 0);
            (*code, zero.map_err(|_| Rejection::Internal)?, None)
        }
    };
    let baggage = serde_json::to_vec(&AuthRevResBaggage { receipt });
    let baggage = ExactBytes(baggage.map_err(|_| Rejection::Internal)?);
    let data = AuthRevResData {
        auth_rev_rr_tags: asker.rr_tags.clone(),
        trans_ids: request.trans_ids.clone(),
        auth_rrpid: request.auth_rrpid,
        auth_rev_code,
        auth_new_amt,
        baggage_digest: digest(ContentType::AuthRevResBaggage, &baggage.0),
    };
    let content = ("AuthRevRes", ContentType::AuthRevResData);
    let auth_rev_res = asker.sign(ctx, with.ours, with.state, content, &data)?;
    let answer = AuthRevResTbe {
        auth_rev_res,
        baggage,
    };
    let (sealed, key) = asker.seal(ctx, ContentType::AuthRevResTbe, &answer)?;
    let ids = MessageIds::of(&request.trans_ids);
    let message = MessageWrapper::new(ctx, ids, asker.rrpid(), Message::AuthRevRes(sealed));
    Ok(SealedAnswer::new(&message, key))
}
