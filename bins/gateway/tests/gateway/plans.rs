//! Instalments and recurring payments: what the cardholder agreed to, no more of it, and not before its time.

use openset_protocol::Timestamp;
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::wrapper::Jwe;
use openset_service::clock;

use crate::bank::{Bank, Mood};
use crate::purchase::{Asked, Bought, CARD, SHOP, buy, buy_by, euros};
use crate::service::{Premises, Service};

const DAY_S: i64 = 86_400;

async fn gateway() -> (Bank, Service) {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    (bank, service)
}

fn monthly_until(expiry_s: i64) -> InstallRecurData {
    InstallRecurData::Recurring {
        frequency_days: 28,
        expiry: Timestamp::from_seconds(expiry_s),
    }
}

fn monthly() -> InstallRecurData {
    monthly_until(clock::now_seconds() + 365 * DAY_S)
}

fn bought(plan: InstallRecurData, minor: u64) -> Bought {
    buy_by(&CARD, &SHOP, minor, Some(plan))
}

async fn code(service: &Service, asked: &Asked) -> String {
    asked.auth_code(&service.set(&asked.wire).await.taken())
}

/// Authorized, and the token for the next payment.
async fn paid(service: &Service, asked: &Asked) -> Jwe {
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "approved");
    asked.auth_token(&answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn recurring_payment_before_its_time_is_refused_and_uses_no_token_up() {
    let (bank, service) = gateway().await;
    let bought = bought(monthly(), 1000);
    let token = paid(&service, &bought.ask_part(1000)).await;
    for _ in 0..2 {
        let early = code(&service, &bought.ask_next(&token, 1000)).await;
        assert_eq!(early, "recurringTooSoon");
    }
    assert_eq!(bank.effects("authorize"), 1);

    // Each payment by itself is for what was signed at most; all of them are for more. So early as the acquirer says, and
    // two intervals are not one.
    let mut premises = service.stop().await;
    premises.recurring_early_days = 2 * 28;
    let service = premises.start().await;
    let above = code(&service, &bought.ask_next(&token, 1001)).await;
    assert_eq!(above, "amountError");
    let token = paid(&service, &bought.ask_next(&token, 1000)).await;
    let token = paid(&service, &bought.ask_next(&token, 600)).await;
    let early = code(&service, &bought.ask_next(&token, 1000)).await;
    assert_eq!(early, "recurringTooSoon");
    assert_eq!(bank.effects("authorize"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_that_was_declined_or_given_back_begins_no_interval() {
    let (bank, service) = gateway().await;
    let bought = bought(monthly(), 1000);
    bank.set_mood(Mood::Decline("insufficientFunds"));
    let declined = code(&service, &bought.ask_part(1000)).await;
    assert_eq!(declined, "declined");
    bank.set_mood(Mood::Approve);
    let first = bought.ask_part(1000);
    let token = paid(&service, &first).await;
    // What is given back in part was paid in part.
    for left in [1000, 400] {
        let taken = first.take_back(&bought, None, left);
        service.set(&taken.wire).await.taken();
        let early = code(&service, &bought.ask_next(&token, 1000)).await;
        assert_eq!(early, "recurringTooSoon");
    }
    let taken = first.take_back(&bought, None, 0);
    service.set(&taken.wire).await.taken();
    paid(&service, &bought.ask_next(&token, 1000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sale_by_a_plan_is_held_to_it() {
    let (bank, service) = gateway().await;
    let bought = bought(InstallRecurData::InstallTotalTrans(2), 1000);
    let first = bought.ask_part(400);
    let answer = service.set(&first.wire).await.taken();
    let token = first.auth_token(&answer);
    let above = code(&service, &bought.ask_next_sale(&token, 601)).await;
    assert_eq!(above, "amountError");
    let second = bought.ask_next_sale(&token, 600);
    let answer = service.set(&second.wire).await.taken();
    assert_eq!(second.auth_code(&answer), "approved");
    let sold = second.read(&answer).payload.cap_res_payload.unwrap();
    assert_eq!(sold.cap_amt, euros(600));
    // Nothing follows the last one: it brought no token, and the earlier one is used up.
    assert!(second.read(&answer).baggage.auth_token.is_none());
    let third = code(&service, &bought.ask_next_sale(&token, 1)).await;
    assert_eq!(third, "piPreviouslyUsed");
    assert_eq!((bank.effects("authorize"), bank.effects("capture")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn recurring_payments_end_when_the_cardholder_said() {
    let (bank, service) = gateway().await;
    let over = bought(monthly_until(clock::now_seconds() - 1), 1000);
    let late = code(&service, &over.ask_part(1000)).await;
    assert_eq!(late, "recurringExpired");
    assert_eq!(bank.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn instalments_come_to_the_amount_and_end_with_the_last_one() {
    let (bank, service) = gateway().await;
    let bought = bought(InstallRecurData::InstallTotalTrans(3), 1000);
    let token = paid(&service, &bought.ask_part(400)).await;
    let above = code(&service, &bought.ask_next(&token, 601)).await;
    assert_eq!(above, "amountError");
    let token = paid(&service, &bought.ask_next(&token, 300)).await;
    let token = paid(&service, &bought.ask_next(&token, 200)).await;
    let fourth = code(&service, &bought.ask_next(&token, 100)).await;
    assert_eq!(fourth, "recurringExpired");
    assert_eq!(bank.effects("authorize"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn merchant_makes_no_subscription_of_a_single_sale_nor_another_of_one() {
    let (bank, service) = gateway().await;
    let other = || Some(InstallRecurData::InstallTotalTrans(2));
    for (signed, asked) in [
        (None, other()),
        (other(), None),
        (other(), Some(InstallRecurData::InstallTotalTrans(3))),
        (Some(monthly()), other()),
    ] {
        let mut bought = buy_by(&CARD, &SHOP, 1000, signed);
        bought.plan = asked;
        let refused = code(&service, &bought.ask_part(500)).await;
        assert_eq!(refused, "installRecurMismatch", "{signed:?} {asked:?}");
    }
    // What is no plan at all is none, though both agree.
    let unsound = bought(InstallRecurData::InstallTotalTrans(1), 1000);
    let refused = code(&service, &unsound.ask_part(500)).await;
    assert_eq!(refused, "installRecurMismatch");
    assert_eq!(bank.calls(), 0);

    // And with a token, for the payment that stands behind it.
    let mut once = buy(&SHOP, 1000);
    let token = paid(&service, &once.ask_part(500)).await;
    once.plan = other();
    let refused = code(&service, &once.ask_next(&token, 500)).await;
    assert_eq!(refused, "installRecurMismatch");
    once.plan = None;
    paid(&service, &once.ask_next(&token, 500)).await;
}
