//! Steps 5, 6 and 10 with the merchant: PInit, P, and Inq.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use openset_protocol::cardholder::inquiry;
use openset_protocol::cardholder::purchase::{
    self, AwaitingPRes, Order, PaymentStatus, PurchaseOutcome, Step,
};
use openset_protocol::ids::Language;
use openset_protocol::messages::error::ErrorTbs;
use openset_protocol::plain::plain;
use openset_protocol::thumbs::Thumbs;
use openset_protocol::wrapper::{Message, MessageWrapper};
use openset_protocol::{BrandId, Rejection};
use openset_service::client::{CALL_TIMEOUT, SetAnswer};
use openset_service::clock;
use openset_service::offload::offload_brief;
use openset_service::outbox_worker::{LEASE, OutboxHandler};
use openset_service::problem::Problem;
use openset_service::set_endpoint::MediaType;
use openset_service::set_errors;
use openset_service::step_report::StepReport;
use openset_store::StoreError;
use openset_store::outbox::{self, Outgoing};
use reqwest::Url;

use crate::purchases::{AgreedOrder, Record, Terms, allowed, known_purchase, load};
use crate::registration::Paying;
use crate::store::{self, PurchaseRow, Staple};
use crate::{Wallet, call_problem, corrupt, registration, staples, with_context};

/// How long PReq is sent again while nobody answers: shorter than the receiver keeps its answer.
pub(crate) const DEADLINE_MS: i64 = 24 * 60 * 60 * 1000;
/// How often an answer is written down anew because another came meanwhile.
const LEARN_ROUNDS: usize = 20;
/// The kind of the wallet's outgoing messages.
pub(crate) const P_REQ: &str = "PReq";

/// Buys what was agreed: PInitReq, PInitRes, then PReq, which is stored before it is sent.
pub(crate) async fn purchase(
    wallet: &Arc<Wallet>,
    terms: Terms<'_>,
    order: AgreedOrder,
    ordered: StepReport,
) -> Result<PurchaseRow, Problem> {
    let (card, staple) = registration::buying(wallet, &terms.card_id).await?;
    let brand = brand_of(&card)?.as_str().to_owned();
    if !order.initiation.brands.contains(&brand) {
        let detail = format!(
            "the merchant does not take {brand}; it takes {}",
            order.initiation.brands.join(", ")
        );
        return Err(Problem::unprocessable("brand-not-taken", detail));
    }
    let (step, shown) = initiate(wallet, &card, staple, &order).await?;
    let stored = Instant::now();
    let record = Record {
        order_description: order.initiation.order_description.clone(),
        plan: order.initiation.plan,
        steps: vec![ordered, shown],
        ..Record::default()
    };
    let row = PurchaseRow {
        certificate: card.certificate(),
        ..new_row(wallet, &terms, &order, &step.state, &record)?
    };
    if !keep(wallet, &row, &step).await? {
        // Another request with the same key was first: its purchase is the one.
        let known = known_purchase(wallet, terms.key, &terms.body_digest).await?;
        return known.ok_or_else(|| corrupt("purchases.idempotency_key"));
    }
    match send(wallet, &row, record, step, stored).await? {
        Some(answered) => Ok(answered),
        None => load(wallet, &row.purchase_id).await,
    }
}

fn brand_of(card: &Paying) -> Result<BrandId, Problem> {
    let brand = card.card().brand().cloned();
    brand.map_err(|error| refused("card-not-usable", &error))
}

/// Step 5: asks for the merchant's certificates and verifies them; makes PReq. Nothing is signed unless
/// they hold.
async fn initiate(
    wallet: &Arc<Wallet>,
    card: &Paying,
    staple: Option<Staple>,
    order: &AgreedOrder,
) -> Result<(Step<AwaitingPRes>, StepReport), Problem> {
    let started = Instant::now();
    let agreed = Order {
        lid_m: order.initiation.lid_m.clone(),
        order_description: order.initiation.order_description.clone().into_bytes(),
        purch_amt: order.amount,
        install_recur_data: order.initiation.plan,
        language: Language::english(),
        thumbs: Some(Thumbs::of(wallet.trust.verifier(), &brand_of(card)?)),
    };
    let step = with_context(|ctx| purchase::start(ctx, card.card(), agreed))
        .map_err(|e| refused("card-not-usable", &e))?;
    let answer = wallet
        .client
        .post_set(&order.set_url, MediaType::Payment, step.wire)
        .await
        .map_err(|error| call_problem("merchant-not-answering", &error))?;
    let bytes = answer.body.len();
    let (card, verifier) = (card.clone(), Arc::clone(wallet.trust.verifier()));
    let ocsp = staples::if_fresh(staple);
    let from = Some(&order.set_url);
    let next = verified(wallet, from, answer, move |wire| {
        with_context(|ctx| step.state.handle(ctx, card.card(), wire, &verifier, ocsp))
    })
    .await
    .map_err(|told| told.problem("merchant-not-verified"))?;
    let report = StepReport::since(
        started,
        5,
        "merchant verified",
        ["merchant", "cardholder"],
        "PInitRes",
        bytes,
        &[
            "merchant's signature and path to the pinned root",
            "gateway's certificate and path",
            "revocation lists",
            "brand",
            "challenge",
            "request answered",
        ],
    );
    Ok((next, report))
}

fn new_row(
    wallet: &Wallet,
    terms: &Terms<'_>,
    order: &AgreedOrder,
    state: &AwaitingPRes,
    record: &Record,
) -> Result<PurchaseRow, Problem> {
    Ok(PurchaseRow {
        sealed: sealed_state(wallet, &terms.purchase_id, state)?,
        record: wallet.seal_record(&terms.purchase_id, record)?,
        purchase_id: terms.purchase_id.clone(),
        body_digest: terms.body_digest.to_vec(),
        card_id: terms.card_id.clone(),
        state: "sent".to_owned(),
        set_url: order.set_url.to_string(),
        lid_m: order.initiation.lid_m.to_string(),
        xid: state.purchase().trans_ids().xid.to_string(),
        currency: order.amount.currency().alpha().to_owned(),
        amount_minor: order.amount.minor_i64(),
        idempotency_key: terms.key.map(str::to_owned),
        certificate: None,
        revision: 0,
        created_at_s: clock::now_seconds(),
    })
}

pub(crate) fn sealed_state(
    wallet: &Wallet,
    purchase_id: &str,
    state: &AwaitingPRes,
) -> Result<Vec<u8>, Problem> {
    let json = serde_json::to_vec(state)
        .map(zeroize::Zeroizing::new)
        .map_err(Problem::internal)?;
    let context = state_context(purchase_id);
    Ok(wallet
        .db
        .packer()
        .seal_packed(&wallet.vault, "purchases/sealed", &context, (&json, 0)))
}

fn state_context(purchase_id: &str) -> String {
    format!("purchases/state/{purchase_id}")
}

/// Stores the purchase and PReq in one transaction: after a crash the same bytes are sent.
async fn keep(
    wallet: &Wallet,
    row: &PurchaseRow,
    step: &Step<AwaitingPRes>,
) -> Result<bool, Problem> {
    let now_ms = clock::now_ms();
    let outgoing = Outgoing {
        id: row.purchase_id.clone(),
        kind: P_REQ.to_owned(),
        reference: row.purchase_id.clone(),
        url: row.set_url.clone(),
        media_type: MediaType::Payment.name().to_owned(),
        body: step.wire.clone(),
        next_attempt_at_ms: now_ms,
        deadline_at_ms: now_ms.saturating_add(DEADLINE_MS),
    };
    let lease_ms = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
    let writes = vec![
        store::new_purchase(row),
        outbox::leased(&outgoing, &wallet.replica, now_ms, lease_ms),
    ];
    match wallet.db.write(writes).await {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict(store::PURCHASE_KNOWN)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Steps 6 to 10: sends PReq and takes PRes; gives the purchase as it was stored with that. Without an answer it stays
/// pending and the outbox goes on.
async fn send(
    wallet: &Arc<Wallet>,
    row: &PurchaseRow,
    mut record: Record,
    step: Step<AwaitingPRes>,
    stored: Instant,
) -> Result<Option<PurchaseRow>, Problem> {
    let url = Url::parse(&row.set_url).map_err(|_| corrupt("purchases.set_url"))?;
    let sent = step.wire.len();
    let tie = match &row.certificate {
        Some(_) => "dual signature over order and payment",
        None => "names of merchant and gateway within the payment",
    };
    record.steps.push(StepReport::since(
        stored,
        6,
        "order and payment sent",
        ["cardholder", "merchant"],
        "PReq",
        sent,
        &[
            tie,
            "order sealed for the merchant",
            "payment sealed for the gateway",
        ],
    ));
    let started = Instant::now();
    let call = wallet.client.post_set(&url, MediaType::Payment, step.wire);
    let answer = match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            hand_over(wallet, row, record, &error.to_string()).await?;
            return Ok(None);
        }
        Err(_) => {
            hand_over(wallet, row, record, "the merchant takes too long").await?;
            return Ok(None);
        }
    };
    let answer = (answer, Some(&url));
    match settle(wallet, row, record.clone(), step.state, answer, started).await {
        Ok(answered) => Ok(answered),
        Err(told) => {
            tracing::warn!(outcome = "refused", error = %told, "the merchant's answer was refused");
            hand_over(wallet, row, record, &told.to_string()).await?;
            Ok(None)
        }
    }
}

/// Leaves PReq to the outbox worker; the owner reads why.
async fn hand_over(
    wallet: &Wallet,
    row: &PurchaseRow,
    mut record: Record,
    reason: &str,
) -> Result<(), Problem> {
    tracing::info!(
        error = reason,
        xid = row.xid,
        "PReq goes on in the background"
    );
    record.problem = Some(plain(&format!(
        "not answered yet, and sent again: {reason}"
    )));
    let waits = PurchaseRow {
        record: wallet.seal_record(&row.purchase_id, &record)?,
        revision: row.revision.saturating_add(1),
        ..row.clone()
    };
    let mut tx = wallet.db.begin().await?;
    // If another task was first, its outcome is the one.
    let _ = store::update_purchase(&mut tx, &waits, row.revision).await?;
    let again_at_ms = clock::now_ms().saturating_add(1000);
    outbox::retry_at(&mut tx, &row.purchase_id, again_at_ms).await?;
    tx.commit().await?;
    Ok(())
}

/// Takes the answer to PReq: verifies it and commits what it says, with the end of the outgoing message. `row` and `record`
/// are as last seen. Gives the purchase as it was stored, if it is known.
pub(crate) async fn settle(
    wallet: &Wallet,
    row: &PurchaseRow,
    mut record: Record,
    state: AwaitingPRes,
    (answer, from): (SetAnswer, Option<&Url>),
    started: Instant,
) -> Result<Option<PurchaseRow>, Told> {
    let verifier = Arc::clone(wallet.trust.verifier());
    let bytes = answer.body.len();
    let outcome = verified(wallet, from, answer, move |wire| {
        with_context(|ctx| state.handle(ctx, wire, &verifier))
    });
    let state = match outcome.await {
        Ok(outcome) => {
            record.steps.push(StepReport::since(
                started,
                10,
                "order confirmed",
                ["merchant", "cardholder"],
                "PRes",
                bytes,
                checks(&outcome),
            ));
            let seen = (row.clone(), record.clone());
            let learnt = learn(wallet, seen, (outcome, true), |stored| {
                stored.steps.clone_from(&record.steps);
                stored.problem = None;
            });
            return learnt.await.map(Some).map_err(Told::Failed);
        }
        Err(Told::Error(error)) => {
            // Nobody has signed this, and a person reads it.
            record.problem = Some(plain(&format!(
                "{:?}: {}",
                error.error_code, error.error_text
            )));
            "failed"
        }
        Err(told) => return Err(told),
    };
    commit(wallet, row, state, &record).await?;
    Ok(None)
}

fn checks(outcome: &PurchaseOutcome) -> &'static [&'static str] {
    match outcome.receipt {
        Some(_) => &[
            "merchant's signature",
            "challenge",
            "request answered",
            "gateway's receipt for this order and amount",
        ],
        None => &["merchant's signature", "challenge", "request answered"],
    }
}

/// Commits a verified answer, and the end of PReq if it is PReq's, whatever was learnt meanwhile: no receipt is given up, and
/// without one nothing takes back what is final. `seen` is the purchase as last seen, with its record, which `note` mends.
/// Gives the purchase as it is stored now.
async fn learn(
    wallet: &Wallet,
    seen: (PurchaseRow, Record),
    (told, ends): (PurchaseOutcome, bool),
    note: impl Fn(&mut Record),
) -> Result<PurchaseRow, Problem> {
    let (mut row, mut record) = seen;
    for _ in 0..LEARN_ROUNDS {
        let outcome = told.clone().after(record.outcome.take());
        let moves = !outcome.all_receipts().is_empty() || store::is_open(&row.state);
        let state = status_text(outcome.status);
        record.outcome = Some(outcome);
        note(&mut record);
        let next = PurchaseRow {
            state: state.to_owned(),
            record: wallet.seal_record(&row.purchase_id, &record)?,
            revision: row.revision.saturating_add(1),
            ..row.clone()
        };
        let mut writes = Vec::with_capacity(2);
        if moves {
            writes.push(store::changed_purchase(&next, row.revision));
        }
        if ends {
            writes.push(outbox::removed_if_there(&row.purchase_id));
        }
        match wallet.db.write(writes).await {
            Ok(()) => return Ok(if moves { next } else { row }),
            // Another answer was first: with what it brought, again.
            Err(StoreError::Conflict(store::PURCHASE_CHANGED)) => {}
            Err(error) => return Err(error.into()),
        }
        let mut reader = wallet.db.read().await?;
        let newer = store::purchase_by_id(&mut reader, &row.purchase_id).await?;
        row = newer.ok_or_else(|| corrupt("purchases.purchase_id"))?;
        record = wallet.open_record(&row)?;
    }
    let detail = "other answers came meanwhile; inquire again";
    Err(Problem::unavailable("busy", detail))
}

pub(crate) fn status_text(status: PaymentStatus) -> &'static str {
    match status {
        PaymentStatus::Paid => "paid",
        PaymentStatus::Reversed => "reversed",
        PaymentStatus::PartlyRefunded => "partly_refunded",
        PaymentStatus::Refunded => "refunded",
        PaymentStatus::Declined => "declined",
        PaymentStatus::Rejected => "rejected",
        PaymentStatus::Unknown => "unknown",
        _ => "pending",
    }
}

async fn commit(
    wallet: &Wallet,
    row: &PurchaseRow,
    state: &str,
    record: &Record,
) -> Result<(), Told> {
    let record = wallet
        .seal_record(&row.purchase_id, record)
        .map_err(Told::Failed)?;
    let mut tx = wallet
        .db
        .begin()
        .await
        .map_err(|e| Told::Failed(e.into()))?;
    store::move_purchase(&mut tx, &row.purchase_id, state, &record)
        .await
        .map_err(|e| Told::Failed(e.into()))?;
    outbox::remove(&mut tx, &row.purchase_id)
        .await
        .map_err(|e| Told::Failed(e.into()))?;
    tx.commit().await.map_err(|e| Told::Failed(e.into()))
}

/// Asks the merchant what became of a purchase, and takes its word as far as it can be verified.
pub(crate) async fn inquire(wallet: &Arc<Wallet>, row: &PurchaseRow) -> Result<(), Problem> {
    let card = registration::paying(wallet, &row.card_id, row.certificate.as_deref()).await?;
    let state = stored_state(wallet, row)?;
    // It may have come with a back-up from a wallet that was allowed to call other addresses.
    let url = allowed(wallet, &row.set_url, "")?;
    let agreed = state.purchase().clone();
    let verifier = Arc::clone(wallet.trust.verifier());
    let step = with_context(|ctx| inquiry::start(ctx, card.card(), &agreed, &verifier))
        .map_err(|e| refused("card-not-usable", &e))?;
    let answer = wallet
        .client
        .post_set(&url, MediaType::Payment, step.wire)
        .await
        .map_err(|error| call_problem("merchant-not-answering", &error))?;
    let outcome = verified(wallet, Some(&url), answer, move |wire| {
        with_context(|ctx| step.state.handle(ctx, &agreed, wire, &verifier))
    })
    .await
    .map_err(|told| told.problem("merchant-not-verified"))?;
    let unknown = outcome.status == PaymentStatus::Unknown;
    if unknown {
        let mut tx = wallet.db.begin().await?;
        if outbox::find(&mut tx, &row.purchase_id).await?.is_some()
            || store::mail_order_of(&mut tx, &row.purchase_id)
                .await?
                .is_some()
        {
            // The merchant does not know the order because PReq is still on its way.
            return Ok(());
        }
    }
    let seen = (row.clone(), wallet.open_record(row)?);
    let learnt = learn(wallet, seen, (outcome, false), |record| {
        if !unknown {
            record.problem = None;
        }
    });
    learnt.await.map(drop)
}

pub(crate) fn stored_state(wallet: &Wallet, row: &PurchaseRow) -> Result<AwaitingPRes, Problem> {
    let json = wallet
        .vault
        .open(&state_context(&row.purchase_id), &row.sealed)
        .map_err(Problem::internal)?;
    serde_json::from_slice(&json).map_err(|_| corrupt("purchases.sealed"))
}

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Told {
    /// The other side refused our message.
    #[error("refused with {:?}: {}", .0.error_code, plain(&.0.error_text))]
    Error(Box<ErrorTbs>),
    /// We refuse its answer.
    #[error("{0}")]
    Refused(Rejection),
    /// Something here failed.
    #[error("{}", .0.detail)]
    Failed(Problem),
}

impl Told {
    /// Our own failure as it is; a refusal as `refused` tells it.
    pub(crate) fn or_refused(self, refused: impl FnOnce(String) -> Problem) -> Problem {
        match self {
            Self::Failed(problem) => problem,
            other => refused(other.to_string()),
        }
    }

    pub(crate) fn problem(self, code: &'static str) -> Problem {
        match self {
            Self::Failed(problem) => problem,
            other => Problem::bad_gateway(code, other.to_string()),
        }
    }
}

fn refused(code: &'static str, rejection: &Rejection) -> Problem {
    Problem::conflict(code, rejection.to_string())
}

/// Verifies a merchant's answer, off the threads that serve. If it is refused, the merchant that it came from is told.
async fn verified<T: Send + 'static>(
    wallet: &Wallet,
    from: Option<&Url>,
    answer: SetAnswer,
    verify: impl FnOnce(&[u8]) -> Result<T, Rejection> + Send + 'static,
) -> Result<T, Told> {
    let answer = Arc::new(answer);
    let theirs = Arc::clone(&answer);
    let outcome = offload_brief(move || {
        protocol_answer(&theirs)?;
        verify(&theirs.body).map_err(Told::Refused)
    })
    .await;
    if let (Err(Told::Refused(rejection)), Some(url)) = (&outcome, from) {
        set_errors::tell(
            &wallet.client,
            url,
            MediaType::Payment,
            &answer.body,
            rejection,
        );
    }
    outcome
}

/// SET's Error, if the answer is one.
pub(crate) fn protocol_answer(answer: &SetAnswer) -> Result<(), Told> {
    if answer.status == 200 {
        return Ok(());
    }
    let wrapper = MessageWrapper::decode(&answer.body).map_err(Told::Refused)?;
    match wrapper.message {
        Message::Error(error) => match error.claim() {
            Some(said) => Err(Told::Error(Box::new(said))),
            None => Err(Told::Refused(Rejection::Unauthentic)),
        },
        other => Err(Told::Refused(Rejection::MessageNotTaken(other.name()))),
    }
}

impl OutboxHandler for Wallet {
    async fn answered(&self, outgoing: &Outgoing, answer: SetAnswer) -> anyhow::Result<()> {
        let mut conn = self.db.read().await?;
        let row = store::purchase_by_id(&mut conn, &outgoing.reference)
            .await?
            .context("purchase of an outgoing PReq")?;
        drop(conn);
        let state = stored_state(self, &row).map_err(|problem| anyhow::anyhow!(problem.detail))?;
        let record = self
            .open_record(&row)
            .map_err(|problem| anyhow::anyhow!(problem.detail))?;
        let url = Url::parse(&outgoing.url).context("the outbox holds a malformed URL")?;
        let answer = (answer, Some(&url));
        settle(self, &row, record, state, answer, Instant::now()).await?;
        Ok(())
    }

    async fn gave_up(&self, outgoing: &Outgoing) -> anyhow::Result<()> {
        // The purchase stays pending: an inquiry can still tell what became of it.
        let mut tx = self.db.begin().await?;
        outbox::remove(&mut tx, &outgoing.id).await?;
        tx.commit().await?;
        Ok(())
    }
}
