//! Refunds as the wallet reads them: by the gateway's receipts alone, the newest of each authorization.

use crate::layers::{Letter, Node};
use crate::money::{inq_res_credited, newer, receipt_for, undoing};
use crate::run::{End, Request, Run, at, genuine};
use crate::world::{amount, world};
use openset_protocol::Rejection::Disagreement;
use openset_protocol::cardholder::purchase::{PaymentStatus, PurchaseOutcome};
use openset_protocol::gateway;
use openset_protocol::gateway::cap_rev_or_cred::Outcome;
use openset_protocol::gateway::receipt::NewReceipt;
use openset_protocol::merchant::kept_receipt;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCred;
use openset_protocol::messages::p::{CREDITS_MAX, Receipt};
use openset_protocol::money::CurrencyAmount;
use openset_protocol::wrapper::{Jws, MessageWrapper};

fn run() -> Run<'static> {
    Run {
        world: world(),
        verifier: world().pki.verifier(),
    }
}

/// The receipt that the gateway gives with a refund.
fn given(receipt: &NewReceipt) -> Result<Jws, End> {
    let (w, asked) = (world(), undoing(CapRevOrCred::Cred));
    let wrapper = MessageWrapper::decode(&asked.req).unwrap();
    let (ours, tokens) = ([&w.gateway], w.tokens());
    let request =
        gateway::cap_rev_or_cred::open(&asked.req, &wrapper, &ours, &tokens, w.verifier(), w.now);
    let place = BatchPlace {
        batch_id: "batch-1".parse().unwrap(),
        batch_sequence_num: 3,
    };
    let outcomes = [(Outcome::Done(place), Some(receipt.clone()))];
    let request = request.unwrap();
    let answer = w.with(|ctx| {
        gateway::cap_rev_or_cred::answer(ctx, &w.gateway, &request, &outcomes, &w.state())
    });
    let items = asked
        .awaiting
        .handle(&answer.unwrap().wire, &[&w.shop], w.verifier(), w.now);
    at("CredRes", items).map(|mut items| items.remove(0).receipt.unwrap())
}

/// What the wallet makes of it.
fn told(receipt: &NewReceipt) -> PurchaseOutcome {
    let (g, w) = (genuine(), world());
    let mut answer = g.answer.clone();
    let jws = given(receipt).unwrap();
    answer.payload.auth_amt = receipt.auth_amt;
    answer.baggage.receipt = Some(jws);
    let request = Request::p_req(&g.verified, &g.p_req);
    let captured = Some(receipt.auth_amt.minor());
    let wire = run().tell(&g.verified, &answer, &request, captured);
    w.with(|ctx| g.awaiting_p_res.handle(ctx, &wire, w.verifier()))
        .unwrap()
}

fn stands(sequence: u32, auth_amt: u64, credits: &[u64]) -> NewReceipt {
    newer(
        receipt_for(&genuine().verified),
        sequence,
        auth_amt,
        credits,
    )
}

#[test]
fn refunds_in_parts_and_in_whole_have_a_status_of_their_own() {
    let rows: [(&[u64], PaymentStatus, u64); 4] = [
        (&[], PaymentStatus::Paid, 0),
        (&[1000], PaymentStatus::PartlyRefunded, 1000),
        (&[1000, 2999], PaymentStatus::PartlyRefunded, 3999),
        (&[1000, 3000], PaymentStatus::Refunded, 4000),
    ];
    for (credits, status, refunded) in rows {
        let outcome = told(&stands(3, 4000, credits));
        assert_eq!(outcome.status, status, "{credits:?}");
        assert_eq!(
            (outcome.paid_minor(), outcome.refunded_minor()),
            (4000, refunded)
        );
    }
    let w = world();
    let purchase = genuine().awaiting_p_res.purchase();
    let inquired = w.with(|ctx| {
        let waiting = &genuine().awaiting_inq_res;
        waiting.handle(ctx, purchase, inq_res_credited(), w.verifier())
    });
    assert_eq!(inquired.unwrap().status, PaymentStatus::Refunded);
}

/// A merchant that shows an older receipt hides nothing that is known, and a refund that was cancelled is none.
#[test]
fn the_newest_receipt_says_what_went_back_in_whatever_order_they_come() {
    let [captured, refunded, more, cancelled] = [
        stands(2, 3000, &[]),
        stands(3, 3000, &[500]),
        stands(4, 3000, &[500, 2500]),
        stands(5, 3000, &[2500]),
    ]
    .map(|receipt| told(&receipt));
    let all = [&captured, &refunded, &more, &cancelled];
    for (place, newest) in all.iter().enumerate() {
        for before in &all[..=place] {
            let known = (*before).clone().after(Some((*newest).clone()));
            assert_eq!(known.refunded_minor(), newest.refunded_minor());
            assert_eq!(known.status, newest.status, "an older one changes nothing");
            let known = (*newest).clone().after(Some((*before).clone()));
            assert_eq!(known.refunded_minor(), newest.refunded_minor());
            assert_eq!(known.status, newest.status);
        }
    }
    assert_eq!(more.status, PaymentStatus::Refunded);
    assert_eq!(cancelled.status, PaymentStatus::PartlyRefunded);
}

#[test]
fn very_many_refunds_are_told_as_few_and_none_is_lost() {
    for count in [CREDITS_MAX, CREDITS_MAX + 1, 3 * CREDITS_MAX] {
        let minor: Vec<u64> = (1..=u64::try_from(count).unwrap()).collect();
        let sum: u64 = minor.iter().sum();
        let asked = stands(9, 4000, &minor);
        let receipt = kept_receipt(&given(&asked).unwrap()).unwrap();
        assert_eq!(receipt.credits.len(), CREDITS_MAX);
        assert_eq!(receipt.refunded_minor(), sum);
        assert_eq!(receipt.credits.last(), asked.credits.last());
        let first = &asked.credits[count - CREDITS_MAX];
        assert_eq!(receipt.credits[0].cred_date, first.cred_date, "of its last");
        assert_eq!(told(&asked).refunded_minor(), sum);
    }
}

#[test]
fn a_receipt_of_more_than_there_was_is_refused() {
    let refused = |what| Err(End::Refused("CredRes", Disagreement(what)));
    let wrong = || refused("receipt credits");
    assert_eq!(given(&stands(3, 4000, &[4000, 1])), wrong());
    assert_eq!(given(&stands(3, 4000, &[0])), wrong());
    let mut dollars = stands(3, 4000, &[1000]);
    let currency = openset_protocol::money::Currency::from_alpha("USD").unwrap();
    dollars.credits[0].cred_amt = CurrencyAmount::new(currency, 1000).unwrap();
    assert_eq!(given(&dollars), wrong());
    // The first one cannot know of what came after it.
    assert_eq!(given(&stands(1, 4000, &[])), refused("receipt amount"));
}

/// An answer about an item, made to say that nothing was done, with its receipt and without.
fn refused(
    (message, wire): (&str, &[u8]),
    item: &str,
    [code, why, amount]: [&str; 3],
    receive: impl Fn(&[u8]) -> Result<(), End>,
) -> [Result<(), End>; 2] {
    let ring = genuine().ring();
    [true, false].map(|with_receipt| {
        let mut letter = Letter::open(wire, &ring);
        *letter.leaf(&format!("{item}/{code}")) = why.into();
        *letter.leaf(&format!("{item}/{amount}/amount")) = 0.into();
        let fields = letter.at(item).fields().unwrap();
        fields.remove("batch").unwrap();
        if !with_receipt {
            fields.remove("receipt").unwrap();
        }
        assert_eq!(letter.name, message);
        receive(&letter.close(&ring))
    })
}

#[test]
fn a_receipt_beside_a_refusal_is_refused() {
    let differs = |message, what| Err(End::Refused(message, Disagreement(what)));
    let item = "cap_res/data/cap_res_item_seq/0";
    let captured = ("CapRes", genuine().cap_res.as_slice());
    let names = ["cap_code", "authExpired", "cap_amt"];
    let ends = refused(captured, item, names, |wire| run().cap_res(wire));
    assert_eq!(ends, [differs("CapRes", "cap_res_item_seq"), Ok(())]);

    let item = "cap_rev_or_cred_res/data/cap_rev_or_cred_res_item_seq/0";
    let names = [
        "cap_rev_or_cred_code",
        "capDataMismatch",
        "cap_rev_or_cred_actual_amt",
    ];
    let credited = ("CredRes", undoing(CapRevOrCred::Cred).res.as_slice());
    let receive = |wire: &[u8]| run().undoing_res(CapRevOrCred::Cred, wire);
    let ends = refused(credited, item, names, receive);
    let wrong = differs("CredRes", "cap_rev_or_cred_res_item_seq");
    assert_eq!(ends, [wrong, Ok(())]);
}

/// However they are written, a wallet and a shop read no more than belong into one receipt.
#[test]
fn a_receipt_with_too_many_refunds_is_refused() {
    let ring = genuine().ring();
    let mut letter = Letter::open(&undoing(CapRevOrCred::Cred).res, &ring);
    let item = "cap_rev_or_cred_res/data/cap_rev_or_cred_res_item_seq/0";
    let credits = letter.at(&format!("{item}/receipt/data/credits"));
    let Node::List(all) = credits else {
        panic!("credits are a list")
    };
    let one = |_| {
        let mut credit = all[0].clone();
        let amount = credit.fields().unwrap().get_mut("cred_amt").unwrap();
        let amount = amount.fields().unwrap();
        amount.insert("amount".to_owned(), Node::Leaf(1.into()));
        credit
    };
    *credits = Node::List((0..=CREDITS_MAX).map(one).collect());
    let end = run().undoing_res(CapRevOrCred::Cred, &letter.close(&ring));
    let wrong = Disagreement("receipt credits");
    assert_eq!(end, Err(End::Refused("CredRes", wrong)));
}

/// Receipts and records of before refunds were told.
#[test]
fn what_was_signed_before_there_were_refunds_is_read() {
    let jws = genuine().answer.baggage.receipt.clone().unwrap();
    let first: Receipt = kept_receipt(&jws).unwrap();
    let json = serde_json::to_value(&first).unwrap();
    assert!(json.get("credits").is_none(), "{json}");
    assert_eq!(first.credits, []);
    assert_eq!(amount(first.auth_amt.minor()), first.auth_amt);
}
