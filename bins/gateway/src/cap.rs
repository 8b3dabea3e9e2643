//! After step 10: CapReq is decoded, verified, decided, committed, answered.

use std::time::Instant;

use openset_protocol::gateway::cap::{self, VerifiedCapReq};
use openset_protocol::messages::cap::CapCode;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::{Context, Rejection};
use openset_service::offload::offload;
use openset_service::step_report::StepReport;
use openset_service::{clock, random};
use openset_store::exchanges;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::error::GatewayError;
use crate::set::{Received, Record, answer_of_first, record, stored_answer};
use crate::store::captures;
use crate::store::pending::{self, Pending};
use crate::work::{Capture, CaptureOrder, WorkRef, id_of};
use crate::{Gateway, worker};

/// What holds once an item of a CapReq was captured.
const VERIFIED: &[&str] = &[
    "merchant certificate: path, role, brand, revocation",
    "merchant signature",
    "capture token is ours, for this merchant, purchase and authorization",
    "amount within the authorization",
    "not captured before",
];

/// Answers CapReq.
pub(crate) async fn handle(gateway: &Gateway, received: Received) -> Result<Vec<u8>, GatewayError> {
    let verified = match verify(gateway, &received).await {
        Err(GatewayError::Rejected(Rejection::NotSealedForUs)) => {
            gateway.keyring.look_again().await?;
            verify(gateway, &received).await
        }
        verified => verified,
    };
    let request = verified?;
    let id = id_of(&request.asker.merchant(), "CapReq", &request.asker.rrpid());
    let Some(_flight) = gateway.flights.take_off(&id) else {
        return answer_of_first(gateway, &id, &received.digest).await;
    };
    let capture = match begin(gateway, &received, &id, request).await? {
        Begun::Asked(capture) => capture,
        Begun::Answered(response) => return Ok(response),
        Begun::AtWork => return Err(GatewayError::Working),
    };
    if let Some(pause) = gateway.settings.danger_pause_before_issuer {
        tracing::warn!("DANGER: pausing before the issuer is asked");
        tokio::time::sleep(pause).await;
    }
    let settled = settle(gateway, &id, &capture, &received.digest).await;
    if settled.is_err() {
        worker::postpone(gateway, &id).await;
    }
    settled
}

/// All that needs no database: seal, signature, paths, and each item against its token.
async fn verify(gateway: &Gateway, received: &Received) -> Result<VerifiedCapReq, GatewayError> {
    let verifier = gateway.verifier()?;
    let keyring = gateway.keyring.all();
    let tokens = gateway.token_key.clone();
    let Received {
        wire, wrapper, at, ..
    } = received.clone();
    let mut request = offload(move || {
        let ours: Vec<_> = keyring.iter().collect();
        cap::open(&wire, &wrapper, &ours, &tokens, &verifier, at)
    })
    .await?;
    if request.asker.acquirer_bin != gateway.settings.acquirer_bin.as_str() {
        // Another acquirer's merchant may have the same name as ours: no token is its own.
        for (_, refused) in &mut request.items {
            *refused = Some(CapCode::InvalidCapToken);
        }
    }
    Ok(request)
}

enum Begun {
    Asked(Box<Capture>),
    Answered(Vec<u8>),
    AtWork,
}

/// First transaction: the request is recorded, and each item that may be captured is marked so.
async fn begin(
    gateway: &Gateway,
    received: &Received,
    id: &str,
    request: VerifiedCapReq,
) -> Result<Begun, GatewayError> {
    let asker = &request.asker;
    let mut tx = gateway.db.begin().await?;
    match record(&mut tx, received, &asker.merchant(), &asker.rrpid()).await? {
        Record::New => {}
        Record::Answered(response) => return Ok(Begun::Answered(response)),
        Record::AtWork => return Ok(Begun::AtWork),
    }
    let plan = captures::begin(
        &mut tx,
        &captures::Request {
            id,
            merchant_id: asker.merchant_id(),
            brand: &asker.brand_id,
            items: &request.items,
            now_s: received.at.seconds(),
        },
    )
    .await?;
    let capture = Box::new(Capture {
        request,
        bytes: received.wire.len(),
        plan,
    });
    let work = WorkRef::Capture(&capture);
    let next_attempt_at_ms = clock::now_ms().saturating_add(worker::LEASE_MS);
    let pending = Pending {
        id,
        wire_digest: &received.digest,
        work,
        next_attempt_at_ms,
    };
    pending::insert(&mut tx, &gateway.vault, &pending).await?;
    tx.commit().await?;
    Ok(Begun::Asked(capture))
}

/// Asks the issuer for every item, commits each by itself, and at last the answer.
pub(crate) async fn settle(
    gateway: &Gateway,
    id: &str,
    capture: &Capture,
    wire_digest: &[u8; 32],
) -> Result<Vec<u8>, GatewayError> {
    let outcomes = ask(gateway, capture).await?;
    let response = answer(gateway, capture, &outcomes).await?;
    let mut tx = gateway.db.begin().await?;
    if !pending::finish(&mut tx, id).await? {
        drop(tx);
        return stored_answer(gateway, wire_digest).await;
    }
    let asker = &capture.request.asker;
    let (sender, rrpid) = (asker.merchant().to_string(), asker.rrpid().to_string());
    exchanges::answer(&mut tx, &sender, "CapReq", &rrpid, &response).await?;
    tx.commit().await?;
    for outcome in outcomes {
        gateway.metrics.count_capture(outcome);
        tracing::info!(step = 11, ?outcome, "capture");
    }
    Ok(response)
}

/// All items side by side, each committed as soon as the issuer has spoken: one that stays unanswered keeps the
/// answer back, not the others' money.
async fn ask(gateway: &Gateway, capture: &Capture) -> Result<Vec<CapCode>, GatewayError> {
    let started = Instant::now();
    let mut outcomes: Vec<Option<CapCode>> = Vec::with_capacity(capture.plan.len());
    let mut asking = JoinSet::new();
    for (place, planned) in capture.plan.iter().enumerate() {
        outcomes.push(match planned {
            Err(code) => Some(*code),
            // An attempt that was cut short may have ended it.
            Ok(order) => captures::outcome(&mut *gateway.db.read().await?, order).await?,
        });
        if let (Ok(order), Some(None)) = (planned, outcomes.last()) {
            let (issuer, order) = (gateway.issuer.clone(), order.clone());
            let call = async move {
                let outcome = issuer.capture(&order).await;
                (place, order, outcome)
            };
            asking.spawn(call.in_current_span());
        }
    }
    let mut unknown = None;
    while let Some(asked) = asking.join_next().await {
        let Ok((place, order, outcome)) = asked else {
            return Err(GatewayError::Working);
        };
        match outcome {
            Ok(outcome) => {
                end(gateway, capture, &order, outcome, started).await?;
                if let Some(slot) = outcomes.get_mut(place) {
                    *slot = Some(outcome);
                }
            }
            Err(error) => unknown = Some(error),
        }
    }
    match unknown {
        Some(error) => Err(error),
        None => Ok(outcomes.into_iter().flatten().collect()),
    }
}

/// Commits what the issuer said of one item, unless somebody else has.
async fn end(
    gateway: &Gateway,
    capture: &Capture,
    order: &CaptureOrder,
    outcome: CapCode,
    started: Instant,
) -> Result<(), GatewayError> {
    let merchant_id = capture.request.asker.merchant_id();
    let (step, at_s) = (step(started, capture), clock::now_seconds());
    let mut tx = gateway.db.begin().await?;
    if captures::end(&mut tx, merchant_id, order, outcome, &step, at_s).await? {
        tx.commit().await?;
    }
    Ok(())
}

/// Signs and seals CapRes.
async fn answer(
    gateway: &Gateway,
    capture: &Capture,
    outcomes: &[CapCode],
) -> Result<Vec<u8>, GatewayError> {
    let brand = &capture.request.asker.brand_id;
    let ours = gateway
        .keyring
        .of_brand(brand)
        .ok_or(GatewayError::NotReady)?;
    let (request, outcomes) = (capture.request.clone(), outcomes.to_vec());
    let verifier = gateway.verifier()?;
    let answer = offload(move || {
        let mut rng = random::system();
        let mut ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let state = RevocationState::of(&verifier, &request.asker.brand_id);
        cap::answer(&mut ctx, &ours, &request, &outcomes, &state)
    });
    Ok(answer.await?)
}

fn step(started: Instant, capture: &Capture) -> StepReport {
    let what = "capture booked";
    StepReport::since(
        started,
        11,
        what,
        ["merchant", "gateway"],
        "CapReq",
        capture.bytes,
        VERIFIED,
    )
}
