//! Steps 9 and 10: AuthReq is decoded, verified, decided, committed, answered.

use std::time::Instant;

use openset_protocol::balance::{AskedAuthorization, Instrument, No};
use openset_protocol::gateway::SealedAnswer;
use openset_protocol::gateway::auth::{self, Answering, Approval, Asker, Decision};
use openset_protocol::gateway::cap::Outcome;
use openset_protocol::messages::auth::AuthCode;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::{Context, Rejection};
use openset_service::offload::offload_brief;
use openset_service::step_report::StepReport;
use openset_service::{clock, random};
use openset_store::{StoreError, Tx};

use crate::config::Merchant;
use crate::error::GatewayError;
use crate::issuer::{Attempt, Word};
use crate::set::{Received, Record, answer_of_first, answered, record, recorded, stored_answer};
use crate::store::authorizations::{self, Decided, New};
use crate::store::payments;
use crate::store::pending::{self, Pending};
use crate::store::reversals;
use crate::work::{Authorize, WorkRef, id_of};
use crate::{Gateway, cap, worker};

mod sale;
mod verified;
use verified::{By, Verified, verify};

/// Answers AuthReq.
pub(crate) async fn handle(gateway: &Gateway, received: Received) -> Result<Vec<u8>, GatewayError> {
    let verified = match verify(gateway, &received).await {
        Err(GatewayError::Rejected(Rejection::NotSealedForUs)) => {
            gateway.keyring.look_again().await?;
            verify(gateway, &received).await
        }
        verified => verified,
    };
    let (asker, judged) = verified?;
    let xid = asker.auth_tags.trans_ids.xid;
    let answered = match judged {
        Ok(verified) => authorize(gateway, &received, asker, verified).await,
        Err(code) => refuse(gateway, &received, &asker, code).await,
    };
    if answered.is_ok() {
        tracing::info!(%xid, step = 9, set_message = "AuthReq", "answered");
    }
    answered
}

/// Commits that the issuer is asked, asks, and commits what it said.
async fn authorize(
    gateway: &Gateway,
    received: &Received,
    asker: Asker,
    verified: Verified,
) -> Result<Vec<u8>, GatewayError> {
    let id = id_of(&asker.merchant(), "AuthReq", &asker.rrpid());
    let Some(_flight) = gateway.flights.take_off(&id) else {
        let same = (&asker.rrpid(), &received.digest);
        return answer_of_first(gateway, &id, same).await;
    };
    let Verified { payment, by } = verified;
    let steps = vec![verified_step(received, &by)];
    let merchant = gateway
        .settings
        .merchant(asker.merchant_id(), &asker.brand_id);
    let leeway = merchant.map(Leeway::of).unwrap_or_default();
    let mut asked = Authorize {
        merchant_name: merchant.map(|merchant| merchant.name.clone()),
        asker,
        payment,
        approvals: 0,
        steps,
    };
    let name = (id.as_str(), leeway);
    match begin(gateway, received, name, (&mut asked, by)).await? {
        Begun::Asked => {}
        Begun::Answered(response) => return Ok(response),
        Begun::AtWork => return Err(GatewayError::Working),
        Begun::No(code) => return refuse(gateway, received, &asked.asker, code).await,
    }
    if let Some(pause) = gateway.settings.danger_pause_before_issuer {
        tracing::warn!("DANGER: pausing before the issuer is asked");
        tokio::time::sleep(pause).await;
    }
    let settled = settle(gateway, &id, &asked, Attempt::First, &received.digest).await;
    if settled.is_err() {
        worker::postpone(gateway, &id).await;
    }
    settled
}

/// How far the acquirer lets a merchant go from what a cardholder signed.
#[derive(Clone, Copy, Default)]
struct Leeway {
    tolerance_percent: u8,
    early_days: u16,
}

impl Leeway {
    fn of(merchant: &Merchant) -> Self {
        Self {
            tolerance_percent: merchant.tolerance_percent,
            early_days: merchant.recurring_early_days,
        }
    }
}

enum Begun {
    Asked,
    Answered(Vec<u8>),
    AtWork,
    No(AuthCode),
}

/// First transaction: the request is recorded with its payment, and that the issuer is to be asked.
async fn begin(
    gateway: &Gateway,
    received: &Received,
    name: (&str, Leeway),
    (asked, by): (&mut Authorize, By),
) -> Result<Begun, GatewayError> {
    if matches!(by, By::Pi { .. }) && begin_as_new(gateway, received, name, asked).await? {
        return Ok(Begun::Asked);
    }
    begin_with_known(gateway, received, name, (asked, by)).await
}

/// Nearly every request is the first under its names, with a payment instruction that was never seen: then nothing need be
/// looked at, and all that it leaves is told at once. `false` if any of it is known, or not to be granted: nothing is kept then.
async fn begin_as_new(
    gateway: &Gateway,
    received: &Received,
    (id, leeway): (&str, Leeway),
    asked: &Authorize,
) -> Result<bool, GatewayError> {
    if received.wrapper.check_date(received.at).is_err() {
        return Ok(false);
    }
    let (asker, payment) = (&asked.asker, &asked.payment);
    let (packer, vault) = (gateway.db.packer(), &gateway.vault);
    let (payment_id, balance, payment_row) =
        payments::insert(packer, vault, leeway.tolerance_percent, asker, payment)?;
    let wanted = wanted(asker, Instrument::Pi, leeway);
    let granted = balance.may_authorize(&wanted, received.at.seconds());
    if granted.is_err() {
        return Ok(false);
    }
    let new = undecided((id, &payment_id), received, asked);
    let whose = (asker.merchant_id(), &asker.brand_id);
    let names = (&asker.auth_tags.trans_ids.xid, &asker.rrpid());
    let writes = vec![
        recorded(packer, received, (&asker.merchant(), &asker.rrpid())),
        authorizations::take_name(whose, names),
        payment_row,
        authorizations::insert(packer, vault, &new)?,
        pending::insert(vault, &to_be_asked(id, received, asked))?,
    ];
    match gateway.db.write(writes).await {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn wanted<'a>(asker: &'a Asker, instrument: Instrument, leeway: Leeway) -> AskedAuthorization<'a> {
    AskedAuthorization {
        instrument,
        amount: asker.amount,
        plan: asker.install_recur_data.as_ref(),
        early_days: leeway.early_days,
    }
}

/// An authorization of which the issuer is to be asked, under this id and its payment's.
fn undecided<'a>(
    (id, payment_id): (&'a str, &'a str),
    received: &Received,
    asked: &'a Authorize,
) -> New<'a> {
    New {
        id,
        asker: &asked.asker,
        payment: Some((&asked.payment, payment_id)),
        refused: None,
        received_at_s: received.at.seconds(),
        steps: &asked.steps,
    }
}

/// The issuer is to be asked, by nobody else for now.
fn to_be_asked<'a>(id: &'a str, received: &'a Received, asked: &'a Authorize) -> Pending<'a> {
    Pending {
        id,
        wire_digest: &received.digest,
        work: WorkRef::Authorize(asked),
        next_attempt_at_ms: clock::now_ms().saturating_add(worker::LEASE_MS),
    }
}

/// Looks at what is known of the request, and locks its payment.
async fn begin_with_known(
    gateway: &Gateway,
    received: &Received,
    (id, leeway): (&str, Leeway),
    (asked, by): (&mut Authorize, By),
) -> Result<Begun, GatewayError> {
    let (asker, payment) = (&asked.asker, &asked.payment);
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
    if is_taken_back(&mut tx, asker).await? {
        tx.rollback().await?;
        return Ok(Begun::No(AuthCode::InvalidTransaction));
    }
    let ((payment_id, balance), instrument) = match by {
        By::Pi { .. } => {
            let tolerance = leeway.tolerance_percent;
            let opened = payments::open(&mut tx, &gateway.vault, tolerance, asker, payment);
            (opened.await?, Instrument::Pi)
        }
        By::Token {
            payment_id,
            approvals,
        } => {
            payments::lock(&mut tx, vec![payment_id.clone()]).await?;
            let balance = payments::load(&mut tx, &payment_id).await?;
            ((payment_id, balance), Instrument::Token { approvals })
        }
    };
    let wanted = wanted(asker, instrument, leeway);
    match balance.may_authorize(&wanted, received.at.seconds()) {
        Ok(()) => {}
        Err(No::Busy) => return Ok(Begun::AtWork),
        Err(No::Code(code)) => {
            tx.rollback().await?;
            return Ok(Begun::No(code));
        }
    }
    let new = undecided((id, &payment_id), received, asked);
    let inserted = authorizations::insert(tx.packer(), &gateway.vault, &new)?;
    asked.approvals = u32::try_from(balance.approvals()).unwrap_or(u32::MAX);
    let pending = pending::insert(&gateway.vault, &to_be_asked(id, received, asked))?;
    tx.commit_with(vec![inserted, pending]).await?;
    Ok(Begun::Asked)
}

/// Whether the merchant took the authorization back before it came. Nobody else decides about it until the transaction ends.
///
/// # Errors
/// Also when the name is that of another request: of one under another certificate of the merchant.
async fn is_taken_back(tx: &mut Tx, asker: &Asker) -> Result<bool, GatewayError> {
    let whose = (asker.merchant_id(), &asker.brand_id);
    let names = (&asker.auth_tags.trans_ids.xid, &asker.rrpid());
    let known = authorizations::lock(tx, whose, names).await?;
    if reversals::is_taken_back(known.as_ref()) {
        return Ok(true);
    }
    match known {
        Some(_) => Err(Rejection::RrpidReused.into()),
        None => Ok(false),
    }
}

/// Asks the issuer and commits what it said with the answer, in one transaction. Of a sale it is committed before: the
/// answer tells where the capture stands.
pub(crate) async fn settle(
    gateway: &Gateway,
    id: &str,
    asked: &Authorize,
    attempt: Attempt,
    wire_digest: &[u8; 32],
) -> Result<Vec<u8>, GatewayError> {
    let started = Instant::now();
    let asker = &asked.asker;
    let word = gateway.issuer.authorize(id, asked, attempt).await?;
    let mut steps = asked.steps.clone();
    steps.push(asked_step(started, &word));
    let sale = sale::ask(gateway, id, asked, &word).await?;
    steps.extend(sale.iter().map(|sale| sale.step.clone()));
    let captured = match &sale {
        Some(sale) => {
            let decided = decided(&word, clock::now_seconds(), &steps);
            let ended = sale::commit(gateway, asked, sale, &decided).await?;
            Some(cap::outcome(&ended)?)
        }
        None => None,
    };
    let answering = Instant::now();
    let response = answer(gateway, asked, &word, captured).await?;
    let step = answered_step(answering, &response.wire);
    steps.push(step.clone());
    let at_s = clock::now_seconds();
    let decided = decided(&word, at_s, &steps);
    let code = decided.code;
    let packer = gateway.db.packer();
    let of_asker = (asker.merchant(), asker.rrpid());
    let answered = answered(packer, of_asker, "AuthReq", &response);
    let committed = match sale {
        Some(_) => {
            let mut tx = gateway.db.begin().await?;
            match tx.write(pending::finished(id)).await {
                Ok(()) => authorizations::add_step(&mut tx, id, &step).await?,
                // Refused at its end, too.
                Err(StoreError::Conflict(pending::FINISHED_BEFORE)) => {}
                Err(error) => return Err(error.into()),
            }
            tx.commit_with(vec![answered]).await
        }
        None => {
            let decide = authorizations::decide(packer, id, &decided)?;
            let writes = vec![pending::finished(id), answered, decide];
            gateway.db.write(writes).await
        }
    };
    match committed {
        Ok(()) => {}
        Err(StoreError::Conflict(pending::FINISHED_BEFORE)) => {
            return stored_answer(gateway, (&asker.rrpid(), wire_digest)).await;
        }
        Err(error) => return Err(error.into()),
    }
    gateway.metrics.count_authorization(code);
    tracing::info!(xid = %asker.auth_tags.trans_ids.xid, outcome = ?code, "authorization");
    Ok(response.wire)
}

fn decided<'a>(word: &'a Word, at_s: i64, steps: &'a [StepReport]) -> Decided<'a> {
    match word {
        Word::Approved {
            issuer_authorization,
            approval_code,
            expires_at,
        } => Decided {
            code: AuthCode::Approved,
            reason: None,
            approval_code: Some(approval_code),
            issuer_authorization: Some(issuer_authorization),
            expires_at_s: Some(expires_at.seconds()),
            at_s,
            steps,
        },
        Word::Declined {
            issuer_authorization,
            code,
            reason,
        } => Decided {
            code: *code,
            reason: *reason,
            approval_code: None,
            issuer_authorization: issuer_authorization.as_deref(),
            expires_at_s: None,
            at_s,
            steps,
        },
    }
}

/// Signs and seals AuthRes.
async fn answer(
    gateway: &Gateway,
    asked: &Authorize,
    word: &Word,
    captured: Option<Outcome>,
) -> Result<SealedAnswer, GatewayError> {
    let (asker, payment) = (asked.asker.clone(), asked.payment.clone());
    let approvals = asked.approvals.saturating_add(1);
    let message = gateway.settings.message_of_day.clone();
    let word = word.clone();
    sign(gateway, &asked.asker, move |ctx, with| {
        let decision = match word {
            Word::Approved { approval_code, .. } => Decision::Approved(Approval {
                payment: &payment,
                approval_code,
                message,
                approvals,
                captured,
            }),
            Word::Declined { code, reason, .. } => Decision::Refused { code, reason },
        };
        auth::answer(ctx, with, &asker, &decision)
    })
    .await
}

/// Refuses in the normal answer, in one transaction; the issuer is not asked.
async fn refuse(
    gateway: &Gateway,
    received: &Received,
    asker: &Asker,
    code: AuthCode,
) -> Result<Vec<u8>, GatewayError> {
    let decision = Decision::Refused { code, reason: None };
    let theirs = asker.clone();
    let response = sign(gateway, asker, move |ctx, with| {
        auth::answer(ctx, with, &theirs, &decision)
    })
    .await?;
    let id = id_of(&asker.merchant(), "AuthReq", &asker.rrpid());
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
        Record::Answered(response) => return Ok(response),
        Record::AtWork => return Err(GatewayError::Working),
    }
    is_taken_back(&mut tx, asker).await?;
    let steps = [answered_step(received.started, &response.wire)];
    let new = New {
        id: &id,
        asker,
        payment: None,
        refused: Some(code),
        received_at_s: received.at.seconds(),
        steps: &steps,
    };
    let packer = tx.packer();
    let of_asker = (asker.merchant(), asker.rrpid());
    let writes = vec![
        authorizations::insert(packer, &gateway.vault, &new)?,
        answered(packer, of_asker, "AuthReq", &response),
    ];
    tx.commit_with(writes).await?;
    gateway.metrics.count_authorization(code);
    Ok(response.wire)
}

/// Makes a signed answer with the credentials of the asker's brand, where it holds nobody up.
async fn sign<F>(gateway: &Gateway, asker: &Asker, make: F) -> Result<SealedAnswer, GatewayError>
where
    F: FnOnce(&mut Context<'_>, Answering<'_>) -> Result<SealedAnswer, Rejection> + Send + 'static,
{
    let tokens = gateway.token_key.clone();
    let brand = asker.brand_id.clone();
    let ours = gateway.keyring.of_brand(&brand);
    let ours = ours.ok_or(GatewayError::NotReady)?;
    let verifier = gateway.verifier()?;
    let answer = offload_brief(move || {
        let mut rng = random::system();
        let mut ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let with = Answering {
            ours: &ours,
            tokens: &tokens,
            state: &RevocationState::of(&verifier, &brand),
        };
        make(&mut ctx, with)
    });
    Ok(answer.await?)
}

fn verified_step(received: &Received, by: &By) -> StepReport {
    let way = ["merchant", "gateway"];
    StepReport::since(
        received.started,
        9,
        by.what(),
        way,
        "AuthReq",
        received.wire.len(),
        by.verified(),
    )
}

fn asked_step(started: Instant, word: &Word) -> StepReport {
    let (what, verified) = match word {
        Word::Approved { .. } => (
            "issuer asked: amount held",
            "one hold for one idempotency key",
        ),
        Word::Declined { .. } => ("issuer asked: declined", "nothing is held"),
    };
    StepReport::since(
        started,
        9,
        what,
        ["gateway", "issuer"],
        "POST /authorizations",
        0,
        &[verified],
    )
}

fn answered_step(started: Instant, response: &[u8]) -> StepReport {
    let what = "authorization signed";
    StepReport::since(
        started,
        10,
        what,
        ["gateway", "merchant"],
        "AuthRes",
        response.len(),
        &[
            "gateway's signature on answer and receipt",
            "stored before it is sent",
        ],
    )
}
