//! What is common to CapReq, CapRevReq, CredReq and CredRevReq: each moves money in up to 32 items. Decode, verify,
//! decide, commit, answer; each item ends by itself.

use std::time::Instant;

use openset_pki::PathVerifier;
use openset_protocol::balance::Kind;
use openset_protocol::gateway::SealedAnswer;
use openset_protocol::gateway::asking::Asking;
use openset_protocol::gateway::auth::TokenKey;
use openset_protocol::gateway::receipt::NewReceipt;
use openset_protocol::identity::Credentials;
use openset_protocol::ids::Rrpid;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::MessageWrapper;
use openset_protocol::{Context, Rejection, Timestamp};
use openset_service::offload::{offload, offload_brief};
use openset_service::step_report::StepReport;
use openset_service::{clock, random};
use openset_store::StoreError;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::error::GatewayError;
use crate::set::{Received, Record, answer_of_first, answered, record, stored_answer};
use crate::store::items::{self, Item};
use crate::store::pending::{self, Pending};
use crate::store::receipts;
use crate::work::{Ended, Items, Order, WorkRef, id_of};
use crate::{Gateway, worker};

/// A request whose items stand in it.
pub(crate) trait Opens: Request {
    /// Verifies all that needs no database: seal, signature, paths, and each item against its token.
    fn open(
        wire: (&[u8], &MessageWrapper),
        ours: &[&Credentials],
        tokens: &TokenKey,
        verifier: &PathVerifier,
        now: Timestamp,
    ) -> Result<Self, Rejection>;

    /// Refuses every item: no token is this merchant's own.
    fn refuse_all(&mut self);
}

/// A request with items, verified.
pub(crate) trait Request: Clone + Send + Sync + Sized + 'static {
    /// Whether what it undoes counts as purged.
    const PURGES: bool = false;

    /// Its name on the wire.
    fn message(&self) -> &'static str;

    fn asker(&self) -> &Asking;

    /// The first request for the same, if this is not it.
    fn earlier(&self) -> Option<Rrpid> {
        None
    }

    fn items(&self) -> Result<Vec<Item<'_>>, GatewayError>;

    fn work(items: &Items<Self>) -> WorkRef<'_>;

    /// What the purchase's report tells of an item that was done.
    fn step(&self, started: Instant, bytes: usize) -> Option<StepReport>;

    /// Signs and seals the response, with the cardholder's newest receipts.
    fn answer(
        &self,
        ctx: &mut Context<'_>,
        ours: &Credentials,
        ended: &[(Ended, Option<NewReceipt>)],
        state: &RevocationState,
    ) -> Result<SealedAnswer, GatewayError>;
}

/// Answers a request with items.
pub(crate) async fn handle<R: Opens>(
    gateway: &Gateway,
    received: Received,
) -> Result<Vec<u8>, GatewayError> {
    let verified: Result<R, _> = match verify(gateway, &received).await {
        Err(GatewayError::Rejected(Rejection::NotSealedForUs)) => {
            gateway.keyring.look_again().await?;
            verify(gateway, &received).await
        }
        verified => verified,
    };
    run(gateway, &received, verified?).await
}

/// Does a verified request, item by item.
pub(crate) async fn run<R: Request>(
    gateway: &Gateway,
    received: &Received,
    request: R,
) -> Result<Vec<u8>, GatewayError> {
    let asker = request.asker();
    let id = id_of(&asker.merchant(), request.message(), &asker.rrpid());
    let Some(_flight) = gateway.flights.take_off(&id) else {
        let same = (&asker.rrpid(), &received.digest);
        return answer_of_first(gateway, &id, same).await;
    };
    let items = match begin(gateway, received, &id, request).await? {
        Begun::Asked(items) => items,
        Begun::Answered(response) => return Ok(response),
        Begun::AtWork => return Err(GatewayError::Working),
    };
    if let Some(pause) = gateway.settings.danger_pause_before_issuer {
        tracing::warn!("DANGER: pausing before the issuer is asked");
        tokio::time::sleep(pause).await;
    }
    let settled = settle(gateway, &id, &items, &received.digest).await;
    if settled.is_err() {
        worker::postpone(gateway, &id).await;
    }
    settled
}

async fn verify<R: Opens>(gateway: &Gateway, received: &Received) -> Result<R, GatewayError> {
    let verifier = gateway.verifier()?;
    let keyring = gateway.keyring.all();
    let tokens = gateway.token_key.clone();
    let Received {
        wire, wrapper, at, ..
    } = received.clone();
    let mut request = offload_brief(move || {
        let ours: Vec<_> = keyring.iter().collect();
        R::open((&wire, &wrapper), &ours, &tokens, &verifier, at)
    })
    .await?;
    if request.asker().acquirer_bin != gateway.settings.acquirer_bin.as_str() {
        // Another acquirer's merchant may have the same name as ours.
        request.refuse_all();
    }
    Ok(request)
}

enum Begun<R> {
    Asked(Box<Items<R>>),
    Answered(Vec<u8>),
    AtWork,
}

/// First transaction: the request is recorded, and what may be done of it is begun.
async fn begin<R: Request>(
    gateway: &Gateway,
    received: &Received,
    id: &str,
    request: R,
) -> Result<Begun<R>, GatewayError> {
    let asker = request.asker();
    let mut tx = gateway.db.begin().await?;
    match record(
        &mut tx,
        received,
        &asker.merchant(),
        (&asker.rrpid(), &asker.brand_id),
    )
    .await?
    {
        Record::New => {}
        Record::Answered(response) => return Ok(Begun::Answered(response)),
        Record::AtWork => return Ok(Begun::AtWork),
    }
    let (message, first) = (request.message(), request.earlier());
    let first = first.unwrap_or_else(|| asker.rrpid());
    let asked = items::Request {
        id,
        first_id: &id_of(&asker.merchant(), message, &first),
        effect: &format!("{message}/{first}"),
        anew: request.earlier().is_some(),
        merchant_id: asker.merchant_id(),
        brand: &asker.brand_id,
        items: request.items()?,
        purges: R::PURGES,
        now_s: received.at.seconds(),
    };
    let plan = items::begin(&mut tx, &asked).await?;
    let items = Box::new(Items {
        request,
        bytes: received.wire.len(),
        plan,
    });
    let next_attempt_at_ms = clock::now_ms().saturating_add(worker::LEASE_MS);
    let pending = Pending {
        id,
        wire_digest: &received.digest,
        work: R::work(&items),
        next_attempt_at_ms,
    };
    tx.commit_with(vec![pending::insert(&gateway.vault, &pending)?])
        .await?;
    Ok(Begun::Asked(items))
}

/// Asks the issuer for every item, commits each by itself, and at last the answer.
pub(crate) async fn settle<R: Request>(
    gateway: &Gateway,
    id: &str,
    items: &Items<R>,
    wire_digest: &[u8; 32],
) -> Result<Vec<u8>, GatewayError> {
    let ended = ask(gateway, items).await?;
    let told = with_receipts(gateway, &items.request, ended.clone()).await?;
    let response = answer(gateway, &items.request, told).await?;
    let (message, asker) = (items.request.message(), items.request.asker());
    let of_asker = (asker.merchant(), asker.rrpid());
    let writes = vec![
        pending::finished(id),
        answered(gateway.db.packer(), of_asker, message, &response),
    ];
    match gateway.db.write(writes).await {
        Ok(()) => {}
        Err(StoreError::Conflict(pending::FINISHED_BEFORE)) => {
            return stored_answer(gateway, (&asker.rrpid(), wire_digest)).await;
        }
        Err(error) => return Err(error.into()),
    }
    for item in ended {
        let code = match &item {
            Ended::Done(_) => "success",
            Ended::Refused(refusal) => &refusal.code,
        };
        gateway.metrics.count_item(message, code);
        tracing::info!(set_message = message, outcome = code, "item answered");
    }
    Ok(response.wire)
}

/// All items side by side, each committed as soon as the issuer has spoken: one that stays unanswered keeps the
/// answer back, not the others' money.
async fn ask<R: Request>(gateway: &Gateway, items: &Items<R>) -> Result<Vec<Ended>, GatewayError> {
    let started = Instant::now();
    let mut ended: Vec<Option<Ended>> = Vec::with_capacity(items.plan.len());
    let mut asking = JoinSet::new();
    for (place, planned) in items.plan.iter().enumerate() {
        ended.push(match planned {
            Err(refusal) => Some(Ended::Refused(refusal.clone())),
            // An attempt that was cut short may have ended it.
            Ok(order) => items::ended(&mut *gateway.db.read().await?, order).await?,
        });
        if let (Ok(order), Some(None)) = (planned, ended.last()) {
            let (issuer, order) = (gateway.issuer.clone(), order.clone());
            let call = async move {
                let refused = issuer.move_money(&order).await;
                (place, order, refused)
            };
            asking.spawn(call.in_current_span());
        }
    }
    let mut unknown = None;
    while let Some(asked) = asking.join_next().await {
        let Ok((place, order, refused)) = asked else {
            return Err(GatewayError::Working);
        };
        match refused {
            Ok(refused) => {
                let refused = refused.as_deref();
                let item = end(gateway, items, &order, refused, started).await?;
                if let Some(slot) = ended.get_mut(place) {
                    *slot = Some(item);
                }
            }
            Err(error) => unknown = Some(error),
        }
    }
    match unknown {
        Some(error) => Err(error),
        None => Ok(ended.into_iter().flatten().collect()),
    }
}

/// Commits what the issuer said of one item, unless somebody else has.
async fn end<R: Request>(
    gateway: &Gateway,
    items: &Items<R>,
    order: &Order,
    refused: Option<&str>,
    started: Instant,
) -> Result<Ended, GatewayError> {
    let merchant_id = items.request.asker().merchant_id();
    let step = match order.kind {
        Kind::Capture => items.request.step(started, items.bytes),
        _ => None,
    };
    let said = (refused, step.as_ref());
    let mut tx = gateway.db.begin().await?;
    match items::end(&mut tx, merchant_id, order, said, clock::now_seconds()).await? {
        Some(ended) => {
            tx.commit().await?;
            Ok(ended)
        }
        None => {
            drop(tx);
            let ended = items::ended(&mut *gateway.db.read().await?, order).await?;
            ended.ok_or(GatewayError::Working)
        }
    }
}

/// What was done, or stands already, beside the receipt that says so by now. Whoever lost an answer and asks again gets
/// that one.
async fn with_receipts<R: Request>(
    gateway: &Gateway,
    request: &R,
    ended: Vec<Ended>,
) -> Result<Vec<(Ended, Option<NewReceipt>)>, GatewayError> {
    let (asker, vault) = (request.asker(), &gateway.vault);
    let whose = (asker.merchant_id(), &asker.brand_id);
    let mut connection = gateway.db.read().await?;
    let mut told = Vec::with_capacity(ended.len());
    for (item, ended) in request.items()?.iter().zip(ended) {
        let stands = match &ended {
            // A purge's answer lists places alone.
            _ if R::PURGES => false,
            Ended::Done(_) => true,
            Ended::Refused(refusal) => refusal.stands.is_some(),
        };
        let receipt = match stands {
            true => {
                let names = (item.xid, item.auth_rrpid);
                receipts::newest(&mut connection, vault, whose, names).await?
            }
            false => None,
        };
        told.push((ended, receipt));
    }
    Ok(told)
}

async fn answer<R: Request>(
    gateway: &Gateway,
    request: &R,
    ended: Vec<(Ended, Option<NewReceipt>)>,
) -> Result<SealedAnswer, GatewayError> {
    let ours = gateway.keyring.of_brand(&request.asker().brand_id);
    let ours = ours.ok_or(GatewayError::NotReady)?;
    let request = request.clone();
    let verifier = gateway.verifier()?;
    // A receipt is signed for each.
    let is_brief = ended.len() <= 1;
    let work = move || {
        let mut rng = random::system();
        let mut ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let state = RevocationState::of(&verifier, &request.asker().brand_id);
        request.answer(&mut ctx, &ours, &ended, &state)
    };
    if is_brief {
        offload_brief(work).await
    } else {
        offload(work).await
    }
}
