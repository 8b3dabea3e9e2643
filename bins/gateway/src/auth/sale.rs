//! A sale: what the issuer approves is captured at once. Approval and capture are two calls at the issuer, each under a
//! key of its own, and one transaction here: nobody sees one without the other.

use std::time::Instant;

use openset_protocol::balance::Kind;
use openset_service::step_report::StepReport;

use super::authorizations::Decided;
use crate::Gateway;
use crate::error::GatewayError;
use crate::issuer::Word;
use crate::store::sales;
use crate::work::{Authorize, Ended, Order, id_of_sale};

/// A capture that the issuer was asked for together with its authorization.
#[derive(Debug)]
pub(super) struct Asked {
    order: Order,
    /// The code that refuses it; none if the issuer pays.
    refused: Option<String>,
    pub(super) step: StepReport,
}

/// Asks the issuer to pay what it has just approved; `None` where nobody wants that, or it approved nothing.
///
/// # Errors
/// [`GatewayError::Unknown`] unless the issuer said what it did: then approval and capture are both asked for again.
pub(super) async fn ask(
    gateway: &Gateway,
    id: &str,
    asked: &Authorize,
    word: &Word,
) -> Result<Option<Asked>, GatewayError> {
    let Word::Approved {
        issuer_authorization,
        ..
    } = word
    else {
        return Ok(None);
    };
    if !asked.asker.capture_now {
        return Ok(None);
    }
    let started = Instant::now();
    let order = Order {
        authorization: id.to_owned(),
        issuer_authorization: issuer_authorization.clone(),
        movement_id: id_of_sale(id),
        kind: Kind::Capture,
        amount: asked.asker.amount,
        released_minor: 0,
        purges: false,
    };
    let refused = gateway.issuer.move_money(&order).await?;
    let (what, verified) = match refused {
        None => (
            "sale: captured with its authorization",
            "one key, one capture",
        ),
        Some(_) => ("sale: authorized, not captured", "it can be captured later"),
    };
    let step = StepReport::since(
        started,
        9,
        what,
        ["gateway", "issuer"],
        "POST /authorizations/{id}/capture",
        0,
        &[verified],
    );
    Ok(Some(Asked {
        order,
        refused,
        step,
    }))
}

/// Commits what the issuer said of both. An attempt that was cut short after this may have done so before.
pub(super) async fn commit(
    gateway: &Gateway,
    asked: &Authorize,
    sale: &Asked,
    decided: &Decided<'_>,
) -> Result<Ended, GatewayError> {
    let mut tx = gateway.db.begin().await?;
    let said = (decided, sale.refused.as_deref());
    match sales::conclude(&mut tx, &asked.asker, &sale.order, said).await? {
        Some(ended) => {
            tx.commit().await?;
            gateway.metrics.count_item("AuthReq", sales::code(&ended));
            Ok(ended)
        }
        None => {
            drop(tx);
            sales::concluded(&mut *gateway.db.read().await?, &sale.order).await
        }
    }
}
