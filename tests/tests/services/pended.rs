//! Registrations that wait for the CA's operator, through all services and `kill -9`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use openset_tests::{Account, World, fresh};
use serde_json::{Value, json};

/// How long it may take until whoever waits has asked again, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

async fn begin(pended: &[&str]) -> World {
    World::start_unready(&["merchant"], |party, table| {
        if party == "ca" {
            let pended: Vec<toml::Value> = pended.iter().map(|kind| (*kind).into()).collect();
            table.insert("pend".to_owned(), pended.into());
        }
    })
    .await
}

/// Registers a card, which the CA's operator has to decide about; gives the wallet's name for it.
async fn pended_card(world: &World, account: &Account) -> String {
    let request = json!({
        "pan": account.pan, "expiry": account.expiry, "brand": world.file.brand, "accept_policy": true,
        "answers": {"holder": "Ada Lovelace", "activation_code": account.activation_code},
    });
    let answer = world.post("cardholder", "cards", &fresh(), &request).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 202, "{:?}\n{}", answer.json, world.log("ca"));
    let card_id = answer.text("/card_id").to_owned();
    let card = card_in(world, &card_id, "pended").await;
    let told = card["message"].as_str().unwrap();
    assert!(told.contains("operator"), "{card}");
    card_id
}

/// The registration of this role that waits at the CA.
async fn waiting(world: &World, role: &str) -> Value {
    let started = Instant::now();
    loop {
        let listed = world.get("ca", "registrations?state=pended").await.unwrap();
        assert_eq!(listed.status, 200, "{:?}", listed.json);
        let all = listed.json["items"].as_array().unwrap();
        let mut of_role = all.iter().filter(|one| one["role"] == role);
        if let Some(found) = of_role.next() {
            assert!(of_role.next().is_none(), "{:?}", listed.json);
            return found.clone();
        }
        assert!(
            started.elapsed() < PATIENCE,
            "nobody waits:\n{}",
            world.log("ca")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn decide(world: &World, registration: &Value, word: &str, body: &Value) {
    let name = registration["lid_ca"].as_str().unwrap();
    let path = format!("registrations/{name}/{word}");
    let decided = world.post("ca", &path, &fresh(), body).await.unwrap();
    let newly = &decided.json["newly"];
    assert_eq!(
        (decided.status, newly),
        (200, &json!(true)),
        "{:?}",
        decided.json
    );
}

/// Waits until a card is in a state.
async fn card_in(world: &World, card_id: &str, state: &str) -> Value {
    let started = Instant::now();
    loop {
        let card = world.get("cardholder", &format!("cards/{card_id}")).await;
        let card = card.unwrap().json;
        if card["state"] == state {
            return card;
        }
        assert!(
            ["registering", "pended"].contains(&card["state"].as_str().unwrap())
                && started.elapsed() < PATIENCE,
            "{card}\n{}\n{}",
            world.log("cardholder"),
            world.log("ca")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the merchant tells why it has no certificates.
async fn merchant_lacks(world: &World, why: &str) {
    let started = Instant::now();
    loop {
        let own = world.get("merchant", "certificates/own").await;
        let told = own.map_or(Value::Null, |own| own.json["missing"][0].clone());
        let ready = world.get("merchant", "readyz").await;
        let ready = ready.map_or(String::new(), |ready| {
            String::from_utf8_lossy(&ready.bytes).into_owned()
        });
        let words = told["why"].as_str().unwrap_or_default();
        if words.contains(why) && ready.contains(why) {
            assert_eq!(told["brand"], world.file.brand);
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{told}\n{ready}\n{}",
            world.log("merchant")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn who_is_approved_gets_its_certificates_though_all_were_killed_since() {
    let mut world = begin(&["cardholder", "merchant"]).await;
    let shop = waiting(&world, "merchant").await;
    merchant_lacks(&world, "has not decided yet").await;

    let account = world.account(100_000, &json!({})).await;
    let card_id = pended_card(&world, &account).await;
    let card = waiting(&world, "cardholder").await;
    assert!(!card.to_string().contains(&account.pan), "{card}");

    // Nobody has asked when all end: what was decided stands in the CA's database alone.
    for party in ["cardholder", "merchant"] {
        world.kill(party);
    }
    for registration in [&shop, &card] {
        decide(&world, registration, "approve", &json!({})).await;
    }
    world.kill("ca");
    world.restart("ca").await;
    for party in ["cardholder", "merchant"] {
        world.restart(party).await;
    }

    let registered = card_in(&world, &card_id, "registered").await;
    assert_eq!(registered["certificate"]["status"], "valid", "{registered}");
    buys(&world, &card_id).await;
    // Each was certified once: the merchant for its two keys, the card for its one.
    for (role, certificates) in [("cardholder", 1), ("merchant", 2)] {
        let listed = world.get("ca", &format!("certificates?role={role}")).await;
        let listed = listed.unwrap();
        let all = listed.json["items"].as_array().unwrap();
        assert_eq!(all.len(), certificates, "{:?}", listed.json);
    }
}

#[tokio::test]
async fn who_is_rejected_is_told_why_and_has_no_certificate() {
    let world = begin(&["cardholder", "merchant"]).await;
    let shop = waiting(&world, "merchant").await;
    let reason = json!({"reason": "The shop's address is a car park."});
    decide(&world, &shop, "reject", &reason).await;
    merchant_lacks(&world, "The shop's address is a car park.").await;

    let account = world.account(100_000, &json!({})).await;
    let card_id = pended_card(&world, &account).await;
    let card = waiting(&world, "cardholder").await;
    let reason = json!({"reason": "Please call your bank."});
    decide(&world, &card, "reject", &reason).await;
    let refused = card_in(&world, &card_id, "refused").await;
    assert_eq!(refused["reason"], "rejectedByCA: Please call your bank.");
    for role in ["cardholder", "merchant"] {
        let listed = world.get("ca", &format!("certificates?role={role}")).await;
        assert_eq!(listed.unwrap().json["items"], json!([]), "{role}");
    }
}

/// SHA-256 of the certificate that a card is used with.
async fn in_use(world: &World, card_id: &str) -> String {
    let card = world.get("cardholder", &format!("cards/{card_id}")).await;
    card.unwrap().text("/certificate/thumbprint").to_owned()
}

async fn buys(world: &World, card_id: &str) {
    let bought = world.purchase(card_id, &fresh()).await.unwrap();
    let bought = match bought.text("/status") {
        "pending" => world.settled(bought.text("/purchase_id")).await,
        _ => bought,
    };
    assert_eq!(bought.text("/status"), "paid", "{:?}", bought.json);
}

#[tokio::test]
async fn a_card_whose_renewal_waits_is_used_with_its_old_certificate_until_it_is_approved() {
    let mut world = World::start_with(|party, table| {
        match party {
            // A wallet looks at its certificates thirty times in their life.
            "ca" => table.insert("certificate_lifetime_seconds".to_owned(), 600.into()),
            "cardholder" => table.insert("trust_refresh_seconds".to_owned(), 1.into()),
            _ => None,
        };
    })
    .await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let old = in_use(&world, &card_id).await;
    world.kill("ca");
    world.configure("ca", |table| {
        table.insert(
            "pend".to_owned(),
            vec![toml::Value::from("cardholder")].into(),
        );
    });
    world.restart("ca").await;
    world.ca_command(&["authority", "renew", "visa-cca"]).await;

    let renewal = waiting(&world, "cardholder").await;
    assert_eq!(renewal["renews"], old, "{renewal}");
    buys(&world, &card_id).await;
    assert_eq!(in_use(&world, &card_id).await, old);
    decide(&world, &renewal, "approve", &json!({})).await;
    let started = Instant::now();
    while in_use(&world, &card_id).await == old {
        assert!(started.elapsed() < PATIENCE, "{}", world.log("cardholder"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    buys(&world, &card_id).await;
}
