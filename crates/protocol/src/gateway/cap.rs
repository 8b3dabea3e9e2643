//! After step 10: CapReq is verified, CapRes tells what was captured.

use super::auth::{
    TokenKey, addressed, check_dates, check_merchant_id, merchant_key_exchange, open_cap_token,
};
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::identity::Credentials;
use crate::ids::{ExactBytes, RrTags, Rrpid};
use crate::messages::auth::{CAP_TOKEN_SEQUENCE, CapTokenData};
use crate::messages::cap::{
    CAP_ITEMS_MAX, CapCode, CapItem, CapReqData, CapReqTbe, CapResData, CapResItem, CapResTbe,
};
use crate::money::CurrencyAmount;
use crate::sealed::{open as open_sealed, seal};
use crate::signed::{
    Expected, Frame, Signer, Verified, Who, decode, request_digest, sign_for, verify,
};
use crate::thumbs::{Receiver, RevocationState, Thumbs};
use crate::wrapper::{Jwe, Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, PathVerifier, Role};
use serde::{Deserialize, Serialize};

/// Who asked for captures, and how to answer: kept until the answer is given, also across a crash.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapAsker {
    /// The request.
    pub cap_rr_tags: RrTags,
    /// The merchant's brand.
    pub brand_id: BrandId,
    /// The BIN of the merchant's acquirer, as certified.
    pub acquirer_bin: String,
    merchant: Thumbprint,
    merchant_key_exchange: ExactBytes,
    request: Digest,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    m_thumbs: Option<Thumbs>,
}

impl CapAsker {
    /// The thumbprint of the merchant's signature certificate: the authenticated sender.
    #[must_use]
    pub fn merchant(&self) -> Thumbprint {
        self.merchant
    }

    /// The request/response pair.
    #[must_use]
    pub fn rrpid(&self) -> Rrpid {
        self.cap_rr_tags.rrpid
    }
}

/// A CapReq after the checks that need no database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifiedCapReq {
    /// Who asked.
    pub asker: CapAsker,
    /// What is to be captured: `None` beside an item whose token allows it, or the code that refuses it.
    pub items: Vec<(CapItem, Option<CapCode>)>,
}

/// Opens CapReq, verifies the merchant, and compares each item with its token. The gateway's
/// database has the last word on what is left to capture.
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
) -> Result<VerifiedCapReq, Rejection> {
    let Message::CapReq(jwe) = &wrapper.message else {
        return Err(wrapper.not_taken());
    };
    let rrpid = wrapper.rrpid()?;
    let keys: Vec<_> = ours.iter().map(|c| &c.key_exchange).collect();
    let CapReqTbe {
        cap_req,
        cap_token_seq,
    } = open_sealed(jwe, &keys, ContentType::CapReqTbe)?;
    let (to, brand_id) = addressed(jwe, ours)?;
    let expected = Expected {
        content: ContentType::CapReqTbs,
        signer: Signer {
            role: Role::Merchant,
            brand: Some(&brand_id),
        },
        to,
        message: "CapReq",
        rrpid,
        answers: None,
        thumbs: None,
    };
    let Verified {
        certificate,
        date,
        data,
    }: Verified<CapReqData> = verify(&cap_req, &expected, verifier, now)?;
    check_dates(wrapper, date, &data.cap_rr_tags)?;
    wrapper.check_ids(&MessageIds::default(), data.cap_rr_tags.rrpid)?;
    if data.cap_token_seq_digest != digest(ContentType::CapTokenSeq, &cap_token_seq.0) {
        return Err(Rejection::DigestMismatch("the capture tokens"));
    }
    let acquirer_bin = check_merchant_id(&certificate, &data.cap_rr_tags.merchant_id)?;
    let key_exchange = merchant_key_exchange(
        &data.merchant_key_exchange,
        &certificate,
        &brand_id,
        verifier,
        now,
    )?;
    let token_seq: Vec<Jwe> = decode(&cap_token_seq.0)?;
    let count = data.cap_item_seq.len();
    if count == 0 || count > CAP_ITEMS_MAX || count != token_seq.len() {
        return Err(Rejection::Disagreement(
            "cap_item_seq: 1 to 32 items with a token each",
        ));
    }
    let merchant_id = data.cap_rr_tags.merchant_id.clone();
    let judge = |(item, token): (CapItem, Jwe)| {
        let refused = judge_token(&item, &token, &merchant_id, tokens);
        (item, refused)
    };
    let items = data
        .cap_item_seq
        .into_iter()
        .zip(token_seq)
        .map(judge)
        .collect();
    let asker = CapAsker {
        cap_rr_tags: data.cap_rr_tags,
        brand_id,
        acquirer_bin,
        merchant: certificate.thumbprint(),
        merchant_key_exchange: ExactBytes(key_exchange.der().to_vec()),
        request: request_digest(wire),
        m_thumbs: data.m_thumbs,
    };
    Ok(VerifiedCapReq { asker, items })
}

fn judge_token(
    item: &CapItem,
    token: &Jwe,
    merchant_id: &str,
    tokens: &TokenKey,
) -> Option<CapCode> {
    let Ok(token) = open_cap_token(token, tokens) else {
        return Some(CapCode::InvalidCapToken);
    };
    let CapTokenData {
        merchant_id: holder,
        trans_ids,
        auth_rrpid,
        auth_amt,
        sequence,
    } = token;
    let ours = holder == merchant_id && sequence == CAP_TOKEN_SEQUENCE;
    if !ours || trans_ids != item.trans_ids || auth_rrpid != item.auth_rrpid {
        return Some(CapCode::InvalidCapToken);
    }
    let amount = item.cap_req_amt;
    let fits = amount.currency() == auth_amt.currency()
        && amount.minor() > 0
        && amount.minor() <= auth_amt.minor();
    if fits {
        None
    } else {
        Some(CapCode::InvalidAuthData)
    }
}

/// Makes CapRes from the outcome of each item, in the request's order. Store it with the outcome, in
/// one transaction, before it is sent.
///
/// # Errors
/// [`Rejection::Internal`] when a key cannot sign or seal, or when outcomes are missing.
pub fn answer(
    ctx: &mut Context<'_>,
    ours: &Credentials,
    request: &VerifiedCapReq,
    outcomes: &[CapCode],
    state: &RevocationState,
) -> Result<Vec<u8>, Rejection> {
    if outcomes.len() != request.items.len() {
        return Err(Rejection::Internal);
    }
    let items = request
        .items
        .iter()
        .zip(outcomes)
        .map(|((item, _), code)| cap_res_item(item, *code));
    let asker = &request.asker;
    let data = CapResData {
        cap_rr_tags: asker.cap_rr_tags.clone(),
        cap_res_item_seq: items.collect::<Result<_, _>>()?,
    };
    let frame = Frame {
        to: Who::Certificate(asker.merchant),
        message: "CapRes",
        rrpid: asker.rrpid(),
        answers: Some(asker.request),
    };
    let receiver = Receiver::asking(asker.m_thumbs.as_ref(), state);
    let cap_res = sign_for(
        ctx,
        &ours.signature,
        ContentType::CapResData,
        frame,
        &receiver,
        &data,
    )?;
    let merchant =
        Certificate::from_der(&asker.merchant_key_exchange.0).map_err(|_| Rejection::Internal)?;
    let sealed = seal(
        ctx,
        &merchant,
        ContentType::CapResTbe,
        &CapResTbe { cap_res },
    )?;
    Ok(MessageWrapper::new(
        ctx,
        MessageIds::default(),
        asker.rrpid(),
        Message::CapRes(sealed),
    )
    .encode())
}

fn cap_res_item(item: &CapItem, cap_code: CapCode) -> Result<CapResItem, Rejection> {
    let minor = if cap_code == CapCode::Success {
        item.cap_req_amt.minor()
    } else {
        0
    };
    let cap_amt =
        CurrencyAmount::new(item.cap_req_amt.currency(), minor).map_err(|_| Rejection::Internal)?;
    Ok(CapResItem {
        trans_ids: item.trans_ids.clone(),
        auth_rrpid: item.auth_rrpid,
        cap_code,
        cap_amt,
    })
}
