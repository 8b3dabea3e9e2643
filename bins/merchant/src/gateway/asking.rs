//! What is asked of the gateway about an authorization after it was given: each request is a movement, stored before it
//! is sent, and only an answer that the gateway signed ends it. Silence and unsigned Errors never do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use openset_protocol::balance::{Kind, Progress};
use openset_protocol::ids::{Rrpid, Xid};
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCred;
use openset_protocol::money::CurrencyAmount;
use openset_protocol::wrapper::Jws;
use openset_service::client::SetAnswer;
use openset_service::clock;
use openset_service::step_report::StepReport;
use openset_store::outbox::{self, Outgoing};
use openset_store::{StoreError, Tx};

use super::sending::{self, ASKED_FOR, Refusal, Took, is_error_doubted};
use super::{capture, refund, reversal};
use crate::Merchant;
use crate::failure::Failure;
use crate::store::authorizations::{self, Authorization, Said};
use crate::store::movements::{self, End, Movement, New, RestKey};
use crate::store::payments::{self, Payment};

/// What is to be asked about an authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Which authorization of the payment.
    pub(crate) auth_number: i64,
    pub(crate) what: What,
    /// By how many minor units something changes.
    pub(crate) amount_minor: u64,
}

/// What for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// So much is to stay authorized.
    Reverse(CurrencyAmount),
    /// So much is to be captured.
    Capture(CurrencyAmount),
    /// The capture of this name, at this place and of this amount, is to be cancelled.
    VoidCapture(String, Option<BatchPlace>, CurrencyAmount),
    /// So much of the capture at this place is to go back.
    Refund(Option<BatchPlace>, CurrencyAmount),
    /// The refund of this name, at this place and of this amount, is to be cancelled.
    VoidRefund(String, Option<BatchPlace>, CurrencyAmount),
}

impl What {
    fn kind(&self) -> Kind {
        match self {
            Self::Reverse(_) => Kind::Reversal,
            Self::Capture(_) => Kind::Capture,
            Self::VoidCapture(capture, ..) => Kind::CaptureReversal(capture.clone()),
            Self::Refund(..) => Kind::Credit,
            Self::VoidRefund(refund, ..) => Kind::CreditReversal(refund.clone()),
        }
    }
}

/// A request, made but not yet stored.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(super) rrpid: Rrpid,
    /// Its kind in the outbox.
    pub(super) message: &'static str,
    /// What its answer is checked against, as JSON.
    pub(super) awaiting: String,
    pub(super) wire: Vec<u8>,
}

/// What the gateway answered, verified.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) end: End,
    /// What a capture left of the hold, which is free now.
    pub(super) released_minor: u64,
    /// The hold ran out: what is left of it is to be given back, so that everybody knows.
    pub(super) ran_out: bool,
    /// For the wallet, verified: the newest; none where the first one still says all, and for payments of which the gateway
    /// kept too little.
    pub(super) receipt: Option<Jws>,
    /// What the gateway's answer was checked for, where a step of the cycle ends with it.
    pub(super) verified: Option<&'static [&'static str]>,
}

impl Told {
    /// Nothing was done.
    pub(super) fn refused(reason: String) -> Self {
        Self {
            end: End {
                amount_minor: 0,
                refusal: Some(reason),
                batch: None,
            },
            released_minor: 0,
            ran_out: false,
            receipt: None,
            verified: None,
        }
    }
}

/// A movement that waits for its answer.
pub(super) struct Waiting {
    pub(super) payment: Payment,
    pub(super) one: Authorization,
    pub(super) movement: Movement,
    /// As JSON.
    pub(super) awaiting: String,
}

/// Makes the request.
pub(crate) async fn draft(
    merchant: &Arc<Merchant>,
    payment: &Payment,
    wish: &Wish,
) -> Result<Draft, Failure> {
    draft_after(merchant, payment, wish, None).await
}

/// Makes it for what an earlier request asked for.
async fn draft_after(
    merchant: &Arc<Merchant>,
    payment: &Payment,
    wish: &Wish,
    earlier: Option<Rrpid>,
) -> Result<Draft, Failure> {
    let one = payment.numbered(wish.auth_number);
    let one = one.context("no authorization has this number");
    let one = one.map_err(Failure::Internal)?;
    let (which, original, amount) = match &wish.what {
        What::Reverse(new_amount) => {
            return reversal::draft(merchant, payment, one, *new_amount).await;
        }
        What::Capture(amount) => return capture::draft(merchant, payment, one, *amount).await,
        What::VoidCapture(_, original, amount) => (CapRevOrCred::CapRev, original, amount),
        What::Refund(original, amount) => (CapRevOrCred::Cred, original, amount),
        What::VoidRefund(_, original, amount) => (CapRevOrCred::CredRev, original, amount),
    };
    let asked = refund::Asked {
        which,
        original: original.clone(),
        amount: *amount,
        earlier,
    };
    refund::draft(merchant, payment, one, asked).await
}

/// Records what is asked, and gives the request that the caller puts into the outbox. The caller holds the payment, and
/// decided by it.
pub(crate) async fn begin(
    tx: &mut Tx,
    merchant: &Merchant,
    xid: &Xid,
    wish: &Wish,
    draft: Draft,
    rest: Option<&RestKey>,
) -> Result<Outgoing, StoreError> {
    let id = draft.rrpid.to_string();
    let new = New {
        id: &id,
        xid,
        auth_number: wish.auth_number,
        kind: &wish.what.kind(),
        amount_minor: wish.amount_minor,
        progress: Progress::Asked,
        rest,
        awaiting: Some(&draft.awaiting),
        at_ms: clock::now_ms(),
    };
    movements::insert(tx, &new).await?;
    payments::restate(tx, xid).await?;
    let Draft {
        message,
        rrpid,
        wire,
        ..
    } = draft;
    Ok(sending::outgoing(merchant, message, rrpid, id, wire))
}

/// Verifies the gateway's answer and commits it.
pub(super) async fn settle(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    answer: &SetAnswer,
    took: Took,
) -> anyhow::Result<()> {
    let Some(waiting) = waiting(merchant, outgoing).await? else {
        return Ok(());
    };
    let begin = Instant::now();
    let brand = &waiting.payment.brand;
    match sending::refusal(merchant, outgoing, brand, answer).await? {
        None => {}
        Some(Refusal::Signed(reason)) if outgoing.id == waiting.movement.id => {
            let lasted = took.lasted(outgoing);
            return finish(merchant, outgoing, &waiting, &Told::refused(reason), lasted).await;
        }
        // An unsigned one may be anybody's, and a signed one about a request anew says nothing of the one before it: the
        // bank may have done what was asked.
        Some(Refusal::Signed(reason) | Refusal::Unsigned(reason)) if is_error_doubted(outgoing) => {
            bail!("{reason}; it is asked again")
        }
        Some(Refusal::Signed(reason) | Refusal::Unsigned(reason)) => {
            return ask_anew(merchant, outgoing, &waiting, &reason).await;
        }
    }
    let told = match waiting.movement.kind {
        Kind::Reversal => reversal::verify(merchant, &waiting, answer).await?,
        Kind::Capture => capture::verify(merchant, &waiting, answer).await?,
        Kind::CaptureReversal(_) | Kind::Credit | Kind::CreditReversal(_) => {
            let anew = outgoing.id != waiting.movement.id;
            refund::verify(merchant, &waiting, answer, anew).await?
        }
    };
    let lasted = took.lasted(outgoing) + begin.elapsed();
    finish(merchant, outgoing, &waiting, &told, lasted).await
}

/// Nobody answers any more; the movement stays as it is, for the operator to settle.
pub(super) async fn give_up(merchant: &Merchant, outgoing: &Outgoing) -> anyhow::Result<()> {
    let mut tx = merchant.db.begin().await?;
    outbox::remove(&mut tx, &outgoing.id).await?;
    tx.commit().await?;
    tracing::error!(
        set_message = %outgoing.kind,
        rrpid = %outgoing.id,
        outcome = "unknown",
        "the gateway has not answered for 30 days; ask the acquirer what became of it"
    );
    Ok(())
}

/// The movement that waits for this request's answer; none when somebody else has settled it.
async fn waiting(merchant: &Merchant, outgoing: &Outgoing) -> anyhow::Result<Option<Waiting>> {
    let mut connection = merchant.db.read().await?;
    // Requests of before there were movements name the purchase; their movements have the requests' names.
    for id in [&outgoing.reference, &outgoing.id] {
        let Some((xid, awaiting)) = movements::awaiting(&mut connection, id).await? else {
            continue;
        };
        let payment = payments::find(&mut connection, &xid).await?;
        let payment = payment.context("a movement without a payment")?;
        let of = |one: &Authorization| {
            let movement = one.movements.iter().find(|movement| movement.id == *id)?;
            Some((one.clone(), movement.clone()))
        };
        let (one, movement) = payment
            .authorizations
            .iter()
            .find_map(of)
            .context("a movement without an authorization")?;
        return Ok(Some(Waiting {
            payment,
            one,
            movement,
            awaiting,
        }));
    }
    drop(connection);
    let mut tx = merchant.db.begin().await?;
    outbox::remove(&mut tx, &outgoing.id).await?;
    tx.commit().await?;
    Ok(None)
}

/// An Error about a request that the gateway can no longer take for new: if it took it before, it gives its answer to
/// whoever asks for the same again, and if not, it does it now. A reversal is to an amount and an authorization is captured
/// once; refunds and cancellations name the first request for them. So none of it happens twice.
async fn ask_anew(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    waiting: &Waiting,
    reason: &str,
) -> anyhow::Result<()> {
    let (payment, movement) = (&waiting.payment, &waiting.movement);
    let since_ms = clock::now_ms().saturating_sub(movement.asked_at_ms);
    if since_ms > i64::try_from(ASKED_FOR.as_millis()).unwrap_or(i64::MAX) {
        return give_up(merchant, outgoing).await;
    }
    let amount = || payment.of(movement.amount_minor).context("too much");
    let place = |id: &str| {
        let named = |one: &&Movement| one.id == id;
        waiting.one.movements.iter().find(named)?.batch.clone()
    };
    let what = match &movement.kind {
        Kind::Reversal => What::Reverse(reversal::wanted(&waiting.awaiting)?),
        Kind::Capture => What::Capture(amount()?),
        Kind::CaptureReversal(id) => What::VoidCapture(id.clone(), place(id), amount()?),
        Kind::CreditReversal(id) => What::VoidRefund(id.clone(), place(id), amount()?),
        Kind::Credit => {
            let capture = waiting.one.capture();
            What::Refund(capture.and_then(|capture| capture.batch.clone()), amount()?)
        }
    };
    let wish = Wish {
        auth_number: movement.auth_number,
        what,
        amount_minor: movement.amount_minor,
    };
    let earlier = movement.id.parse().context("movements.id")?;
    let draft = draft_after(merchant, payment, &wish, Some(earlier)).await?;
    let mut tx = merchant.db.begin().await?;
    if !outbox::remove(&mut tx, &outgoing.id).await? {
        return Ok(());
    }
    movements::await_anew(&mut tx, &movement.id, &draft.awaiting).await?;
    let Draft {
        message,
        rrpid,
        wire,
        ..
    } = draft;
    let reference = movement.id.clone();
    let anew = sending::outgoing(merchant, message, rrpid, reference, wire);
    outbox::enqueue(&mut tx, &anew).await?;
    tx.commit().await?;
    tracing::warn!(
        set_message = %outgoing.kind,
        xid = %payment.xid,
        outcome = "asked anew",
        error = reason,
        "the gateway takes the old request no more"
    );
    Ok(())
}

/// One transaction: the request leaves the outbox, the movement ends, and the payment stands where that puts it.
async fn finish(
    merchant: &Arc<Merchant>,
    outgoing: &Outgoing,
    waiting: &Waiting,
    told: &Told,
    lasted: Duration,
) -> anyhow::Result<()> {
    let (xid, movement) = (&waiting.payment.xid, &waiting.movement);
    let release = if told.ran_out {
        Some(draft_release(merchant, &waiting.payment, &waiting.one).await?)
    } else {
        None
    };
    let mut tx = merchant.db.begin().await?;
    if !outbox::remove(&mut tx, &outgoing.id).await? {
        return Ok(());
    }
    let mut done = payments::hold(&mut tx, xid).await?;
    let payment = payments::find(&mut tx, xid).await?;
    let payment = payment.context("the movement is of an unknown purchase")?;
    let at_ms = clock::now_ms();
    movements::end(&mut tx, &movement.id, &told.end, at_ms).await?;
    if told.released_minor > 0 {
        let rest = New {
            id: &format!("{}-rest", movement.id),
            xid,
            auth_number: movement.auth_number,
            kind: &Kind::Reversal,
            amount_minor: told.released_minor,
            progress: Progress::Done,
            rest: None,
            awaiting: None,
            at_ms,
        };
        movements::insert(&mut tx, &rest).await?;
    }
    if let Some(receipt) = &told.receipt {
        let one = payment.numbered(movement.auth_number);
        let one = one.context("no authorization has this number")?;
        authorizations::take_receipt(&mut tx, xid, one, receipt).await?;
    }
    if let Some(verified) = told.verified {
        done.add(&[StepReport::lasting(
            lasted,
            11,
            "merchant paid",
            ["merchant", "gateway"],
            "CapReq",
            outgoing.body.len(),
            verified,
        )]);
    }
    if let Some((wish, draft)) = release {
        let queued = begin(&mut tx, merchant, xid, &wish, draft, None).await?;
        outbox::enqueue(&mut tx, &queued).await?;
    }
    let state = payments::restate_with(&mut tx, xid, &done).await?;
    tx.commit().await?;
    tracing::info!(
        set_message = %outgoing.kind,
        xid = %xid,
        lid_m = %payment.order_id,
        outcome = told.end.refusal.as_deref().unwrap_or("done"),
        state = %state,
        "answered"
    );
    Ok(())
}

/// Why nothing was done, with the gateway's code as the wire has it.
pub(super) fn refusal(what: &str, code: &impl serde::Serialize) -> String {
    let code = serde_json::to_value(code).unwrap_or_default();
    let code = code.as_str().unwrap_or("unknown");
    format!("the gateway did not {what}: {code}")
}

/// Asks for the whole of an authorization back: one whose answer will not be waited for, as the bank may hold it, or one
/// whose hold ran out.
pub(super) async fn draft_release(
    merchant: &Arc<Merchant>,
    payment: &Payment,
    one: &Authorization,
) -> anyhow::Result<(Wish, Draft)> {
    let nothing = payment.of(0).context("an amount of 0")?;
    let amount_minor = match one.said {
        Said::Nothing => one.amount.minor(),
        _ => one.remaining_minor(),
    };
    let wish = Wish {
        auth_number: one.number,
        what: What::Reverse(nothing),
        amount_minor,
    };
    let draft = draft(merchant, payment, &wish).await?;
    Ok((wish, draft))
}
