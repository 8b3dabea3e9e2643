//! CardCInitReq: a cardholder begins a registration and learns the CA's certificates.

use super::{AwaitingRegFormReq, Kind, Reply, Request, check_serves, respond};
use crate::content_type::ContentType;
use crate::identity::Credentials;
use crate::ids::LocalId;
use crate::messages::card_c_init::CardCInitResTbs;
use crate::thumbs::{Receiver, RevocationState};
use crate::wrapper::{Message, MessageIds};
use crate::{Context, Rejection};
use openset_pki::Role;

const CARD_C_INIT_RES: Kind = Kind {
    content: ContentType::CardCInitResTbs,
    name: "CardCInitRes",
    wrap: Message::CardCInitRes,
};

/// Answers CardCInitReq with the credentials of the cardholders' CA of its brand and, if the wallet lacks them, the
/// brand's newest revocations (`state`).
///
/// # Errors
/// The [`Rejection`] of the first check that fails.
pub fn handle(
    ctx: &mut Context<'_>,
    ca: &Credentials,
    request: &Request,
    state: &RevocationState,
) -> Result<Reply<AwaitingRegFormReq>, Rejection> {
    let Message::CardCInitReq(init) = &request.wrapper.message else {
        return Err(request.wrapper.not_taken());
    };
    request
        .wrapper
        .check_ids(&MessageIds::of_lid_c(&init.lid_ee), init.rrpid)?;
    check_serves(ca, Role::CardholderCa, &init.brand_id)?;
    let lid_ca = LocalId::generate(ctx.rng);
    let receiver = Receiver::asking(init.thumbs.as_ref(), state);
    let data = CardCInitResTbs {
        lid_ee: init.lid_ee.clone(),
        chall_ee: init.chall_ee,
        lid_ca: lid_ca.clone(),
        cae_thumb: ca.key_exchange.thumbprint(),
        ca_key_exchange: receiver.carried(ca.key_exchange.chain()),
    };
    let signed = (&receiver, &data);
    let wire = respond(ctx, ca, request, &init.lid_ee, &CARD_C_INIT_RES, signed)?;
    let session = AwaitingRegFormReq {
        lid_ee: init.lid_ee.clone(),
        lid_ca,
        brand_id: init.brand_id.clone(),
    };
    Ok(Reply { wire, session })
}
