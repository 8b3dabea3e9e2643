//! AuthRevReq: a part, all of it, too late, too early, with tokens of others.

use openset_jose::base64url;
use openset_protocol::merchant::auth_rev::ReversalAnswer;
use openset_protocol::messages::auth_rev::AuthRevCode::{
    self, Approved, InvalidAmount, InvalidCapToken, InvalidTransaction, MissingCapToken,
};
use openset_protocol::messages::cap::CapCode;
use serde_json::Value;

use crate::bank::{Bank, Mood};
use crate::purchase::{Asked, Bought, SHOP, buy, claim, euros};
use crate::service::{Premises, Service};

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

/// Lowers an authorization with its token.
async fn lower(
    service: &Service,
    (bought, asked, answer): &(Bought, Asked, Vec<u8>),
    minor: u64,
) -> AuthRevCode {
    let taken = asked.take_back(bought, Some(asked.token(answer)), minor);
    taken.read(&service.set(&taken.wire).await.taken()).code
}

async fn captured(
    service: &Service,
    (bought, asked, answer): &(Bought, Asked, Vec<u8>),
    minor: u64,
) -> CapCode {
    let claimed = claim(&SHOP, vec![asked.capture(bought, answer, minor)]);
    claimed.codes(&service.set(&claimed.wire).await.taken())[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn reversal_of_a_part_lowers_the_hold_once_and_brings_a_new_receipt() {
    let (bank, service) = gateway().await;
    let of = authorized(&service, 4200).await;
    let (bought, asked, answer) = &of;
    let taken = asked.take_back(bought, Some(asked.token(answer)), 3000);
    let response = service.set(&taken.wire).await.taken();
    let told = taken.read(&response);
    assert_eq!((told.code, told.new_amount), (Approved, euros(3000)));
    assert!(told.receipt.is_some(), "which the merchant has verified");
    // The same bytes: the same answer. The same amount again: it stands already.
    assert_eq!(service.set(&taken.wire).await.taken(), response);
    assert_eq!(lower(&service, &of, 3000).await, Approved);
    assert_eq!(bank.effects("reverse"), 1);
    assert_eq!(lower(&service, &of, 3001).await, InvalidAmount);
    assert_eq!(
        service.authorization(&asked.xid).await["state"],
        "authorized"
    );

    assert_eq!(
        captured(&service, &of, 3001).await,
        CapCode::InvalidAuthData
    );
    assert_eq!(captured(&service, &of, 3000).await, CapCode::Success);
    assert_eq!(lower(&service, &of, 0).await, InvalidTransaction);
    assert_eq!(bank.effects("reverse"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_instruction_may_be_used_again_once_all_was_given_back() {
    let (bank, service) = gateway().await;
    let of = authorized(&service, 4200).await;
    assert_eq!(lower(&service, &of, 0).await, Approved);
    assert_eq!(service.authorization(&of.1.xid).await["state"], "reversed");
    assert_eq!(lower(&service, &of, 0).await, Approved);
    assert_eq!(
        captured(&service, &of, 4200).await,
        CapCode::InvalidAuthData
    );
    let again = of.0.ask();
    let answer = service.set(&again.wire).await.taken();
    assert_eq!(again.auth_code(&answer), "approved");
    assert_eq!((bank.effects("authorize"), bank.effects("reverse")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn reversal_needs_its_own_token_unless_nothing_is_to_stay() {
    let (bank, service) = gateway().await;
    let of = authorized(&service, 4200).await;
    let (_, other, other_answer) = authorized(&service, 4200).await;
    let (bought, asked, _) = &of;
    let swapped = asked.take_back(bought, Some(other.token(&other_answer)), 0);
    let told = swapped.read(&service.set(&swapped.wire).await.taken());
    assert_eq!(told.code, InvalidCapToken);
    let without = asked.take_back(bought, None, 3000);
    let told = without.read(&service.set(&without.wire).await.taken());
    assert_eq!(told.code, MissingCapToken);
    assert_eq!(bank.effects("reverse"), 0);
    let nothing = asked.take_back(bought, None, 0);
    let told = nothing.read(&service.set(&nothing.wire).await.taken());
    assert_eq!(told.code, Approved);
    assert_eq!(bank.effects("reverse"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_that_was_taken_back_before_it_came_is_never_asked_of_the_issuer() {
    let (bank, service) = gateway().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask();
    let part = asked.take_back(&bought, None, 1);
    assert_eq!(
        part.read(&service.set(&part.wire).await.taken()).code,
        MissingCapToken
    );
    let taken = asked.take_back(&bought, None, 0);
    let told = taken.read(&service.set(&taken.wire).await.taken());
    assert_eq!((told.code, told.receipt), (Approved, None));
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "invalidTransaction");
    assert_eq!(bank.calls(), 0);
    // The payment instruction itself is not used up.
    let again = bought.ask();
    let answer = service.set(&again.wire).await.taken();
    assert_eq!(again.auth_code(&answer), "approved");
}

/// What a receipt says of the amount, and which one of its authorization it is.
fn receipt_of(told: &ReversalAnswer) -> (u64, u64) {
    let (jws, _) = told.receipt.as_ref().unwrap();
    let payload = jws.0.split('.').nth(1).unwrap();
    let payload: Value = serde_json::from_slice(&base64url::decode(payload).unwrap()).unwrap();
    let data = &payload["data"];
    let sequence = data["sequence"].as_u64().unwrap();
    (data["auth_amt"]["amount"].as_u64().unwrap(), sequence)
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_that_ran_out_is_given_back_with_a_receipt_of_its_own() {
    let (bank, service) = gateway().await;
    let of = authorized(&service, 4200).await;
    let (bought, asked, answer) = &of;
    let token = || Some(asked.token(answer));
    let part = asked.take_back(bought, token(), 3000);
    let told = part.read(&service.set(&part.wire).await.taken());
    assert_eq!(receipt_of(&told), (3000, 2));
    bank.set_mood(Mood::NotHeld);
    assert_eq!(captured(&service, &of, 3000).await, CapCode::AuthExpired);
    assert_eq!(service.authorization(&asked.xid).await["state"], "expired");
    for _ in 0..2 {
        let taken = asked.take_back(bought, token(), 0);
        let told = taken.read(&service.set(&taken.wire).await.taken());
        assert_eq!((told.code, receipt_of(&told)), (Approved, (0, 3)));
    }
    assert_eq!(service.authorization(&asked.xid).await["state"], "reversed");
    assert_eq!(bank.effects("reverse"), 1, "there is nothing to release");
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_that_is_gone_is_not_lowered() {
    let (bank, service) = gateway().await;
    let of = authorized(&service, 4200).await;
    bank.set_mood(Mood::NotHeld);
    assert_eq!(lower(&service, &of, 3000).await, InvalidTransaction);
    let declined = buy(&SHOP, 100);
    bank.set_mood(Mood::Decline("insufficientFunds"));
    let asked = declined.ask();
    let answer = service.set(&asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "declined");
    let taken = asked.take_back(&declined, None, 0);
    let told = taken.read(&service.set(&taken.wire).await.taken());
    assert_eq!(told.code, Approved, "nothing is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn reversal_that_a_crash_cut_short_is_finished_once() {
    let (bank, service) = gateway().await;
    let of = authorized(&service, 4200).await;
    let (bought, asked, answer) = &of;
    bank.set_answering(false);
    let taken = asked.take_back(bought, Some(asked.token(answer)), 0);
    tokio::select! {
        _ = service.set(&taken.wire) => panic!("the issuer has not answered"),
        () = bank.asked(2) => {}
    }
    let state = service.authorization(&asked.xid).await["state"].clone();
    assert_eq!(state, "reversing");
    let premises = service.kill().await;
    bank.set_answering(true);
    let service = premises.start().await;
    service.until(&asked.xid, "reversed").await;
    let told = taken.read(&service.set(&taken.wire).await.taken());
    assert_eq!(told.code, Approved);
    assert_eq!(bank.effects("reverse"), 1);
}
