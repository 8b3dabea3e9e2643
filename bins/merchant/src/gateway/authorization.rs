//! Step 10: AuthRes is verified, its facts and PRes are committed together.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use openset_protocol::Timestamp;
use openset_protocol::digest::Digest;
use openset_protocol::ids::Xid;
use openset_protocol::merchant::auth::{self, Asking, AwaitingAuthRes, Instrument};
use openset_protocol::merchant::p::{
    Asked, Authorized, PayerName, p_res, with_results, without_results,
};
use openset_protocol::messages::auth::{AuthCode, AuthResBaggage, AuthResPayload};
use openset_protocol::messages::p::{CompletionCode, PResPayload};
use openset_protocol::money::CurrencyAmount;
use openset_protocol::wrapper::Jwe;
use openset_service::client::SetAnswer;
use openset_service::step_report::StepReport;
use openset_store::outbox::{self, Outgoing};
use openset_store::packed::Packer;
use openset_store::{StoreError, Write, exchanges};

use super::sending::{Refusal, Took, is_error_doubted, refusal, unusable};
use super::{asking, sale};
use crate::failure::Failure;
use crate::store::authorizations::{self, Authorization, Outcome, Said};
use crate::store::payments::{self, AskedBy, Payment, State};
use crate::{Merchant, offload};

/// What [`openset_protocol::merchant::auth::AwaitingAuthRes::handle`] checks.
const AUTH_RES_VERIFIED: &[&str] = &[
    "gateway's certificate path, brand and revocation",
    "gateway's signature",
    "answer to our AuthReq, by its digest",
    "signed by the gateway that was asked",
    "auth_tags",
    "amount",
    "digest of capture token and receipt",
];

impl AskedBy {
    /// For PRes.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            trans_ids: &self.trans_ids,
            rrpid: self.rrpid,
            chall_c: self.chall_c,
            request: self.request,
            inquiry: false,
        }
    }
}

/// What InqRes says of a payment: of each authorization that the bank gave or, if it gave none, where the payment stands.
pub(crate) fn told(payment: &Payment) -> Vec<PResPayload> {
    let tell = |one: &Authorization| {
        let state = one.state();
        let captured = payment.captured_of(one);
        payload(payment.amount, state, one.answer.as_ref(), captured)
    };
    let approved = |one: &&Authorization| one.said == Said::Approved && one.answer.is_some();
    let all: Vec<_> = payment.authorizations.iter().filter(approved).collect();
    if all.is_empty() {
        let auth = payment.leading().and_then(|one| one.answer.as_ref());
        let captured = payment.captured();
        let told = payload(payment.amount, payment.state(), auth, captured);
        return vec![discreet(&payment.payer, told)];
    }
    all.into_iter().map(tell).collect()
}

/// Who showed no certificate learns that the bank declined, and not why: whoever tries card numbers would.
fn discreet(payer: &PayerName, mut payload: PResPayload) -> PResPayload {
    let told = payload.results.as_mut();
    let told = told.and_then(|results| results.auth_status.as_mut());
    if let (PayerName::Unsigned(_), Some(told)) = (payer, told)
        && told.auth_code != AuthCode::Approved
    {
        told.auth_code = AuthCode::Declined;
    }
    payload
}

/// A later authorization that is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its number.
    pub(crate) number: i64,
    pub(crate) amount: CurrencyAmount,
    /// Whether more are to follow.
    pub(crate) more: bool,
    /// Whether it is captured at once.
    pub(crate) capture_now: bool,
    /// What the gateway gave for it.
    pub(crate) token: Jwe,
    /// HOD of the purchase.
    pub(crate) hod: Digest,
}

/// Makes AuthReq for a later part, with whatever keys merchant and gateway have now.
pub(crate) async fn draft(
    merchant: &Merchant,
    payment: &Payment,
    part: &Part,
) -> Result<(AwaitingAuthRes, Vec<u8>), Failure> {
    let ours = merchant.credentials(&payment.brand)?;
    let verifier = merchant.verifier()?;
    let gateway = merchant.gateways.of_brand(&payment.brand, &verifier);
    let gateway = gateway.ok_or(Failure::NotReady(
        "the gateway's certificate is not here yet",
    ))?;
    let (trans_ids, part) = (payment.asked.trans_ids.clone(), part.clone());
    let plan = payment.plan;
    let merch_cat_code = merchant.settings.merch_cat_code.clone();
    let made = offload(move |ctx| {
        let asking = Asking {
            trans_ids: &trans_ids,
            instrument: Instrument::Token(&part.token),
            hod2: part.hod,
            amount: part.amount,
            merch_cat_code: &merch_cat_code,
            subsequent_auth_ind: part.more,
            capture_now: part.capture_now,
            install_recur_data: plan,
        };
        auth::request(ctx, &ours, gateway.leaf(), &asking, &verifier)
    });
    Ok(made.await?)
}

/// What PRes or InqRes says of a payment in this state.
fn payload(
    amount: CurrencyAmount,
    state: State,
    auth: Option<&(AuthResPayload, AuthResBaggage)>,
    captured: Option<(Timestamp, CurrencyAmount)>,
) -> PResPayload {
    match (state, auth) {
        (State::Failed | State::Rejected, _) => without_results(CompletionCode::OrderRejected),
        (State::Ordered, _) | (_, None) => without_results(CompletionCode::OrderReceived),
        (_, Some((payload, baggage))) => {
            let authorized = Authorized {
                payload: payload.clone(),
                acq_card_msg: baggage.acq_card_msg.clone(),
                receipt: baggage.receipt.clone(),
                captured,
            };
            with_results(amount, &authorized)
        }
    }
}

/// Verifies the gateway's answer and commits it. Gives PRes, unless the wallet was told already that
/// the order was received.
pub(crate) async fn settle(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    answer: &SetAnswer,
    took: Took,
) -> anyhow::Result<Option<Vec<u8>>> {
    let Some((payment, one)) = waiting(merchant, outgoing).await? else {
        return Ok(None);
    };
    let awaiting = one.awaiting.clone();
    let mut steps = vec![StepReport::lasting(
        took.lasted(outgoing),
        8,
        "authorization asked",
        ["merchant", "gateway"],
        "AuthReq",
        outgoing.body.len(),
        &["gateway's key-exchange certificate path, brand and revocation"],
    )];
    let begin = std::time::Instant::now();
    let outcome = match refusal(merchant, outgoing, &payment.brand, answer).await? {
        // The bank may hold the amount.
        Some(Refusal::Unsigned(reason)) if is_error_doubted(outgoing) => {
            bail!("{reason}; it is asked again")
        }
        Some(Refusal::Signed(reason)) => Outcome::Refused(reason),
        Some(Refusal::Unsigned(reason)) => Outcome::Failed(reason),
        None => {
            let keyring = merchant.keyring.all();
            let verifier = merchant.verifier()?;
            let wire = answer.body.clone();
            let verified = offload(move |ctx| {
                let ours: Vec<_> = keyring.iter().collect();
                awaiting.handle(&wire, &ours, &verifier, ctx.now)
            })
            .await;
            let answer = match verified {
                Ok(answer) => answer,
                Err(refusal) => return Err(unusable(merchant, "AuthRes", answer, &refusal).await),
            };
            let told = Box::new((answer.payload, answer.baggage));
            Outcome::Answered(told, Box::new(answer.proof))
        }
    };
    if matches!(outcome, Outcome::Answered(..)) {
        steps.push(StepReport::since(
            begin,
            10,
            "authorization received",
            ["gateway", "merchant"],
            "AuthRes",
            answer.body.len(),
            AUTH_RES_VERIFIED,
        ));
    }
    finish(merchant, outgoing, (&payment, &one), &outcome, steps).await
}

/// The deadline has passed: no answer will be waited for any more, and what the bank may hold is given back.
pub(crate) async fn give_up(merchant: &Arc<Merchant>, outgoing: &Outgoing) -> anyhow::Result<()> {
    let Some((payment, one)) = waiting(merchant, outgoing).await? else {
        return Ok(());
    };
    let outcome = Outcome::Failed("the gateway did not answer before the deadline".to_owned());
    finish(merchant, outgoing, (&payment, &one), &outcome, vec![]).await?;
    Ok(())
}

/// The authorization that waits for this request's answer; none when somebody else has settled it.
async fn waiting(
    merchant: &Merchant,
    outgoing: &Outgoing,
) -> anyhow::Result<Option<(Payment, Authorization)>> {
    let xid: Xid = outgoing
        .reference
        .parse()
        .context("the outbox names no purchase")?;
    let payment = payments::find(&mut *merchant.db.read().await?, &xid).await?;
    let payment = payment.context("the outbox names an unknown purchase")?;
    let asked = |one: &&Authorization| {
        one.said == Said::Nothing && one.awaiting.rrpid().to_string() == outgoing.id
    };
    if let Some(one) = payment.authorizations.iter().find(asked).cloned() {
        return Ok(Some((payment, one)));
    }
    let mut tx = merchant.db.begin().await?;
    outbox::remove(&mut tx, &outgoing.id).await?;
    tx.commit().await?;
    Ok(None)
}

/// One transaction: the request leaves the outbox, the payment gets its state, PReq its answer.
async fn finish(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    (payment, one): (&Payment, &Authorization),
    outcome: &Outcome,
    steps: Vec<StepReport>,
) -> anyhow::Result<Option<Vec<u8>>> {
    let xid = &payment.xid;
    let answer = sign_p_res(merchant, payment, one, outcome).await?;
    for answer in [Some(answer), None] {
        match finish_as_read(
            merchant,
            outgoing,
            (payment, one),
            (outcome, &steps),
            answer.as_deref(),
        )
        .await
        {
            Ok(true) => return Ok(answer),
            // There is more to it.
            Ok(false) | Err(StoreError::Conflict(payments::CHANGED)) => {}
            Err(StoreError::Conflict(authorizations::CONCLUDED | outbox::HANDLED)) => {
                return Ok(None);
            }
            Err(StoreError::Conflict(exchanges::ANSWERED)) => continue,
            Err(error) => return Err(error.into()),
        }
        let release = match outcome {
            Outcome::Answered(..) | Outcome::Refused(_) => None,
            Outcome::Failed(_) => Some(asking::draft_release(merchant, payment, one).await?),
        };
        let mut tx = merchant.db.begin().await?;
        let mut done = payments::hold(&mut tx, xid).await?;
        done.add(&steps);
        let packer = merchant.db.packer();
        let concluded = authorizations::concluded(packer, (xid, one.number), outcome);
        match tx.write(concluded).await {
            // Somebody else has settled it.
            Err(StoreError::Conflict(authorizations::CONCLUDED)) => return Ok(None),
            concluded => concluded?,
        }
        if let Some(sold) = outcome.sold() {
            sale::book(&mut tx, xid, one, sold).await?;
        }
        if let Some((wish, draft)) = release {
            let queued = asking::begin(&mut tx, merchant, xid, &wish, draft, None).await?;
            outbox::enqueue(&mut tx, &queued).await?;
        }
        let state = payments::restate_with(&mut tx, xid, &done).await?;
        let mut writes = vec![outbox::removed(&outgoing.id)];
        writes.extend(
            answer
                .as_deref()
                .map(|answer| answer_p_req(packer, payment, answer)),
        );
        match tx.commit_with(writes).await {
            Ok(()) => {}
            Err(StoreError::Conflict(outbox::HANDLED)) => return Ok(None),
            // PReq was answered with "received" meanwhile: the wallet will inquire.
            Err(StoreError::Conflict(exchanges::ANSWERED)) => continue,
            Err(error) => return Err(error.into()),
        }
        tell_concluded(payment, state);
        return Ok(answer);
    }
    Ok(None)
}

/// Nearly every answer is the only one that its payment has: then all that follows from it is told at once. `false` if it is
/// not: nothing was done.
///
/// # Errors
/// Also when the payment is no longer as it was read, or others were faster.
async fn finish_as_read(
    merchant: &Merchant,
    outgoing: &Outgoing,
    (payment, one): (&Payment, &Authorization),
    (outcome, steps): (&Outcome, &[StepReport]),
    answer: Option<&[u8]>,
) -> Result<bool, StoreError> {
    let moves = matches!(outcome, Outcome::Failed(_)) || outcome.sold().is_some();
    if moves || !payment.has_but(one) {
        return Ok(false);
    }
    let (packer, state) = (merchant.db.packer(), outcome.state());
    let mut done = payment.done(&mut *merchant.db.read().await?).await?;
    done.add(steps);
    // In the order in which others lock them.
    let mut writes = vec![
        payments::restated_as_read(packer, payment, (&done, state))?,
        authorizations::concluded(packer, (&payment.xid, one.number), outcome),
        outbox::removed(&outgoing.id),
    ];
    writes.extend(answer.map(|answer| answer_p_req(packer, payment, answer)));
    merchant.db.write(writes).await?;
    tell_concluded(payment, state);
    Ok(true)
}

fn tell_concluded(payment: &Payment, state: State) {
    tracing::info!(
        step = 10,
        set_message = "AuthRes",
        xid = %payment.xid,
        lid_m = %payment.order_id,
        outcome = %state,
        "authorization concluded"
    );
}

async fn sign_p_res(
    merchant: &Merchant,
    payment: &Payment,
    one: &Authorization,
    outcome: &Outcome,
) -> anyhow::Result<Vec<u8>> {
    let auth = match outcome {
        Outcome::Answered(answer, _) => Some(&**answer),
        Outcome::Refused(_) | Outcome::Failed(_) => None,
    };
    let state = match outcome {
        // It may be paid: the wallet learns what became of it when it inquires.
        Outcome::Failed(_) if one.awaiting.is_sale() => State::Reversing,
        outcome => outcome.state(),
    };
    let captured = auth.and_then(|(payload, _)| {
        let sold = outcome.sold().filter(|sold| sold.captured())?;
        Some((payload.auth_date, sold.cap_amt))
    });
    let payload = payload(payment.amount, state, auth, captured);
    let payload = discreet(&payment.payer, payload);
    let by = payment.asked.clone();
    let ours = merchant.answering(&payment.brand, by.merchant.as_ref());
    let ours = ours.await?;
    Ok(offload(move |ctx| p_res(ctx, &ours, &by.asked(), payload)).await?)
}

fn answer_p_req(packer: &Packer, payment: &Payment, answer: &[u8]) -> Write {
    let (sender, rrpid) = (payment.payer.to_string(), payment.asked.rrpid.to_string());
    exchanges::answered(packer, (&sender, "PReq", &rrpid), answer)
}

/// Answers PReq with "received": the bank's answer will come to whoever inquires. Gives `None` when
/// PReq got another answer meanwhile.
pub(crate) async fn answer_received(
    merchant: &Arc<Merchant>,
    payment: &Payment,
) -> anyhow::Result<Option<Vec<u8>>> {
    let by = payment.asked.clone();
    let ours = merchant.answering(&payment.brand, by.merchant.as_ref());
    let ours = ours.await?;
    let payload = without_results(CompletionCode::OrderReceived);
    let answer = offload(move |ctx| p_res(ctx, &ours, &by.asked(), payload)).await?;
    let answered = answer_p_req(merchant.db.packer(), payment, &answer);
    match merchant.db.write(vec![answered]).await {
        Ok(()) => {}
        Err(StoreError::Conflict(exchanges::ANSWERED)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(
        step = 10,
        set_message = "PRes",
        xid = %payment.xid,
        lid_m = %payment.order_id,
        outcome = "orderReceived",
        "the gateway has not answered in time; it is asked on"
    );
    Ok(Some(answer))
}
