//! Registrations that succeed, on both databases.

use openset_pki::Role;
use openset_protocol::cardholder::registration::Outcome;
use openset_protocol::enrolment;
use openset_testkit::keys;
use openset_testkit::postgres::PostgresServer;

use crate::bank::CODE;
use crate::ca::{GATEWAY_CODE, Place, ask, get, issued};
use crate::wallet::{PAN, enrol, gateway, merchant, until_cert_req};

async fn everybody_registers(place: &Place) {
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let verifier = trust.verifier();
    let wallet = until_cert_req(&ca.url, verifier, CODE, &keys::key("wallet")).await;
    let wire = ask(&ca.url, &wallet.wire).await;
    let Outcome::Registered(card) = wallet.outcome(&wire, verifier) else {
        panic!("not registered")
    };
    assert_eq!(card.chain.leaf().organizational_unit(), Some("Mock Bank"));
    let enrolment::Outcome::Enrolled(shop) =
        enrol(&ca.url, verifier, merchant(), CODE, "shop").await
    else {
        panic!()
    };
    assert_eq!(
        shop.both().unwrap().0.leaf().merchant_data().unwrap().name,
        "Corner Books"
    );
    let outcome = enrol(&ca.url, verifier, gateway(), GATEWAY_CODE, "gateway").await;
    let enrolment::Outcome::Enrolled(gateway) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(gateway.both().unwrap().0.leaf().role(), Role::Gateway);
    let asked = place.bank().asked();
    assert_eq!((asked.len(), asked[0]["pan"].as_str()), (2, Some(PAN)));
    assert_eq!(
        (asked[0]["holder"].as_str(), asked[0]["expiry"].as_str()),
        (Some("Alice Example"), Some("203112"))
    );
    assert_eq!(asked[1]["merchant_id"], "shop-1");
    assert_eq!(issued(&ca.url).await, 5);
    let listed = get(&ca.url, "certificates").await.to_string();
    assert!(!listed.contains(PAN) && !listed.contains("Alice"));
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_registers_and_the_banks_are_asked() {
    everybody_registers(&Place::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_registers_on_postgresql_too() {
    let Some(server) = tokio::task::spawn_blocking(PostgresServer::start)
        .await
        .unwrap()
        .unwrap()
    else {
        println!("SKIPPED: PostgreSQL is not installed");
        return;
    };
    everybody_registers(&Place::on(server.create_database().unwrap()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brand_that_is_added_later_gets_its_cas_under_the_same_root() {
    let place = Place::new().await;
    let ca = place.start().await;
    let before = place.fingerprint();
    ca.stop().await;
    let place = place.with_brands(&["Visa", "MasterCard"]);
    let ca = place.start().await;
    assert_eq!(place.fingerprint(), before);
    let trust = place.trust(&ca.url).await;
    assert_eq!(trust.authorities().len(), 11);
    let mastercard = "MasterCard".parse().unwrap();
    assert!(trust.authority(Role::CardholderCa, &mastercard).is_some());
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_serve_one_hierarchy() {
    let Some(server) = tokio::task::spawn_blocking(PostgresServer::start)
        .await
        .unwrap()
        .unwrap()
    else {
        println!("SKIPPED: PostgreSQL is not installed");
        return;
    };
    let database = server.create_database().unwrap();
    let (one, other) = (Place::on(database.clone()).await, Place::on(database).await);
    let (first, second) = tokio::join!(one.start(), other.start());
    assert_eq!(one.fingerprint(), other.fingerprint());
    let trust = one.trust(&first.url).await;
    let wallet = until_cert_req(&first.url, trust.verifier(), CODE, &keys::key("wallet")).await;
    let wire = ask(&second.url, &wallet.wire).await;
    assert_eq!(ask(&first.url, &wallet.wire).await, wire);
    assert!(matches!(
        wallet.outcome(&wire, trust.verifier()),
        Outcome::Registered(_)
    ));
    first.stop().await;
    second.stop().await;
}
