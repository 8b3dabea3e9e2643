//! After the capture: CapRevReq cancels it, CredReq gives money back, CredRevReq cancels a refund.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use openset_protocol::ids::Rrpid;
use openset_protocol::merchant::cap_rev_or_cred::{self, AwaitingCapRevOrCredRes, Item};
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::cap_rev_or_cred::{
    CapRevOrCred, CapRevOrCredCode, CapRevOrCredResItem,
};
use openset_protocol::money::CurrencyAmount;
use openset_service::client::SetAnswer;

use super::asking::{Draft, Told, Waiting, refusal};
use super::sending::unusable;
use crate::failure::Failure;
use crate::store::authorizations::Authorization;
use crate::store::movements::End;
use crate::store::payments::Payment;
use crate::{Merchant, offload};

/// What is asked for about a capture or a refund of an authorization.
pub(super) struct Asked {
    pub(super) which: CapRevOrCred,
    /// The capture or refund, as the gateway named it; none for captures of before it named them.
    pub(super) original: Option<BatchPlace>,
    pub(super) amount: CurrencyAmount,
    /// The first request for the same, if the gateway takes its bytes no more.
    pub(super) earlier: Option<Rrpid>,
}

/// Makes CapRevReq, CredReq or CredRevReq.
pub(super) async fn draft(
    merchant: &Arc<Merchant>,
    payment: &Payment,
    one: &Authorization,
    asked: Asked,
) -> Result<Draft, Failure> {
    let (which, earlier) = (asked.which, asked.earlier);
    let item = item(payment, one, asked).map_err(Failure::Internal)?;
    let ours = merchant.credentials(&payment.brand)?;
    let verifier = merchant.verifier()?;
    let gateway = merchant.gateways.of_brand(&payment.brand, &verifier);
    let gateway = gateway.ok_or(Failure::NotReady(
        "the gateway's certificate is not here yet",
    ))?;
    let made = offload(move |ctx| {
        let asked = cap_rev_or_cred::Asked {
            which,
            items: vec![item],
            earlier,
        };
        cap_rev_or_cred::request(ctx, &ours, gateway.leaf(), asked, &verifier)
    })
    .await;
    let (awaiting, wire) = made?;
    Ok(Draft {
        rrpid: awaiting.rrpid(),
        message: which.request(),
        awaiting: serde_json::to_string(&awaiting)
            .map_err(|error| Failure::Internal(error.into()))?,
        wire,
    })
}

fn item(payment: &Payment, one: &Authorization, asked: Asked) -> anyhow::Result<Item> {
    let (_, baggage) = one.answer.as_ref().context("there is no authorization")?;
    Ok(Item {
        trans_ids: payment.asked.trans_ids.clone(),
        auth_rrpid: one.awaiting.rrpid(),
        hod: one.awaiting.hod(),
        original: asked.original,
        amount: asked.amount,
        new_batch_id: None,
        cap_token: baggage
            .cap_token
            .clone()
            .context("the approval has no capture token")?,
    })
}

/// Verifies the answer. `anew` says that the same was asked for before, under another RRPID.
pub(super) async fn verify(
    merchant: &Arc<Merchant>,
    waiting: &Waiting,
    answer: &SetAnswer,
    anew: bool,
) -> anyhow::Result<Told> {
    let awaiting: AwaitingCapRevOrCredRes =
        serde_json::from_str(&waiting.awaiting).context("movements.awaiting")?;
    let which = awaiting.which();
    let keyring = merchant.keyring.all();
    let verifier = merchant.verifier()?;
    let wire = answer.body.clone();
    let verified = offload(move |ctx| {
        let ours: Vec<_> = keyring.iter().collect();
        awaiting.handle(&wire, &ours, &verifier, ctx.now)
    })
    .await;
    let items = match verified {
        Ok(items) => items,
        Err(refusal) => return Err(unusable(merchant, which.response(), answer, &refusal).await),
    };
    let [item] = items.as_slice() else {
        bail!("{} has {} items for one", which.response(), items.len());
    };
    Ok(Told {
        end: end(waiting, which, item, anew),
        released_minor: 0,
        ran_out: false,
        receipt: item.receipt.clone(),
        verified: None,
    })
}

fn end(waiting: &Waiting, which: CapRevOrCred, item: &CapRevOrCredResItem, anew: bool) -> End {
    // What stood here and is gone there was cancelled by the request that was asked before.
    let gone = match (which, item.cap_rev_or_cred_code) {
        (CapRevOrCred::CapRev, CapRevOrCredCode::OriginalNotFound)
        | (CapRevOrCred::CredRev, CapRevOrCredCode::OriginalProcessed) => anew,
        _ => false,
    };
    match item.cap_rev_or_cred_code {
        CapRevOrCredCode::Success => End {
            amount_minor: item.cap_rev_or_cred_actual_amt.minor(),
            refusal: None,
            batch: item.batch.clone(),
        },
        _ if gone => End {
            amount_minor: waiting.movement.amount_minor,
            refusal: None,
            batch: None,
        },
        code => End {
            amount_minor: 0,
            refusal: Some(refusal(
                match which {
                    CapRevOrCred::CapRev => "cancel the capture",
                    CapRevOrCred::Cred => "refund",
                    CapRevOrCred::CredRev => "cancel the refund",
                },
                &code,
            )),
            batch: None,
        },
    }
}
