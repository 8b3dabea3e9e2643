//! BatchAdminReq is decoded, verified, decided, committed, answered: a batch is opened, emptied, closed or shown.

use std::time::Instant;

use openset_protocol::gateway::SealedAnswer;
use openset_protocol::gateway::asking::Asking;
use openset_protocol::gateway::batch_admin::{self, BatchReport, VerifiedBatchAdminReq};
use openset_protocol::gateway::receipt::NewReceipt;
use openset_protocol::identity::Credentials;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::batch_admin::{
    AmountType, BaStatus, BatchOperation, TransDetails, TransactionDetail,
};
use openset_protocol::messages::cap_rev_or_cred::ITEMS_MAX;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::{Context, Rejection};
use openset_service::offload::offload;
use openset_service::step_report::StepReport;
use openset_service::{clock, random};
use openset_store::{StoreError, Tx};
use serde::{Deserialize, Serialize};

use crate::Gateway;
use crate::error::GatewayError;
use crate::items::{self, Request};
use crate::set::{Received, Record, answer_of_first, answered, record};
use crate::store::batch_reports::{self, Batch, State};
use crate::store::batches::{self, Key};
use crate::store::items::{Item, What};
use crate::work::{Ended, Items, WorkRef, id_of};

/// How often a report is signed before it is known to stand.
const SIGN_TRIES_MAX: u8 = 3;

/// Answers BatchAdminReq.
pub(crate) async fn handle(gateway: &Gateway, received: Received) -> Result<Vec<u8>, GatewayError> {
    let verified = match verify(gateway, &received).await {
        Err(GatewayError::Rejected(Rejection::NotSealedForUs)) => {
            gateway.keyring.look_again().await?;
            verify(gateway, &received).await
        }
        verified => verified,
    };
    let request = verified?;
    if request.asker.acquirer_bin != gateway.settings.acquirer_bin.as_str() {
        // Another acquirer's merchant may have the same name as ours.
        return decide(gateway, &received, request, Some(BaStatus::UnknownBin)).await;
    }
    if request.operation == Some(BatchOperation::Purge)
        && let Some(purge) = members(gateway, &request).await?
    {
        return items::run(gateway, &received, purge).await;
    }
    decide(gateway, &received, request, None).await
}

async fn verify(
    gateway: &Gateway,
    received: &Received,
) -> Result<VerifiedBatchAdminReq, GatewayError> {
    let verifier = gateway.verifier()?;
    let keyring = gateway.keyring.all();
    let Received {
        wire, wrapper, at, ..
    } = received.clone();
    let request = offload(move || {
        let ours: Vec<_> = keyring.iter().collect();
        batch_admin::open(&wire, &wrapper, &ours, &verifier, at)
    });
    Ok(request.await?)
}

/// All but a purge: one transaction, which asks nobody.
async fn decide(
    gateway: &Gateway,
    received: &Received,
    request: VerifiedBatchAdminReq,
    refused: Option<BaStatus>,
) -> Result<Vec<u8>, GatewayError> {
    let (merchant, rrpid) = (request.asker.merchant(), request.asker.rrpid());
    let id = id_of(&merchant, "BatchAdminReq", &rrpid);
    let Some(_flight) = gateway.flights.take_off(&id) else {
        return answer_of_first(gateway, &id, (&rrpid, &received.digest)).await;
    };
    let named = (&rrpid, &request.asker.brand_id);
    let mut signed: Option<(BatchReport, SealedAnswer)> = None;
    let mut tries = 0_u8;
    let (tx, status, response) = loop {
        let mut tx = gateway.db.begin().await?;
        match record(&mut tx, received, &merchant, named).await? {
            Record::New => {}
            Record::Answered(response) => return Ok(response),
            Record::AtWork => return Err(GatewayError::Working),
        }
        let report = match refused {
            Some(status) => BatchReport::of(status),
            None => match report(&mut tx, &request, received.at.seconds()).await? {
                Decided::Answer(report) => *report,
                Decided::Closing(batch_id) => {
                    // What is at work gets its place in it; nothing else does. The same bytes close it then.
                    drop(tx);
                    let mut tx = gateway.db.begin().await?;
                    batch_reports::set_closing(&mut tx, &batch_id).await?;
                    tx.commit().await?;
                    return Err(GatewayError::Working);
                }
            },
        };
        let status = report.ba_status;
        if let Some((_, response)) = signed.take().filter(|(of, _)| *of == report) {
            break (tx, status, response);
        }
        // A batch's name is made as it is opened; and one that changes all the time is told of, too.
        let is_new = request.operation == Some(BatchOperation::Open) && status == BaStatus::Success;
        if is_new || tries == SIGN_TRIES_MAX {
            let response = sign(gateway, &request, report).await?;
            break (tx, status, response);
        }
        // Signed while nobody waits for what is locked here, and decided once more then.
        tx.rollback().await?;
        let response = sign(gateway, &request, report.clone()).await?;
        signed = Some((report, response));
        tries = tries.saturating_add(1);
    };
    let answered = answered(tx.packer(), (merchant, rrpid), "BatchAdminReq", &response);
    tx.commit_with(vec![answered]).await?;
    tracing::info!(set_message = "BatchAdminReq", operation = ?request.operation, outcome = ?status, "answered");
    Ok(response.wire)
}

enum Decided {
    Answer(Box<BatchReport>),
    /// It is to be closed, and something of it is at work.
    Closing(String),
}

async fn report(
    tx: &mut Tx,
    request: &VerifiedBatchAdminReq,
    now_s: i64,
) -> Result<Decided, GatewayError> {
    let answer = |status| Ok(Decided::Answer(Box::new(BatchReport::of(status))));
    let key = key(request);
    if request.operation == Some(BatchOperation::Open) {
        if request.batch_id.is_some() {
            return answer(BaStatus::BatchIdUnavailable);
        }
        let status = match batches::open(tx, key, now_s).await? {
            (_, true) => BaStatus::Success,
            (_, false) => BaStatus::BatchAlreadyOpen,
        };
        let batch = batch_reports::lock_open(tx, key).await?;
        let batch = batch.ok_or(StoreError::Conflict(
            "the batch was closed as it was opened",
        ))?;
        return tell(tx, request, &batch, status).await;
    }
    let found = match &request.batch_id {
        Some(named) => batch_reports::lock(tx, request.asker.merchant_id(), named).await?,
        None => {
            // What a close began it goes on with, though the next batch may be open by now.
            let states = match request.operation {
                Some(BatchOperation::Close) => [State::Closing, State::Open],
                _ => [State::Open, State::Closing],
            };
            match batch_reports::find_unclosed(&mut *tx, key, &states).await? {
                Some(id) => batch_reports::lock(tx, request.asker.merchant_id(), &id).await?,
                None => None,
            }
        }
    };
    let Some(batch) = found else {
        return answer(BaStatus::UnknownBatchId);
    };
    if batch.brand != key.brand || batch.currency != key.currency.alpha() {
        return answer(BaStatus::BrandBatchMismatch);
    }
    match request.operation {
        None => tell(tx, request, &batch, BaStatus::Success).await,
        // An open one is purged elsewhere.
        Some(BatchOperation::Purge | BatchOperation::Open) => answer(BaStatus::UnknownBatchId),
        Some(BatchOperation::Close) => close(tx, request, batch, now_s).await,
    }
}

/// Closes a batch whose items have all ended, if the merchant counts as we do.
async fn close(
    tx: &mut Tx,
    request: &VerifiedBatchAdminReq,
    batch: Batch,
    now_s: i64,
) -> Result<Decided, GatewayError> {
    if batch.state == State::Closed {
        let unknown = BatchReport::of(BaStatus::UnknownBatchId);
        return Ok(Decided::Answer(Box::new(unknown)));
    }
    if batch_reports::is_at_work(&mut *tx, &batch.id).await? {
        return match batch.state {
            State::Open => Ok(Decided::Closing(batch.id)),
            _ => Err(GatewayError::Working),
        };
    }
    let totals = batch_reports::totals(&mut *tx, &batch).await?;
    if request.totals != Some(totals) {
        batch_reports::reopen(tx, &batch).await?;
        let told = VerifiedBatchAdminReq {
            summary: true,
            ..request.clone()
        };
        return tell(tx, &told, &batch, BaStatus::TotalsOutOfBalance).await;
    }
    batch_reports::close(tx, &batch.id, &totals, now_s).await?;
    let id = batch.id.parse();
    let id = id.map_err(|_| StoreError::Corrupt("batches.id"))?;
    let closed = batch_reports::lock(tx, request.asker.merchant_id(), &id).await?;
    let closed = closed.ok_or(StoreError::Corrupt("batches.id"))?;
    tell(tx, request, &closed, BaStatus::Success).await
}

/// How a batch stands, as far as the merchant wants to know.
async fn tell(
    tx: &mut Tx,
    request: &VerifiedBatchAdminReq,
    batch: &Batch,
    ba_status: BaStatus,
) -> Result<Decided, GatewayError> {
    let totals = batch_reports::totals(&mut *tx, batch).await?;
    let trans_details = match request.details {
        Some(wanted) => Some(batch_reports::details(&mut *tx, batch, wanted).await?),
        None => None,
    };
    let id = batch.id.parse();
    Ok(Decided::Answer(Box::new(BatchReport {
        ba_status,
        batch_id: Some(id.map_err(|_| StoreError::Corrupt("batches.id"))?),
        batch_status: request.summary.then(|| batch.status(totals)),
        transmission_status: batch.transmission()?,
        settlement_info: batch.settlement(&totals)?,
        trans_details,
    })))
}

fn key(request: &VerifiedBatchAdminReq) -> Key<'_> {
    Key {
        merchant_id: request.asker.merchant_id(),
        brand: request.asker.brand_id.as_str(),
        currency: request.currency,
    }
}

/// Signs and seals BatchAdminRes, off the async workers.
async fn sign(
    gateway: &Gateway,
    request: &VerifiedBatchAdminReq,
    report: BatchReport,
) -> Result<SealedAnswer, GatewayError> {
    let ours = gateway.keyring.of_brand(&request.asker.brand_id);
    let ours = ours.ok_or(GatewayError::NotReady)?;
    let request = request.clone();
    let verifier = gateway.verifier()?;
    let answer = offload(move || {
        let mut rng = random::system();
        let mut ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let state = RevocationState::of(&verifier, &request.asker.brand_id);
        batch_admin::answer(&mut ctx, &ours, &request, report, &state)
    });
    Ok(answer.await?)
}

/// What stands in an open batch, as far as one request undoes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Purge {
    request: VerifiedBatchAdminReq,
    batch_id: LocalId,
    /// Each beside the place where it stands, and whether it is a refund.
    members: Vec<(TransactionDetail, BatchPlace, bool)>,
}

/// None if no open batch is meant.
async fn members(
    gateway: &Gateway,
    request: &VerifiedBatchAdminReq,
) -> Result<Option<Purge>, GatewayError> {
    let mut connection = gateway.db.read().await?;
    let (key, merchant_id) = (key(request), request.asker.merchant_id());
    let named = match &request.batch_id {
        Some(named) => Some(named.clone()),
        None => batch_reports::find_unclosed(&mut connection, key, &[State::Open]).await?,
    };
    let found = match named {
        Some(named) => batch_reports::find(&mut connection, merchant_id, &named).await?,
        None => None,
    };
    let open = found.filter(|batch| {
        batch.state == State::Open
            && batch.brand == key.brand
            && batch.currency == key.currency.alpha()
    });
    let Some(batch) = open else { return Ok(None) };
    let most = u32::try_from(ITEMS_MAX).unwrap_or(u32::MAX);
    let standing = batch_reports::standing(&mut connection, &batch.id, most).await?;
    let batch_id: LocalId = batch
        .id
        .parse()
        .map_err(|_| StoreError::Corrupt("batches.id"))?;
    let members = standing
        .into_iter()
        .map(|(detail, is_credit)| {
            let place = BatchPlace {
                batch_id: batch_id.clone(),
                batch_sequence_num: detail.batch_sequence_num,
            };
            (detail, place, is_credit)
        })
        .collect();
    Ok(Some(Purge {
        request: request.clone(),
        batch_id,
        members,
    }))
}

impl Request for Purge {
    const PURGES: bool = true;

    fn message(&self) -> &'static str {
        "BatchAdminReq"
    }

    fn asker(&self) -> &Asking {
        &self.request.asker
    }

    fn items(&self) -> Result<Vec<Item<'_>>, GatewayError> {
        let mut items = Vec::with_capacity(self.members.len());
        for (detail, place, is_credit) in &self.members {
            items.push(Item {
                xid: &detail.xid,
                auth_rrpid: &detail.auth_rrpid,
                amount: detail.transaction_amt,
                what: if *is_credit {
                    What::CreditReversal(place)
                } else {
                    What::CaptureReversal(Some(place))
                },
                batch_id: Some(&self.batch_id),
                refused: None,
            });
        }
        Ok(items)
    }

    fn work(items: &Items<Self>) -> WorkRef<'_> {
        WorkRef::Purge(items)
    }

    fn step(&self, _: Instant, _: usize) -> Option<StepReport> {
        None
    }

    fn answer(
        &self,
        ctx: &mut Context<'_>,
        ours: &Credentials,
        ended: &[(Ended, Option<NewReceipt>)],
        state: &RevocationState,
    ) -> Result<SealedAnswer, GatewayError> {
        let mut done = Vec::with_capacity(ended.len());
        for ((detail, place, is_credit), (ended, _)) in self.members.iter().zip(ended) {
            if let Ended::Done(now) = ended {
                done.push(TransactionDetail {
                    batch_sequence_num: now.batch_sequence_num,
                    transaction_amt_type: if *is_credit {
                        AmountType::Credit
                    } else {
                        AmountType::Debit
                    },
                    original: Some(place.clone()),
                    transaction_date: ctx.now,
                    ..detail.clone()
                });
            }
        }
        done.sort_by_key(|item| item.batch_sequence_num);
        let report = BatchReport {
            batch_id: Some(self.batch_id.clone()),
            trans_details: Some(TransDetails {
                next_starting_point: None,
                transaction_detail_seq: done,
            }),
            ..BatchReport::of(BaStatus::Success)
        };
        Ok(batch_admin::answer(
            ctx,
            ours,
            &self.request,
            report,
            state,
        )?)
    }
}
