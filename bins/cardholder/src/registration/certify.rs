//! Cert: the stored CertReq is sent, and CertRes says what becomes of the card.

use std::sync::Arc;
use std::time::Instant;

use openset_jose::{Thumbprint, default_provider};
use openset_protocol::card::{CardExpiry, Pan};
use openset_protocol::cardholder::registration::{AwaitingCertRes, Outcome, Registered};
use openset_protocol::ids::ExactBytes;
use openset_protocol::messages::cert::CertStatus;
use openset_protocol::messages::error::ErrorMessage;
use openset_service::client::SetAnswer;
use openset_service::offload::offload;
use openset_service::problem::Problem;
use openset_service::set_endpoint::MediaType;
use openset_service::step_report::StepReport;
use reqwest::Url;

use super::form::failed_answers;
use super::{FORM, Kept, REFUSED, REGISTERED, anew, moved};
use crate::payment::{Told, protocol_answer};
use crate::store::{self, CardRow};
use crate::{Wallet, call_problem, corrupt, with_context};

/// Asks the CA.
pub(super) async fn ask(
    wallet: &Wallet,
    target: &Url,
    wire: Vec<u8>,
) -> Result<SetAnswer, Problem> {
    let answer = wallet
        .client
        .post_set(target, MediaType::Registration, wire)
        .await;
    answer.map_err(|error| call_problem("ca-not-answering", &error))
}

/// Sends CertReq and takes CertRes. Where an operator has to decide, the same CertReq brings the same answer for
/// ever: CertInqReq asks what has become of it since.
pub(super) async fn certified(
    wallet: &Wallet,
    target: &Url,
    (wire, awaiting): (Vec<u8>, AwaitingCertRes),
    key: &ExactBytes,
) -> Result<Result<Outcome, Told>, Problem> {
    let pended = match heard(wallet, target, wire, awaiting).await? {
        Ok(Outcome::Pended(pended, _)) => pended,
        outcome => return Ok(outcome),
    };
    let key = default_provider()
        .private_key_from_pkcs8(&key.0)
        .map_err(|_| corrupt("cards.kept"))?;
    let asked = offload(move || with_context(|ctx| pended.inquire(ctx, &key))).await;
    match asked {
        Ok(step) => heard(wallet, target, step.wire, step.state).await,
        Err(rejection) => Ok(Err(Told::Refused(rejection))),
    }
}

async fn heard(
    wallet: &Wallet,
    target: &Url,
    wire: Vec<u8>,
    awaiting: AwaitingCertRes,
) -> Result<Result<Outcome, Told>, Problem> {
    let answer = ask(wallet, target, wire).await?;
    let verifier = Arc::clone(wallet.trust.verifier());
    Ok(offload(move || {
        protocol_answer(&answer)?;
        with_context(|ctx| awaiting.handle(ctx, &answer.body, &verifier)).map_err(Told::Refused)
    })
    .await)
}

/// Sends the stored CertReq and takes CertRes.
pub(crate) async fn finish(
    wallet: &Arc<Wallet>,
    row: &CardRow,
    started: Instant,
) -> Result<(), Problem> {
    let kept = wallet.open_card(row)?;
    if !matches!(kept, Kept::Registering { .. }) {
        return Ok(());
    }
    let wire = row.wire.clone().ok_or_else(|| corrupt("cards.wire"))?;
    match settled(wallet, row, kept, wire, started).await? {
        Settled::Signed(settled) => {
            keep(wallet, row, &settled).await?;
            // From now on its certificate is looked after.
            wallet.work.notify_one();
            Ok(())
        }
        Settled::Pended => Ok(()),
        Settled::Error(error) => anew::after_error(wallet, row, &error).await,
    }
}

/// What the CA answered to CertReq.
pub(super) enum Settled {
    /// With its signature: what the row becomes.
    Signed(Box<CardRow>),
    /// That its operator has to decide.
    Pended,
    /// With SET's Error, which nobody signs.
    Error(Box<ErrorMessage>),
}

/// Stores what became of a card that was read as `row`.
pub(super) async fn keep(wallet: &Wallet, row: &CardRow, settled: &CardRow) -> Result<(), Problem> {
    let mut tx = wallet.db.begin().await?;
    // If another task was first, its outcome is the one.
    let _ = store::update_card(&mut tx, settled, row.revision).await?;
    Ok(tx.commit().await?)
}

/// Sends CertReq and takes CertRes.
pub(super) async fn settled(
    wallet: &Arc<Wallet>,
    row: &CardRow,
    kept: Kept,
    wire: Vec<u8>,
    started: Instant,
) -> Result<Settled, Problem> {
    let Kept::Registering {
        awaiting,
        key,
        holder,
        pan,
        expiry,
        policy,
        ..
    } = kept
    else {
        return Err(corrupt("cards.state"));
    };
    let bytes = wire.len();
    let target = wallet.registration_target(row.registration_url.as_deref())?;
    let outcome = certified(wallet, &target, (wire, *awaiting), &key).await?;
    let card = Entered {
        policy,
        key,
        holder,
        pan,
        expiry,
    };
    let settled = match outcome {
        Ok(Outcome::Registered(registered)) => {
            let steps = vec![report(started, bytes)];
            let kept = registered_card(*registered, card, steps);
            moved(wallet, row, REGISTERED, &kept)?
        }
        Ok(Outcome::Mend(form, status)) => {
            let kept = Kept::Form {
                failed: failed_answers(form.form(), &status),
                form,
                pan: card.pan,
                expiry: card.expiry,
                message: status.ee_message,
                key: Some(card.key),
                unanswered: None,
            };
            moved(wallet, row, FORM, &kept)?
        }
        // The row stays as it is: the CA is asked again.
        Ok(Outcome::Pended(..)) => return Ok(Settled::Pended),
        Ok(Outcome::Refused(status)) => refused(wallet, row, told(&status))?,
        Err(Told::Error(error)) => return Ok(Settled::Error(error)),
        Err(other) => return Err(other.problem("ca-not-verified")),
    };
    Ok(Settled::Signed(Box::new(settled)))
}

fn refused(wallet: &Wallet, row: &CardRow, reason: String) -> Result<CardRow, Problem> {
    Ok(CardRow {
        reason: Some(reason),
        ..moved(wallet, row, REFUSED, &Kept::Refused)?
    })
}

fn report(started: Instant, bytes: usize) -> StepReport {
    StepReport::since(
        started,
        2,
        "cardholder certified",
        ["cardholder", "ca"],
        "CardCInit, RegForm, Cert",
        bytes,
        &[
            "CA's signatures and path to the pinned root",
            "challenges",
            "certificate is for the wallet's own key",
            "account name hides the card",
        ],
    )
}

/// What the person entered, and the key that was made for it.
struct Entered {
    policy: Option<Thumbprint>,
    key: ExactBytes,
    holder: String,
    pan: Pan,
    expiry: CardExpiry,
}

fn registered_card(registered: Registered, card: Entered, steps: Vec<StepReport>) -> Kept {
    Kept::Registered {
        chain: registered
            .chain
            .to_x5c()
            .into_iter()
            .map(ExactBytes)
            .collect(),
        key: card.key,
        holder: card.holder,
        pan: card.pan,
        expiry: card.expiry,
        card_secret: registered.card_secret,
        pan_secret: registered.pan_secret,
        steps,
        message: registered.ee_message,
        policy: card.policy,
        earlier: Vec::new(),
        renewals: Vec::new(),
    }
}

/// Why there is no certificate, for the person.
pub(super) fn told(status: &CertStatus) -> String {
    let code = serde_json::to_value(status.cert_status_code).ok();
    let code = code
        .as_ref()
        .and_then(|c| c.as_str())
        .unwrap_or("refused")
        .to_owned();
    match &status.ee_message {
        Some(words) => format!("{code}: {words}"),
        None => code,
    }
}
