//! An item of a batch, as the acquirer lists it, beside the merchant's movement that it is.

use openset_protocol::balance::{Kind, Progress};
use openset_protocol::ids::LocalId;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::batch_admin::{AmountType, TransactionDetail};
use openset_store::{StoreError, Tx};

use super::sale;
use crate::store::authorizations::{Authorization, Said};
use crate::store::movements::{self, Movement, New};
use crate::store::payments::{self, Payment};

/// What an item is here.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// This movement stands where the acquirer says.
    Known,
    /// The movement's place was not known here; now it is.
    Placed,
    /// The acquirer undid this movement with its batch; now it is undone here, too.
    Purged(Box<Payment>, Movement),
    /// Its answer is still to come.
    Awaited,
    /// A movement stands here with another amount or meaning.
    Differs(Movement),
    /// Nothing here is that.
    Unknown,
}

/// Finds what an item is, and takes up what the acquirer says of it. The caller holds the payment, if there is one.
pub(super) async fn take_up(
    tx: &mut Tx,
    batch_id: &LocalId,
    item: &TransactionDetail,
    at_ms: i64,
) -> Result<Found, StoreError> {
    let place = BatchPlace {
        batch_id: batch_id.clone(),
        batch_sequence_num: item.batch_sequence_num,
    };
    let Some(payment) = payments::find(&mut *tx, &item.xid).await? else {
        return Ok(Found::Unknown);
    };
    let of = |one: &&Authorization| one.awaiting.rrpid() == item.auth_rrpid;
    let Some(one) = payment.authorizations.iter().find(of) else {
        return Ok(Found::Unknown);
    };
    let name = name(item);
    let fits = |movement: &Movement| {
        movement.kind.name() == name
            && movement.amount_minor == item.transaction_amt.minor()
            && payment.amount.currency() == item.transaction_amt.currency()
    };
    let mut all = one.movements.iter();
    if let Some(here) = all.find(|movement| movement.batch.as_ref() == Some(&place)) {
        let here = here.clone();
        return Ok(match fits(&here) {
            true => Found::Known,
            false => Found::Differs(here),
        });
    }
    let original = original(one, item);
    let undoes = original.map(|original| original.id.as_str());
    // Of before places were told, or told only to a request whose answer was lost.
    let placeless = |movement: &&Movement| {
        movement.progress == Progress::Done
            && movement.batch.is_none()
            && fits(movement)
            && movement.kind.undoes() == undoes
    };
    if let Some(here) = one.movements.iter().find(placeless) {
        movements::set_place(tx, &here.id, &place).await?;
        return Ok(Found::Placed);
    }
    let is_asked = |name: &str| {
        let mut all = one.movements.iter();
        all.any(|movement| movement.progress == Progress::Asked && movement.kind.name() == name)
    };
    let is_sold = one.awaiting.is_sale() && name == Kind::Capture.name();
    if is_sold && one.said == Said::Refused && one.last(&Kind::Capture).is_none() {
        return take_up_sale(tx, (&payment, one), item, &place, at_ms).await;
    }
    let is_unanswered = is_sold && one.said == Said::Nothing;
    if is_unanswered
        || is_asked(name)
        || (item.original.is_some() && original.is_none() && is_asked(undone(item)))
    {
        return Ok(Found::Awaited);
    }
    let stands = |original: &&Movement| !one.for_rules().is_undone(&original.id);
    let Some(original) = original.filter(stands) else {
        return Ok(Found::Unknown);
    };
    let id = format!("{batch_id}-{}", item.batch_sequence_num);
    let kind = match original.kind {
        Kind::Capture => Kind::CaptureReversal(original.id.clone()),
        _ => Kind::CreditReversal(original.id.clone()),
    };
    let new = New {
        id: &id,
        xid: &payment.xid,
        auth_number: one.number,
        kind: &kind,
        amount_minor: original.amount_minor,
        progress: Progress::Done,
        rest: None,
        awaiting: None,
        at_ms,
    };
    movements::insert(tx, &new).await?;
    movements::set_place(tx, &id, &place).await?;
    if one.said == Said::Refused {
        // AuthRevReq took it back, not a purge.
        return Ok(Found::Placed);
    }
    movements::set_purged(tx, &original.id).await?;
    payments::restate(tx, &payment.xid).await?;
    let original = original.clone();
    Ok(Found::Purged(Box::new(payment), original))
}

/// The capture of a sale whose answer never came.
async fn take_up_sale(
    tx: &mut Tx,
    (payment, one): (&Payment, &Authorization),
    item: &TransactionDetail,
    place: &BatchPlace,
    at_ms: i64,
) -> Result<Found, StoreError> {
    if item.transaction_amt != one.amount {
        return Ok(Found::Unknown);
    }
    let id = sale::id_of_capture(one);
    let new = New {
        id: &id,
        xid: &payment.xid,
        auth_number: one.number,
        kind: &Kind::Capture,
        amount_minor: one.amount.minor(),
        progress: Progress::Done,
        rest: None,
        awaiting: None,
        at_ms,
    };
    movements::insert(tx, &new).await?;
    movements::set_place(tx, &id, place).await?;
    Ok(Found::Placed)
}

/// What the item cancels, if it stands here.
fn original<'a>(one: &'a Authorization, item: &TransactionDetail) -> Option<&'a Movement> {
    let place = item.original.as_ref()?;
    let fits = |movement: &&Movement| {
        movement.progress == Progress::Done
            && movement.kind.name() == undone(item)
            && movement.amount_minor == item.transaction_amt.minor()
    };
    let mut all = one.movements.iter().filter(fits);
    let placed = all.find(|movement| movement.batch.as_ref() == Some(place));
    placed.or_else(|| {
        let mut all = one.movements.iter().filter(fits);
        all.find(|movement| movement.batch.is_none())
    })
}

/// The kind of movement that an item is.
pub(super) fn name(item: &TransactionDetail) -> &'static str {
    match (item.transaction_amt_type, &item.original) {
        (AmountType::Credit, None) => "capture",
        (AmountType::Credit, Some(_)) => "credit_reversal",
        (AmountType::Debit, None) => "credit",
        (AmountType::Debit, Some(_)) => "capture_reversal",
    }
}

/// The kind of movement that the item undoes, if it undoes one.
fn undone(item: &TransactionDetail) -> &'static str {
    match item.transaction_amt_type {
        AmountType::Credit => "credit",
        AmountType::Debit => "capture",
    }
}
