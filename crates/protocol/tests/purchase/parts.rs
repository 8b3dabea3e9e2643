//! A purchase in several parts as the wallet reads it: a receipt for each, and what is known never gets less.

use crate::run::{End, Request, Run, as_sent, at, genuine};
use crate::world::{amount, world};
use openset_protocol::Rejection::Disagreement;
use openset_protocol::cardholder::purchase::{PaymentStatus, PurchaseOutcome};
use openset_protocol::merchant::p::{
    Asked, Authorized, p_res_of_all, with_results, without_results,
};
use openset_protocol::messages::p::{CompletionCode, PResPayload};
use serde_json::Value;
use std::sync::LazyLock;

fn run() -> Run<'static> {
    Run {
        world: world(),
        verifier: world().pki.verifier(),
    }
}

fn told(authorized: &Authorized) -> PResPayload {
    with_results(amount(4200), authorized)
}

/// The first part.
fn first() -> PResPayload {
    let answer = &genuine().answer;
    told(&Authorized {
        payload: answer.payload.clone(),
        acq_card_msg: answer.baggage.acq_card_msg.clone(),
        receipt: answer.baggage.receipt.clone(),
        captured: None,
    })
}

/// The same after a reversal to 30.00.
fn first_lowered() -> PResPayload {
    let (g, w) = (genuine(), world());
    let shop = &g.awaiting_auth_rev_res;
    let answer = shop.handle(&g.auth_rev_res, &[&w.shop], w.verifier(), w.now);
    let (receipt, auth_date) = answer.unwrap().receipt.unwrap();
    let mut payload = g.answer.payload.clone();
    payload.auth_date = auth_date;
    payload.auth_amt = amount(3000);
    told(&Authorized {
        payload,
        acq_card_msg: None,
        receipt: Some(receipt),
        captured: None,
    })
}

static SECOND: LazyLock<PResPayload> = LazyLock::new(|| {
    let (g, w) = (genuine(), world());
    let wire = run().authorize(&g.next_auth_req).unwrap();
    let shop = as_sent(&g.awaiting_next_auth_res, &g.next_auth_req);
    let answer = shop.handle(&wire, &[&w.shop], w.verifier(), w.now).unwrap();
    told(&Authorized {
        payload: answer.payload,
        acq_card_msg: answer.baggage.acq_card_msg,
        receipt: answer.baggage.receipt,
        captured: None,
    })
});

fn second() -> PResPayload {
    SECOND.clone()
}

fn read(payloads: Vec<PResPayload>) -> Result<PurchaseOutcome, End> {
    let (g, w) = (genuine(), world());
    let request = Request::p_req(&g.verified, &g.p_req);
    let asked = Asked {
        trans_ids: &g.verified.trans_ids,
        rrpid: request.rrpid,
        chall_c: request.challenge,
        request: request.digest,
        inquiry: false,
    };
    let wire = w.with(|ctx| p_res_of_all(ctx, &w.shop, &asked, payloads));
    let wire = wire.unwrap();
    let read = w.with(|ctx| g.awaiting_p_res.handle(ctx, &wire, w.verifier()));
    at("PRes", read)
}

#[test]
fn each_part_has_its_own_receipt_and_they_add_up() {
    let outcome = read(vec![first_lowered(), second()]).unwrap();
    assert_eq!(outcome.status, PaymentStatus::Paid);
    assert_eq!((outcome.receipts.len(), outcome.paid_minor()), (2, 7200));
    assert_eq!(outcome.receipt.unwrap().auth_amt, amount(4200));
}

#[test]
fn one_receipt_is_not_shown_for_two_parts() {
    let twice = End::Refused("PRes", Disagreement("one receipt shown twice"));
    assert_eq!(read(vec![first(), first()]), Err(twice.clone()));
    assert_eq!(read(vec![first(), first_lowered()]), Err(twice));
}

#[test]
fn order_without_an_answer_has_one_payload_and_no_answer_none() {
    let wrong = Err(End::Refused("PRes", Disagreement("p_res_payload_seq")));
    let received = || without_results(CompletionCode::OrderReceived);
    assert_eq!(read(vec![first(), received()]), wrong);
    assert_eq!(read(vec![]), wrong);
    assert!(read(vec![received()]).is_ok());
}

#[test]
fn what_is_known_never_gets_less() {
    let [one, lowered, both, pending] = [
        vec![first()],
        vec![first_lowered()],
        vec![first_lowered(), second()],
        vec![without_results(CompletionCode::OrderReceived)],
    ]
    .map(|payloads| read(payloads).unwrap());
    let all = [&one, &lowered, &both, &pending];
    // Whatever answer comes when, in the end all receipts are there, the newest of each.
    for a in all {
        for b in all {
            for c in all {
                let known = c.clone().after(Some(b.clone().after(Some(a.clone()))));
                let brought = |outcome: &PurchaseOutcome| [a, b, c].contains(&outcome);
                let first = match (brought(&one), brought(&lowered) || brought(&both)) {
                    (_, true) => 3000,
                    (true, false) => 4200,
                    (false, false) => 0,
                };
                let second = if brought(&both) { 4200 } else { 0 };
                assert_eq!(known.paid_minor(), first + second);
                let paid = known.status == PaymentStatus::Paid;
                assert_eq!(paid, first + second > 0, "{:?}", known.status);
            }
        }
    }
    assert!(both.is_newer_than(&one) && !one.is_newer_than(&lowered));
    assert!(!lowered.is_newer_than(&both));
}

#[test]
fn what_was_kept_before_there_were_parts_is_one() {
    let one = read(vec![first()]).unwrap();
    let mut json: Value = serde_json::to_value(&one).unwrap();
    json.as_object_mut().unwrap().remove("receipts").unwrap();
    let old: PurchaseOutcome = serde_json::from_value(json).unwrap();
    assert!(old.receipts.is_empty());
    assert_eq!(old.all_receipts(), one.receipts);
    let both = read(vec![first_lowered(), second()]).unwrap();
    assert_eq!(both.after(Some(old)).paid_minor(), 7200);
}
