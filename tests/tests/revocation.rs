//! Whoever was revoked is refused by those who meet it: at the latest when the lists that they hold have run out, a
//! cardholder when the OCSP responses about it have. One world inside the test program, whose clock is moved; a brand
//! for each who is revoked, so that the purchases of others are seen to go on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::{Duration, Instant};

use openset_service::clock;
use openset_tests::{World, fresh};
use serde_json::{Value, json};
use toml::Table;

/// The life of CRLs and of BrandCRLIdentifiers in this test, in seconds.
const CRL_LIFETIME_S: i64 = 3600;
/// The life of OCSP responses in this test, in seconds.
const OCSP_LIFETIME_S: i64 = 300;
/// Each loses what the name says; the first keeps all.
const BRANDS: [(&str, &str); 4] = [
    ("Visa", "400000"),
    ("MasterCard", "555555"),
    ("Gateless", "633333"),
    ("Caless", "644444"),
];

fn configure(party: &str, table: &mut Table) {
    let brands: Vec<toml::Value> = BRANDS.iter().map(|(brand, _)| (*brand).into()).collect();
    let of_each = |table: &mut Table, name: &str| {
        let one = table[name].as_array().unwrap()[0]
            .as_table()
            .unwrap()
            .clone();
        let each = BRANDS.iter().map(|(brand, _)| {
            let mut own = one.clone();
            own.insert("brand".to_owned(), (*brand).into());
            own.into()
        });
        table.insert(name.to_owned(), each.collect::<Vec<toml::Value>>().into());
    };
    if party != "issuer" {
        // Nobody looks at the CA unless what is held has run out: nothing but the clock tells of a revocation.
        table.insert("trust_refresh_seconds".to_owned(), 86_400.into());
    }
    match party {
        "ca" => {
            table.insert("brands".to_owned(), brands.into());
            table.insert("crl_lifetime_seconds".to_owned(), CRL_LIFETIME_S.into());
            table.insert("ocsp_lifetime_seconds".to_owned(), OCSP_LIFETIME_S.into());
            of_each(table, "gateways");
        }
        "gateway" => {
            table.insert("brands".to_owned(), brands.clone().into());
            let merchants = table["merchants"].as_array_mut().unwrap();
            let merchant = merchants[0].as_table_mut().unwrap();
            merchant.insert("brands".to_owned(), brands.into());
        }
        "merchant" => {
            table.insert("brands".to_owned(), brands.into());
        }
        "issuer" => {
            let each = BRANDS.iter().map(|(brand, bin)| {
                let issued = [("brand", *brand), ("bin", *bin)];
                let own = issued.map(|(name, value)| (name.to_owned(), value.into()));
                toml::Value::Table(own.into_iter().collect())
            });
            table.insert("brands".to_owned(), each.collect::<Vec<_>>().into());
        }
        _ => {}
    }
}

async fn card(world: &mut World, brand: &str) -> String {
    world.file.brand = brand.to_owned();
    let account = world.account(100_000, &json!({})).await;
    world.card(&account).await
}

/// Certificates of a brand and role, the newest last.
async fn certificates(world: &World, brand: &str, role: &str) -> Vec<Value> {
    let path = format!("certificates?brand={brand}&role={role}&status=good");
    let listed = world.get("ca", &path).await.unwrap();
    listed.json["items"].as_array().unwrap().clone()
}

async fn revoke(world: &World, brand: &str, role: &str) {
    let certificates = certificates(world, brand, role).await;
    assert!(!certificates.is_empty(), "{brand} {role}");
    for certificate in certificates {
        revoke_one(world, &certificate).await;
    }
}

async fn revoke_one(world: &World, certificate: &Value) {
    let serial = certificate["serial"].as_str().unwrap();
    let path = format!("certificates/{serial}/revoke");
    let reason = json!({"reason": "key_compromise"});
    let revoked = world.post("ca", &path, &fresh(), &reason).await.unwrap();
    assert_eq!(
        (revoked.status, &revoked.json["newly"]),
        (200, &json!(true))
    );
}

async fn buys(world: &World, card: &str) {
    let answer = world.purchase(card, &fresh()).await.unwrap();
    assert!(
        answer.status == 201 && answer.text("/status") == "paid",
        "{}",
        String::from_utf8_lossy(&answer.bytes)
    );
}

async fn is_refused(world: &World, card: &str, why: &str) {
    let answer = world.purchase(card, &fresh()).await.unwrap();
    let text = String::from_utf8_lossy(&answer.bytes);
    let ended = answer.text("/status");
    assert!(
        !["paid", "pending"].contains(&ended) && text.contains(why),
        "{text}"
    );
}

/// Refused, and in the end for this reason: lists that ran out are renewed one by one, and until its own is there
/// nobody is trusted for another reason.
async fn comes_to_be_refused(world: &World, card: &str, why: &str) {
    let started = Instant::now();
    loop {
        let answer = world.purchase(card, &fresh()).await.unwrap();
        let text = String::from_utf8_lossy(&answer.bytes);
        let ended = answer.text("/status");
        assert!(!["paid", "pending"].contains(&ended), "{text}");
        if text.contains(why) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revoked_are_refused_in_the_time_that_is_stated_and_others_go_on() {
    let mut world = World::start_inside(configure).await;
    let lost = card(&mut world, "Visa").await;
    let lost_certificate = certificates(&world, "Visa", "cardholder").await;
    let kept = card(&mut world, "Visa").await;
    let of_merchant = card(&mut world, "MasterCard").await;
    let of_gateway = card(&mut world, "Gateless").await;
    let of_ca = card(&mut world, "Caless").await;
    for card in [&lost, &kept, &of_merchant, &of_gateway, &of_ca] {
        buys(&world, card).await;
    }

    // A cardholder: as soon as the OCSP responses from before have run out.
    revoke_one(&world, &lost_certificate[0]).await;
    clock::danger_advance(OCSP_LIFETIME_S);
    is_refused(&world, &lost, "revoked").await;
    buys(&world, &kept).await;

    // The others: as soon as the lists from before have run out.
    revoke(&world, "MasterCard", "merchant").await;
    revoke(&world, "Gateless", "gateway").await;
    revoke(&world, "Caless", "regional_ca").await;
    for card in [&of_merchant, &of_gateway] {
        buys(&world, card).await;
    }
    clock::danger_advance(CRL_LIFETIME_S);
    // The CA looks at its own clock every few seconds; until it has issued new lists nobody is trusted.
    let started = Instant::now();
    while world
        .purchase(&kept, &fresh())
        .await
        .unwrap()
        .text("/status")
        != "paid"
    {
        assert!(started.elapsed() < Duration::from_secs(150));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    comes_to_be_refused(&world, &of_merchant, "revoked").await;
    // The merchant opens no purchase for a gateway that is revoked, itself or with its CA.
    for card in [&of_gateway, &of_ca] {
        comes_to_be_refused(&world, card, "503").await;
    }
    let merchant = world.get("merchant", "readyz").await.unwrap();
    let why = String::from_utf8_lossy(&merchant.bytes);
    assert!(why.contains("Gateless"), "{why}");
    is_refused(&world, &lost, "revoked").await;
    buys(&world, &kept).await;
}
