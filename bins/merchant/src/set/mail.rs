//! PReq by mail: nothing was placed and nothing opened before it. It makes the order that it asks for.

use std::sync::Arc;

use openset_pki::{PathError, Role};
use openset_protocol::Rejection;
use openset_protocol::identity::Credentials;
use openset_protocol::ids::Xid;
use openset_protocol::merchant::mail_order::OrderedBy;
use openset_protocol::merchant::p;
use openset_protocol::messages::mail_order::MailOrder;
use openset_protocol::wrapper::MessageWrapper;
use openset_service::clock;
use openset_store::{Db, StoreError, Tx, Write};
use tracing::Instrument as _;

use super::p::{Committed, Ingredients, take};
use super::{Found, KEEP_SECONDS, Received, Recording};
use crate::catalogue::Priced;
use crate::failure::Failure;
use crate::gateway::sending;
use crate::store::catalogues::{self, SignedCatalogue};
use crate::store::orders::{self, Order};
use crate::store::payments;
use crate::store::purchases::{self, Purchase};
use crate::unpaid::PlacedBy;
use crate::{Merchant, offload};

/// The order stands; what becomes of it is not known yet.
const ASKED: Failure = Failure::Overtaken("the gateway is asked");

/// Takes a mail order as far as it can be taken now.
pub(super) async fn handle(
    merchant: &Arc<Merchant>,
    received: &Received,
    wrapper: MessageWrapper,
) -> Result<Vec<u8>, Failure> {
    let ingredients = Arc::new(gather(merchant, &wrapper).await?);
    match take(merchant, received, &wrapper, ingredients).await? {
        Committed::Answered(answer) => Ok(answer),
        Committed::AtWork => Err(ASKED),
        Committed::Queued(outgoing) => {
            let sending = sending::send_now(Arc::clone(merchant), outgoing);
            tokio::spawn(sending.in_current_span());
            Err(ASKED)
        }
    }
}

/// What it takes to decide: the catalogue in the place of an opened purchase, and the order that it makes.
async fn gather(merchant: &Merchant, wrapper: &MessageWrapper) -> Result<Ingredients, Failure> {
    let verifier = merchant.verifier()?;
    let (ours, copy) = (merchant.keyring.all(), wrapper.clone());
    let p_req = offload(move |_| {
        let ours: Vec<&Credentials> = ours.iter().collect();
        p::open(&copy, &ours)
    });
    let p_req = p_req.await?;
    let mail_order = p_req.mail_order().ok_or(Rejection::Disagreement("order"))?;
    let mut connection = merchant.db.read().await?;
    let catalogue = catalogues::find(&mut connection, &mail_order.catalogue).await?;
    drop(connection);
    let catalogue = catalogue.ok_or(Rejection::Disagreement("catalogue"))?;
    let ordered_by = OrderedBy {
        brand_id: &catalogue.brand,
        merchant: catalogue.merchant,
        gateway: catalogue.gateway,
        valid_until: catalogue.valid_until,
        age_seconds_max: merchant.settings.mail_order_age_s,
    };
    let opened = p_req.opened_by_mail(wrapper, &ordered_by, clock::now())?;
    let priced = price(&catalogue, mail_order)?;
    let lid_m = opened.trans_ids.lid_m.clone();
    let order = Order {
        description: mail_order.description(&lid_m),
        id: lid_m,
        amount: priced.amount,
        lines: priced.lines,
        plan: None,
        xid: None,
        created_at_s: clock::now_seconds(),
    };
    let gateway = merchant.gateway_of(&catalogue.brand).await?;
    let sign_with = merchant.opened_with(&catalogue.merchant).await?;
    let sign_with = sign_with.ok_or(PathError::Expired(Role::Merchant));
    let sign_with = sign_with.map_err(Rejection::from)?;
    Ok(Ingredients {
        ours: merchant.keyring.all(),
        sign_with,
        gateway,
        merch_cat_code: merchant.settings.merch_cat_code.clone(),
        accepts_unsigned: false,
        verifier,
        purchase: Purchase {
            opened,
            order,
            held_in: None,
            used: false,
        },
        by_mail: true,
    })
}

/// The order at the catalogue's prices, whatever they are today.
fn price(catalogue: &SignedCatalogue, order: &MailOrder) -> Result<Priced, Rejection> {
    let items: Vec<(&str, u64)> = order
        .items
        .iter()
        .map(|item| (item.product_id.as_str(), item.quantity))
        .collect();
    let priced = catalogue.products.price(&items);
    priced.map_err(|_| Rejection::Disagreement("order"))
}

/// Answers are kept for longer than the same message is taken.
pub(super) fn keep_seconds(merchant: &Merchant) -> i64 {
    merchant
        .settings
        .mail_order_age_s
        .saturating_add(KEEP_SECONDS)
}

/// Records PReq with its effect, and before that with the order that it makes; all or nothing.
pub(super) async fn commit(
    recording: &Recording<'_>,
    db: &Db,
    (order, xid): (&Order, &Xid),
    effect: Vec<Write>,
) -> Result<Found, Failure> {
    let mut tx = db.begin().await?;
    let found = recording.open(&mut tx).await?;
    if !matches!(found, Found::New) {
        return Ok(found);
    }
    place(&mut tx, order, xid).await?;
    match tx.commit_with(effect).await {
        Ok(()) => Ok(Found::New),
        Err(StoreError::Conflict(reason @ payments::NOT_BEGUN)) => Ok(Found::Overtaken(reason)),
        Err(error) => Err(error.into()),
    }
}

/// Makes the order, in the transaction that gives it its payment. Whose names those are that are taken already is
/// nobody's business.
async fn place(tx: &mut Tx, order: &Order, xid: &Xid) -> Result<(), Failure> {
    let opened = purchases::find(tx, xid, clock::now_seconds()).await?;
    if opened.is_some() || payments::find(tx, xid).await?.is_some() {
        return Err(Rejection::UnknownXid.into());
    }
    if orders::find(tx, order.id.as_str()).await?.is_some() {
        return Err(Rejection::UnknownLid.into());
    }
    tx.write(orders::insert(order, &PlacedBy::default())?)
        .await?;
    Ok(())
}
