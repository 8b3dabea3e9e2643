//! The person's part in a renewal: another policy is read and accepted, and what the CA's form asks is answered.

use std::sync::Arc;

use openset_jose::Thumbprint;
use openset_protocol::card::CardExpiry;
use openset_protocol::messages::reg_form::{FormAnswer, RegFormData, policy_digest};
use openset_service::problem::Problem;
use openset_store::SecretString;

use super::form::{Answers, check, mend_at};
use super::renewal::{look_after, store_if_first};
use super::{Kept, REGISTERED, load, moved};
use crate::Wallet;
use crate::store::CardRow;

/// What the person has read and says to it.
pub(crate) struct Consent {
    /// SHA-256 of the policy.
    pub(crate) policy: Thumbprint,
    pub(crate) answers: Answers,
}

/// Takes the person's consent to the form that a renewal waits for, and begins the renewal; gives the card's row.
/// Said again it changes nothing.
pub(crate) async fn agree(
    wallet: &Arc<Wallet>,
    row: CardRow,
    consent: &Consent,
) -> Result<CardRow, Problem> {
    let mut kept = wallet.open_card(&row)?;
    let Kept::Registered {
        policy,
        renewal_form,
        renewal_answers,
        ..
    } = &mut kept
    else {
        return Err(nothing_waits());
    };
    let Some(form) = renewal_form else {
        return if *policy == Some(consent.policy) {
            Ok(row)
        } else {
            Err(nothing_waits())
        };
    };
    if policy_digest(form) != consent.policy {
        return Err(nothing_waits());
    }
    let path = format!("/cards/{}/renewal", row.card_id);
    *renewal_answers = check(form, &consent.answers).map_err(|failed| mend_at(&path, &failed))?;
    *policy = Some(consent.policy);
    *renewal_form = None;
    go_on(wallet, &row, &kept).await
}

/// Takes the expiry of the card that the bank has sent in place of this one, and begins the renewal of the
/// certificate; gives the card's row. Said again it changes nothing.
pub(crate) async fn replace(
    wallet: &Arc<Wallet>,
    row: CardRow,
    new: CardExpiry,
) -> Result<CardRow, Problem> {
    let mut kept = wallet.open_card(&row)?;
    let Kept::Registered {
        expiry, new_expiry, ..
    } = &mut kept
    else {
        let detail = "only a registered card's certificate can be renewed; see GET /cards";
        return Err(Problem::conflict("not-registered", detail));
    };
    if *expiry == new || *new_expiry == Some(new) {
        return Ok(row);
    }
    *new_expiry = Some(new);
    go_on(wallet, &row, &kept).await
}

/// Stores what the person has said, and begins the renewal.
async fn go_on(wallet: &Arc<Wallet>, row: &CardRow, kept: &Kept) -> Result<CardRow, Problem> {
    let said = moved(wallet, row, REGISTERED, kept)?;
    if !store_if_first(wallet, row, &said).await? {
        let detail = "the card was changed meanwhile; read it and say it again";
        return Err(Problem::conflict("in-flight", detail));
    }
    if let Err(problem) = look_after(wallet, &said, true).await {
        tracing::warn!(outcome = "pending", error = %problem.detail, "the renewal goes on in the background");
    }
    wallet.work.notify_one();
    load(wallet, &row.card_id).await
}

fn nothing_waits() -> Problem {
    Problem::conflict(
        "another-policy",
        "no renewal of this card waits for this policy; see renewal_form in GET /cards",
    )
}

/// The given answers that a form asks for, if they are enough.
pub(super) fn fitting(form: &RegFormData, given: &[FormAnswer]) -> Option<Vec<FormAnswer>> {
    let asked = |answer: &&FormAnswer| form.fields.iter().any(|field| field.name == answer.name);
    let answers = given.iter().filter(asked).map(|answer| {
        let value = SecretString::from(answer.value.clone());
        (answer.name.clone(), value)
    });
    check(form, &answers.collect()).ok()
}
