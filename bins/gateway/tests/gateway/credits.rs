//! CapRevReq, CredReq, CredRevReq: in parts, twice, too much, in the wrong order, with names and tokens of others.

use openset_protocol::merchant::cap_rev_or_cred::Item;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCred::{self, CapRev, Cred, CredRev};
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredCode::{
    self, BatchUnknown, CapDataMismatch, DuplicateRequest, InvalidCapToken, MissingCapData,
    OriginalNotFound, OriginalProcessed, Success, UnspecifiedFailure,
};
use openset_testkit::postgres::PostgresServer;

use crate::bank::{Bank, Mood};
use crate::purchase::{OTHER_SHOP, SHOP, buy, claim, euros, undo};
use crate::sale::Sale;
use crate::service::{Premises, Service};

const RECEIVABLE: &str = "receivable/issuer/EUR";
const PAYABLE: &str = "payable/shop-1/EUR";

async fn gateway() -> (Bank, Service) {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    (bank, service)
}

async fn code(service: &Service, which: CapRevOrCred, item: Item) -> CapRevOrCredCode {
    let asked = undo(&SHOP, which, vec![item]);
    asked.codes(&service.set(&asked.wire).await.taken())[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_go_back_in_parts_up_to_what_was_captured() {
    let (bank, service) = gateway().await;
    let (sale, place) = Sale::captured(&service, 1000).await;
    assert_eq!(place.batch_sequence_num, 1);
    let (first, stands) = sale.undo(&service, Cred, 300, None).await;
    assert_eq!((first, stands.unwrap().batch_sequence_num), (Success, 2));
    let (second, stands) = sale.undo(&service, Cred, 700, Some(&place)).await;
    let stands = stands.unwrap();
    assert_eq!((second, stands.batch_sequence_num), (Success, 3));
    assert_eq!(stands.batch_id, place.batch_id, "one batch is open");
    assert_eq!(
        sale.undo(&service, Cred, 1, None).await,
        (CapDataMismatch, None)
    );
    assert_eq!(bank.effects("credit"), 2);
    assert_eq!(service.balance(RECEIVABLE).await, Some(0));
    assert_eq!(service.balance(PAYABLE).await, Some(0));
    let view = service.authorization(&sale.asked.xid).await;
    let kinds: Vec<_> = view["movements"].as_array().unwrap().iter().collect();
    assert_eq!(kinds.len(), 3);
    assert_eq!(view["state"], "captured");
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_asked_again_with_the_same_bytes_is_one_refund() {
    let (bank, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let asked = undo(&SHOP, Cred, vec![sale.item(400, None)]);
    let mut answers = Vec::new();
    let ten = (0..10).map(|_| service.set_until_answered(&asked.wire));
    for answer in ten {
        answers.push(answer.await);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(asked.codes(&answers[0]), [Success]);
    assert_eq!(bank.effects("credit"), 1);
    assert_eq!(service.balance(PAYABLE).await, Some(-600));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_refunds_of_the_same_bytes_at_once_are_one() {
    let (bank, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let asked = undo(&SHOP, Cred, vec![sale.item(400, None)]);
    let ten = [(); 10].map(|()| service.set_until_answered(&asked.wire));
    let [a, b, c, d, e, f, g, h, i, j] = ten;
    let answers = tokio::join!(a, b, c, d, e, f, g, h, i, j);
    let answers: [Vec<u8>; 10] = answers.into();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(bank.effects("credit"), 1);
    assert_eq!(service.balance(PAYABLE).await, Some(-600));
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_that_was_cancelled_may_be_made_again_and_both_are_booked() {
    let (bank, service) = gateway().await;
    let (sale, place) = Sale::captured(&service, 1000).await;
    assert_eq!(
        sale.undo(&service, CapRev, 999, None).await.0,
        CapDataMismatch,
        "all of it or nothing"
    );
    let (done, stands) = sale.undo(&service, CapRev, 1000, Some(&place)).await;
    assert_eq!((done, stands.unwrap().batch_sequence_num), (Success, 2));
    assert_eq!(service.balance(PAYABLE).await, Some(0));
    let view = service.authorization(&sale.asked.xid).await;
    assert_eq!(view["state"], "authorized");
    assert_eq!(view["captures"].as_array().unwrap().len(), 0);
    assert_eq!(
        sale.undo(&service, CapRev, 1000, None).await.0,
        OriginalNotFound
    );
    assert_eq!(sale.undo(&service, Cred, 1, None).await.0, OriginalNotFound);
    let (again, stands) = sale.capture(&service, 1000).await;
    assert_eq!(again, CapCode::Success);
    assert_eq!(stands.unwrap().batch_sequence_num, 3);
    assert_eq!((bank.effects("capture"), bank.effects("uncapture")), (2, 1));
    assert_eq!(service.balance(PAYABLE).await, Some(-1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_is_not_cancelled_while_a_refund_of_it_stands() {
    let (bank, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let (_, refund) = sale.undo(&service, Cred, 200, None).await;
    assert_eq!(
        sale.undo(&service, CapRev, 1000, None).await.0,
        OriginalProcessed
    );
    let refund = refund.unwrap();
    let (done, _) = sale.undo(&service, CredRev, 200, Some(&refund)).await;
    assert_eq!(done, Success);
    assert_eq!(service.balance(PAYABLE).await, Some(-1000));
    assert_eq!(
        sale.undo(&service, CredRev, 200, Some(&refund)).await.0,
        OriginalProcessed
    );
    assert_eq!(sale.undo(&service, CapRev, 1000, None).await.0, Success);
    assert_eq!(bank.effects("uncredit"), 1);
    assert_eq!(service.balance(RECEIVABLE).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_refund_is_named_by_its_place() {
    let (bank, service) = gateway().await;
    let (sale, capture) = Sale::captured(&service, 1000).await;
    let (other, _) = Sale::captured(&service, 1000).await;
    let (_, refund) = sale.undo(&service, Cred, 200, None).await;
    let refund = refund.unwrap();
    let nowhere = BatchPlace {
        batch_sequence_num: 99,
        ..refund.clone()
    };
    let no_batch = BatchPlace {
        batch_id: "none".parse().unwrap(),
        ..refund.clone()
    };
    let of = async |sale: &Sale, minor, place: Option<&BatchPlace>| {
        sale.undo(&service, CredRev, minor, place).await.0
    };
    assert_eq!(of(&sale, 200, None).await, MissingCapData);
    assert_eq!(of(&sale, 200, Some(&nowhere)).await, OriginalNotFound);
    assert_eq!(of(&sale, 200, Some(&no_batch)).await, BatchUnknown);
    assert_eq!(of(&sale, 200, Some(&capture)).await, OriginalNotFound);
    assert_eq!(of(&sale, 201, Some(&refund)).await, CapDataMismatch);
    assert_eq!(of(&other, 200, Some(&refund)).await, OriginalNotFound);
    assert_eq!(bank.effects("uncredit"), 0);
    assert_eq!(of(&sale, 200, Some(&refund)).await, Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_names_the_capture_that_stands_or_none() {
    let (_, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let (_, other) = Sale::captured(&service, 1000).await;
    let no_batch = BatchPlace {
        batch_id: "none".parse().unwrap(),
        batch_sequence_num: 1,
    };
    let cred = async |place: &BatchPlace| sale.undo(&service, Cred, 1, Some(place)).await.0;
    assert_eq!(cred(&other).await, CapDataMismatch);
    assert_eq!(cred(&no_batch).await, BatchUnknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_of_another_merchant_is_unknown() {
    let (bank, service) = gateway().await;
    let bought = buy(&OTHER_SHOP, 1000);
    let asked = bought.ask();
    let answer = service.set(&asked.wire).await.taken();
    let capture = asked.capture(&bought, &answer, 1000);
    let claimed = claim(&OTHER_SHOP, vec![capture]);
    let items = claimed.read(&service.set(&claimed.wire).await.taken());
    let theirs = items[0].batch.clone().unwrap();
    let (sale, ours) = Sale::captured(&service, 1000).await;
    assert_ne!(theirs.batch_id, ours.batch_id);
    let (code, _) = sale.undo(&service, Cred, 1, Some(&theirs)).await;
    assert_eq!(code, BatchUnknown);
    let (code, _) = sale.undo(&service, CredRev, 1000, Some(&theirs)).await;
    assert_eq!(code, BatchUnknown);
    assert_eq!(bank.effects("credit"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_name_another_batch_than_the_open_one_are_refused() {
    let (bank, service) = gateway().await;
    let (sale, place) = Sale::captured(&service, 1000).await;
    let mut item = sale.item(1, None);
    item.new_batch_id = Some("none".parse().unwrap());
    assert_eq!(code(&service, Cred, item.clone()).await, BatchUnknown);
    item.new_batch_id = Some(place.batch_id.clone());
    assert_eq!(code(&service, Cred, item).await, Success);
    let second = Sale::authorized(&service, 500).await;
    let mut capture = second.asked.capture(&second.bought, &second.answer, 500);
    capture.batch_id = Some("none".parse().unwrap());
    let claimed = claim(&SHOP, vec![capture]);
    let codes = claimed.codes(&service.set(&claimed.wire).await.taken());
    assert_eq!(codes, [CapCode::BatchUnknown]);
    assert_eq!(bank.effects("capture"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_without_its_own_token_or_of_another_merchant_is_refused() {
    let (bank, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let (other, _) = Sale::captured(&service, 1000).await;
    let swapped = Item {
        cap_token: other.asked.token(&other.answer),
        ..sale.item(100, None)
    };
    assert_eq!(code(&service, Cred, swapped).await, InvalidCapToken);
    let stolen = undo(&OTHER_SHOP, Cred, vec![sale.item(100, None)]);
    let codes = stolen.codes(&service.set(&stolen.wire).await.taken());
    assert_eq!(codes, [InvalidCapToken]);
    assert_eq!(bank.effects("credit"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_one_request_are_done_each_by_itself() {
    let (bank, service) = gateway().await;
    let (first, _) = Sale::captured(&service, 100).await;
    let (second, _) = Sale::captured(&service, 200).await;
    let items = vec![
        first.item(60, None),
        first.item(40, None),
        first.item(1, None),
        second.item(200, None),
    ];
    let asked = undo(&SHOP, Cred, items);
    let codes = asked.codes(&service.set(&asked.wire).await.taken());
    assert_eq!(codes, [Success, Success, CapDataMismatch, Success]);
    assert_eq!(bank.effects("credit"), 3);
    let (third, _) = Sale::captured(&service, 300).await;
    let twice = undo(
        &SHOP,
        CapRev,
        vec![third.item(300, None), third.item(300, None)],
    );
    let codes = twice.codes(&service.set(&twice.wire).await.taken());
    assert_eq!(codes, [Success, DuplicateRequest]);
    assert_eq!(service.balance(PAYABLE).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_that_was_spent_is_not_cancelled_and_nothing_changes() {
    let (bank, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    let (_, refund) = sale.undo(&service, Cred, 400, None).await;
    let refund = refund.unwrap();
    bank.set_mood(Mood::Spent);
    let (code, place) = sale.undo(&service, CredRev, 400, Some(&refund)).await;
    assert_eq!((code, place), (UnspecifiedFailure, None));
    assert_eq!(service.balance(PAYABLE).await, Some(-600));
    bank.set_mood(Mood::Approve);
    let (code, _) = sale.undo(&service, CredRev, 400, Some(&refund)).await;
    assert_eq!(code, Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn merchant_that_captures_again_is_told_what_stands() {
    let (_, service) = gateway().await;
    let sale = Sale::authorized(&service, 1000).await;
    let (_, place) = sale.capture(&service, 600).await;
    let capture = sale.asked.capture(&sale.bought, &sale.answer, 1000);
    let claimed = claim(&SHOP, vec![capture]);
    let items = claimed.read(&service.set(&claimed.wire).await.taken());
    assert_eq!(items[0].cap_code, CapCode::DuplicateRequest);
    assert_eq!(items[0].cap_amt, euros(600));
    assert_eq!(items[0].batch, place);
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_that_a_crash_cut_short_is_finished_once() {
    let (bank, service) = gateway().await;
    let (sale, _) = Sale::captured(&service, 1000).await;
    bank.set_answering(false);
    let asked = undo(&SHOP, Cred, vec![sale.item(1000, None)]);
    tokio::select! {
        _ = service.set(&asked.wire) => panic!("the issuer has not answered"),
        () = bank.asked(3) => {}
    }
    let premises = service.kill().await;
    bank.set_answering(true);
    let service = premises.start().await;
    let answer = service.set_until_answered(&asked.wire).await;
    assert_eq!(asked.codes(&answer), [Success]);
    assert_eq!(bank.effects("credit"), 1);
    assert_eq!(service.balance(PAYABLE).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_postgres_give_back_no_more_than_was_captured() {
    let Some(server) = PostgresServer::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let bank = Bank::open().await;
    let url = server.create_database().unwrap();
    let premises = Premises::with(&bank, &format!("database_url = \"{url}\""));
    let (one, two) = tokio::join!(premises.replica().start(), premises.replica().start());
    let (sale, _) = Sale::captured(&one, 1000).await;
    let [left, right] = [(); 2].map(|()| undo(&SHOP, Cred, vec![sale.item(600, None)]));
    let (first, second) = tokio::join!(
        one.set_until_answered(&left.wire),
        two.set_until_answered(&right.wire)
    );
    let mut codes = [left.codes(&first)[0], right.codes(&second)[0]];
    codes.sort_by_key(|code| format!("{code:?}"));
    assert_eq!(codes, [CapDataMismatch, Success]);
    assert_eq!(bank.effects("credit"), 1);
    assert_eq!(two.balance(PAYABLE).await, Some(-400));
}
