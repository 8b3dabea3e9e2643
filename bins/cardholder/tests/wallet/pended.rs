//! Registrations and renewals that wait for the CA's operator.

use serde_json::{Value, json};

use crate::authority::{Mood, YEAR_S};
use crate::backups::{back_up, restore};
use crate::world::{World, card};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_waits_for_an_operator_is_asked_for_until_it_is_approved() {
    let world = World::new().await;
    world.authority.be(Mood::Pends);
    let wallet = world.spawn("wallet").await;
    let shown = wallet.post("/cards", Some("key"), &card()).await;
    assert_eq!(
        (shown.status, shown.at("/state").as_str()),
        (202, "pended"),
        "{}",
        shown.text
    );
    assert_eq!(shown.at("/message"), "An operator looks at it.");
    let card_id = shown.at("/card_id");
    wallet
        .buy(&world, &card_id, None)
        .await
        .refuses(422, "no-such-card");
    let asked = world.authority.received("CertInqReq").1;
    world.authority.wait_for_more("CertInqReq", asked + 1).await;
    assert_eq!(wallet.card(&card_id).await, shown.json());
    // Neither a restart nor an authority that is away or refuses takes anything away.
    let backup = back_up(&wallet).await;
    wallet.kill();
    for mood in [Mood::Down, Mood::Errors, Mood::Forges("CertInqReq")] {
        world.authority.be(mood);
        let asked = world.authority.received("CertInqReq").1;
        let wallet = world.spawn("wallet").await;
        world.authority.wait_for_more("CertInqReq", asked).await;
        assert_eq!(wallet.card(&card_id).await["state"], "pended", "{mood:?}");
        wallet.kill();
    }
    world.authority.be(Mood::Certifies);
    world.authority.decide(true);
    let wallet = world.spawn("wallet").await;
    let registered = wallet.card_in(&card_id, "registered").await;
    assert_eq!(world.authority.received("CertReq").1, 1);
    let bought = wallet.buy(&world, &card_id, None).await;
    assert_eq!(bought.at("/status"), "paid");
    let again = wallet.post("/cards", Some("key"), &card()).await;
    assert_eq!((again.status, again.json()), (201, registered.clone()));
    wallet.close().await;
    // A back-up of the wallet that waited gets the same certificate.
    let other = world.spawn("other").await;
    assert_eq!(restore(&other, &backup).await.status, 200);
    let there = other.card_in(&card_id, "registered").await;
    assert_eq!(there["certificate"], registered["certificate"]);
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_the_operator_rejects_is_refused() {
    let world = World::new().await;
    world.authority.be(Mood::Pends);
    let wallet = world.open("wallet").await;
    let card_id = wallet
        .post("/cards", Some("key"), &card())
        .await
        .at("/card_id");
    world.authority.decide(false);
    let refused = wallet.card_in(&card_id, "refused").await;
    assert_eq!(refused["reason"], "rejectedByCA: The operator says no.");
    wallet
        .post("/cards", Some("key"), &card())
        .await
        .refuses(422, "card-refused");
    wallet.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_waits_for_an_operator_leaves_the_old_key_in_use_until_it_is_approved() {
    let mut world = World::new().await;
    world.more = "renewal_days = 1".to_owned();
    world.authority.certify_for(120);
    let wallet = world.spawn("wallet").await;
    let card_id = wallet.register().await;
    world.authority.be(Mood::Pends);
    world.authority.certify_for(YEAR_S);
    let old = thumbprint(&wallet.card(&card_id).await);
    world.authority.wait_for_more("CertInqReq", 1).await;
    assert_eq!(thumbprint(&wallet.card(&card_id).await), old);
    let bought = wallet.buy(&world, &card_id, None).await;
    assert_eq!(bought.at("/status"), "paid");
    wallet.kill();
    world.authority.decide(true);
    let wallet = world.spawn("wallet").await;
    for _ in 0..2400 {
        if thumbprint(&wallet.card(&card_id).await) != old {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let card = wallet.card(&card_id).await;
    assert_ne!(thumbprint(&card), old);
    assert_eq!(card["certificate"]["status"], "valid");
    assert_eq!(world.authority.received("CertReq").1, 2, "one of each kind");
    let bought = wallet.buy(&world, &card_id, None).await;
    assert_eq!(bought.at("/status"), "paid");
    let path = format!("/purchases/{}/inquiry", bought.at("/purchase_id"));
    assert_eq!(
        wallet.post(&path, None, &json!({})).await.at("/status"),
        "paid"
    );
    wallet.close().await;
}

fn thumbprint(card: &Value) -> String {
    card["certificate"]["thumbprint"]
        .as_str()
        .unwrap()
        .to_owned()
}
