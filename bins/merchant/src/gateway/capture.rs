//! After step 10: CapReq asks for the money, CapRes is verified and committed.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use openset_protocol::ids::Xid;
use openset_protocol::merchant::cap::{self, AwaitingCapRes, Capture};
use openset_protocol::messages::cap::{CapCode, CapResItem};
use openset_service::client::SetAnswer;
use openset_service::clock;
use openset_service::step_report::StepReport;
use openset_store::outbox::{self, Outgoing};

use super::sending::{Took, final_error};
use crate::failure::Failure;
use crate::store::payments::{self, CaptureOutcome, Payment, State};
use crate::{Merchant, offload};

/// What [`AwaitingCapRes::handle`] checks.
const CAP_RES_VERIFIED: &[&str] = &[
    "gateway's certificate path, brand and revocation",
    "gateway's signature",
    "answer to our CapReq, by its digest",
    "signed by the gateway that was asked",
    "purchase, authorization and amount",
];

/// A capture request, made but not yet stored.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) awaiting: AwaitingCapRes,
    pub(crate) wire: Vec<u8>,
}

/// Makes CapReq for all that was authorized.
pub(crate) async fn draft(merchant: &Arc<Merchant>, payment: &Payment) -> Result<Draft, Failure> {
    let capture = wanted(payment).map_err(Failure::Internal)?;
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
    Ok(Draft { awaiting, wire })
}

fn wanted(payment: &Payment) -> anyhow::Result<Capture> {
    let (payload, baggage) = payment.auth.as_ref().context("there is no authorization")?;
    let awaiting = payment
        .awaiting_auth
        .as_ref()
        .context("there was no request")?;
    Ok(Capture {
        trans_ids: payment.asked.trans_ids.clone(),
        auth_rrpid: awaiting.rrpid(),
        amount: payload.auth_amt,
        batch_id: None,
        cap_token: baggage
            .cap_token
            .clone()
            .context("the approval has no capture token")?,
    })
}

/// Verifies the gateway's answer and commits it.
pub(crate) async fn settle(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    answer: &SetAnswer,
    took: Took,
) -> anyhow::Result<()> {
    let Some(payment) = waiting(merchant, outgoing).await? else {
        return Ok(());
    };
    let awaiting = payment
        .awaiting_cap
        .clone()
        .context("the payment has no request")?;
    let begin = Instant::now();
    let outcome = match final_error(answer, awaiting.rrpid())? {
        Some(reason) => CaptureOutcome::Refused(reason),
        None => {
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
                Err(refusal) => {
                    // The next attempt may find it good.
                    merchant.has_news_after(&refusal).await;
                    return Err(anyhow!("CapRes refused: {refusal}"));
                }
            };
            let [item] = items.as_slice() else {
                bail!("CapRes has {} items for one", items.len());
            };
            outcome_of(item, &payment)?
        }
    };
    let mut steps = payment.steps.clone();
    steps.push(StepReport::lasting(
        took.lasted(outgoing) + begin.elapsed(),
        11,
        "merchant paid",
        ["merchant", "gateway"],
        "CapReq",
        outgoing.body.len(),
        CAP_RES_VERIFIED,
    ));
    finish(merchant, outgoing, &payment, &outcome, &steps).await
}

fn outcome_of(item: &CapResItem, payment: &Payment) -> anyhow::Result<CaptureOutcome> {
    let (authorized, _) = payment.auth.as_ref().context("there is no authorization")?;
    Ok(match item.cap_code {
        CapCode::Success => CaptureOutcome::Captured(clock::now(), item.cap_amt),
        // Always the whole amount is asked for, so an earlier request whose answer was lost had it all.
        CapCode::DuplicateRequest => CaptureOutcome::Captured(clock::now(), authorized.auth_amt),
        code => CaptureOutcome::Refused(format!("the gateway did not capture: {}", name(code))),
    })
}

/// The code as the wire has it.
fn name(code: CapCode) -> String {
    let json = serde_json::to_value(code).unwrap_or_default();
    json.as_str().unwrap_or("unknown").to_owned()
}

/// The deadline has passed: the authorization may be captured again; the gateway knows what it did.
pub(crate) async fn give_up(merchant: &Arc<Merchant>, outgoing: &Outgoing) -> anyhow::Result<()> {
    let Some(payment) = waiting(merchant, outgoing).await? else {
        return Ok(());
    };
    let reason = "the gateway did not answer before the deadline; capture again to find out";
    let outcome = CaptureOutcome::Refused(reason.to_owned());
    finish(merchant, outgoing, &payment, &outcome, &payment.steps).await
}

/// The payment that waits for this request's answer; none when somebody else has settled it.
async fn waiting(merchant: &Merchant, outgoing: &Outgoing) -> anyhow::Result<Option<Payment>> {
    let xid: Xid = outgoing
        .reference
        .parse()
        .context("the outbox names no purchase")?;
    let payment = payments::find(&mut *merchant.db.read().await?, &xid).await?;
    let payment = payment.context("the outbox names an unknown purchase")?;
    let awaited = payment
        .awaiting_cap
        .as_ref()
        .map(|awaiting| awaiting.rrpid().to_string());
    if payment.state == State::Capturing && awaited.as_deref() == Some(outgoing.id.as_str()) {
        return Ok(Some(payment));
    }
    let mut tx = merchant.db.begin().await?;
    outbox::remove(&mut tx, &outgoing.id).await?;
    tx.commit().await?;
    Ok(None)
}

/// One transaction: the request leaves the outbox, the payment gets its state.
async fn finish(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    payment: &Payment,
    outcome: &CaptureOutcome,
    steps: &[StepReport],
) -> anyhow::Result<()> {
    let mut tx = merchant.db.begin().await?;
    if !outbox::remove(&mut tx, &outgoing.id).await? {
        return Ok(());
    }
    payments::conclude_capture(&mut tx, &payment.xid, outcome, steps).await?;
    tx.commit().await?;
    let outcome = match outcome {
        CaptureOutcome::Captured(..) => "captured",
        CaptureOutcome::Refused(reason) => reason,
    };
    tracing::info!(
        step = 11,
        set_message = "CapRes",
        xid = %payment.xid,
        lid_m = %payment.order_id,
        outcome,
        "capture concluded"
    );
    Ok(())
}
