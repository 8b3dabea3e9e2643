//! Items of requests that move money: begun, then done or refused, each by itself.

use std::collections::HashSet;

use openset_protocol::BrandId;
use openset_protocol::balance::{self, Kind, No, Original, Payment, Progress};
use openset_protocol::ids::{LocalId, Rrpid, Xid};
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredCode;
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_service::step_report::StepReport;
use openset_store::{StoreError, Tx};

use super::authorizations::{self, Authorization, name_of};
use super::batches::{self, Key, Known};
use super::movements::{self, New};
use super::{books, payments};
use crate::error::GatewayError;
use crate::work::{Ended, Order, Planned, Refusal, id_of_item};

/// A request.
pub(crate) struct Request<'a> {
    /// Its id.
    pub(crate) id: &'a str,
    /// The id of the first request for the same, which may be this one.
    pub(crate) first_id: &'a str,
    /// The name of what that one asks for.
    pub(crate) effect: &'a str,
    /// Whether this is not the first.
    pub(crate) anew: bool,
    pub(crate) merchant_id: &'a str,
    pub(crate) brand: &'a BrandId,
    pub(crate) items: Vec<Item<'a>>,
    /// Whether what is undone counts as purged.
    pub(crate) purges: bool,
    pub(crate) now_s: i64,
}

/// One item of it.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub(crate) xid: &'a Xid,
    pub(crate) auth_rrpid: &'a Rrpid,
    pub(crate) amount: CurrencyAmount,
    pub(crate) what: What<'a>,
    /// The batch that it names.
    pub(crate) batch_id: Option<&'a LocalId>,
    /// The code that refuses it already.
    pub(crate) refused: Option<String>,
}

/// What it asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What<'a> {
    /// The money.
    Capture,
    /// That a capture, this one if it is named, be as if it had not been.
    CaptureReversal(Option<&'a BatchPlace>),
    /// That money go back, out of this capture if it is named.
    Credit(Option<&'a BatchPlace>),
    /// That this refund be as if it had not been.
    CreditReversal(&'a BatchPlace),
}

/// Begins what may be begun, item by item, or says why not.
///
/// # Errors
/// [`GatewayError::Working`] when something else of one of the authorizations is at work: drop the transaction.
pub(crate) async fn begin(
    tx: &mut Tx,
    request: &Request<'_>,
) -> Result<Vec<Planned>, GatewayError> {
    let mut found = Vec::with_capacity(request.items.len());
    for item in &request.items {
        found.push(match &item.refused {
            Some(code) => Err(Refusal::from(code.clone())),
            None => find(tx, request, item).await?,
        });
    }
    let ids = found.iter().flatten().map(|(_, payment)| payment.clone());
    payments::lock(tx, ids.collect()).await?;
    lock_batches(tx, request).await?;
    let mut begun = HashSet::new();
    let mut plan = Vec::with_capacity(found.len());
    let mut asked: Vec<_> = found.into_iter().zip(&request.items).enumerate().collect();
    // Batches that are not open yet are opened in that order, too.
    asked.sort_by_key(|(_, (found, _))| {
        found
            .as_ref()
            .ok()
            .map(|(authorization, _)| authorization.currency.alpha())
    });
    for (place, (found, item)) in asked {
        let planned = match found {
            Err(refusal) => Err(refusal),
            // Two items about one authorization: the second is a duplicate, not at work elsewhere. Refunds are
            // decided by their sum.
            Ok((authorization, _))
                if begun.contains(&authorization.id) && !matches!(item.what, What::Credit(_)) =>
            {
                Err(Refusal::from(name_of(CapCode::DuplicateRequest)?))
            }
            Ok((authorization, payment)) => {
                let order = begin_one(tx, request, authorization, &payment, (item, place)).await?;
                begun.extend(order.as_ref().ok().map(|order| order.authorization.clone()));
                order
            }
        };
        plan.push((place, planned));
    }
    plan.sort_unstable_by_key(|(place, _)| *place);
    Ok(plan.into_iter().map(|(_, planned)| planned).collect())
}

type Found = (Authorization, String);

async fn find(
    tx: &mut Tx,
    request: &Request<'_>,
    item: &Item<'_>,
) -> Result<Result<Found, Refusal>, GatewayError> {
    let whose = (request.merchant_id, request.brand);
    let (xid, rrpid) = (item.xid, item.auth_rrpid.to_string());
    let found = authorizations::find_approved(&mut *tx, whose, xid, &rrpid).await?;
    let Some(authorization) = found else {
        let unknown = match item.what {
            What::Capture => name_of(CapCode::AuthDataMissing)?,
            _ => name_of(CapRevOrCredCode::OriginalNotFound)?,
        };
        return Ok(Err(unknown.into()));
    };
    let payment = authorization.payment_id.clone();
    let payment = payment.ok_or(StoreError::Corrupt("authorizations.payment_id"))?;
    Ok(Ok((authorization, payment)))
}

/// Locks the open batches of all its currencies, in one order everywhere, so that two replicas cannot deadlock.
async fn lock_batches(tx: &mut Tx, request: &Request<'_>) -> Result<(), GatewayError> {
    let mut currencies: Vec<Currency> = Vec::new();
    for item in &request.items {
        if !currencies.contains(&item.amount.currency()) {
            currencies.push(item.amount.currency());
        }
    }
    currencies.sort_unstable_by_key(|currency| currency.alpha());
    for currency in currencies {
        batches::lock_open(tx, key(request, currency)).await?;
    }
    Ok(())
}

fn key<'a>(request: &'a Request<'_>, currency: Currency) -> Key<'a> {
    Key {
        merchant_id: request.merchant_id,
        brand: request.brand.as_str(),
        currency,
    }
}

async fn begin_one(
    tx: &mut Tx,
    request: &Request<'_>,
    authorization: Authorization,
    payment_id: &str,
    (item, place): (&Item<'_>, usize),
) -> Result<Planned, GatewayError> {
    let id = id_of_item(request.id, place);
    let effect = id_of_item(request.effect, place);
    let first_id = id_of_item(request.first_id, place);
    let names = (effect.as_str(), first_id.as_str());
    if let Some(begun) = movements::of_effect(&mut *tx, &authorization.id, names).await? {
        return as_begun(authorization, begun, item);
    }
    let payment = payments::load(&mut *tx, payment_id).await?;
    let one = payment.find(item.auth_rrpid);
    let one = one.ok_or(StoreError::Corrupt("authorizations.auth_rrpid"))?;
    let (kind, released_minor) = match decide(tx, request, (&payment, one), item).await? {
        Ok(decided) => decided,
        Err(refusal) => {
            if request.anew && matches!(item.what, What::Credit(_)) {
                let names = (id.as_str(), effect.as_str());
                bury(tx, request, &authorization.id, item, (names, &refusal.code)).await?;
            }
            return Ok(Err(refusal));
        }
    };
    let key = key(request, payment.currency);
    let (open, _) = batches::open(tx, key, request.now_s).await?;
    if let Some(named) = item.batch_id.filter(|named| named.as_str() != open) {
        let code = match batches::known(&mut *tx, request.merchant_id, named).await? {
            Known::Closed => CapCode::BatchClosed,
            Known::Not | Known::Open => CapCode::BatchUnknown,
        };
        return Ok(Err(name_of(code)?.into()));
    }
    let new = New {
        id: &id,
        authorization_id: &authorization.id,
        kind: &kind,
        amount_minor: item.amount.minor_i64(),
        at_s: request.now_s,
        progress: Progress::Asked,
        batch_id: Some(&open),
        effect: Some(&effect),
    };
    movements::insert(tx, &new).await?;
    let issuer_authorization = authorization
        .issuer_authorization
        .ok_or(StoreError::Corrupt("authorizations.issuer_authorization"))?;
    Ok(Ok(Order {
        authorization: authorization.id,
        issuer_authorization,
        movement_id: id,
        kind,
        amount: item.amount,
        released_minor,
        purges: request.purges,
    }))
}

/// An item that an earlier request began: it ends as that one does.
fn as_begun(
    authorization: Authorization,
    begun: movements::Movement,
    item: &Item<'_>,
) -> Result<Planned, GatewayError> {
    if i64::try_from(begun.amount_minor) != Ok(item.amount.minor_i64()) {
        let code = name_of(CapRevOrCredCode::CapDataMismatch)?;
        return Ok(Err(code.into()));
    }
    Ok(match (begun.progress, begun.code) {
        (Progress::Asked, _) => return Err(GatewayError::Working),
        (Progress::Refused, code) => Err(code.ok_or(StoreError::Corrupt("movements.code"))?.into()),
        (Progress::Done, _) => Ok(Order {
            authorization: authorization.id,
            issuer_authorization: authorization
                .issuer_authorization
                .ok_or(StoreError::Corrupt("authorizations.issuer_authorization"))?,
            movement_id: begun.id,
            kind: begun.kind,
            amount: item.amount,
            released_minor: 0,
            purges: false,
        }),
    })
}

/// A refund that was asked for anew and refused: the bytes of the first request for it find it refused as well, whatever
/// may be refunded by then.
async fn bury(
    tx: &mut Tx,
    request: &Request<'_>,
    authorization_id: &str,
    item: &Item<'_>,
    ((id, effect), code): ((&str, &str), &str),
) -> Result<(), StoreError> {
    let minor = item.amount.minor_i64();
    if minor == 0 {
        return Ok(());
    }
    let new = New {
        id,
        authorization_id,
        kind: &Kind::Credit,
        amount_minor: minor,
        at_s: request.now_s,
        progress: Progress::Asked,
        batch_id: None,
        effect: Some(effect),
    };
    movements::insert(tx, &new).await?;
    movements::end(tx, id, Some(code), minor, None, request.now_s).await?;
    Ok(())
}

/// By SET's state rules: what to do, and how much of a hold is given back with it.
async fn decide(
    tx: &mut Tx,
    request: &Request<'_>,
    (payment, one): (&Payment, &balance::Authorization),
    item: &Item<'_>,
) -> Result<Result<(Kind, u64), Refusal>, GatewayError> {
    let (amount, now_s) = (item.amount, request.now_s);
    Ok(match item.what {
        What::Capture => match payment.may_capture(one, amount, now_s) {
            Ok(released_minor) => Ok((Kind::Capture, released_minor)),
            Err(No::Busy) => return Err(GatewayError::Working),
            Err(No::Code(CapCode::DuplicateRequest)) => {
                Err(duplicate(tx, one, payment.currency).await?)
            }
            Err(No::Code(code)) => Err(name_of(code)?.into()),
        },
        What::CaptureReversal(named) => {
            let may = payment.may_reverse_capture(one, Some(amount), now_s);
            match agreed(tx, request, may, named).await? {
                Ok(id) => Ok((Kind::CaptureReversal(id), 0)),
                Err(refusal) => Err(refusal),
            }
        }
        What::Credit(named) => {
            let capture = one.capture();
            let may = payment
                .may_credit(one, amount, now_s)
                .and_then(|()| capture.ok_or(No::Code(CapRevOrCredCode::OriginalNotFound)));
            let agreed = agreed(tx, request, may, named).await?;
            agreed.map(|_| (Kind::Credit, 0))
        }
        What::CreditReversal(place) => {
            let named = batches::movement_at(&mut *tx, request.merchant_id, place).await?;
            let Some(id) = named else {
                let code = unknown_place(tx, request, place).await?;
                return Ok(Err(name_of(code)?.into()));
            };
            let original = Original {
                id: &id,
                amount: Some(amount),
            };
            match payment.may_reverse_credit(one, original, now_s) {
                Ok(credit) => Ok((Kind::CreditReversal(credit.id.clone()), 0)),
                Err(No::Busy) => return Err(GatewayError::Working),
                Err(No::Code(code)) => Err(name_of(code)?.into()),
            }
        }
    })
}

/// The capture's name, if it may be and the merchant names no other.
async fn agreed(
    tx: &mut Tx,
    request: &Request<'_>,
    may: Result<&balance::Movement, No<CapRevOrCredCode>>,
    named: Option<&BatchPlace>,
) -> Result<Result<String, Refusal>, GatewayError> {
    let capture = match may {
        Ok(capture) => capture,
        Err(No::Busy) => return Err(GatewayError::Working),
        Err(No::Code(code)) => return Ok(Err(name_of(code)?.into())),
    };
    if let Some(place) = named {
        let code = match batches::movement_at(&mut *tx, request.merchant_id, place).await? {
            Some(id) if id == capture.id => return Ok(Ok(id)),
            Some(_) => CapRevOrCredCode::CapDataMismatch,
            None => unknown_place(tx, request, place).await?,
        };
        return Ok(Err(name_of(code)?.into()));
    }
    Ok(Ok(capture.id.clone()))
}

async fn unknown_place(
    tx: &mut Tx,
    request: &Request<'_>,
    place: &BatchPlace,
) -> Result<CapRevOrCredCode, GatewayError> {
    let known = batches::known(&mut *tx, request.merchant_id, &place.batch_id).await?;
    Ok(match known {
        Known::Not => CapRevOrCredCode::BatchUnknown,
        Known::Open | Known::Closed => CapRevOrCredCode::OriginalNotFound,
    })
}

/// A merchant that lost an answer is told what stands.
async fn duplicate(
    tx: &mut Tx,
    one: &balance::Authorization,
    currency: Currency,
) -> Result<Refusal, GatewayError> {
    let code = name_of(CapCode::DuplicateRequest)?;
    let capture = one
        .capture()
        .ok_or(StoreError::Corrupt("movements.state"))?;
    let stands = CurrencyAmount::new(currency, capture.amount_minor)
        .map_err(|_| StoreError::Corrupt("movements.amount_minor"))?;
    let stored = movements::find(&mut *tx, &capture.id).await?;
    let place = stored.and_then(|stored| stored.place);
    Ok(Refusal {
        code,
        stands: Some((stands, place)),
    })
}

/// What became of an item, if it has ended: in an attempt that did not come to the answer.
pub(crate) async fn ended(
    conn: &mut sqlx::AnyConnection,
    order: &Order,
) -> Result<Option<Ended>, GatewayError> {
    let movement = movements::find(conn, &order.movement_id).await?;
    let movement = movement.ok_or(StoreError::Corrupt("movements.id"))?;
    Ok(match movement.progress {
        Progress::Asked => None,
        Progress::Done => {
            let place = movement.place;
            Some(Ended::Done(
                place.ok_or(StoreError::Corrupt("movements.batch_seq"))?,
            ))
        }
        Progress::Refused => {
            let code = movement.code.ok_or(StoreError::Corrupt("movements.code"))?;
            Some(Ended::Refused(code.into()))
        }
    })
}

/// Ends an item as the issuer says: done and booked, in its batch, and of a capture what it did not take given back; or
/// not done (the code says why), and all is as it was. `None`: it has ended already, so the caller's transaction must be
/// dropped.
pub(crate) async fn end(
    tx: &mut Tx,
    merchant_id: &str,
    order: &Order,
    (refused, step): (Option<&str>, Option<&StepReport>),
    at_s: i64,
) -> Result<Option<Ended>, GatewayError> {
    let (id, amount) = (order.movement_id.as_str(), order.amount);
    let stored = movements::find(&mut *tx, id).await?;
    let stored = stored.ok_or(StoreError::Corrupt("movements.id"))?;
    if stored.progress != Progress::Asked {
        return Ok(None);
    }
    if let Some(code) = refused {
        if code == name_of(CapCode::AuthExpired)? {
            authorizations::expire(tx, &order.authorization, at_s).await?;
        }
        let ended = movements::end(tx, id, Some(code), amount.minor_i64(), None, at_s).await?;
        return Ok(ended.then(|| Ended::Refused(code.to_owned().into())));
    }
    let batch = stored.batch_id;
    let batch = batch.ok_or(StoreError::Corrupt("movements.batch_id"))?;
    let place = batches::take_place(tx, &batch).await?;
    let seq = Some(place.batch_sequence_num);
    if !movements::end(tx, id, None, amount.minor_i64(), seq, at_s).await? {
        return Ok(None);
    }
    if order.purges {
        movements::set_purged(tx, &order.kind).await?;
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
            batch_id: None,
            effect: None,
        };
        movements::insert(tx, &new).await?;
    }
    if let Some(step) = step {
        authorizations::add_step(tx, &order.authorization, step).await?;
    }
    books::book(tx, merchant_id, (id, &order.kind), amount, at_s).await?;
    Ok(Some(Ended::Done(place)))
}
