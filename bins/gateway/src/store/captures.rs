//! Captures: begun, then done or refused, each item of a request by itself.

use std::collections::HashSet;

use openset_protocol::BrandId;
use openset_protocol::balance::{Kind, No, Progress};
use openset_protocol::messages::cap::{CapCode, CapItem};
use openset_service::step_report::StepReport;
use openset_store::{StoreError, Tx};

use super::authorizations::{self, Authorization, name_of};
use super::movements::{self, New};
use super::{books, payments};
use crate::error::GatewayError;
use crate::work::{CaptureOrder, id_of_item};

/// A request's items, each beside the code that refuses it already.
pub(crate) struct Request<'a> {
    /// The request's id.
    pub(crate) id: &'a str,
    pub(crate) merchant_id: &'a str,
    pub(crate) brand: &'a BrandId,
    pub(crate) items: &'a [(CapItem, Option<CapCode>)],
    pub(crate) now_s: i64,
}

/// Begins a capture for each item that may be captured, or says why not.
///
/// # Errors
/// [`GatewayError::Working`] when something else of one of the authorizations is at work: drop the transaction.
pub(crate) async fn begin(
    tx: &mut Tx,
    request: &Request<'_>,
) -> Result<Vec<Result<CaptureOrder, CapCode>>, GatewayError> {
    let mut found = Vec::with_capacity(request.items.len());
    for (item, refused) in request.items {
        found.push(match refused {
            Some(code) => Err(*code),
            None => find(tx, request, item).await?,
        });
    }
    let ids = found.iter().flatten().map(|(_, payment)| payment.clone());
    payments::lock(tx, ids.collect()).await?;
    let mut begun = HashSet::new();
    let mut plan = Vec::with_capacity(found.len());
    for (place, (found, (item, _))) in found.into_iter().zip(request.items).enumerate() {
        plan.push(match found {
            Err(code) => Err(code),
            // Two items for one authorization: the second is a duplicate, not at work elsewhere.
            Ok((authorization, _)) if begun.contains(&authorization.id) => {
                Err(CapCode::DuplicateRequest)
            }
            Ok((authorization, payment)) => {
                let id = id_of_item(request.id, place);
                let order = begin_one(tx, authorization, &payment, item, id, request.now_s).await?;
                begun.extend(order.as_ref().ok().map(|order| order.authorization.clone()));
                order
            }
        });
    }
    Ok(plan)
}

type Found = (Authorization, String);

async fn find(
    tx: &mut Tx,
    request: &Request<'_>,
    item: &CapItem,
) -> Result<Result<Found, CapCode>, GatewayError> {
    let whose = (request.merchant_id, request.brand);
    let (xid, rrpid) = (&item.trans_ids.xid, item.auth_rrpid.to_string());
    let found = authorizations::find_approved(&mut *tx, whose, xid, &rrpid).await?;
    let Some(authorization) = found else {
        return Ok(Err(CapCode::AuthDataMissing));
    };
    let payment = authorization.payment_id.clone();
    let payment = payment.ok_or(StoreError::Corrupt("authorizations.payment_id"))?;
    Ok(Ok((authorization, payment)))
}

async fn begin_one(
    tx: &mut Tx,
    authorization: Authorization,
    payment: &str,
    item: &CapItem,
    id: String,
    now_s: i64,
) -> Result<Result<CaptureOrder, CapCode>, GatewayError> {
    let payment = payments::load(&mut *tx, payment).await?;
    let one = payment.find(&item.auth_rrpid);
    let one = one.ok_or(StoreError::Corrupt("authorizations.auth_rrpid"))?;
    let amount = item.cap_req_amt;
    let released_minor = match payment.may_capture(one, amount, now_s) {
        Ok(released_minor) => released_minor,
        Err(No::Code(code)) => return Ok(Err(code)),
        Err(No::Busy) => return Err(GatewayError::Working),
    };
    let new = New {
        id: &id,
        authorization_id: &authorization.id,
        kind: &Kind::Capture,
        amount_minor: amount.minor_i64(),
        at_s: now_s,
        progress: Progress::Asked,
    };
    movements::insert(tx, &new).await?;
    let issuer_authorization = authorization
        .issuer_authorization
        .ok_or(StoreError::Corrupt("authorizations.issuer_authorization"))?;
    Ok(Ok(CaptureOrder {
        authorization: authorization.id,
        issuer_authorization,
        capture_id: id,
        amount,
        released_minor,
    }))
}

/// What became of a capture, if it has ended: in an attempt that did not come to the answer.
pub(crate) async fn outcome(
    conn: &mut sqlx::AnyConnection,
    order: &CaptureOrder,
) -> Result<Option<CapCode>, GatewayError> {
    let movement = movements::find(conn, &order.capture_id).await?;
    let movement = movement.ok_or(StoreError::Corrupt("movements.id"))?;
    Ok(match movement.progress {
        Progress::Asked => None,
        Progress::Done => Some(CapCode::Success),
        Progress::Refused => {
            let code = movement.code.ok_or(StoreError::Corrupt("movements.code"))?;
            Some(serde_json::from_value(code.into())?)
        }
    })
}

/// Ends a capture as the issuer says: paid and booked, what it did not take given back; or not paid, and the hold is
/// as it was, or over. `false`: it has ended already, so the caller's transaction must be dropped.
pub(crate) async fn end(
    tx: &mut Tx,
    merchant_id: &str,
    order: &CaptureOrder,
    outcome: CapCode,
    step: &StepReport,
    at_s: i64,
) -> Result<bool, GatewayError> {
    let (id, amount) = (order.capture_id.as_str(), order.amount);
    if outcome != CapCode::Success {
        let code = name_of(outcome)?;
        if outcome == CapCode::AuthExpired {
            authorizations::expire(tx, &order.authorization, at_s).await?;
        }
        return Ok(movements::end(tx, id, Some(&code), amount.minor_i64(), at_s).await?);
    }
    if !movements::end(tx, id, None, amount.minor_i64(), at_s).await? {
        return Ok(false);
    }
    if order.released_minor > 0 {
        let rest = format!("{id}-rest");
        let new = New {
            id: &rest,
            authorization_id: &order.authorization,
            kind: &Kind::Reversal,
            amount_minor: i64::try_from(order.released_minor)
                .map_err(|_| StoreError::Corrupt("pending.sealed"))?,
            at_s,
            progress: Progress::Done,
        };
        movements::insert(tx, &new).await?;
    }
    authorizations::add_step(tx, &order.authorization, step).await?;
    books::book(tx, merchant_id, (id, &Kind::Capture), amount, at_s).await?;
    Ok(true)
}
