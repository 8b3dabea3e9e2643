//! The cardholder's newest receipt comes with each answer that changes what it says.

use openset_protocol::merchant::kept_receipt;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::cap::CapCode::{self, DuplicateRequest, InvalidAuthData, Success};
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCred::{self, CapRev, Cred, CredRev};
use openset_protocol::messages::p::Receipt;
use openset_protocol::wrapper::Jws;
use openset_service::server::SET_BODY_LIMIT_BYTES;
use openset_testkit::postgres::PostgresServer;

use crate::bank::Bank;
use crate::purchase::{SHOP, claim, undo};
use crate::sale::Sale;
use crate::service::{Premises, Service};

/// Number, amount and refunds of a receipt.
type Says = (u32, u64, Vec<u64>);

fn says(jws: &Jws) -> Says {
    let Receipt {
        sequence,
        auth_amt,
        credits,
        ..
    } = kept_receipt(jws).unwrap();
    let credits = credits.iter().map(|credit| credit.cred_amt.minor());
    (sequence, auth_amt.minor(), credits.collect())
}

async fn gateway() -> Service {
    Premises::new(&Bank::open().await).start().await
}

/// A capture, with what its receipt says.
async fn captured(service: &Service, sale: &Sale, minor: u64) -> (CapCode, Option<Says>) {
    let capture = sale.asked.capture(&sale.bought, &sale.answer, minor);
    let claimed = claim(&SHOP, vec![capture]);
    let items = claimed.read(&service.set(&claimed.wire).await.taken());
    (items[0].cap_code, items[0].receipt.as_ref().map(says))
}

/// One of the other three, with its place.
async fn undone(
    service: &Service,
    sale: &Sale,
    which: CapRevOrCred,
    minor: u64,
    original: Option<&BatchPlace>,
) -> (Option<BatchPlace>, Option<Says>) {
    let asked = undo(&SHOP, which, vec![sale.item(minor, original)]);
    let items = asked.read(&service.set(&asked.wire).await.taken());
    let receipt = items[0].receipt.as_ref().map(says);
    (items[0].batch.clone(), receipt)
}

/// What AuthRevReq for so much to stay authorized brings.
async fn lowered(service: &Service, sale: &Sale, minor: u64) -> Option<Says> {
    let token = sale.asked.token(&sale.answer);
    let taken = sale.asked.take_back(&sale.bought, Some(token), minor);
    let told = taken.read(&service.set(&taken.wire).await.taken());
    told.receipt.map(|(jws, _)| says(&jws))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_an_authorization_has_the_next_receipt() {
    let service = gateway().await;
    let sale = Sale::authorized(&service, 1000).await;
    assert_eq!(lowered(&service, &sale, 900).await, Some((2, 900, vec![])));
    let captured = captured(&service, &sale, 600).await;
    assert_eq!(captured, (Success, Some((3, 600, vec![]))));
    let (first, says) = undone(&service, &sale, Cred, 100, None).await;
    assert_eq!(says, Some((4, 600, vec![100])));
    let (_, says) = undone(&service, &sale, Cred, 500, None).await;
    assert_eq!(says, Some((5, 600, vec![100, 500])));
    let (second, says) = undone(&service, &sale, CredRev, 100, first.as_ref()).await;
    assert_eq!(says, Some((6, 600, vec![500])));
    assert!(second.is_some());
    // Refused: nothing changed, and nothing is told.
    let refused = undone(&service, &sale, Cred, 101, None).await;
    assert_eq!(refused, (None, None));
    let refused = undone(&service, &sale, CapRev, 600, None).await;
    assert_eq!(refused, (None, None), "a refund stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_after_a_cancelled_capture_goes_on_counting() {
    let service = gateway().await;
    let sale = Sale::authorized(&service, 1000).await;
    captured(&service, &sale, 600).await;
    let (refund, _) = undone(&service, &sale, Cred, 100, None).await;
    undone(&service, &sale, CredRev, 100, refund.as_ref()).await;
    let (_, says) = undone(&service, &sale, CapRev, 600, None).await;
    assert_eq!(
        says,
        Some((4, 600, vec![])),
        "authorized as it was captured"
    );
    assert_eq!(lowered(&service, &sale, 600).await, Some((4, 600, vec![])));
    assert_eq!(lowered(&service, &sale, 0).await, Some((5, 0, vec![])));
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_of_all_brings_no_receipt_and_a_duplicate_brings_the_newest() {
    let service = gateway().await;
    let whole = Sale::authorized(&service, 1000).await;
    assert_eq!(captured(&service, &whole, 1000).await, (Success, None));
    let again = captured(&service, &whole, 1000).await;
    assert_eq!(again, (DuplicateRequest, None));
    let part = Sale::authorized(&service, 1000).await;
    let above = captured(&service, &part, 1001).await;
    assert_eq!(above, (InvalidAuthData, None));
    captured(&service, &part, 600).await;
    undone(&service, &part, Cred, 200, None).await;
    // Whoever lost the answers hears all at once.
    let again = captured(&service, &part, 1000).await;
    assert_eq!(again, (DuplicateRequest, Some((3, 600, vec![200]))));
}

/// Two refunds in one request: each answer knows both.
#[tokio::test(flavor = "multi_thread")]
async fn refunds_of_one_request_bring_one_state() {
    let service = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let asked = undo(
        &SHOP,
        Cred,
        vec![sale.item(300, None), sale.item(400, None)],
    );
    let answer = service.set(&asked.wire).await.taken();
    for item in asked.read(&answer) {
        let (sequence, stands, mut credits) = says(&item.receipt.unwrap());
        credits.sort_unstable();
        assert_eq!((sequence, stands, credits), (3, 1000, vec![300, 400]));
    }
    assert_eq!(service.set(&asked.wire).await.taken(), answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_of_the_most_items_with_receipts_can_be_taken() {
    let service = gateway().await;
    let (sale, _) = Sale::captured(&service, 3200).await;
    let items = (0..32).map(|_| sale.item(100, None)).collect();
    let asked = undo(&SHOP, Cred, items);
    let answer = service.set_until_answered(&asked.wire).await;
    let read = asked.read(&answer);
    let receipts = read.iter().filter(|item| item.receipt.is_some()).count();
    println!("{} bytes with {receipts} receipts", answer.len());
    assert!(answer.len() <= SET_BODY_LIMIT_BYTES, "{}", answer.len());
    assert_eq!(receipts, 32);
}

/// Payments of before whom receipts are for was kept.
#[tokio::test(flavor = "multi_thread")]
async fn payment_of_which_too_little_was_kept_has_no_newer_receipt() {
    let service = gateway().await;
    let sale = Sale::authorized(&service, 1000).await;
    let db = service.premises.open_database().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE payments SET receipt_for_sealed = NULL")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    assert_eq!(captured(&service, &sale, 600).await, (Success, None));
    let (place, says) = undone(&service, &sale, Cred, 100, None).await;
    assert!(place.is_some() && says.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_at_two_replicas_on_postgres_have_receipts_of_one_order() {
    let Some(server) = PostgresServer::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let bank = Bank::open().await;
    let url = server.create_database().unwrap();
    let premises = Premises::with(&bank, &format!("database_url = \"{url}\""));
    let (one, two) = tokio::join!(premises.replica().start(), premises.replica().start());
    let (sale, _) = Sale::captured(&one, 1000).await;
    let [left, right] = [600, 300].map(|minor| undo(&SHOP, Cred, vec![sale.item(minor, None)]));
    let (first, second) = tokio::join!(
        one.set_until_answered(&left.wire),
        two.set_until_answered(&right.wire)
    );
    let of = |asked: &crate::purchase::Undoing, answer: &[u8]| {
        says(asked.read(answer)[0].receipt.as_ref().unwrap())
    };
    let (left, right) = (of(&left, &first), of(&right, &second));
    for (sequence, stands, credits) in [&left, &right] {
        let sum: u64 = credits.iter().sum();
        assert_eq!(*stands, 1000);
        // The second knows of both; whoever has two of one number has the same twice.
        assert_eq!(*sequence == 3, sum == 900, "{left:?} {right:?}");
    }
    assert_eq!(left.0.max(right.0), 3, "{left:?} {right:?}");
}
