//! Requests that move money. Each has an Idempotency-Key, which belongs to its movement for good: sent again, the request
//! is answered by what became of that movement, whatever was done since.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use openset_protocol::Timestamp;
use openset_protocol::balance::{Kind, Progress};
use openset_protocol::ids::LocalId;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::initiation::Money;
use openset_protocol::money::CurrencyAmount;
use openset_service::clock;
use openset_service::problem::{self, Problem};
use openset_store::Tx;
use openset_store::idempotency::{self, Claim, Keyed};
use openset_store::outbox::Outgoing;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::AnyConnection;
use tokio::time::timeout;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::order_view;
use super::replay::{Answer, IdempotencyKey};
use crate::gateway::asking::{self, Draft, Wish};
use crate::gateway::sending;
use crate::store::authorizations::{self, Authorization};
use crate::store::movements::{self, Movement, RestKey};
use crate::store::orders::Order;
use crate::store::payments::{self, Payment, State};
use crate::{Merchant, schema};

/// The scope in which keys of requests that move money are taken.
const KEYS: &str = "money";

/// How far a movement of money came.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Moved {
    #[schema(value_type = String)]
    order_id: LocalId,
    /// The movement's name.
    movement: String,
    /// After a reversal `reversed` when nothing is authorized any more, or `authorized` for what is left; after a capture
    /// `captured`; after a refund `refunded`; `authorized` after a capture, `captured` after a refund was cancelled.
    /// `reversing`, `capturing`, `refunding` or `voiding` while the gateway has not answered; then it is asked on.
    state: &'static str,
    /// What is authorized after a reversal, or after a capture was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    authorized: Option<Money>,
    /// What was captured; nothing more of the authorization can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    captured: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    captured_at: Option<Timestamp>,
    /// What went back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    refunded: Option<Money>,
    /// What was cancelled of captures or refunds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    voided: Option<Money>,
    /// Where it stands at the acquirer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::BatchPlace>)]
    batch: Option<BatchPlace>,
}

/// A request as it came.
pub(super) struct Call {
    /// What it is, with the order's id in its path.
    pub(super) route: &'static str,
    pub(super) order_id: String,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) body: Bytes,
}

impl Call {
    /// What the body says; nothing at all says the same as an empty object.
    pub(super) fn body<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        problem::from_json(&self.body)
    }

    pub(super) fn rest_key(&self, order: &Order) -> Result<RestKey, Problem> {
        let key = self.key.clone().ok_or_else(key_missing)?;
        let mut stands_for = format!("{}\n{}\n", self.route, order.id).into_bytes();
        stands_for.extend_from_slice(&self.body);
        Ok(RestKey {
            key: key.into(),
            digest: openset_jose::sha256(&stands_for),
        })
    }
}

/// Asks the gateway for what `wish` makes of the order's payment, once, and waits for the answer, but not for ever.
/// `wish` decides twice: before the request is made, and again when nobody else can change the payment.
pub(super) async fn perform(
    merchant: &Arc<Merchant>,
    call: &Call,
    wish: impl Fn(Option<&Payment>) -> Result<Wish, Problem>,
) -> Result<Answer, Problem> {
    let (order, payment) = order_view::find(merchant, &call.order_id).await?;
    let rest = call.rest_key(&order)?;
    let known = known(&mut *merchant.db.read().await?, &rest).await?;
    if let Some(movement) = known {
        return answer(merchant, &order, &movement).await;
    }
    let wished = wish(payment.as_ref())?;
    let payment = payment.ok_or_else(|| not_possible(State::Rejected.name()))?;
    let draft = asking::draft(merchant, &payment, &wished).await?;
    let movement = match commit(merchant, &payment, (&wished, draft), &rest, &wish).await? {
        Committed::Known(movement) => movement,
        Committed::Queued(outgoing) => {
            let movement = outgoing.reference.clone();
            let sending = sending::send_now(Arc::clone(merchant), outgoing).in_current_span();
            // Without an answer in time the sending goes on by itself.
            let _ = timeout(merchant.settings.authorization_wait, tokio::spawn(sending)).await;
            movement
        }
    };
    answer(merchant, &order, &movement).await
}

/// What stands in the database after [`commit`].
enum Committed {
    /// The same call was a moment faster: this is its movement.
    Known(String),
    /// The request, which is to be sent now.
    Queued(Outgoing),
}

/// One transaction: the key has its movement, which is asked for, and the request stands in the outbox.
async fn commit(
    merchant: &Merchant,
    payment: &Payment,
    (wished, draft): (&Wish, Draft),
    rest: &RestKey,
    wish: impl Fn(Option<&Payment>) -> Result<Wish, Problem>,
) -> Result<Committed, Problem> {
    let mut tx = merchant.db.begin().await?;
    let locked = payments::lock(&mut tx, &payment.xid).await?;
    if let Some(movement) = known(&mut tx, rest).await? {
        return Ok(Committed::Known(movement));
    }
    claim(&mut tx, rest).await?;
    if wish(Some(&locked))? != *wished {
        return Err(Problem::unavailable(
            "overtaken",
            "another request has changed the payment; send the same again",
        ));
    }
    let xid = &payment.xid;
    let queued = asking::begin(&mut tx, merchant, xid, wished, draft, Some(rest)).await?;
    tx.commit_with(vec![sending::enqueue(merchant, &queued)])
        .await?;
    Ok(Committed::Queued(queued))
}

/// The movement that the key stands for.
///
/// # Errors
/// 422 when it stands for another request.
async fn known(conn: &mut AnyConnection, rest: &RestKey) -> Result<Option<String>, Problem> {
    let other = authorizations::of_key(&mut *conn, &rest.key).await?;
    match movements::of_key(conn, &rest.key).await? {
        Some((_, known)) if known.digest != rest.digest => Err(key_reused()),
        Some((movement, _)) => Ok(Some(movement)),
        None if other.is_some() => Err(key_reused()),
        None => Ok(None),
    }
}

/// There is no key.
pub(super) fn key_missing() -> Problem {
    Problem::bad_request(
        "idempotency-key-missing",
        "send an Idempotency-Key, a fresh UUID for example, so that the request may be sent again",
    )
}

/// Takes the key for this request, for good, whatever moves by it and of whichever order: two requests with one key that
/// come at once stand for one effect, or the later one is refused.
pub(super) async fn claim(tx: &mut Tx, rest: &RestKey) -> Result<(), Problem> {
    let call = Keyed {
        scope: KEYS,
        key: &rest.key,
        body_digest: &rest.digest,
        now: clock::now_seconds(),
        keep_until: i64::MAX,
    };
    match idempotency::claim(tx, &call).await? {
        Claim::New => Ok(()),
        Claim::Mismatch => Err(key_reused()),
        Claim::InFlight | Claim::Replay { .. } => Err(Problem::unavailable(
            "overtaken",
            "the same request is at work; send the same again",
        )),
    }
}

/// The key stands for something else.
pub(super) fn key_reused() -> Problem {
    Problem::unprocessable(
        "idempotency-key-reused",
        "this Idempotency-Key was used for another request; take a new key for a new effect",
    )
}

/// The answer by what became of the movement; the same for good once the gateway has spoken.
async fn answer(merchant: &Merchant, order: &Order, id: &str) -> Result<Answer, Problem> {
    let (_, payment) = order_view::find(merchant, order.id.as_str()).await?;
    let found = payment.as_ref().and_then(|payment| {
        let of = |one: &'_ Authorization| one.movements.iter().any(|movement| movement.id == id);
        let one = payment.authorizations.iter().find(|one| of(one))?;
        let movement = one.movements.iter().find(|movement| movement.id == id)?;
        Some((payment, one, movement))
    });
    let (payment, one, movement) = found.ok_or_else(|| not_possible("of another payment"))?;
    match (movement.progress, &movement.refusal) {
        (Progress::Refused, reason) => {
            let reason = reason.clone().unwrap_or_default();
            Answer::problem(Problem::bad_gateway(refused(&movement.kind), reason))
        }
        (Progress::Asked, _) => {
            Answer::json(StatusCode::ACCEPTED, &view(order, payment, one, movement))
        }
        (Progress::Done, _) => Answer::json(StatusCode::OK, &view(order, payment, one, movement)),
    }
}

fn view(order: &Order, payment: &Payment, one: &Authorization, movement: &Movement) -> Moved {
    let is_done = movement.progress == Progress::Done;
    let mut view = Moved {
        order_id: order.id.clone(),
        movement: movement.id.clone(),
        state: asking_for(&movement.kind),
        authorized: None,
        captured: None,
        captured_at: None,
        refunded: None,
        voided: None,
        batch: movement.batch.clone(),
    };
    if !is_done {
        return view;
    }
    let amount = payment.of(movement.amount_minor).map(Money::from);
    let at = movement.done_at_ms.unwrap_or(movement.asked_at_ms);
    match movement.kind {
        Kind::Capture => {
            view.state = State::Captured.name();
            view.captured = amount;
            view.captured_at = Some(Timestamp::from_seconds(at.div_euclid(1000)));
        }
        Kind::Credit => {
            view.state = State::Refunded.name();
            view.refunded = amount;
        }
        Kind::CreditReversal(_) => {
            view.state = State::Captured.name();
            view.voided = amount;
        }
        Kind::CaptureReversal(_) => {
            view.state = State::Authorized.name();
            view.voided = amount;
            let left = one.remaining_after(movement);
            view.authorized = payment.of(left).map(Money::from);
        }
        Kind::Reversal => {
            let left = one.remaining_after(movement);
            view.state = if left == 0 {
                State::Reversed.name()
            } else {
                State::Authorized.name()
            };
            view.authorized = payment.of(left).map(Money::from);
        }
    }
    view
}

/// What the order is called while a movement of this kind is not answered.
fn asking_for(kind: &Kind) -> &'static str {
    match kind {
        Kind::Capture => State::Capturing.name(),
        Kind::Reversal => State::Reversing.name(),
        Kind::Credit => "refunding",
        Kind::CaptureReversal(_) | Kind::CreditReversal(_) => State::Voiding.name(),
    }
}

/// The problem of a movement of this kind that the gateway refused.
fn refused(kind: &Kind) -> &'static str {
    match kind {
        Kind::Capture => "capture-refused",
        Kind::Reversal => "reversal-refused",
        Kind::Credit => "refund-refused",
        Kind::CaptureReversal(_) | Kind::CreditReversal(_) => "void-refused",
    }
}

/// The authorization that a request is about: the one that it names, or the only one that fits, or else the one that
/// tells where the payment stands, so that the caller can say why not.
///
/// # Errors
/// 422 when none has the number, 409 when several fit and none is named.
pub(super) fn pick(
    payment: &Payment,
    auth: Option<i64>,
    fits: impl Fn(&Authorization) -> bool,
) -> Result<Option<&Authorization>, Problem> {
    if let Some(number) = auth {
        let named = payment.numbered(number).ok_or_else(|| {
            invalid_field(
                "/auth",
                "the order has no authorization of this number".to_owned(),
            )
        })?;
        return Ok(Some(named));
    }
    let mut fitting = payment.authorizations.iter().filter(|one| fits(one));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(Some(one)),
        (Some(_), Some(_)) => Err(Problem::conflict(
            "name-an-authorization",
            "several authorizations of this order fit; name the number of one in auth",
        )),
        (None, _) => Ok(payment.leading()),
    }
}

/// An amount that a request names, of at most so many minor units.
///
/// # Errors
/// 422 for another currency, or too much.
pub(super) fn at_most(
    payment: &Payment,
    field: &str,
    named: &Money,
    limit_minor: u64,
    why: &str,
) -> Result<CurrencyAmount, Problem> {
    let currency = payment.amount.currency();
    if named.currency != currency {
        let detail = format!("use the order's currency, {}", currency.alpha());
        return Err(invalid_field(&format!("/{field}/currency"), detail));
    }
    if named.amount_minor > limit_minor {
        let limit = currency.written(limit_minor.into());
        let detail = format!("name at most {limit}: {why}");
        return Err(invalid_field(&format!("/{field}/amount_minor"), detail));
    }
    CurrencyAmount::new(currency, named.amount_minor).map_err(Problem::internal)
}

/// One field is wrong, and how.
pub(super) fn invalid_field(pointer: &str, detail: String) -> Problem {
    Problem::unprocessable("invalid-field", detail.clone()).with_field(pointer, detail)
}

/// The state rules say no where everything else said yes.
pub(super) fn not_possible(why: &str) -> Problem {
    Problem::conflict(
        "not-possible",
        format!("this cannot be done with the order as it stands: {why}"),
    )
}
