//! After step 10: CapReq asks for the money, CapRes says what was captured.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use openset_protocol::merchant::cap::{self, AwaitingCapRes, Capture};
use openset_protocol::messages::cap::{CapCode, CapResItem};
use openset_protocol::money::CurrencyAmount;
use openset_service::client::SetAnswer;

use super::asking::{Draft, Told, Waiting, refusal};
use super::sending::{CAP_REQ, unusable};
use crate::failure::Failure;
use crate::store::authorizations::Authorization;
use crate::store::movements::End;
use crate::store::payments::Payment;
use crate::{Merchant, offload};

/// What [`AwaitingCapRes::handle`] checks.
const CAP_RES_VERIFIED: &[&str] = &[
    "gateway's certificate path, brand and revocation",
    "gateway's signature",
    "answer to our CapReq, by its digest",
    "signed by the gateway that was asked",
    "purchase, authorization and amount",
];

/// Makes CapReq for so much of an authorization.
pub(super) async fn draft(
    merchant: &Arc<Merchant>,
    payment: &Payment,
    one: &Authorization,
    amount: CurrencyAmount,
) -> Result<Draft, Failure> {
    let capture = wanted(payment, one, amount).map_err(Failure::Internal)?;
    let ours = merchant.credentials(&payment.brand)?;
    let verifier = merchant.verifier()?;
    let gateway = merchant.gateways.of_brand(&payment.brand, &verifier);
    let gateway = gateway.ok_or(Failure::NotReady(
        "the gateway's certificate is not here yet",
    ))?;
    let made =
        offload(move |ctx| cap::request(ctx, &ours, gateway.leaf(), vec![capture], &verifier))
            .await;
    let (awaiting, wire) = made?;
    Ok(Draft {
        rrpid: awaiting.rrpid(),
        message: CAP_REQ,
        awaiting: serde_json::to_string(&awaiting)
            .map_err(|error| Failure::Internal(error.into()))?,
        wire,
    })
}

fn wanted(
    payment: &Payment,
    one: &Authorization,
    amount: CurrencyAmount,
) -> anyhow::Result<Capture> {
    let (_, baggage) = one.answer.as_ref().context("there is no authorization")?;
    Ok(Capture {
        trans_ids: payment.asked.trans_ids.clone(),
        auth_rrpid: one.awaiting.rrpid(),
        hod: one.awaiting.hod(),
        amount,
        batch_id: None,
        cap_token: baggage
            .cap_token
            .clone()
            .context("the approval has no capture token")?,
    })
}

/// Verifies CapRes.
pub(super) async fn verify(
    merchant: &Arc<Merchant>,
    waiting: &Waiting,
    answer: &SetAnswer,
) -> anyhow::Result<Told> {
    let awaiting: AwaitingCapRes =
        serde_json::from_str(&waiting.awaiting).context("movements.awaiting")?;
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
        Err(refusal) => return Err(unusable(merchant, "CapRes", answer, &refusal).await),
    };
    let [item] = items.as_slice() else {
        bail!("CapRes has {} items for one", items.len());
    };
    told(waiting, item)
}

fn told(waiting: &Waiting, item: &CapResItem) -> anyhow::Result<Told> {
    let captured_minor = match item.cap_code {
        CapCode::Success => Some(item.cap_amt.minor()),
        // An earlier request, whose answer was lost, had what the item says; if it does not say, what was asked for.
        CapCode::DuplicateRequest if item.cap_amt.minor() > 0 => Some(item.cap_amt.minor()),
        CapCode::DuplicateRequest => Some(waiting.movement.amount_minor),
        _ => None,
    };
    let Some(captured_minor) = captured_minor else {
        return Ok(Told {
            end: End {
                amount_minor: 0,
                refusal: Some(refusal("capture", &item.cap_code)),
                batch: None,
            },
            released_minor: 0,
            ran_out: item.cap_code == CapCode::AuthExpired,
            receipt: None,
            verified: Some(CAP_RES_VERIFIED),
        });
    };
    let released_minor = waiting.one.remaining_minor().checked_sub(captured_minor);
    Ok(Told {
        end: End {
            amount_minor: captured_minor,
            refusal: None,
            batch: item.batch.clone(),
        },
        released_minor: released_minor
            .context("CapRes says that more was captured than is authorized")?,
        ran_out: false,
        receipt: item.receipt.clone(),
        verified: Some(CAP_RES_VERIFIED),
    })
}
