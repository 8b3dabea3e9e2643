//! kill -9 of the real program at every stage, and what the next start makes of it.

use serde_json::json;

use crate::authority;
use crate::shop;
use crate::world::{Wallet, World, card};

/// Sends a request that will not be answered, and kills the wallet once `asked` is over.
async fn cut_off(
    wallet: Wallet,
    path: &str,
    body: serde_json::Value,
    asked: impl Future<Output = ()>,
) {
    let request = wallet
        .request("POST", path)
        .bearer_auth(crate::world::OWNER);
    let request = request
        .header("idempotency-key", "key")
        .body(body.to_string());
    let sending = tokio::spawn(request.send());
    asked.await;
    wallet.kill();
    assert!(sending.await.unwrap().is_err(), "nobody was told anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_card_is_shown_nothing_is_there_and_the_request_can_be_repeated() {
    for stage in ["CardCInitReq", "RegFormReq"] {
        let world = World::new().await;
        world.authority.be(authority::Mood::SlowTo(stage));
        let wallet = world.spawn("wallet").await;
        cut_off(wallet, "/cards", card(), world.authority.wait_for(stage)).await;
        world.authority.be(authority::Mood::Certifies);
        let wallet = world.spawn("wallet").await;
        assert_eq!(
            wallet.get("/cards").await.json(),
            json!({"cards": []}),
            "{stage}"
        );
        let again = wallet.post("/cards", Some("key"), &card()).await;
        assert_eq!(
            (again.status, again.at("/state").as_str()),
            (201, "registered"),
            "{}",
            again.text
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_the_card_is_certified_it_goes_on_with_the_same_bytes() {
    let world = World::new().await;
    world.authority.be(authority::Mood::SlowTo("CertReq"));
    let wallet = world.spawn("wallet").await;
    cut_off(
        wallet,
        "/cards",
        card(),
        world.authority.wait_for("CertReq"),
    )
    .await;
    // The authority is away at first.
    world.authority.be(authority::Mood::Down);
    let wallet = world.spawn("wallet").await;
    let again = wallet.post("/cards", Some("key"), &card()).await;
    assert_eq!(
        (again.status, again.at("/state").as_str()),
        (202, "registering"),
        "{}",
        again.text
    );
    world.authority.be(authority::Mood::Certifies);
    let card_id = again.at("/card_id");
    wallet.card_in(&card_id, "registered").await;
    assert_eq!(
        world.authority.received("CertReq").0,
        1,
        "the same bytes each time"
    );
    let again = wallet.post("/cards", Some("key"), &card()).await;
    assert_eq!((again.status, again.at("/card_id")), (201, card_id.clone()));
    assert_eq!(
        wallet.buy(&world, &card_id, None).await.at("/status"),
        "paid"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_anything_was_signed_there_is_no_purchase() {
    let world = World::new().await;
    let wallet = world.spawn("wallet").await;
    let card_id = wallet.register().await;
    world.shop.be(shop::Mood::SlowTo("PInitReq"));
    let basket = world.shop.basket(&card_id);
    cut_off(
        wallet,
        "/purchases",
        basket.clone(),
        world.shop.wait_for("PInitReq"),
    )
    .await;
    world.shop.be(shop::Mood::Sells);
    let wallet = world.spawn("wallet").await;
    assert_eq!(world.shop.received("PReq").1, 0);
    let again = wallet.post("/purchases", Some("key"), &basket).await;
    assert_eq!(
        (again.status, again.at("/status").as_str()),
        (201, "paid"),
        "{}",
        again.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_the_purchase_is_sent_it_goes_on_with_the_same_bytes() {
    let world = World::new().await;
    let wallet = world.spawn("wallet").await;
    let card_id = wallet.register().await;
    world.shop.be(shop::Mood::SlowTo("PReq"));
    let basket = world.shop.basket(&card_id);
    cut_off(
        wallet,
        "/purchases",
        basket.clone(),
        world.shop.wait_for("PReq"),
    )
    .await;
    world.shop.be(shop::Mood::Down);
    let wallet = world.spawn("wallet").await;
    let again = wallet.post("/purchases", Some("key"), &basket).await;
    assert_eq!(
        (again.status, again.at("/status").as_str()),
        (202, "pending"),
        "{}",
        again.text
    );
    world.shop.be(shop::Mood::Sells);
    wallet.purchase_is(&again.at("/purchase_id"), "paid").await;
    assert_eq!(world.shop.received("PReq").0, 1, "the same bytes each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_inquires_it_can_inquire_again() {
    let world = World::new().await;
    let wallet = world.spawn("wallet").await;
    let card_id = wallet.register().await;
    world.shop.be(shop::Mood::Waits);
    let purchase_id = wallet.buy(&world, &card_id, None).await.at("/purchase_id");
    world.shop.be(shop::Mood::SlowTo("InqReq"));
    let path = format!("/purchases/{purchase_id}/inquiry");
    cut_off(wallet, &path, json!({}), world.shop.wait_for("InqReq")).await;
    world.shop.be(shop::Mood::Sells);
    let wallet = world.spawn("wallet").await;
    wallet.purchase_is(&purchase_id, "pending").await;
    assert_eq!(
        wallet.post(&path, None, &json!({})).await.at("/status"),
        "paid"
    );
}

#[tokio::test]
async fn restarted_wallet_opens_without_its_authority() {
    let mut world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    wallet.close().await;
    world.authority.url = "http://127.0.0.1:9".to_owned();
    let wallet = world.open("wallet").await;
    assert_eq!(
        wallet.buy(&world, &card_id, None).await.at("/status"),
        "paid"
    );
    let refused = wallet.post("/cards", None, &card()).await;
    refused.refuses(503, "ca-not-answering");
    wallet.close().await;
}
