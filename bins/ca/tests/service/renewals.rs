//! Renewals: by the certificate that is there, with the bank's word, and for new keys alone.

use openset_protocol::cardholder::registration::{CardToRegister, Outcome};
use openset_protocol::enrolment;
use openset_protocol::messages::cert::{CertStatus, CertStatusCode};
use openset_service::client::HttpClient;
use openset_service::clock;
use openset_service::config::{Secret, url};
use openset_testkit::keys;
use openset_testkit::postgres::PostgresServer;
use serde_json::{Value, json};

use crate::bank::CODE;
use crate::ca::{GATEWAY_CODE, OPERATOR, Place, ask, issued, refused};
use crate::wallet::{
    card, credentials, enrol, gateway, merchant, registered, renew, until_cert_req, until_renewal,
    until_renewal_of,
};

fn refusal(outcome: enrolment::Outcome) -> CertStatus {
    let enrolment::Outcome::Refused(status) = outcome else {
        panic!("{outcome:?}")
    };
    status
}

fn code_of(outcome: Outcome) -> CertStatusCode {
    let Outcome::Refused(status) = outcome else {
        panic!("{outcome:?}")
    };
    status.cert_status_code
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_renews_without_a_code_and_the_banks_are_asked_again() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier) = (ca.url.as_str(), trust.verifier());
    let old = registered(url, verifier, CODE, &keys::key("wallet")).await;
    let renewal = until_renewal(url, verifier, &old, &keys::key("wallet/2")).await;
    let wire = ask(url, &renewal.wire).await;
    assert_eq!(
        ask(url, &renewal.wire).await,
        wire,
        "the same bytes, the same certificate"
    );
    assert!(matches!(
        renewal.outcome(&wire, verifier),
        Outcome::Registered(_)
    ));

    let shop = credentials(enrol(url, verifier, merchant(), CODE, "shop").await, "shop");
    let outcome = renew(url, verifier, merchant(), &shop, "shop/2").await;
    let shop_2 = credentials(outcome, "shop/2");
    assert_eq!(
        shop_2.signature.certificate().merchant_data(),
        shop.signature.certificate().merchant_data()
    );
    let outcome = enrol(url, verifier, gateway(), GATEWAY_CODE, "gateway").await;
    let pgwy = credentials(outcome, "gateway");
    let outcome = renew(url, verifier, gateway(), &pgwy, "gateway/2").await;
    credentials(outcome, "gateway/2");

    let asked = place.bank().asked();
    let renewed: Vec<&Value> = asked
        .iter()
        .filter(|asked| asked["renews"].is_string())
        .collect();
    assert_eq!((asked.len(), renewed.len(), issued(url).await), (4, 2, 10));
    assert_eq!(renewed[0]["renews"], json!(old.signature.thumbprint()));
    for asked in renewed {
        assert_eq!(asked["activation_code"], Value::Null);
        assert_eq!(asked["holder"], Value::Null);
    }
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_was_replaced_renews_for_its_new_expiry_and_the_bank_is_asked_about_that() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier) = (ca.url.as_str(), trust.verifier());
    let mut old = registered(url, verifier, CODE, &keys::key("wallet")).await;
    // It is refused with an expiry that the certificate was not issued for.
    let issued_for = std::mem::replace(&mut old.card_expiry, "203011".parse().unwrap());
    let renewal = until_renewal(url, verifier, &old, &keys::key("wallet/3")).await;
    old.card_expiry = issued_for;
    assert_eq!(refused(url, &renewal.wire).await, "invalidCertificate");
    assert_eq!(place.bank().asked().len(), 1);

    let replaced = CardToRegister {
        card_expiry: "203503".parse().unwrap(),
        ..card()
    };
    let new = keys::key("wallet/2");
    let renewal = until_renewal_of(url, verifier, replaced, &old, &new).await;
    let wire = ask(url, &renewal.wire).await;
    let outcome = renewal.outcome(&wire, verifier);
    assert!(matches!(outcome, Outcome::Registered(_)), "{outcome:?}");
    assert_eq!(place.bank().asked()[1]["expiry"], "203503");
    assert_eq!(place.bank().asked()[1]["old_expiry"], Value::Null);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_good_standing_no_more_renews_nothing() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier) = (ca.url.as_str(), trust.verifier());
    let old = registered(url, verifier, CODE, &keys::key("wallet")).await;
    let shop = credentials(enrol(url, verifier, merchant(), CODE, "shop").await, "shop");
    let outcome = enrol(url, verifier, gateway(), GATEWAY_CODE, "gateway").await;
    let pgwy = credentials(outcome, "gateway");
    place.bank().set_blocked(true);
    let renewal = until_renewal(url, verifier, &old, &keys::key("wallet/2")).await;
    let wire = ask(url, &renewal.wire).await;
    let code = code_of(renewal.outcome(&wire, verifier));
    assert_eq!(code, CertStatusCode::RejectedByIssuer);
    let refused = refusal(renew(url, verifier, merchant(), &shop, "shop/2").await);
    assert_eq!(refused.cert_status_code, CertStatusCode::RejectedByAcquirer);
    ca.stop().await;
    let place = place.without_gateways();
    let ca = place.start().await;
    let refused = refusal(renew(&ca.url, verifier, gateway(), &pgwy, "gateway/2").await);
    assert_eq!(refused.cert_status_code, CertStatusCode::RejectedByCa);
    let text = refused.ee_message.unwrap();
    assert!(text.contains("The brand does not approve"), "{text}");
    assert_eq!(issued(&ca.url).await, 5);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_renews_nothing_and_the_bank_is_not_asked() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let shop = enrol(&ca.url, trust.verifier(), merchant(), CODE, "shop").await;
    let shop = credentials(shop, "shop");
    let serial = hex::encode(shop.signature.certificate().serial());
    let revoke = url(&format!("{}/certificates/{serial}/revoke", ca.url), "url").unwrap();
    let token = OPERATOR.parse::<Secret>().unwrap().into();
    let body = json!({ "reason": "key_compromise" });
    let client = HttpClient::new(None).unwrap();
    let revoked: Value = client
        .post_json(&revoke, Some(&token), None, &body)
        .await
        .unwrap();
    assert_eq!(revoked["newly"], true);
    let refused = refusal(renew(&ca.url, trust.verifier(), merchant(), &shop, "shop/2").await);
    assert_eq!(refused.cert_status_code, CertStatusCode::SigValidationFail);
    assert_eq!((place.bank().asked().len(), issued(&ca.url).await), (1, 2));
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_certified_is_not_certified_by_a_renewal_either() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier) = (ca.url.as_str(), trust.verifier());
    let key = keys::key("wallet");
    let old = registered(url, verifier, CODE, &key).await;
    let shop = credentials(enrol(url, verifier, merchant(), CODE, "shop").await, "shop");
    let own = until_renewal(url, verifier, &old, &key).await;
    let wire = ask(url, &own.wire).await;
    assert_eq!(
        code_of(own.outcome(&wire, verifier)),
        CertStatusCode::RejectedByCa
    );
    // Another's key, and a key of the other use.
    let foreign = until_renewal(url, verifier, &old, &keys::key("shop/open")).await;
    let wire = ask(url, &foreign.wire).await;
    assert_eq!(
        code_of(foreign.outcome(&wire, verifier)),
        CertStatusCode::RejectedByCa
    );
    let again = refusal(renew(url, verifier, merchant(), &shop, "shop").await);
    assert_eq!(again.cert_status_code, CertStatusCode::RejectedByCa);
    assert_eq!((issued(url).await, place.bank().asked().len()), (3, 2));
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_last_as_long_as_the_configuration_says() {
    let place = Place::new()
        .await
        .with_options("certificate_lifetime_seconds = 90");
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let before = clock::now_seconds();
    let card = registered(&ca.url, trust.verifier(), CODE, &keys::key("wallet")).await;
    let leaf = card.signature.certificate();
    let ends = leaf.not_after();
    assert!(
        (before + 90..=clock::now_seconds() + 90).contains(&ends),
        "{ends}"
    );
    assert!(leaf.not_after() - leaf.not_before() < 120);
    ca.stop().await;
}

/// Whoever shows the same key at once to two replicas gets one certificate from both.
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_certify_one_key_once() {
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
    let trust = one.trust(&first.url).await;
    let verifier = trust.verifier();
    let key = keys::key("wallet");
    let a = until_cert_req(&first.url, verifier, CODE, &key).await;
    let b = until_cert_req(&second.url, verifier, CODE, &key).await;
    let (answer_a, answer_b) = tokio::join!(send(&first.url, &a.wire), send(&second.url, &b.wire));
    let serials = [
        a.outcome(&answer_a, verifier),
        b.outcome(&answer_b, verifier),
    ]
    .map(|outcome| match outcome {
        Outcome::Registered(card) => card.chain.leaf().serial().to_vec(),
        other => panic!("{other:?}"),
    });
    assert_eq!(serials[0], serials[1]);
    assert_eq!(issued(&first.url).await, 1);
    first.stop().await;
    second.stop().await;
}

/// Sends again what was overtaken.
async fn send(ca_url: &str, wire: &[u8]) -> Vec<u8> {
    for _ in 0..600 {
        let answer = crate::ca::post_set(ca_url, wire).await;
        match answer {
            Ok(answer) if answer.status == 200 => return answer.body,
            _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    panic!("not answered")
}
