//! Cert: the stored CertReq is sent, and CertRes says what becomes of the card.

use std::sync::Arc;
use std::time::Instant;

use openset_jose::{Thumbprint, default_provider};
use openset_protocol::card::{CardExpiry, Pan};
use openset_protocol::cardholder::purchase::Step;
use openset_protocol::cardholder::registration::{AwaitingCertRes, Outcome, Pended, Registered};
use openset_protocol::ids::{ExactBytes, Language};
use openset_protocol::messages::cert::CertStatus;
use openset_protocol::messages::error::ErrorTbs;
use openset_service::client::SetAnswer;
use openset_service::offload::offload;
use openset_service::problem::Problem;
use openset_service::set_endpoint::MediaType;
use openset_service::step_report::StepReport;
use reqwest::Url;

use super::form::failed_answers;
use super::{FORM, Kept, PENDED, REFUSED, REGISTERED, anew, moved};
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

/// What is sent for a card that is not registered yet.
pub(super) struct Sent {
    awaiting: AwaitingCertRes,
    wire: Vec<u8>,
    card: Entered,
    /// It is CertInqReq: the CA's operator had to decide when it was last asked.
    inquires: bool,
    /// The CA's words for the person so far.
    message: Option<String>,
}

/// CertReq as it is stored, or a fresh CertInqReq; none in other states.
pub(super) async fn to_send(kept: Kept, wire: Option<Vec<u8>>) -> Result<Option<Sent>, Problem> {
    match kept {
        Kept::Registering {
            awaiting,
            key,
            holder,
            pan,
            expiry,
            policy,
            ..
        } => Ok(Some(Sent {
            awaiting: *awaiting,
            wire: wire.ok_or_else(|| corrupt("cards.wire"))?,
            card: Entered {
                policy,
                key,
                holder,
                pan,
                expiry,
            },
            inquires: false,
            message: None,
        })),
        Kept::Pended {
            pended,
            key,
            holder,
            pan,
            expiry,
            policy,
            message,
        } => {
            let step = inquire(&pended, &key).await?;
            Ok(Some(Sent {
                awaiting: step.state,
                wire: step.wire,
                card: Entered {
                    policy,
                    key,
                    holder,
                    pan,
                    expiry,
                },
                inquires: true,
                message,
            }))
        }
        _ => Ok(None),
    }
}

/// CertInqReq, signed with the key that is to be certified.
pub(super) async fn inquire(
    pended: &Pended,
    key: &ExactBytes,
) -> Result<Step<AwaitingCertRes>, Problem> {
    let key = default_provider()
        .private_key_from_pkcs8(&key.0)
        .map_err(|_| corrupt("cards.key"))?;
    let pended = pended.clone();
    let step = offload(move || with_context(|ctx| pended.inquire(ctx, &key))).await;
    step.map_err(Problem::internal)
}

/// Sends the stored CertReq and takes CertRes, or asks what has become of it; says whether it still waits.
pub(crate) async fn finish(
    wallet: &Arc<Wallet>,
    row: &CardRow,
    started: Instant,
) -> Result<bool, Problem> {
    let Some(sent) = to_send(wallet.open_card(row)?, row.wire.clone()).await? else {
        return Ok(false);
    };
    match settled(wallet, row, sent, started).await? {
        Settled::Signed(settled) => {
            keep(wallet, row, &settled).await?;
            // From now on its certificate is looked after.
            wallet.work.notify_one();
            Ok(settled.state == PENDED)
        }
        Settled::Waits => Ok(true),
        Settled::Error(error) => {
            anew::after_error(wallet, row, &error).await?;
            Ok(false)
        }
    }
}

/// What the CA answered.
pub(super) enum Settled {
    /// With its signature: what the row becomes.
    Signed(Box<CardRow>),
    /// With its signature, that nothing is decided yet.
    Waits,
    /// With SET's Error to CertReq, which nobody signs.
    Error(Box<ErrorTbs>),
}

/// Stores what became of a card that was read as `row`.
pub(super) async fn keep(wallet: &Wallet, row: &CardRow, settled: &CardRow) -> Result<(), Problem> {
    let mut tx = wallet.db.begin().await?;
    // If another task was first, its outcome is the one.
    let _ = store::update_card(&mut tx, settled, row.revision).await?;
    Ok(tx.commit().await?)
}

/// Sends CertReq or CertInqReq and takes the answer.
pub(super) async fn settled(
    wallet: &Arc<Wallet>,
    row: &CardRow,
    sent: Sent,
    started: Instant,
) -> Result<Settled, Problem> {
    let Sent {
        awaiting,
        wire,
        card,
        inquires,
        message,
    } = sent;
    let bytes = wire.len();
    let language = awaiting.card().language.clone();
    let target = wallet.registration_target(row.registration_url.as_deref())?;
    let answer = ask(wallet, &target, wire).await?;
    let verifier = Arc::clone(wallet.trust.verifier());
    let outcome = offload(move || {
        protocol_answer(&answer)?;
        with_context(|ctx| awaiting.handle(ctx, &answer.body, &verifier)).map_err(Told::Refused)
    })
    .await;
    let settled = match outcome {
        Ok(Outcome::Registered(registered)) => {
            let steps = vec![report(started, bytes)];
            let kept = registered_card(*registered, (card, language), steps);
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
        Ok(Outcome::Pended(_, status)) if inquires && status.ee_message == message => {
            return Ok(Settled::Waits);
        }
        Ok(Outcome::Pended(pended, status)) => {
            let kept = Kept::Pended {
                pended,
                key: card.key,
                holder: card.holder,
                pan: card.pan,
                expiry: card.expiry,
                policy: card.policy,
                message: status.ee_message,
            };
            moved(wallet, row, PENDED, &kept)?
        }
        Ok(Outcome::Refused(status)) => refused(wallet, row, told(&status))?,
        // Nobody signs an Error: it ends no request that an operator has to decide about.
        Err(Told::Error(error)) if !inquires => return Ok(Settled::Error(error)),
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

fn registered_card(
    registered: Registered,
    (card, language): (Entered, Language),
    steps: Vec<StepReport>,
) -> Kept {
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
        language,
        new_expiry: None,
        renewal_form: None,
        renewal_answers: Vec::new(),
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
