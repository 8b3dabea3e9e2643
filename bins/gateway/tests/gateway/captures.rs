//! CapReq: once, twice, too much, with tokens of others.

use openset_protocol::merchant::cap::Capture;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::wrapper::Jwe;

use crate::bank::{Bank, Mood};
use crate::purchase::{Asked, Bought, OTHER_SHOP, SHOP, buy, claim, euros};
use crate::service::{Premises, Service};

const RECEIVABLE: &str = "receivable/issuer/EUR";
const PAYABLE: &str = "payable/shop-1/EUR";

/// A purchase that was authorized, and the answer.
async fn authorized(service: &Service, minor: u64) -> (Bought, Asked, Vec<u8>) {
    let bought = buy(&SHOP, minor);
    let asked = bought.ask();
    let answer = service.set(&asked.wire).await.taken();
    (bought, asked, answer)
}

async fn gateway() -> (Bank, Service) {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    (bank, service)
}

async fn code(service: &Service, capture: Capture) -> CapCode {
    let claimed = claim(&SHOP, vec![capture]);
    claimed.codes(&service.set(&claimed.wire).await.taken())[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_is_paid_and_booked_once() {
    let (bank, service) = gateway().await;
    let (bought, asked, answer) = authorized(&service, 4200).await;
    assert_eq!(service.balance(RECEIVABLE).await, None);
    let claimed = claim(&SHOP, vec![asked.capture(&bought, &answer, 4200)]);
    let response = service.set(&claimed.wire).await.taken();
    let items = claimed.read(&response);
    assert_eq!(
        (items[0].cap_code, items[0].cap_amt),
        (CapCode::Success, euros(4200))
    );
    assert_eq!(service.balance(RECEIVABLE).await, Some(4200));
    assert_eq!(service.balance(PAYABLE).await, Some(-4200));

    // The same bytes: the same answer. A new request: a duplicate. Neither has an effect.
    assert_eq!(service.set(&claimed.wire).await.taken(), response);
    let again = code(&service, asked.capture(&bought, &answer, 4200)).await;
    assert_eq!(again, CapCode::DuplicateRequest);
    assert_eq!(bank.effects("capture"), 1);
    assert_eq!(service.balance(RECEIVABLE).await, Some(4200));

    let view = service.authorization(&asked.xid).await;
    assert_eq!(view["state"], "captured");
    assert_eq!(view["captures"][0]["amount"]["amount_minor"], 4200);
    assert_eq!(view["ledger"].as_array().unwrap().len(), 2);
    assert_eq!(
        view["steps"].as_array().unwrap().last().unwrap()["step"],
        11
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_of_a_part_is_paid_and_the_rest_is_not() {
    let (_, service) = gateway().await;
    let (bought, asked, answer) = authorized(&service, 4200).await;
    assert_eq!(
        code(&service, asked.capture(&bought, &answer, 1000)).await,
        CapCode::Success
    );
    assert_eq!(
        code(&service, asked.capture(&bought, &answer, 1000)).await,
        CapCode::DuplicateRequest
    );
    assert_eq!(service.balance(PAYABLE).await, Some(-1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_above_the_authorization_is_refused_and_can_be_mended() {
    let (bank, service) = gateway().await;
    let (bought, asked, answer) = authorized(&service, 4200).await;
    let over = asked.capture(&bought, &answer, 4201);
    assert_eq!(code(&service, over).await, CapCode::InvalidAuthData);
    let nothing = asked.capture(&bought, &answer, 0);
    assert_eq!(code(&service, nothing).await, CapCode::InvalidAuthData);
    assert_eq!(bank.effects("capture"), 0);
    assert_eq!(
        code(&service, asked.capture(&bought, &answer, 4200)).await,
        CapCode::Success
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_with_a_token_that_is_not_ours_is_refused() {
    let (bank, service) = gateway().await;
    let (_, elsewhere) = gateway().await;
    let (bought, asked, answer) = authorized(&service, 4200).await;
    // Another gateway's token, another authorization's, and an altered one.
    let foreign_answer = elsewhere.set(&asked.wire).await.taken();
    let foreign = Capture {
        cap_token: asked.token(&foreign_answer),
        ..asked.capture(&bought, &answer, 4200)
    };
    assert_eq!(code(&service, foreign).await, CapCode::InvalidCapToken);
    let (_, other, other_answer) = authorized(&service, 4200).await;
    let swapped = Capture {
        cap_token: other.token(&other_answer),
        ..asked.capture(&bought, &answer, 4200)
    };
    assert_eq!(code(&service, swapped).await, CapCode::InvalidCapToken);
    let mut altered = asked.capture(&bought, &answer, 4200);
    let flipped = if altered.cap_token.0.ends_with('A') {
        "B"
    } else {
        "A"
    };
    altered.cap_token = Jwe(format!(
        "{}{flipped}",
        &altered.cap_token.0[..altered.cap_token.0.len() - 1]
    ));
    assert_eq!(code(&service, altered).await, CapCode::InvalidCapToken);
    assert_eq!(bank.effects("capture"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_with_another_merchants_token_is_refused() {
    let (bank, service) = gateway().await;
    let (bought, asked, answer) = authorized(&service, 4200).await;
    let stolen = claim(&OTHER_SHOP, vec![asked.capture(&bought, &answer, 4200)]);
    let codes = stolen.codes(&service.set(&stolen.wire).await.taken());
    assert_eq!(codes, [CapCode::InvalidCapToken]);
    assert_eq!(bank.effects("capture"), 0);
    assert_eq!(
        service.authorization(&asked.xid).await["state"],
        "authorized"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn captures_of_one_request_succeed_and_fail_each_by_itself() {
    let (_, service) = gateway().await;
    let (first, asked_first, answer_first) = authorized(&service, 100).await;
    let (second, asked_second, answer_second) = authorized(&service, 200).await;
    let claimed = claim(
        &SHOP,
        vec![
            asked_first.capture(&first, &answer_first, 100),
            asked_first.capture(&first, &answer_first, 100),
            asked_second.capture(&second, &answer_second, 300),
            asked_second.capture(&second, &answer_second, 200),
        ],
    );
    let codes = claimed.codes(&service.set(&claimed.wire).await.taken());
    use CapCode::{DuplicateRequest, InvalidAuthData, Success};
    assert_eq!(codes, [Success, DuplicateRequest, InvalidAuthData, Success]);
    assert_eq!(service.balance(PAYABLE).await, Some(-300));
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_of_a_hold_that_ran_out_is_refused_and_nothing_is_booked() {
    let (bank, service) = gateway().await;
    let (bought, asked, answer) = authorized(&service, 4200).await;
    bank.set_mood(Mood::NotHeld);
    assert_eq!(
        code(&service, asked.capture(&bought, &answer, 4200)).await,
        CapCode::AuthExpired
    );
    assert_eq!(service.authorization(&asked.xid).await["state"], "expired");
    assert_eq!(service.balance(RECEIVABLE).await, None);
    assert_eq!(
        code(&service, asked.capture(&bought, &answer, 4200)).await,
        CapCode::AuthExpired
    );
}
