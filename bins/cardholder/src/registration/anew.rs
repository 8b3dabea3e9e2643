//! After an Error to CertReq. Nobody signs one, so that it ends nothing: the key stays, since the bank may have taken
//! the activation code for it, and is shown to the CA again.

use std::sync::Arc;
use std::time::Instant;

use openset_protocol::cardholder::registration;
use openset_protocol::ids::ExactBytes;
use openset_protocol::messages::error::ErrorTbs;
use openset_protocol::thumbs::Thumbs;
use openset_service::problem::Problem;

use super::certify::{Settled, keep, settled, to_send};
use super::referral::serving_ca;
use super::{FORM, Kept, REGISTERING, Unanswered, moved};
use crate::store::CardRow;
use crate::{Wallet, corrupt, with_context};

/// After so many Errors to the same CertReq the person is asked to fill in a new form.
const ERRORS_MAX: u32 = 3;

/// The same bytes are sent again, and after some Errors a new form is asked for, to be filled in by the person.
pub(super) async fn after_error(
    wallet: &Arc<Wallet>,
    row: &CardRow,
    error: &ErrorTbs,
) -> Result<(), Problem> {
    let mut kept = wallet.open_card(row)?;
    let Kept::Registering { errors, .. } = &mut kept else {
        return Err(corrupt("cards.state"));
    };
    *errors = errors.saturating_add(1);
    if *errors < ERRORS_MAX {
        let again = CardRow {
            wire: row.wire.clone(),
            ..moved(wallet, row, REGISTERING, &kept)?
        };
        keep(wallet, row, &again).await?;
        let detail = format!("the CA does not take the card: {}", error.error_text);
        return Err(Problem::bad_gateway("ca-not-verified", detail));
    }
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
    let card = awaiting.card().clone();
    let begin = || {
        let thumbs = Thumbs::of(wallet.trust.verifier(), &card.brand_id);
        with_context(|ctx| registration::start(ctx, card.clone(), Some(thumbs)))
    };
    let served = serving_ca(wallet, row.registration_url.as_deref(), begin).await?;
    let wire = row.wire.clone().ok_or_else(|| corrupt("cards.wire"))?;
    let unanswered = Unanswered {
        awaiting,
        holder,
        policy,
        wire: ExactBytes(wire),
        registration_url: row.registration_url.clone(),
    };
    let kept = Kept::Form {
        form: Box::new(served.form),
        pan,
        expiry,
        failed: Vec::new(),
        message: Some(format!(
            "The CA did not take the card ({}). Fill in its form again.",
            error.error_text
        )),
        key: Some(key),
        unanswered: Some(Box::new(unanswered)),
    };
    tracing::warn!(
        outcome = "refused",
        error = error.error_text,
        "a registration begins anew"
    );
    let anew = CardRow {
        registration_url: served.referred_to.or(row.registration_url.clone()),
        ..moved(wallet, row, FORM, &kept)?
    };
    keep(wallet, row, &anew).await
}

/// Sends once more what was answered with an Error; says whether the CA has answered it with its signature.
pub(super) async fn answered_after_all(
    wallet: &Arc<Wallet>,
    row: &CardRow,
    unanswered: Unanswered,
    key: ExactBytes,
) -> Result<bool, Problem> {
    let card = unanswered.awaiting.card();
    let kept = Kept::Registering {
        key,
        holder: unanswered.holder,
        pan: card.pan.clone(),
        expiry: card.card_expiry,
        awaiting: unanswered.awaiting,
        errors: ERRORS_MAX,
        policy: unanswered.policy,
    };
    let row = &CardRow {
        registration_url: unanswered.registration_url,
        ..row.clone()
    };
    let sent = to_send(kept, Some(unanswered.wire.0.clone())).await?;
    let sent = sent.ok_or_else(|| corrupt("cards.state"))?;
    match settled(wallet, row, sent, Instant::now()).await? {
        Settled::Signed(settled) => {
            keep(wallet, row, &settled).await?;
            wallet.work.notify_one();
            Ok(true)
        }
        Settled::Waits | Settled::Error(_) => Ok(false),
    }
}
