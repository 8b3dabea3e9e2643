//! Steps 4 and 5: PInitReq is answered with the merchant's and the gateway's certificates.

use crate::card::Bin;
use crate::content_type::ContentType;
use crate::identity::Credentials;
use crate::ids::{Challenge, TransIds, Xid};
use crate::messages::p_init::{PInitReq, PInitResData};
use crate::signed::{Frame, Who, request_digest, sign_for};
use crate::thumbs::{Receiver, RevocationState};
use crate::wrapper::{Message, MessageIds, MessageWrapper};
use crate::{BrandId, Context, Rejection};
use openset_jose::Thumbprint;
use openset_pki::Chain;
use serde::{Deserialize, Serialize};

/// A purchase that was opened: what PReq is checked against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedPurchase {
    /// The purchase's names.
    pub trans_ids: TransIds,
    /// To be repeated in PReq; a mail order has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chall_m: Option<Challenge>,
    /// The card's brand.
    pub brand_id: BrandId,
    /// The card's BIN.
    pub bin: Bin,
    /// The certificate that signed PInitRes; the dual signature must name it.
    pub merchant: Thumbprint,
    /// The gateway's key-exchange certificate that PInitRes named.
    pub gateway: Thumbprint,
}

/// Reads PInitReq.
///
/// # Errors
/// Another message, a stale date, or a header that contradicts it.
pub fn open<'a>(ctx: &Context<'_>, wrapper: &'a MessageWrapper) -> Result<&'a PInitReq, Rejection> {
    let Message::PInitReq(request) = &wrapper.message else {
        return Err(wrapper.not_taken());
    };
    wrapper.check_date(ctx.now)?;
    let ids = MessageIds {
        lid_c: Some(request.lid_c.clone()),
        lid_m: Some(request.lid_m.clone()),
        xid: None,
    };
    wrapper.check_ids(&ids, request.rrpid)?;
    Ok(request)
}

/// Answers PInitReq: makes the XID and a challenge, and shows the certificates and, if the wallet lacks them, the
/// brand's newest revocations (`state`).
///
/// # Errors
/// [`Rejection::Internal`] when the key cannot sign.
pub fn answer(
    ctx: &mut Context<'_>,
    request_wire: &[u8],
    request: &PInitReq,
    ours: &Credentials,
    gateway: &Chain,
    state: &RevocationState,
) -> Result<(OpenedPurchase, Vec<u8>), Rejection> {
    let trans_ids = TransIds {
        lid_c: request.lid_c.clone(),
        lid_m: request.lid_m.clone(),
        xid: Xid::generate(&mut ctx.again()),
        p_req_date: ctx.now,
        language: request.language.clone(),
    };
    let chall_m = Challenge::generate(ctx.rng);
    let opened = OpenedPurchase {
        trans_ids: trans_ids.clone(),
        chall_m: Some(chall_m),
        brand_id: request.brand_id.clone(),
        bin: request.bin.clone(),
        merchant: ours.signature.thumbprint(),
        gateway: gateway.leaf().thumbprint(),
    };
    let receiver = Receiver::asking(request.thumbs.as_ref(), state);
    let data = PInitResData {
        trans_ids: trans_ids.clone(),
        chall_c: request.chall_c,
        chall_m,
        pe_thumb: opened.gateway,
        gateway_key_exchange: receiver.carried(gateway),
        merchant_key_exchange: receiver.carried(ours.key_exchange.chain()),
    };
    let frame = Frame {
        to: Who::Exchange(request.lid_c.clone()),
        message: "PInitRes",
        rrpid: request.rrpid,
        answers: Some(request_digest(request_wire)),
    };
    let jws = sign_for(
        ctx,
        &ours.signature,
        ContentType::PInitResData,
        frame,
        &receiver,
        &data,
    )?;
    let wrapper = MessageWrapper::new(
        ctx,
        MessageIds::of(&trans_ids),
        request.rrpid,
        Message::PInitRes(jws),
    );
    Ok((opened, wrapper.encode()))
}
