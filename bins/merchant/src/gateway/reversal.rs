//! AuthRevReq gives an authorization back, or a part of it; AuthRevRes is verified and committed.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use openset_protocol::ids::Xid;
use openset_protocol::merchant::auth_rev::{self, AwaitingAuthRevRes, Reverse};
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::money::CurrencyAmount;
use openset_service::client::SetAnswer;
use openset_store::outbox::{self, Outgoing};

use super::sending::{final_error, is_error_doubted};
use crate::failure::Failure;
use crate::store::payments::{self, Payment, State};
use crate::store::reversals::{self, Outcome};
use crate::{Merchant, offload};

/// A reversal request, made but not yet stored.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) awaiting: AwaitingAuthRevRes,
    pub(crate) wire: Vec<u8>,
}

/// Makes AuthRevReq for so much to stay authorized.
pub(crate) async fn draft(
    merchant: &Arc<Merchant>,
    payment: &Payment,
    new_amount: CurrencyAmount,
) -> Result<Draft, Failure> {
    let reverse = wanted(payment, new_amount).map_err(Failure::Internal)?;
    let ours = merchant.credentials(&payment.brand)?;
    let verifier = merchant.verifier()?;
    let gateway = merchant.gateways.of_brand(&payment.brand, &verifier);
    let gateway = gateway.ok_or(Failure::NotReady(
        "the gateway's certificate is not here yet",
    ))?;
    let made =
        offload(move |ctx| auth_rev::request(ctx, &ours, gateway.leaf(), reverse, &verifier)).await;
    let (awaiting, wire) = made?;
    Ok(Draft { awaiting, wire })
}

fn wanted(payment: &Payment, new_amount: CurrencyAmount) -> anyhow::Result<Reverse> {
    let (_, baggage) = payment.auth.as_ref().context("there is no authorization")?;
    let awaiting = payment
        .awaiting_auth
        .as_ref()
        .context("there was no request")?;
    Ok(Reverse {
        trans_ids: payment.asked.trans_ids.clone(),
        auth_rrpid: awaiting.rrpid(),
        hod: awaiting.hod(),
        new_amount,
        cap_token: baggage.cap_token.clone(),
    })
}

/// Verifies the gateway's answer and commits it.
pub(crate) async fn settle(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    answer: &SetAnswer,
) -> anyhow::Result<()> {
    let Some((payment, awaiting)) = waiting(merchant, outgoing).await? else {
        return Ok(());
    };
    let outcome = match final_error(answer, awaiting.rrpid())? {
        // The bank may have given it back.
        Some(reason) if is_error_doubted(outgoing) => bail!("{reason}; it is asked again"),
        Some(reason) => Outcome::Refused(reason),
        None => {
            let keyring = merchant.keyring.all();
            let verifier = merchant.verifier()?;
            let wire = answer.body.clone();
            let verified = offload(move |ctx| {
                let ours: Vec<_> = keyring.iter().collect();
                awaiting.handle(&wire, &ours, &verifier, ctx.now)
            })
            .await;
            match verified {
                Ok(answer) if answer.code == AuthRevCode::Approved => Outcome::Reversed(answer),
                Ok(answer) => {
                    let code = serde_json::to_value(answer.code).unwrap_or_default();
                    let code = code.as_str().unwrap_or("unknown");
                    Outcome::Refused(format!("the gateway did not reverse: {code}"))
                }
                Err(refusal) => {
                    // The next attempt may find it good.
                    merchant.has_news_after(&refusal).await;
                    return Err(anyhow!("AuthRevRes refused: {refusal}"));
                }
            }
        }
    };
    finish(merchant, outgoing, &payment, &outcome).await
}

/// The deadline has passed: it may be asked again, for the same amount without harm; the gateway knows what it did.
pub(crate) async fn give_up(merchant: &Arc<Merchant>, outgoing: &Outgoing) -> anyhow::Result<()> {
    let Some((payment, _)) = waiting(merchant, outgoing).await? else {
        return Ok(());
    };
    let reason = "the gateway did not answer before the deadline; reverse again to find out";
    let outcome = Outcome::Refused(reason.to_owned());
    finish(merchant, outgoing, &payment, &outcome).await
}

/// The payment that waits for this request's answer; none when somebody else has settled it.
async fn waiting(
    merchant: &Merchant,
    outgoing: &Outgoing,
) -> anyhow::Result<Option<(Payment, AwaitingAuthRevRes)>> {
    let xid: Xid = outgoing
        .reference
        .parse()
        .context("the outbox names no purchase")?;
    let mut connection = merchant.db.read().await?;
    let payment = payments::find(&mut connection, &xid).await?;
    let awaiting = reversals::awaiting(&mut connection, &xid).await?;
    drop(connection);
    let payment = payment.context("the outbox names an unknown purchase")?;
    let awaiting = awaiting.filter(|awaiting| awaiting.rrpid().to_string() == outgoing.id);
    if let (State::Reversing, Some(awaiting)) = (payment.state, awaiting) {
        return Ok(Some((payment, awaiting)));
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
    outcome: &Outcome,
) -> anyhow::Result<()> {
    let mut tx = merchant.db.begin().await?;
    if !outbox::remove(&mut tx, &outgoing.id).await? {
        return Ok(());
    }
    reversals::conclude(&mut tx, payment, outcome).await?;
    tx.commit().await?;
    let outcome = match outcome {
        Outcome::Reversed(_) => "reversed",
        Outcome::Refused(reason) => reason,
    };
    tracing::info!(
        set_message = "AuthRevRes",
        xid = %payment.xid,
        lid_m = %payment.order_id,
        outcome,
        "reversal concluded"
    );
    Ok(())
}
