//! Steps 4 and 5: PInitReq opens a purchase of an order.
//!
//! Anyone may send one. So it costs a signature for an existing order only, few times each, and what
//! it leaves is little and soon gone.

use std::sync::Arc;

use openset_pki::Chain;
use openset_protocol::identity::Credentials;
use openset_protocol::merchant::p_init;
use openset_protocol::messages::p_init::PInitReq;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::{AGE_SECONDS_MAX, MessageWrapper};
use openset_protocol::{Context, Rejection};
use openset_service::{clock, random};

use super::{Found, KEEP_UNAUTHENTICATED_SECONDS, Received, Recording, Sender};
use crate::failure::Failure;
use crate::store::purchases;
use crate::{Merchant, offload};

// Otherwise the bytes of one that is still on record could be taken for new ones: see `About` in set.rs.
const _: () = assert!(KEEP_UNAUTHENTICATED_SECONDS < purchases::OPEN_SECONDS);

const TOO_MANY: Rejection =
    Rejection::OutOfOrder("too many purchases of this order were begun; place a new order");

pub(super) async fn handle(
    merchant: &Arc<Merchant>,
    received: &Received,
    wrapper: MessageWrapper,
    open: Option<i64>,
) -> Result<Vec<u8>, Failure> {
    let request = decode(&wrapper)?;
    let (ours, gateway) = chosen(merchant, &request, open).await?;
    let (wire, asked) = (received.bytes.clone(), request.clone());
    let verifier = merchant.verifier()?;
    let answered = offload(move |ctx| {
        let state = RevocationState::of(&verifier, &asked.brand_id);
        p_init::answer(ctx, &wire, &asked, &ours, &gateway, &state)
    })
    .await;
    let (opened, answer) = answered?;

    let sender = Sender {
        // Nobody has signed it. Under one name there is one of each RRPID: whoever sends many of one, as many names as he may
        // give himself, must not make it long to look among them.
        name: "anyone".to_owned(),
        keep_s: KEEP_UNAUTHENTICATED_SECONDS,
        age_s_max: AGE_SECONDS_MAX,
    };
    let recording = Recording {
        sender: &sender,
        wrapper: &wrapper,
        received,
        answer: Some(&answer),
    };
    let purchase = purchases::insert(&opened, clock::now_seconds())?;
    let found = recording.commit(&merchant.db, vec![purchase]).await?;
    if let Found::Overtaken(purchases::TOO_MANY) = found {
        return Err(TOO_MANY.into());
    }
    if let Some(stored) = found.answered()? {
        return Ok(stored);
    }
    tracing::info!(
        step = 5,
        set_message = "PInitReq",
        xid = %opened.trans_ids.xid,
        lid_m = %request.lid_m,
        rrpid = %request.rrpid,
        outcome = "opened",
        "purchase opened"
    );
    Ok(answer)
}

fn decode(wrapper: &MessageWrapper) -> Result<PInitReq, Failure> {
    let mut rng = random::system();
    let ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    Ok(p_init::open(&ctx, wrapper)?.clone())
}

/// Our keys and the gateway's certificate for the card's brand, if there is such an order to pay, of which so many purchases
/// are open.
async fn chosen(
    merchant: &Merchant,
    request: &PInitReq,
    open: Option<i64>,
) -> Result<(Credentials, Chain), Failure> {
    if open.ok_or(Rejection::UnknownLid)? >= purchases::OPEN_PER_ORDER_MAX {
        return Err(TOO_MANY.into());
    }
    if !merchant.settings.brands.contains(&request.brand_id) {
        return Err(Rejection::Disagreement("brand_id").into());
    }
    let ours = merchant.credentials(&request.brand_id)?;
    let gateway = merchant.gateway_of(&request.brand_id).await?;
    Ok((ours, gateway))
}
