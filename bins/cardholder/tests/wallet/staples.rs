//! OCSP responses that go along with purchases.

use std::time::Duration;

use crate::authority::{Mood, YEAR_S};
use crate::renewals::{certificate, renewed};
use crate::world::{Wallet, World};

/// How many certificates have a fresh OCSP response.
async fn held(wallet: &Wallet) -> String {
    let metrics = wallet.get("/metrics").await.text;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("openset_wallet_ocsp_responses "));
    line.unwrap_or_else(|| panic!("{metrics}")).to_owned()
}

async fn hold(wallet: &Wallet, count: &str) {
    for _ in 0..2400 {
        if held(wallet).await == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not {count} but {}", held(wallet).await);
}

#[tokio::test]
async fn responses_are_fetched_without_any_purchase_and_kept_while_they_are_good() {
    let mut world = World::new().await;
    world.more = "staple_seconds = 1".to_owned();
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    wallet.register().await;
    hold(&wallet, "2").await;
    // They are asked for again at half of their time, not before.
    let asked = world.authority.received("OCSPRequest").1;
    assert_eq!(asked, 2);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.authority.received("OCSPRequest").1, asked);
    wallet.close().await;
    // They are in the database.
    world.authority.be(Mood::Down);
    let wallet = world.open("wallet").await;
    hold(&wallet, "2").await;
    // They go along with purchases, and nobody is asked for them then.
    for before in 0..3 {
        assert_eq!(world.shop.stapled(), before);
        let bought = wallet.buy(&world, &card_id, None).await;
        assert_eq!(bought.at("/status"), "paid");
    }
    assert_eq!(world.shop.stapled(), 3);
    assert_eq!(world.authority.received("OCSPRequest").1, asked);
    wallet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_renewal_the_response_is_about_the_new_certificate() {
    let mut world = World::new().await;
    world.more = "staple_seconds = 1\nrenewal_days = 1".to_owned();
    world.authority.certify_for(120);
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    hold(&wallet, "1").await;
    let bought = wallet.buy(&world, &card_id, None).await;
    assert_eq!(
        (bought.at("/status"), world.shop.stapled()),
        ("paid".to_owned(), 1)
    );
    let card = wallet.card(&card_id).await;
    world.authority.certify_for(YEAR_S);
    renewed(&wallet, &card_id, certificate(&card)).await;
    // The shop judges the responses that it is given.
    for _ in 0..200 {
        let bought = wallet.buy(&world, &card_id, None).await;
        assert_eq!(bought.at("/status"), "paid");
        if world.shop.stapled() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(world.shop.stapled(), 2);
    wallet.close().await;
}

#[tokio::test]
async fn without_a_responder_the_wallet_buys_all_the_same_and_asks_again() {
    let mut world = World::new().await;
    world.more = "staple_seconds = 1".to_owned();
    world.authority.be(Mood::WithoutOcsp);
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    world.authority.wait_for_more("OCSPRequest", 0).await;
    let bought = wallet.buy(&world, &card_id, None).await;
    assert_eq!(bought.at("/status"), "paid");
    assert_eq!(held(&wallet).await, "0");
    assert_eq!(world.shop.stapled(), 0);
    world.authority.be(Mood::Certifies);
    hold(&wallet, "1").await;
    wallet.close().await;
}

#[tokio::test]
async fn a_wallet_that_is_told_so_asks_for_none() {
    let mut world = World::new().await;
    world.more = "staple_seconds = 0".to_owned();
    let wallet = world.open("wallet").await;
    wallet.register().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.authority.received("OCSPRequest").1, 0);
    wallet.close().await;
}

#[tokio::test]
async fn a_revocation_that_ocsp_tells_is_shown_to_the_owner() {
    let mut world = World::new().await;
    world.more = "staple_seconds = 1".to_owned();
    let wallet = world.open("wallet").await;
    world.authority.revoke_all();
    let card_id = wallet.register().await;
    world.authority.wait_for_more("OCSPRequest", 0).await;
    for _ in 0..2400 {
        if wallet.card(&card_id).await["certificate"]["status"] == "revoked" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(
        wallet.card(&card_id).await["certificate"]["status"],
        "revoked"
    );
    assert_eq!(held(&wallet).await, "0");
    wallet.close().await;
}
