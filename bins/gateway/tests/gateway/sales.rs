//! Sales: what is authorized is captured in the same request, or not, and never twice.

use openset_protocol::messages::auth::CapResPayload;
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::messages::cap_rev_or_cred::{CapRevOrCred, CapRevOrCredCode};
use openset_testkit::postgres::PostgresServer;

use crate::bank::{Bank, Mood};
use crate::purchase::{Asked, Bought, SHOP, buy, claim, euros, undo};
use crate::service::{Premises, Service};

const PAYABLE: &str = "payable/shop-1/EUR";

async fn gateway() -> (Bank, Service) {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    (bank, service)
}

/// What an approved sale tells of its capture.
fn told(asked: &Asked, answer: &[u8]) -> CapResPayload {
    assert_eq!(asked.auth_code(answer), "approved");
    asked.read(answer).payload.cap_res_payload.unwrap()
}

/// Where a sale of all of it stands, if it was captured.
fn place(asked: &Asked, answer: &[u8], bought: &Bought) -> BatchPlace {
    let told = told(asked, answer);
    assert_eq!(
        (told.cap_code, told.cap_amt),
        (CapCode::Success, bought.amount)
    );
    told.batch.unwrap()
}

/// What comes of a CapReq for a sale, and where it says that the capture stands.
async fn capture(
    service: &Service,
    (bought, asked, answer): (&Bought, &Asked, &[u8]),
) -> (CapCode, Option<BatchPlace>) {
    let minor = bought.amount.minor();
    let claimed = claim(&SHOP, vec![asked.capture(bought, answer, minor)]);
    let items = claimed.read(&service.set(&claimed.wire).await.taken());
    (items[0].cap_code, items[0].batch.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn sale_is_authorized_and_captured_once_however_often_it_is_asked_for() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    let set = || service.set_until_answered(&asked.wire);
    let (one, two, three, four) = tokio::join!(set(), set(), set(), set());
    let answer = service.set(&asked.wire).await.taken();
    for other in [one, two, three, four] {
        assert_eq!(other, answer);
    }
    let place = place(&asked, &answer, &bought);
    assert_eq!((bank.effects("authorize"), bank.effects("capture")), (1, 1));
    assert_eq!(service.balance(PAYABLE).await, Some(-4200));
    let view = service.authorization(&asked.xid).await;
    assert_eq!(view["state"], "captured", "{view}");
    assert_eq!(view["captures"][0]["amount"]["amount_minor"], 4200);
    let steps = view["steps"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["step"], 10, "{view}");
    assert_eq!(steps.len(), 4, "{view}");

    // Whoever captures it again is told what stands; the instruction is used up.
    let again = capture(&service, (&bought, &asked, &answer)).await;
    assert_eq!(again, (CapCode::DuplicateRequest, Some(place)));
    let second = bought.ask_sale();
    let code = second.auth_code(&service.set(&second.wire).await.taken());
    assert_eq!(code, "piPreviouslyUsed");
    assert_eq!(service.balance(PAYABLE).await, Some(-4200));
}

#[tokio::test(flavor = "multi_thread")]
async fn sale_that_the_acquirer_does_not_offer_is_refused_before_the_issuer_is_asked() {
    let bank = Bank::open().await;
    let mut premises = Premises::new(&bank);
    premises.capture_now = false;
    let service = premises.start().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "captureNotSupported");
    assert_eq!(asked.read(&answer).payload.cap_res_payload, None);
    assert_eq!(bank.calls(), 0);
    // The instruction is as good as before.
    let plain = bought.ask();
    let answer = service.set(&plain.wire).await.taken();
    assert_eq!(plain.auth_code(&answer), "approved");
    assert_eq!(plain.read(&answer).payload.cap_res_payload, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn sale_that_the_issuer_declines_captures_nothing() {
    let (bank, service) = gateway().await;
    bank.set_mood(Mood::Decline("insufficientFunds"));
    let asked = buy(&SHOP, 4200).ask_sale();
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "declined");
    assert_eq!(asked.read(&answer).payload.cap_res_payload, None);
    assert_eq!(bank.effects("capture"), 0);
    assert_eq!(service.balance(PAYABLE).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn sale_whose_capture_is_refused_is_authorized_and_can_be_captured_later() {
    let (bank, service) = gateway().await;
    bank.set_mood(Mood::AboveHold);
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    let answer = service.set(&asked.wire).await.taken();
    let told = told(&asked, &answer);
    assert_eq!(told.cap_code, CapCode::InvalidAuthData);
    assert_eq!((told.cap_amt, told.batch), (euros(0), None));
    assert_eq!(service.balance(PAYABLE).await, None);
    let view = service.authorization(&asked.xid).await;
    assert_eq!(view["state"], "authorized", "{view}");
    bank.set_mood(Mood::Approve);
    let (code, place) = capture(&service, (&bought, &asked, &answer)).await;
    assert_eq!((code, place.is_some()), (CapCode::Success, true));
    assert_eq!(service.balance(PAYABLE).await, Some(-4200));
}

#[tokio::test(flavor = "multi_thread")]
async fn sale_is_undone_as_any_capture_is_and_no_longer_reversed() {
    let (_, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    let answer = service.set(&asked.wire).await.taken();
    let place = place(&asked, &answer, &bought);
    let taken = asked.take_back(&bought, Some(asked.token(&answer)), 0);
    let told = taken.read(&service.set(&taken.wire).await.taken());
    assert_eq!(told.code, AuthRevCode::InvalidTransaction);

    let item = asked.item(&bought, &answer, 1000, None);
    let credited = undo(&SHOP, CapRevOrCred::Cred, vec![item]);
    let codes = credited.codes(&service.set(&credited.wire).await.taken());
    assert_eq!(codes, [CapRevOrCredCode::Success]);
    assert_eq!(service.balance(PAYABLE).await, Some(-3200));

    let other = buy(&SHOP, 500);
    let asked = other.ask_sale();
    let answer = service.set(&asked.wire).await.taken();
    let item = asked.item(&other, &answer, 500, None);
    let cancelled = undo(&SHOP, CapRevOrCred::CapRev, vec![item]);
    let codes = cancelled.codes(&service.set(&cancelled.wire).await.taken());
    assert_eq!(codes, [CapRevOrCredCode::Success]);
    assert_eq!(service.balance(PAYABLE).await, Some(-3200));
    assert!(place.batch_sequence_num > 0);
}

/// What comes of AuthRevReq for all of it, without the token that came with an answer that nobody saw.
async fn take_back(service: &Service, (bought, asked): (&Bought, &Asked)) -> AuthRevCode {
    let taken = asked.take_back(bought, None, 0);
    taken.read(&service.set(&taken.wire).await.taken()).code
}

#[tokio::test(flavor = "multi_thread")]
async fn sale_whose_answer_nobody_saw_is_taken_back_capture_and_all() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    let answer = service.set(&asked.wire).await.taken();
    let captured = place(&asked, &answer, &bought);
    let taken = asked.take_back(&bought, None, 0);
    let response = service.set(&taken.wire).await.taken();
    let told = taken.read(&response);
    assert_eq!(
        (told.code, told.new_amount),
        (AuthRevCode::Approved, euros(0))
    );
    assert!(told.receipt.is_some(), "which the merchant has verified");
    assert_eq!(service.set(&taken.wire).await.taken(), response);
    assert_eq!(
        take_back(&service, (&bought, &asked)).await,
        AuthRevCode::Approved
    );
    assert_eq!((bank.effects("uncapture"), bank.effects("reverse")), (1, 1));
    assert_eq!(service.balance(PAYABLE).await, Some(0));
    let view = service.authorization(&asked.xid).await;
    assert_eq!(view["state"], "reversed", "{view}");
    // Both stand in the batch, one after the other.
    let movements = view["movements"].as_array().unwrap();
    let undone = movements
        .iter()
        .find(|one| one["kind"] == "capture_reversal");
    let undone = undone.unwrap();
    assert_eq!(undone["batch_id"], captured.batch_id.as_str(), "{view}");
    assert_eq!(
        undone["batch_sequence_num"],
        captured.batch_sequence_num + 1,
        "{view}"
    );
    // The instruction is free again.
    let again = bought.ask_sale();
    let answer = service.set(&again.wire).await.taken();
    assert_eq!(again.auth_code(&answer), "approved");
    assert_eq!(service.balance(PAYABLE).await, Some(-4200));
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_that_is_no_sale_or_went_back_in_part_is_not_taken_back_so() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    let answer = service.set(&asked.wire).await.taken();
    let item = asked.item(&bought, &answer, 1000, None);
    let credited = undo(&SHOP, CapRevOrCred::Cred, vec![item]);
    let codes = credited.codes(&service.set(&credited.wire).await.taken());
    assert_eq!(codes, [CapRevOrCredCode::Success]);
    let code = take_back(&service, (&bought, &asked)).await;
    assert_eq!(code, AuthRevCode::InvalidTransaction);

    let other = buy(&SHOP, 500);
    let asked = other.ask();
    let answer = service.set(&asked.wire).await.taken();
    let (code, _) = capture(&service, (&other, &asked, &answer)).await;
    assert_eq!(code, CapCode::Success);
    let code = take_back(&service, (&other, &asked)).await;
    assert_eq!(code, AuthRevCode::InvalidTransaction);
    assert_eq!((bank.effects("uncapture"), bank.effects("reverse")), (0, 0));
    assert_eq!(service.balance(PAYABLE).await, Some(-3700));
}

#[tokio::test(flavor = "multi_thread")]
async fn sale_that_the_issuer_keeps_stands_as_it_was() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    service.set(&asked.wire).await.taken();
    bank.set_mood(Mood::KeepsCaptures);
    let code = take_back(&service, (&bought, &asked)).await;
    assert_eq!(code, AuthRevCode::InvalidTransaction);
    assert_eq!((bank.effects("uncapture"), bank.effects("reverse")), (1, 0));
    assert_eq!(service.balance(PAYABLE).await, Some(-4200));
    let view = service.authorization(&asked.xid).await;
    assert_eq!(view["state"], "captured", "{view}");
    // Another time it does.
    bank.set_mood(Mood::Approve);
    let code = take_back(&service, (&bought, &asked)).await;
    assert_eq!(code, AuthRevCode::Approved);
    assert_eq!(service.balance(PAYABLE).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sale_whose_hold_ran_out_meanwhile_is_taken_back_all_the_same() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    service.set(&asked.wire).await.taken();
    bank.set_mood(Mood::NotHeld);
    let code = take_back(&service, (&bought, &asked)).await;
    assert_eq!(code, AuthRevCode::Approved);
    let view = service.authorization(&asked.xid).await;
    assert_eq!(view["state"], "reversed", "{view}");
    assert_eq!(service.balance(PAYABLE).await, Some(0));
}

/// The gateway dies after the issuer took the capture back, and once more after it released the hold.
#[tokio::test(flavor = "multi_thread")]
async fn sale_is_taken_back_once_though_the_gateway_dies_at_each_of_its_steps() {
    let (bank, mut service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    service.set(&asked.wire).await.taken();
    let taken = asked.take_back(&bought, None, 0);
    bank.set_answering(false);
    tokio::select! {
        _ = service.set(&taken.wire) => panic!("the issuer has not answered"),
        () = bank.asked(3) => {}
    }
    service = {
        let premises = service.kill().await;
        bank.set_mood(Mood::SilentAfterCapture);
        bank.set_answering(true);
        premises.start().await
    };
    for _ in 0..6000 {
        if bank.effects("reverse") == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!((bank.effects("uncapture"), bank.effects("reverse")), (1, 1));
    let view = service.authorization(&asked.xid).await;
    assert_eq!(view["state"], "reversing", "{view}");
    assert_eq!(
        service.balance(PAYABLE).await,
        Some(-4200),
        "all or nothing"
    );
    let premises = service.kill().await;
    bank.set_mood(Mood::Approve);
    let service = premises.start().await;
    service.until(&asked.xid, "reversed").await;
    let told = taken.read(&service.set_until_answered(&taken.wire).await);
    assert_eq!(told.code, AuthRevCode::Approved);
    assert_eq!((bank.effects("uncapture"), bank.effects("reverse")), (1, 1));
    assert_eq!(service.balance(PAYABLE).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn last_part_of_a_shipment_is_sold_with_the_token() {
    let (_, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let first = bought.ask_part(1000);
    let token = first.auth_token(&service.set(&first.wire).await.taken());
    let last = bought.ask_next_sale(&token, 3200);
    let told = told(&last, &service.set(&last.wire).await.taken());
    assert_eq!(
        (told.cap_code, told.cap_amt),
        (CapCode::Success, euros(3200))
    );
    assert_eq!(service.balance(PAYABLE).await, Some(-3200));
}

/// Between approval and capture the gateway dies: nothing is told, nothing is booked, and both are asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn sale_that_a_crash_cut_short_is_finished_and_booked_once() {
    let (bank, service) = gateway().await;
    bank.set_mood(Mood::SilentAfterCapture);
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    tokio::select! {
        _ = service.set(&asked.wire) => panic!("the issuer has not answered"),
        () = bank.asked(2) => {}
    }
    let view = service.authorization(&asked.xid).await;
    assert_eq!(view["state"], "asked", "{view}");
    assert_eq!(service.balance(PAYABLE).await, None);
    let premises = service.kill().await;
    bank.set_mood(Mood::Approve);
    let service = premises.start().await;
    // The worker alone: the merchant is silent.
    service.until(&asked.xid, "captured").await;
    let answer = service.set_until_answered(&asked.wire).await;
    let place = place(&asked, &answer, &bought);
    assert_eq!((bank.effects("authorize"), bank.effects("capture")), (1, 1));
    assert_eq!(service.balance(PAYABLE).await, Some(-4200));
    let again = capture(&service, (&bought, &asked, &answer)).await;
    assert_eq!(again, (CapCode::DuplicateRequest, Some(place)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_postgres_book_a_sale_once() {
    let Some(server) = PostgresServer::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let bank = Bank::open().await;
    let url = server.create_database().unwrap();
    let premises = Premises::with(&bank, &format!("database_url = \"{url}\""));
    let (one, two) = tokio::join!(premises.replica().start(), premises.replica().start());
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_sale();
    let (left, right) = tokio::join!(
        one.set_until_answered(&asked.wire),
        two.set_until_answered(&asked.wire)
    );
    assert_eq!(left, right);
    place(&asked, &left, &bought);
    assert_eq!((bank.effects("authorize"), bank.effects("capture")), (1, 1));
    assert_eq!(one.balance(PAYABLE).await, Some(-4200));
}
