//! Sales: an authorization and its capture, in one transaction.

use openset_protocol::balance::Progress;
use openset_protocol::gateway::auth::Asker;
use openset_store::{StoreError, Tx};
use sqlx::AnyConnection;

use super::authorizations::{self, Decided, State};
use super::batches::{self, Key};
use super::items;
use super::movements::{self, New};
use super::payments;
use crate::error::GatewayError;
use crate::work::{Ended, Order};

/// Stores that the issuer approved, and its capture as done or refused (the code says why). `None`: that is stored
/// already, so the caller's transaction must be dropped.
pub(crate) async fn conclude(
    tx: &mut Tx,
    asker: &Asker,
    order: &Order,
    (decided, refused): (&Decided<'_>, Option<&str>),
) -> Result<Option<Ended>, GatewayError> {
    let (id, at_s) = (order.authorization.as_str(), decided.at_s);
    let payment_id = authorizations::payment_of(tx, id).await?;
    payments::lock(tx, vec![payment_id]).await?;
    if authorizations::state_of(tx, id).await? != State::Asked {
        return Ok(None);
    }
    let decide = authorizations::decide(tx.packer(), id, decided)?;
    tx.write(decide).await?;
    let key = Key {
        merchant_id: asker.merchant_id(),
        brand: asker.brand_id.as_str(),
        currency: order.amount.currency(),
    };
    let (batch_id, _) = batches::open(tx, key, at_s).await?;
    let new = New {
        id: &order.movement_id,
        authorization_id: id,
        kind: &order.kind,
        amount_minor: order.amount.minor_i64(),
        at_s,
        progress: Progress::Asked,
        batch_id: Some(&batch_id),
        effect: None,
    };
    movements::insert(tx, &new).await?;
    items::end(tx, asker.merchant_id(), order, (refused, None), at_s).await
}

/// What became of a capture that is stored.
pub(crate) async fn concluded(
    conn: &mut AnyConnection,
    order: &Order,
) -> Result<Ended, GatewayError> {
    let ended = items::ended(conn, order).await?;
    ended.ok_or_else(|| StoreError::Corrupt("movements.state").into())
}

/// The code of what became of it.
pub(crate) fn code(ended: &Ended) -> &str {
    match ended {
        Ended::Done(_) => "success",
        Ended::Refused(refusal) => &refusal.code,
    }
}
