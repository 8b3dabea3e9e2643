//! New keys and certificates, the merchant's own and its gateway's, in the midst of purchases.

use openset_protocol::cardholder::purchase::PaymentStatus;
use openset_service::clock;
use openset_service::enrolment::Generation;
use serde_json::Value;

use crate::bank::Mood;
use crate::shop::{OPERATOR, World};
use crate::wallet::{Wallet, post};

#[tokio::test]
async fn purchase_opened_before_a_renewal_is_finished_with_the_keys_it_was_opened_with() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let (before, after) = (shop.order().await, shop.order().await);
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&shop, &before).await;
    shop.close().await;
    world.renew().await;
    let shop = world.open_shop().await;

    let reply = post(&shop.url, &step.wire).await;
    assert_eq!(wallet.read(&step.state, &reply).status, PaymentStatus::Paid);
    let (_, outcome) = wallet.buy(&shop, &after).await;
    assert_eq!(outcome.status, PaymentStatus::Paid);
    let signers = world.bank.signers("AuthReq");
    assert_ne!(signers[0], signers[1], "the new purchase has the new keys");

    assert_eq!(shop.capture(&before, Some("key")).await.0, 200);
    assert_eq!(
        world.bank.signers("CapReq"),
        [signers[1]],
        "a capture is asked for with the current keys"
    );
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
}

#[tokio::test]
async fn purchase_opened_by_a_replica_that_has_renewed_is_finished_by_one_that_has_not() {
    let world = World::new().await;
    let old = world.open_shop().await;
    let (bought, asked) = (old.order().await, old.order().await);
    world.renew().await;
    let new = world.open_replica(5_000, "two").await;
    let wallet = Wallet::new(&world.pki, 1);
    let (step, _) = wallet.buy(&new, &asked).await;
    let inquired = wallet.inquire(&old, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    let step = wallet.begin(&new, &bought).await;
    let reply = post(&old.url, &step.wire).await;
    assert_eq!(wallet.read(&step.state, &reply).status, PaymentStatus::Paid);
}

#[tokio::test]
async fn answers_to_what_was_asked_before_a_renewal_are_opened_after_it() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let (authorized, captured) = (shop.order().await, shop.order().await);
    let wallet = Wallet::new(&world.pki, 1);
    wallet.buy(&shop, &captured).await;
    shop.wait_for_state(&captured, "authorized").await;
    let step = wallet.begin(&shop, &authorized).await;
    world.bank.be(Mood::Down);
    let reply = post(&shop.url, &step.wire).await;
    assert_eq!(
        wallet.read(&step.state, &reply).status,
        PaymentStatus::Pending
    );
    assert_eq!(shop.capture(&captured, Some("key")).await.0, 202);
    shop.close().await;

    world.renew().await;
    world.bank.renew();
    let shop = world.open_shop().await;
    world.bank.be(Mood::Approves);
    shop.wait_for_state(&authorized, "authorized").await;
    shop.wait_for_state(&captured, "captured").await;
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    assert_eq!(
        world.bank.received("AuthReq").0,
        2,
        "the same bytes each time"
    );
}

#[tokio::test]
async fn gateway_that_has_renewed_opens_what_was_sealed_for_its_old_keys() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&shop, &order).await;
    world.bank.renew();
    let reply = post(&shop.url, &step.wire).await;
    assert_eq!(wallet.read(&step.state, &reply).status, PaymentStatus::Paid);
    assert_eq!(shop.capture(&order, Some("key")).await.0, 200);
}

#[tokio::test]
async fn purchase_whose_keys_have_expired_must_be_begun_again() {
    // Longer than a slow start takes.
    const LIFETIME_S: i64 = 20;
    let world = World::enrolled_for(LIFETIME_S).await;
    let ended_s = clock::now_seconds() + LIFETIME_S + 1;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&shop, &order).await;
    world.store(Generation::FIRST.next(), 1000).await;
    while clock::now_seconds() < ended_s {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let (code, _) = post(&shop.url, &step.wire).await.error();
    assert_eq!(code, "expiredCertificate");
    shop.close().await;
    let shop = world.open_shop().await;
    let (_, outcome) = wallet.buy(&shop, &order).await;
    assert_eq!(outcome.status, PaymentStatus::Paid);
}

#[tokio::test]
async fn operator_sees_every_certificate_that_is_held_with_status_and_days_left() {
    let world = World::enrolled_for(10 * 86_400 + 43_200).await;
    world.renew().await;
    let shop = world.open_shop().await;
    assert_eq!(shop.get("/certificates/own", None).await.0, 401);
    let (_, body) = shop.get("/certificates/own", Some(OPERATOR)).await;
    let shown: Vec<_> = body["certificates"].as_array().unwrap().iter().collect();
    assert_eq!(shown.len(), 4, "{body}");
    for (one, status) in shown.iter().zip(["retired", "retired", "good", "good"]) {
        assert_eq!(one["status"], status, "{one}");
    }
    assert_eq!(shown[0]["days_left"], 10);
}

#[tokio::test]
async fn operator_sees_what_has_ended() {
    let world = World::new().await;
    // It keeps the gateway's certificate, for which nobody asks with one of his own that has ended.
    world.open_shop().await.close().await;
    world.store(Generation::FIRST.next(), 1).await;
    let shop = world.open_shop().await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let (_, body) = shop.get("/certificates/own", Some(OPERATOR)).await;
    let all = body["certificates"].as_array().unwrap();
    let ended = |one: &&Value| one["status"] == "expired" && one["days_left"] == -1;
    assert_eq!(all.iter().filter(ended).count(), 2, "{body}");
}
