//! Steps 6 to 8 and 10: PReq is verified, the gateway is asked, PRes tells what became of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openset_pki::{Chain, PathError, PathVerifier, Role};
use openset_protocol::identity::Credentials;
use openset_protocol::ids::Xid;
use openset_protocol::merchant::auth::{self, Asking, AwaitingAuthRes};
use openset_protocol::merchant::p::{self, OwnOrder, VerifiedPReq, p_res, without_results};
use openset_protocol::messages::p::CompletionCode;
use openset_protocol::signed::request_digest;
use openset_protocol::wrapper::{AGE_SECONDS_MAX, MessageWrapper};
use openset_protocol::{Context, Rejection};
use openset_service::clock;
use openset_service::step_report::StepReport;
use openset_store::Write;
use openset_store::outbox::Outgoing;
use tokio::time::{sleep, timeout_at};
use tracing::Instrument as _;

use super::{Found, KEEP_SECONDS, Received, Recording, Sender, mail};
use crate::cardholder_status::{self, Staple};
use crate::failure::Failure;
use crate::gateway::authorization::answer_received;
use crate::gateway::sending::{self, AUTH_REQ};
use crate::store::payments::{self, AskedBy, NewPayment, State};
use crate::store::purchases::Purchase;
use crate::store::{authorizations, orders};
use crate::{Merchant, is_good, offload};

/// How often a stored answer is looked for while somebody else works on it.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// What [`p::OpenedPReq::verify`] checks.
const P_REQ_VERIFIED: &[&str] = &[
    "cardholder's certificate path, brand and revocation",
    "dual signature over order and payment, for this merchant and this gateway",
    "xid, lid_c, lid_m, p_req_date, brand_id, bin",
    "chall_m",
    "cardholder's revocation status, by OCSP",
    "HOD of our own order",
];
/// The same of one that came by mail, which repeats no challenge: it names the catalogue that it is ordered by.
const P_REQ_BY_MAIL_VERIFIED: &[&str] = &[
    "cardholder's certificate path, brand and revocation",
    "dual signature over order and payment, for this merchant and this gateway",
    "xid, lid_c, lid_m, p_req_date, brand_id, bin",
    "our own catalogue, and the date by which one orders by it",
    "cardholder's revocation status, by OCSP",
    "HOD of the order at the catalogue's prices",
];
/// What is checked where the cardholder has no certificate.
const P_REQ_UNSIGNED_VERIFIED: &[&str] = &[
    "a purchase without a certificate may be made here and at the gateway",
    "xid, lid_c, lid_m, p_req_date, brand_id, bin, chall_m",
    "HOD of our own order",
];

/// A PReq after every check, and what follows from it; nothing is stored yet.
struct Decided {
    p_req: VerifiedPReq,
    asked: AskedBy,
    next: Next,
}

enum Next {
    /// AuthReq goes to the gateway.
    Ask(Box<AwaitingAuthRes>, Vec<u8>),
    /// PRes tells that the merchant does not take the order.
    Reject(Vec<u8>),
}

/// What it takes to decide, all in memory.
pub(super) struct Ingredients {
    pub(super) purchase: Purchase,
    pub(super) ours: Arc<Vec<Credentials>>,
    /// What the purchase was opened with: the dual signature names it, so nothing else can sign AuthReq.
    pub(super) sign_with: Credentials,
    pub(super) gateway: Chain,
    pub(super) verifier: Arc<PathVerifier>,
    pub(super) merch_cat_code: String,
    /// Whether nobody need have signed.
    pub(super) accepts_unsigned: bool,
    /// Whether the order comes with PReq, and PReq by mail.
    pub(super) by_mail: bool,
}

pub(super) async fn handle(
    merchant: &Arc<Merchant>,
    received: &Received,
    wrapper: MessageWrapper,
    opened: Purchase,
) -> Result<Vec<u8>, Failure> {
    let until = tokio::time::Instant::now() + merchant.settings.authorization_wait;
    let xid = xid(&wrapper)?;
    let ingredients = Arc::new(gather(merchant, opened).await?);
    match take(merchant, received, &wrapper, ingredients).await? {
        Committed::Answered(answer) => Ok(answer),
        Committed::AtWork => wait(merchant, (received, &wrapper), &xid, until).await,
        Committed::Queued(outgoing) => {
            ask(merchant, (received, &wrapper), &xid, outgoing, until).await
        }
    }
}

/// Verifies PReq, decides, and commits what follows.
pub(super) async fn take(
    merchant: &Arc<Merchant>,
    received: &Received,
    wrapper: &MessageWrapper,
    ingredients: Arc<Ingredients>,
) -> Result<Committed, Failure> {
    let begin = Instant::now();
    let (with, copy) = (Arc::clone(&ingredients), wrapper.clone());
    let (p_req, staple) = offload(move |ctx| verify(ctx, &with, &copy)).await?;
    if let Some(cardholder) = p_req.payer.certificate() {
        cardholder_status::check(merchant, cardholder, staple).await?;
    }
    let verified = match p_req.payer.certificate() {
        Some(_) if ingredients.by_mail => P_REQ_BY_MAIL_VERIFIED,
        Some(_) => P_REQ_VERIFIED,
        None => P_REQ_UNSIGNED_VERIFIED,
    };
    let (with, bytes) = (Arc::clone(&ingredients), received.bytes.clone());
    let decided = offload(move |ctx| decide(ctx, &with, &bytes, p_req)).await?;
    let step = StepReport::since(
        begin,
        7,
        "cardholder verified",
        ["cardholder", "merchant"],
        "PReq",
        received.bytes.len(),
        verified,
    );
    commit(merchant, received, wrapper, &ingredients, &decided, &[step]).await
}

/// What stands in the database after [`commit`].
pub(super) enum Committed {
    /// The answer to this PReq.
    Answered(Vec<u8>),
    /// The same PReq, which was a moment faster.
    AtWork,
    /// AuthReq, which is to be sent now.
    Queued(Outgoing),
}

/// One transaction: PReq is recorded, the order has its payment, and AuthReq stands in the outbox or
/// the rejection is PReq's answer.
async fn commit(
    merchant: &Merchant,
    received: &Received,
    wrapper: &MessageWrapper,
    ingredients: &Ingredients,
    decided: &Decided,
    steps: &[StepReport],
) -> Result<Committed, Failure> {
    let Decided { p_req, asked, next } = decided;
    let Ingredients {
        purchase, by_mail, ..
    } = ingredients;
    let (order, xid) = (&purchase.order, asked.trans_ids.xid);
    if let (Next::Reject(_), Some(cardholder)) = (next, p_req.payer.certificate()) {
        // A payment that is asked for counts on it when it is kept.
        cardholder_status::check_learned(merchant, cardholder).await?;
    }
    let new = NewPayment {
        order_id: &order.id,
        brand: &purchase.opened.brand_id,
        payer: p_req.payer.name(),
        asked,
        p_req,
        rejected: match next {
            Next::Reject(_) => Some("not the order that was placed, or paid already"),
            Next::Ask(..) => None,
        },
        steps,
        created_at_ms: clock::now_ms(),
    };
    let mut sender = Sender {
        name: new.payer.to_string(),
        keep_s: KEEP_SECONDS,
        age_s_max: AGE_SECONDS_MAX,
    };
    if *by_mail {
        sender.keep_s = mail::keep_seconds(merchant);
        sender.age_s_max = merchant.settings.mail_order_age_s;
    }
    let packer = merchant.db.packer();
    let payment = payments::insert(packer, &new)?;
    let (effect, answer, committed) = match next {
        // It may be the second of its XID.
        Next::Reject(answer) if !by_mail => {
            let committed = Committed::Answered(answer.clone());
            (vec![Write::may(payment)], Some(&**answer), committed)
        }
        Next::Reject(answer) => {
            let take = orders::take(&order.id, order.xid, xid);
            let effect = vec![take, Write::must(payment, payments::NOT_BEGUN)];
            (effect, Some(&**answer), Committed::Answered(answer.clone()))
        }
        Next::Ask(awaiting, wire) => {
            let (first, at) = ((1, order.first_part().0), (new.created_at_ms, None));
            let (rrpid, wire) = (awaiting.rrpid(), wire.clone());
            let queued = sending::outgoing(merchant, AUTH_REQ, rrpid, xid.to_string(), wire);
            let effect = vec![
                orders::take(&order.id, order.xid, xid),
                Write::must(payment, payments::NOT_BEGUN),
                authorizations::insert(packer, &xid, first, awaiting, at)?,
                sending::enqueue(merchant, &queued),
            ];
            (effect, None, Committed::Queued(queued))
        }
    };
    let recording = Recording {
        sender: &sender,
        wrapper,
        received,
        answer,
    };
    let found = if *by_mail {
        mail::commit(&recording, &merchant.db, (order, &xid), effect).await?
    } else {
        recording.commit(&merchant.db, effect).await?
    };
    match found {
        Found::New => {}
        Found::Answered(stored) => return Ok(Committed::Answered(stored)),
        Found::AtWork => return Ok(Committed::AtWork),
        Found::Overtaken(reason) => {
            if let Some(cardholder) = p_req.payer.certificate() {
                cardholder_status::check_learned(merchant, cardholder).await?;
            }
            return Err(if *by_mail {
                // Whoever orders by mail names the XID: this one is another order's by now.
                Rejection::UnknownXid.into()
            } else {
                Failure::Overtaken(reason)
            });
        }
    }
    tracing::info!(
        step = 7,
        set_message = "PReq",
        xid = %xid,
        lid_m = %order.id,
        rrpid = %asked.rrpid,
        outcome = if new.rejected.is_none() { "verified" } else { "orderRejected" },
        "purchase request verified"
    );
    Ok(committed)
}

/// The same PReq again while the first is at work, perhaps in another replica or before a restart.
pub(super) async fn join(
    merchant: &Arc<Merchant>,
    received: &Received,
    wrapper: &MessageWrapper,
) -> Result<Vec<u8>, Failure> {
    let until = tokio::time::Instant::now() + merchant.settings.authorization_wait;
    wait(merchant, (received, wrapper), &xid(wrapper)?, until).await
}

fn xid(wrapper: &MessageWrapper) -> Result<Xid, Rejection> {
    wrapper
        .message_header
        .message_ids
        .xid
        .ok_or(Rejection::HeaderMismatch("xid"))
}

async fn gather(merchant: &Merchant, purchase: Purchase) -> Result<Ingredients, Failure> {
    let verifier = merchant.verifier()?;
    let brand = &purchase.opened.brand_id;
    let gateway = merchant.gateway_of(brand).await?;
    let sign_with = merchant.opened_with(&purchase.opened.merchant).await?;
    let sign_with = sign_with.ok_or(PathError::Expired(Role::Merchant));
    let sign_with = sign_with.map_err(Rejection::from)?;
    Ok(Ingredients {
        ours: merchant.keyring.all(),
        sign_with,
        gateway,
        merch_cat_code: merchant.settings.merch_cat_code.clone(),
        // Its parts are authorized by a token, for which the certificate is looked at again.
        accepts_unsigned: merchant.settings.accept_unsigned && !purchase.order.first_part().1,
        verifier,
        purchase,
        by_mail: false,
    })
}

/// Opens and verifies, and judges the stapled OCSP response.
fn verify(
    ctx: &Context<'_>,
    with: &Ingredients,
    wrapper: &MessageWrapper,
) -> Result<(VerifiedPReq, Staple), Rejection> {
    let Purchase { opened, order, .. } = &with.purchase;
    let ours: Vec<&Credentials> = with.ours.iter().collect();
    let own = OwnOrder {
        order_description: order.description.as_bytes(),
        purch_amt: order.amount,
        install_recur_data: order.plan.as_ref(),
    };
    let p_req = p::open(wrapper, &ours)?;
    p_req.check_mode(with.accepts_unsigned, with.gateway.leaf())?;
    let p_req = p_req.verify(wrapper, opened, own, &with.verifier, ctx.now)?;
    let staple = cardholder_status::judge(&p_req, &with.verifier, ctx.now.seconds());
    Ok((p_req, staple))
}

/// Makes the next message: AuthReq, or PRes for an order that is not taken.
fn decide(
    ctx: &mut Context<'_>,
    with: &Ingredients,
    wire: &[u8],
    p_req: VerifiedPReq,
) -> Result<Decided, Rejection> {
    let Purchase {
        opened,
        order,
        held_in,
        used,
    } = &with.purchase;
    let asked = AskedBy {
        trans_ids: p_req.trans_ids.clone(),
        rrpid: p_req.rrpid,
        chall_c: p_req.chall_c,
        request: request_digest(wire),
        merchant: Some(opened.merchant),
    };
    is_good(&with.sign_with, &with.verifier)?;
    // One authorization for each order: only a signed decline frees it, for another purchase. Who shows no certificate has
    // one attempt, so that a shop is no place to try card numbers at.
    let certified = p_req.payer.certificate().is_some();
    let free = match held_in {
        None => !used,
        Some(State::Declined) => !used && certified,
        Some(_) => false,
    };
    let next = if p_req.order_agrees && free {
        let (amount, more) = order.first_part();
        let asking = Asking {
            trans_ids: &p_req.trans_ids,
            instrument: p_req.payment_instruction(),
            hod2: p_req.hod,
            amount,
            merch_cat_code: &with.merch_cat_code,
            subsequent_auth_ind: more,
            capture_now: order.is_sale(),
            install_recur_data: order.plan,
        };
        let (awaiting, wire) = auth::request(
            ctx,
            &with.sign_with,
            with.gateway.leaf(),
            &asking,
            &with.verifier,
        )?;
        Next::Ask(Box::new(awaiting), wire)
    } else {
        let payload = without_results(CompletionCode::OrderRejected);
        Next::Reject(p_res(ctx, &with.sign_with, &asked.asked(), payload)?)
    };
    Ok(Decided { p_req, asked, next })
}

/// Sends AuthReq and waits for the bank, but not for ever. The sending goes on when nobody waits.
async fn ask(
    merchant: &Arc<Merchant>,
    message: (&Received, &MessageWrapper),
    xid: &Xid,
    outgoing: Outgoing,
    until: tokio::time::Instant,
) -> Result<Vec<u8>, Failure> {
    let sending = sending::send_now(Arc::clone(merchant), outgoing).in_current_span();
    if let Ok(Ok(Some(answer))) = timeout_at(until, tokio::spawn(sending)).await {
        return Ok(answer);
    }
    wait(merchant, message, xid, until).await
}

/// Looks for the stored answer until it is there; in the end answers that the order was received.
async fn wait(
    merchant: &Arc<Merchant>,
    (received, wrapper): (&Received, &MessageWrapper),
    xid: &Xid,
    until: tokio::time::Instant,
) -> Result<Vec<u8>, Failure> {
    let mut told = false;
    loop {
        let mut connection = merchant.db.read().await?;
        let known = received.recorded(&mut connection, wrapper).await?;
        if let Some(answer) = known.and_then(|known| known.response) {
            return Ok(answer);
        }
        if tokio::time::Instant::now() >= until {
            if told {
                return Err(Failure::Overtaken("the answer is being stored"));
            }
            told = true;
            let payment = payments::find(&mut connection, xid).await?;
            drop(connection);
            let payment = payment.ok_or(Rejection::UnknownXid)?;
            if let Some(answer) = answer_received(merchant, &payment)
                .await
                .map_err(Failure::Internal)?
            {
                return Ok(answer);
            }
            continue;
        }
        drop(connection);
        sleep(LOOK_INTERVAL).await;
    }
}
