//! Split shipments: later authorizations of a purchase by AuthToken.

use std::sync::Arc;

use openset_pki::CrlIssuer;
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_protocol::wrapper::Jwe;
use openset_service::clock;
use openset_testkit::postgres::PostgresServer;

use crate::bank::{Bank, Mood};
use crate::purchase::{
    Asked, Bought, CARD, GATEWAY, GATEWAY_RENEWED, OTHER_SHOP, PKI, SHOP, SHOP_RENEWED, buy, claim,
    euros, verifier,
};
use crate::service::{Premises, Service};

async fn gateway() -> (Bank, Service) {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    (bank, service)
}

async fn approved(service: &Service, asked: &Asked) -> Vec<u8> {
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "approved");
    answer
}

async fn code(service: &Service, asked: &Asked) -> String {
    asked.auth_code(&service.set(&asked.wire).await.taken())
}

/// A purchase of which a part is authorized, and the token for more.
async fn begun(service: &Service, bought: &Bought, minor: u64) -> Jwe {
    let first = bought.ask_part(minor);
    first.auth_token(&approved(service, &first).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn shipment_in_parts_is_authorized_and_captured_part_by_part() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let first = bought.ask_part(1000);
    let first_answer = approved(&service, &first).await;
    let told = first.read(&first_answer);
    assert_eq!(told.payload.auth_amt, euros(1000));
    assert!(
        told.baggage.receipt.is_some(),
        "which the merchant has verified"
    );

    let token = told.baggage.auth_token.unwrap();
    let second = bought.ask_next(&token, 2000);
    let second_answer = approved(&service, &second).await;
    // The same bytes: the same answer.
    assert_eq!(service.set(&second.wire).await.taken(), second_answer);
    let token = second.auth_token(&second_answer);
    let third = bought.ask_last(&token, 1200);
    let third_answer = approved(&service, &third).await;
    assert_eq!(third.read(&third_answer).baggage.auth_token, None);
    assert_eq!(bank.effects("authorize"), 3);

    let captures = vec![
        first.capture(&bought, &first_answer, 1000),
        second.capture(&bought, &second_answer, 2000),
        third.capture(&bought, &third_answer, 1200),
    ];
    let claimed = claim(&SHOP, captures);
    let answer = service.set(&claimed.wire).await.taken();
    assert_eq!(claimed.codes(&answer), [CapCode::Success; 3]);
    assert_eq!(service.balance("payable/shop-1/EUR").await, Some(-4200));
    let view = service.authorization(&first.xid).await;
    assert_eq!(view["attempts"].as_array().unwrap().len(), 3, "{view}");
    assert_eq!(view["card"], "**** **** **** 7899");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_used_up_by_an_approval_and_not_by_a_refusal() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let token = begun(&service, &bought, 1000).await;
    bank.set_mood(Mood::Decline("insufficientFunds"));
    assert_eq!(
        code(&service, &bought.ask_next(&token, 1000)).await,
        "declined"
    );
    bank.set_mood(Mood::Approve);
    let dollars = CurrencyAmount::new(Currency::from_alpha("USD").unwrap(), 1).unwrap();
    let in_dollars = bought.ask_next_as(&SHOP, &token, dollars);
    assert_eq!(code(&service, &in_dollars).await, "amountError");
    for minor in [0, 3201] {
        let asked = bought.ask_next(&token, minor);
        assert_eq!(code(&service, &asked).await, "amountError", "{minor}");
    }
    let second = bought.ask_next(&token, 1000);
    let newer = second.auth_token(&approved(&service, &second).await);
    for asked in [bought.ask_next(&token, 1000), bought.ask_part(1000)] {
        assert_eq!(code(&service, &asked).await, "piPreviouslyUsed");
    }
    approved(&service, &bought.ask_next(&newer, 2200)).await;
    // The first, the one that was declined, and two more.
    assert_eq!(bank.effects("authorize"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_another_merchant_or_purchase_is_refused() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let token = begun(&service, &bought, 1000).await;
    let (theirs, other) = (buy(&OTHER_SHOP, 4200), buy(&SHOP, 4200));
    begun(&service, &other, 1000).await;
    begun(&service, &theirs, 1000).await;
    let wrong = [
        theirs.ask_next(&token, 1000),
        other.ask_next(&token, 1000),
        bought.ask_next_as(&OTHER_SHOP, &token, euros(1000)),
    ];
    for asked in &wrong {
        assert_eq!(code(&service, asked).await, "piAuthMismatch");
    }
    // And what is no token of ours: another gateway's, whose key is another.
    let elsewhere = Premises::new(&bank).start().await;
    let foreign = begun(&elsewhere, &buy(&SHOP, 4200), 1000).await;
    assert_eq!(
        code(&service, &bought.ask_next(&foreign, 1000)).await,
        "piAuthMismatch"
    );
    assert_eq!(bank.effects("authorize"), 4);
    approved(&service, &bought.ask_next(&token, 1000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_requests_with_one_token_are_one_approval() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let token = begun(&service, &bought, 1000).await;
    bank.set_answering(false);
    let (one, two) = (bought.ask_next(&token, 1000), bought.ask_next(&token, 1000));
    let meanwhile = async {
        bank.asked(2).await;
        // Were the first declined, the second would be good: so it is not answered yet.
        service.set(&two.wire).await.working();
        bank.set_answering(true);
    };
    let (answer, ()) = tokio::join!(service.set(&one.wire), meanwhile);
    assert_eq!(one.auth_code(&answer.taken()), "approved");
    assert_eq!(code(&service, &two).await, "piPreviouslyUsed");
    assert_eq!(bank.effects("authorize"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_postgres_approve_one_of_two_requests_with_one_token() {
    let Some(server) = PostgresServer::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let bank = Bank::open().await;
    let url = server.create_database().unwrap();
    let premises = Premises::with(&bank, &format!("database_url = \"{url}\""));
    let (one, two) = tokio::join!(premises.replica().start(), premises.replica().start());
    let bought = buy(&SHOP, 4200);
    let token = begun(&one, &bought, 1000).await;
    let (left, right) = (bought.ask_next(&token, 1000), bought.ask_next(&token, 1000));
    let (left_answer, right_answer) = tokio::join!(
        one.set_until_answered(&left.wire),
        two.set_until_answered(&right.wire)
    );
    let mut codes = [left.auth_code(&left_answer), right.auth_code(&right_answer)];
    codes.sort();
    assert_eq!(codes, ["approved", "piPreviouslyUsed"]);
    assert_eq!(bank.effects("authorize"), 2);
}

/// Signed again and sealed again: a token needs neither the keys that asked first nor those that were asked.
#[tokio::test(flavor = "multi_thread")]
async fn token_is_good_after_merchant_and_gateway_have_renewed() {
    let (_, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let token = begun(&service, &bought, 1000).await;
    let held = vec![GATEWAY_RENEWED.clone(), GATEWAY.clone()];
    let service = service.stop().await.start_holding(held).await;
    let asked = bought.ask_next_as(&SHOP_RENEWED, &token, euros(1000));
    approved(&service, &asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cardholders_certificate_is_looked_at_anew_for_each_authorization() {
    let bank = Bank::open().await;
    let verifier = verifier();
    let held = vec![GATEWAY.clone()];
    let service = Premises::new(&bank)
        .start_trusting(held, Arc::clone(&verifier))
        .await;
    let bought = buy(&SHOP, 4200);
    let token = begun(&service, &bought, 1000).await;
    let second = bought.ask_next(&token, 1000);
    let token = second.auth_token(&approved(&service, &second).await);

    let ca = &PKI.brand("Visa").cca.authority;
    let crl = PKI.crl(ca, 2, &[CARD.signature.certificate()]);
    let chain = ca.chain().unwrap();
    verifier
        .install_crl(crl, CrlIssuer::Chain(&chain), clock::now().seconds())
        .unwrap();
    assert_eq!(
        code(&service, &bought.ask_next(&token, 1000)).await,
        "invalidTransaction"
    );
    assert_eq!(bank.effects("authorize"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn acquirers_tolerance_is_the_limit_above_what_was_signed() {
    let bank = Bank::open().await;
    let mut premises = Premises::new(&bank);
    premises.tolerance_percent = 15;
    let service = premises.start().await;
    let bought = buy(&SHOP, 1010);
    // 1161.5, rounded down.
    assert_eq!(code(&service, &bought.ask_part(1162)).await, "amountError");
    let token = begun(&service, &bought, 1000).await;
    // What was agreed when the purchase came holds for all of it.
    let mut premises = service.stop().await;
    premises.tolerance_percent = 0;
    let service = premises.start().await;
    assert_eq!(
        code(&service, &bought.ask_next(&token, 162)).await,
        "amountError"
    );
    approved(&service, &bought.ask_next(&token, 161)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_back_may_be_authorized_again_with_the_token() {
    let (_, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let first = bought.ask_part(4200);
    let answer = approved(&service, &first).await;
    let token = first.auth_token(&answer);
    assert_eq!(
        code(&service, &bought.ask_next(&token, 1)).await,
        "amountError"
    );
    let taken = first.take_back(&bought, Some(first.token(&answer)), 3000);
    let told = taken.read(&service.set(&taken.wire).await.taken());
    assert_eq!(told.code, AuthRevCode::Approved);
    approved(&service, &bought.ask_next(&token, 1200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_by_token_that_a_crash_cut_short_is_finished_once() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let token = begun(&service, &bought, 1000).await;
    bank.set_answering(false);
    let second = bought.ask_next(&token, 1000);
    tokio::select! {
        _ = service.set(&second.wire) => panic!("the issuer has not answered"),
        () = bank.asked(2) => {}
    }
    let premises = service.kill().await;
    bank.set_answering(true);
    let service = premises.start().await;
    let answer = service.set_until_answered(&second.wire).await;
    let token = second.auth_token(&answer);
    approved(&service, &bought.ask_next(&token, 1000)).await;
    assert_eq!(bank.effects("authorize"), 3);
}

/// Of payments that are older than tokens nothing was kept.
#[tokio::test(flavor = "multi_thread")]
async fn payment_of_which_nothing_was_kept_is_kept_when_its_instruction_comes_again() {
    let (_, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let first = bought.ask_part(1000);
    let answer = approved(&service, &first).await;
    let premises = service.stop().await;
    let db = premises.open_database().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE payments SET kept_sealed = NULL")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let service = premises.start().await;
    let token = first.auth_token(&answer);
    assert_eq!(
        code(&service, &bought.ask_next(&token, 1000)).await,
        "invalidTransaction"
    );
    let taken = first.take_back(&bought, None, 0);
    service.set(&taken.wire).await.taken();
    let again = bought.ask_part(1000);
    let token = again.auth_token(&approved(&service, &again).await);
    approved(&service, &bought.ask_next(&token, 1000)).await;
}
