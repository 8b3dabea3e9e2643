//! BatchAdminReq opens, empties and closes the acquirer's batches, and asks how they stand. What changes something is
//! stored before it is sent, and only an answer that the gateway signed ends it; a look is made again if it brought nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use openset_protocol::BrandId;
use openset_protocol::ids::{LocalId, Rrpid, Xid};
use openset_protocol::merchant::batch_admin::{self, Asked, AwaitingBatchAdminRes};
use openset_protocol::messages::batch_admin::{
    BaStatus, BatchAdminResData, BatchOperation, DETAILS_MAX, ReturnTransactionDetail,
    TransactionDetail,
};
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_service::client::SetAnswer;
use openset_service::set_endpoint::MediaType;
use openset_service::{CancellationToken, clock};
use openset_store::outbox::{self, Outgoing};
use openset_store::{StoreError, Tx};

use super::batch_items::{self, Found, take_up};
use super::sending::{
    self, BATCH_ADMIN_REQ, Refusal, check_taken, is_error_doubted, refusal, unusable,
};
use crate::failure::Failure;
use crate::store::batch_requests::{self, BatchRequest, Outcome, Undone, Wish};
use crate::store::batches::{self, Batch, Difference};
use crate::store::{books, payments};
use crate::{Merchant, offload};

/// Between two searches for batches whose payout is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Batches that are looked at in one go.
const LOOKS_MAX: i64 = 8;
/// Pages of a batch that one reconciliation reads: a hundred thousand items.
const PAGES_MAX: usize = 1_000;

/// A request, made but not yet stored.
#[derive(Debug)]
pub(crate) struct Draft {
    rrpid: Rrpid,
    /// What its answer is checked against, as JSON.
    pub(crate) awaiting: String,
    wire: Vec<u8>,
}

impl Draft {
    /// The request's name.
    pub(crate) fn id(&self) -> String {
        self.rrpid.to_string()
    }

    /// As it will stand in the outbox, about the request of this name.
    pub(crate) fn outgoing(self, merchant: &Merchant, reference: String) -> Outgoing {
        sending::outgoing(merchant, BATCH_ADMIN_REQ, self.rrpid, reference, self.wire)
    }
}

/// Makes the request for what is wanted.
pub(crate) async fn draft(merchant: &Arc<Merchant>, wish: &Wish) -> Result<Draft, Failure> {
    let asked = Asked {
        batch_id: wish.batch_id.clone(),
        currency: wish.currency,
        operation: Some(wish.operation),
        summary: true,
        details: None,
        totals: wish.totals,
    };
    let (awaiting, wire) = request(merchant, &wish.brand, asked).await?;
    Ok(Draft {
        rrpid: awaiting.rrpid(),
        awaiting: serde_json::to_string(&awaiting)
            .map_err(|error| Failure::Internal(error.into()))?,
        wire,
    })
}

async fn request(
    merchant: &Merchant,
    brand: &BrandId,
    asked: Asked,
) -> Result<(AwaitingBatchAdminRes, Vec<u8>), Failure> {
    let ours = merchant.credentials(brand)?;
    let verifier = merchant.verifier()?;
    let gateway = merchant.gateways.of_brand(brand, &verifier);
    let gateway = gateway.ok_or(Failure::NotReady(
        "the gateway's certificate is not here yet",
    ))?;
    let made =
        offload(move |ctx| batch_admin::request(ctx, &ours, gateway.leaf(), asked, &verifier));
    Ok(made.await?)
}

async fn read(
    merchant: &Merchant,
    awaiting: AwaitingBatchAdminRes,
    answer: &SetAnswer,
) -> anyhow::Result<BatchAdminResData> {
    let keyring = merchant.keyring.all();
    let verifier = merchant.verifier()?;
    let wire = answer.body.clone();
    let verified = offload(move |ctx| {
        let ours: Vec<_> = keyring.iter().collect();
        awaiting.handle(&wire, &ours, &verifier, ctx.now)
    })
    .await;
    match verified {
        Ok(data) => Ok(data),
        Err(refusal) => Err(unusable(merchant, "BatchAdminRes", answer, &refusal).await),
    }
}

/// Verifies BatchAdminRes and commits what came of it.
pub(super) async fn settle(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    answer: &SetAnswer,
) -> anyhow::Result<()> {
    let stored = batch_requests::find(&mut *merchant.db.read().await?, &outgoing.reference).await?;
    let stored = stored.context("the outbox names no request about a batch")?;
    let Some(awaiting) = &stored.awaiting else {
        let mut tx = merchant.db.begin().await?;
        outbox::remove(&mut tx, &outgoing.id).await?;
        return Ok(tx.commit().await?);
    };
    let awaiting: AwaitingBatchAdminRes =
        serde_json::from_str(awaiting).context("batch_requests.awaiting")?;
    let rrpid: Rrpid = outgoing.id.parse().context("the outbox names no request")?;
    if awaiting.rrpid() != rrpid {
        bail!("the same was asked for anew meanwhile");
    }
    let asks = awaiting.asked().operation;
    match refusal(merchant, outgoing, &stored.wish.brand, answer).await? {
        None => {}
        Some(Refusal::Signed(reason)) if outgoing.id == stored.id => {
            return end_refused(merchant, outgoing, &stored, reason).await;
        }
        // The gateway may have done what was asked before.
        Some(Refusal::Signed(reason) | Refusal::Unsigned(reason)) if is_error_doubted(outgoing) => {
            bail!("{reason}; it is asked again")
        }
        Some(Refusal::Signed(reason) | Refusal::Unsigned(reason)) => {
            return ask_anew(merchant, outgoing, &stored, asks, &reason).await;
        }
    }
    let data = read(merchant, awaiting, answer).await?;
    let anew = outgoing.id != stored.id;
    let is_closed = data
        .batch_status
        .is_some_and(|status| status.close_date.is_some());
    let status = match (stored.wish.operation, asks, data.ba_status) {
        // The request before this one may have closed it: that is looked at first.
        (BatchOperation::Close, Some(_), BaStatus::UnknownBatchId) if anew => {
            return ask_anew(
                merchant,
                outgoing,
                &stored,
                None,
                "it may be closed already",
            )
            .await;
        }
        (BatchOperation::Close, None, BaStatus::Success) if !is_closed => {
            let close = Some(BatchOperation::Close);
            return ask_anew(merchant, outgoing, &stored, close, "it is open still").await;
        }
        (BatchOperation::Open, _, BaStatus::BatchAlreadyOpen) if anew => BaStatus::Success,
        (_, _, status) => status,
    };
    finish(merchant, outgoing, &stored, &data, status).await
}

/// The gateway has signed that it does not take the request: nothing was done.
async fn end_refused(
    merchant: &Merchant,
    outgoing: &Outgoing,
    stored: &BatchRequest,
    reason: String,
) -> anyhow::Result<()> {
    let mut tx = merchant.db.begin().await?;
    if !outbox::remove(&mut tx, &outgoing.id).await? {
        return Ok(());
    }
    tracing::warn!(
        set_message = BATCH_ADMIN_REQ,
        outcome = "refused",
        error = reason
    );
    let outcome = Outcome {
        status: BaStatus::UnspecifiedFailure,
        batch_id: stored.wish.batch_id.clone(),
        totals: None,
        undone: Vec::new(),
        unknown: Vec::new(),
        refusal: Some(reason),
    };
    batch_requests::end(&mut tx, &stored.id, &outcome, clock::now_ms()).await?;
    Ok(tx.commit().await?)
}

/// The same once more under a new name; without an operation, how the batch stands.
async fn ask_anew(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    stored: &BatchRequest,
    operation: Option<BatchOperation>,
    reason: &str,
) -> anyhow::Result<()> {
    let wish = &stored.wish;
    let asked = Asked {
        batch_id: wish.batch_id.clone(),
        currency: wish.currency,
        operation,
        summary: true,
        details: None,
        totals: wish.totals.filter(|_| operation.is_some()),
    };
    let (awaiting, wire) = request(merchant, &wish.brand, asked).await?;
    let draft = Draft {
        rrpid: awaiting.rrpid(),
        awaiting: serde_json::to_string(&awaiting)?,
        wire,
    };
    let mut tx = merchant.db.begin().await?;
    if !outbox::remove(&mut tx, &outgoing.id).await? {
        return Ok(());
    }
    batch_requests::await_anew(&mut tx, &stored.id, &draft.awaiting).await?;
    let anew = draft.outgoing(merchant, stored.id.clone());
    outbox::enqueue(&mut tx, &anew).await?;
    tx.commit().await?;
    tracing::warn!(
        set_message = BATCH_ADMIN_REQ,
        outcome = "asked anew",
        error = reason
    );
    Ok(())
}

/// One transaction: the request leaves the outbox and ends, the batch stands as the acquirer says, and what a purge has
/// undone is undone here.
async fn finish(
    merchant: &Merchant,
    outgoing: &Outgoing,
    stored: &BatchRequest,
    data: &BatchAdminResData,
    status: BaStatus,
) -> anyhow::Result<()> {
    let wish = &stored.wish;
    let now_ms = clock::now_ms();
    let mut tx = merchant.db.begin().await?;
    if !outbox::remove(&mut tx, &outgoing.id).await? {
        return Ok(());
    }
    let mut outcome = Outcome {
        status,
        batch_id: data.batch_id.clone().or_else(|| wish.batch_id.clone()),
        totals: data.batch_status.map(|status| status.batch_totals),
        undone: Vec::new(),
        unknown: Vec::new(),
        refusal: None,
    };
    let items = data.trans_details.as_ref();
    let items = items.map_or(&[][..], |details| &details.transaction_detail_seq);
    lock_payments(&mut tx, items).await?;
    take_note(&mut tx, &wish.brand, wish.currency, data).await?;
    if let Some(batch_id) = &outcome.batch_id {
        for item in items {
            match take_up(&mut tx, batch_id, item, now_ms).await? {
                Found::Purged(payment, original) => outcome.undone.push(Undone {
                    order_id: payment.order_id.clone(),
                    movement: original.id,
                    amount: item.transaction_amt,
                }),
                // The answer about what was undone comes first.
                Found::Awaited => bail!("something that the purge has undone is not answered yet"),
                Found::Known | Found::Placed => {}
                Found::Differs(_) | Found::Unknown => outcome.unknown.push(item.batch_sequence_num),
            }
        }
    }
    batch_requests::end(&mut tx, &stored.id, &outcome, now_ms).await?;
    tx.commit().await?;
    tracing::info!(set_message = BATCH_ADMIN_REQ, operation = ?wish.operation, outcome = ?status, "answered");
    Ok(())
}

/// In one order everywhere: two transactions that hold several cannot wait for each other.
async fn lock_payments(tx: &mut Tx, items: &[TransactionDetail]) -> Result<(), StoreError> {
    let payments: BTreeSet<Xid> = items.iter().map(|item| item.xid).collect();
    for xid in payments {
        if payments::find(&mut *tx, &xid).await?.is_some() {
            payments::lock(tx, &xid).await?;
        }
    }
    Ok(())
}

/// Writes down how a batch stands, and books its payout when that is first told of.
async fn take_note(
    tx: &mut Tx,
    brand: &BrandId,
    currency: Currency,
    data: &BatchAdminResData,
) -> Result<(), StoreError> {
    let paid = batches::tell(tx, brand, currency, data, clock::now_ms()).await?;
    if let (Some(payout), Some(id)) = (paid, &data.batch_id) {
        books::payout(tx, id, currency, payout.minor, payout.at_s).await?;
        tracing::info!(batch = %id, minor = payout.minor, "the acquirer has paid");
    }
    Ok(())
}

/// Asks how a batch stands, and writes it down. Nothing changes at the acquirer, so nothing is stored before.
///
/// # Errors
/// The gateway did not answer, or not with its signature.
pub(crate) async fn look(
    merchant: &Merchant,
    batch: &Batch,
    details: Option<ReturnTransactionDetail>,
) -> anyhow::Result<BatchAdminResData> {
    let asked = Asked {
        batch_id: Some(batch.id.clone()),
        currency: batch.currency,
        operation: None,
        summary: true,
        details,
        totals: None,
    };
    let (awaiting, wire) = request(merchant, &batch.brand, asked).await?;
    let url = &merchant.settings.gateway_set_url;
    let answer = merchant
        .client
        .post_set(url, MediaType::Payment, wire)
        .await?;
    check_taken(&answer)?;
    let data = read(merchant, awaiting, &answer).await?;
    ensure!(
        data.ba_status == BaStatus::Success,
        "the acquirer tells nothing of batch {}: {:?}",
        batch.id,
        data.ba_status
    );
    let mut tx = merchant.db.begin().await?;
    take_note(&mut tx, &batch.brand, batch.currency, &data).await?;
    tx.commit().await?;
    Ok(data)
}

/// What a comparison of both sides' items brought.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compared {
    /// Movements whose places the merchant did not know.
    pub(crate) placed: u64,
    /// Movements of which it did not know that they were purged.
    pub(crate) purged: u64,
    pub(crate) differences: Vec<Difference>,
}

/// Reads all items of a batch from the acquirer, page by page, beside our own, and takes up what the acquirer's signature
/// says.
///
/// # Errors
/// The gateway did not answer, or not with its signature.
pub(crate) async fn reconcile(merchant: &Merchant, batch: &Batch) -> anyhow::Result<Compared> {
    let mut compared = Compared::default();
    let (mut start, mut seen) = (1, BTreeSet::new());
    for _ in 0..PAGES_MAX {
        let page = ReturnTransactionDetail {
            starting_point: start,
            maximum_items: DETAILS_MAX,
        };
        let data = look(merchant, batch, Some(page)).await?;
        let listed = data.trans_details.context("BatchAdminRes lists nothing")?;
        let items = &listed.transaction_detail_seq;
        seen.extend(items.iter().map(|item| item.batch_sequence_num));
        compare(merchant, &batch.id, items, &mut compared).await?;
        match listed.next_starting_point {
            Some(next) if next > start => start = next,
            _ => break,
        }
    }
    let mut connection = merchant.db.read().await?;
    for ours in batches::members(&mut connection, batch).await? {
        if !seen.contains(&ours.seq) {
            compared.differences.push(ours);
        }
    }
    Ok(compared)
}

async fn compare(
    merchant: &Merchant,
    batch_id: &LocalId,
    items: &[TransactionDetail],
    compared: &mut Compared,
) -> anyhow::Result<()> {
    let mut tx = merchant.db.begin().await?;
    lock_payments(&mut tx, items).await?;
    for item in items {
        let found = take_up(&mut tx, batch_id, item, clock::now_ms()).await?;
        let mut differs = |ours, awaited| {
            compared.differences.push(Difference {
                seq: item.batch_sequence_num,
                xid: item.xid.to_string(),
                kind: batch_items::name(item).to_owned(),
                theirs: Some(item.transaction_amt),
                ours,
                awaited,
            });
        };
        match found {
            Found::Known => {}
            Found::Placed => compared.placed = compared.placed.saturating_add(1),
            Found::Purged(..) => compared.purged = compared.purged.saturating_add(1),
            Found::Awaited => differs(None, true),
            Found::Unknown => differs(None, false),
            Found::Differs(here) => {
                let currency = item.transaction_amt.currency();
                let ours = CurrencyAmount::new(currency, here.amount_minor).ok();
                differs(ours, false);
            }
        }
    }
    Ok(tx.commit().await?)
}

/// Asks about closed batches until they are paid out, until `shutdown`.
pub(crate) async fn keep_looking(merchant: Arc<Merchant>, shutdown: CancellationToken) {
    loop {
        if let Err(error) = look_at_unpaid(&merchant).await {
            let error = format!("{error:#}");
            tracing::warn!(error, "payouts are asked about later");
        }
        let pause = tokio::time::sleep(POLL_INTERVAL);
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn look_at_unpaid(merchant: &Merchant) -> anyhow::Result<()> {
    let now_ms = clock::now_ms();
    // Looking first costs no write transaction while nothing is due, which is nearly always.
    if !batches::is_one_unpaid(&mut *merchant.db.read().await?, now_ms).await? {
        return Ok(());
    }
    let mut tx = merchant.db.begin().await?;
    let due = batches::take_unpaid(&mut tx, now_ms, LOOKS_MAX).await?;
    tx.commit().await?;
    for batch in due {
        if let Err(error) = look(merchant, &batch, None).await {
            let error = format!("{error:#}");
            tracing::warn!(error, batch = %batch.id, "it is asked again how the batch stands");
        }
    }
    Ok(())
}
