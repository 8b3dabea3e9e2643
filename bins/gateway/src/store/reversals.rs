//! Reversals of authorizations: begun, then done or refused.

use openset_protocol::balance::{self, Kind, No, Payment, Progress, Standing};
use openset_protocol::gateway::auth_rev::{ReceiptFacts, Reversal, VerifiedAuthRevReq};
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::money::CurrencyAmount;
use openset_store::{StoreError, Tx, Vault};

use super::authorizations::{self, Authorization, State, name_of};
use super::batches::{self, Key};
use super::movements::{self, New};
use super::{items, payments, receipts};
use crate::error::GatewayError;
use crate::work::{Order, ReverseOrder, id_of_sale};

/// How far a request came without the issuer.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The issuer need not be asked.
    Decided(Reversal),
    /// It must be.
    Asked(ReverseOrder),
}

/// Begins a reversal under the name `id`, or decides that there is none to begin.
///
/// # Errors
/// [`GatewayError::Working`] when something of the authorization is at work: drop the transaction.
pub(crate) async fn begin(
    tx: &mut Tx,
    vault: &Vault,
    id: &str,
    request: &VerifiedAuthRevReq,
    now_s: i64,
) -> Result<Begun, GatewayError> {
    let refused = |code| Ok(Begun::Decided(Reversal::Refused(code)));
    if let Some(code) = request.refused {
        return refused(code);
    }
    let asker = &request.asker;
    let whose = (asker.merchant_id(), &asker.brand_id);
    let names = (&request.trans_ids.xid, &request.auth_rrpid);
    let Some(found) = authorizations::lock(tx, whose, names).await? else {
        if request.auth_new_amt.minor() > 0 {
            return refused(AuthRevCode::InvalidTransaction);
        }
        // AuthReq was overtaken, or got lost: should it come yet, it finds that it was taken back.
        authorizations::insert_reversed(tx, id, request, now_s).await?;
        return Ok(Begun::Decided(Reversal::Approved(None)));
    };
    let Some(payment_id) = found.payment_id.clone() else {
        // The issuer was never asked: nothing is held.
        return match request.auth_new_amt.minor() {
            0 => Ok(Begun::Decided(Reversal::Approved(None))),
            _ => refused(AuthRevCode::InvalidTransaction),
        };
    };
    payments::lock(tx, vec![payment_id.clone()]).await?;
    let payment = payments::load(&mut *tx, &payment_id).await?;
    let one = payment.find(&request.auth_rrpid);
    let one = one.ok_or(StoreError::Corrupt("authorizations.auth_rrpid"))?;
    let done = receipts::later(one);
    let less_minor = match payment.may_reverse(one, request.auth_new_amt, now_s) {
        Ok(0) if done == 0 => return Ok(Begun::Decided(Reversal::Approved(None))),
        // The answer to an earlier request may have been lost, and its receipt with it.
        Ok(0) => {
            let receipt = receipt(tx, vault, &payment_id, &found, done).await?;
            return Ok(Begun::Decided(Reversal::Approved(receipt)));
        }
        Ok(less_minor) => less_minor,
        Err(No::Code(AuthRevCode::InvalidTransaction)) if is_unseen_sale(request, &found, one) => {
            let receipt = receipt(tx, vault, &payment_id, &found, done.saturating_add(1)).await?;
            return take_back_sale(tx, id, (request, receipt), found, (&payment, one), now_s).await;
        }
        Err(No::Code(code)) => return refused(code),
        Err(No::Busy) => return Err(GatewayError::Working),
    };
    let ran_out = one.standing(now_s) == Standing::Expired;
    let new = New {
        id,
        authorization_id: &found.id,
        kind: &Kind::Reversal,
        amount_minor: i64::try_from(less_minor)
            .map_err(|_| StoreError::Corrupt("authorizations.amount_minor"))?,
        at_s: now_s,
        progress: if ran_out {
            Progress::Done
        } else {
            Progress::Asked
        },
        batch_id: None,
        effect: None,
    };
    movements::insert(tx, &new).await?;
    let receipt = receipt(tx, vault, &payment_id, &found, done.saturating_add(1)).await?;
    if ran_out {
        // The issuer released the hold itself.
        return Ok(Begun::Decided(Reversal::Approved(receipt)));
    }
    Ok(Begun::Asked(ReverseOrder {
        receipt,
        authorization: found.id,
        issuer_authorization: found
            .issuer_authorization
            .ok_or(StoreError::Corrupt("authorizations.issuer_authorization"))?,
        movement_id: id.to_owned(),
        new_amount: request.auth_new_amt,
        sale: None,
    }))
}

/// Whether it is a sale that stands captured, and whose AuthRes the merchant has not seen: it knows neither the capture's
/// place, which CapRevReq would name, nor that there is one.
fn is_unseen_sale(
    request: &VerifiedAuthRevReq,
    found: &Authorization,
    one: &balance::Authorization,
) -> bool {
    let sold = one.capture().filter(|one| one.id == id_of_sale(&found.id));
    sold.is_some() && !request.shows_token && request.auth_new_amt.minor() == 0
}

/// Begins to take back a sale: first what was captured, as CapRevReq does, and then the hold.
async fn take_back_sale(
    tx: &mut Tx,
    id: &str,
    (request, receipt): (&VerifiedAuthRevReq, Option<ReceiptFacts>),
    found: Authorization,
    (payment, one): (&Payment, &balance::Authorization),
    now_s: i64,
) -> Result<Begun, GatewayError> {
    let capture = match payment.may_reverse_capture(one, None, now_s) {
        Ok(capture) => capture,
        Err(No::Busy) => return Err(GatewayError::Working),
        Err(No::Code(_)) => {
            let code = AuthRevCode::InvalidTransaction;
            return Ok(Begun::Decided(Reversal::Refused(code)));
        }
    };
    let amount = CurrencyAmount::new(payment.currency, capture.amount_minor)
        .map_err(|_| StoreError::Corrupt("movements.amount_minor"))?;
    let key = Key {
        merchant_id: request.asker.merchant_id(),
        brand: request.asker.brand_id.as_str(),
        currency: payment.currency,
    };
    let (batch_id, _) = batches::open(tx, key, now_s).await?;
    let issuer_authorization = found
        .issuer_authorization
        .ok_or(StoreError::Corrupt("authorizations.issuer_authorization"))?;
    let undo = Order {
        authorization: found.id.clone(),
        issuer_authorization: issuer_authorization.clone(),
        movement_id: id_of_sale(id),
        kind: Kind::CaptureReversal(capture.id.clone()),
        amount,
        released_minor: 0,
        purges: false,
    };
    let undone = New {
        id: &undo.movement_id,
        authorization_id: &found.id,
        kind: &undo.kind,
        amount_minor: amount.minor_i64(),
        at_s: now_s,
        progress: Progress::Asked,
        batch_id: Some(&batch_id),
        effect: None,
    };
    movements::insert(tx, &undone).await?;
    let released = New {
        id,
        kind: &Kind::Reversal,
        amount_minor: i64::try_from(one.remaining_minor())
            .map_err(|_| StoreError::Corrupt("authorizations.amount_minor"))?,
        batch_id: None,
        ..undone
    };
    movements::insert(tx, &released).await?;
    Ok(Begun::Asked(ReverseOrder {
        receipt,
        authorization: found.id,
        issuer_authorization,
        movement_id: id.to_owned(),
        new_amount: request.auth_new_amt,
        sale: Some(Box::new(undo)),
    }))
}

/// The cardholder's receipt after so many others that came after the first.
async fn receipt(
    tx: &mut Tx,
    vault: &Vault,
    payment_id: &str,
    found: &Authorization,
    later: usize,
) -> Result<Option<ReceiptFacts>, GatewayError> {
    let receipt_for = payments::receipt_for(&mut *tx, vault, payment_id).await?;
    Ok(receipt_for
        .zip(found.approval_code.clone())
        .map(|(receipt_for, approval_code)| ReceiptFacts {
            receipt_for,
            approval_code,
            sequence: receipts::sequence(later),
        }))
}

/// Ends a reversal as the issuer says: also of what was captured, if that was (`unsold` is the code that refuses it).
pub(crate) async fn end(
    tx: &mut Tx,
    merchant_id: &str,
    order: &ReverseOrder,
    (code, unsold): (AuthRevCode, Option<&str>),
    at_s: i64,
) -> Result<(), GatewayError> {
    let meanwhile = || StoreError::Conflict("the reversal was ended meanwhile");
    if let Some(sale) = &order.sale {
        let ended = items::end(tx, merchant_id, sale, (unsold, None), at_s).await?;
        ended.ok_or_else(meanwhile)?;
    }
    let id = order.movement_id.as_str();
    let movement = movements::find(&mut *tx, id).await?;
    let movement = movement.ok_or(StoreError::Corrupt("movements.id"))?;
    let minor = i64::try_from(movement.amount_minor)
        .map_err(|_| StoreError::Corrupt("movements.amount_minor"))?;
    let refused = match code {
        AuthRevCode::Approved => None,
        refused => Some(name_of(refused)?),
    };
    if !movements::end(tx, id, refused.as_deref(), minor, None, at_s).await? {
        return Err(meanwhile().into());
    }
    Ok(())
}

/// Whether the merchant took an authorization back before it came.
pub(crate) fn is_taken_back(found: Option<&Authorization>) -> bool {
    found.is_some_and(|found| found.state == State::Refused && found.auth_code.is_none())
}
