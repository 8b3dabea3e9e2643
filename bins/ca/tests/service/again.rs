//! Answers that were lost with everything that is kept for a while: whoever shows the keys again gets the
//! certificates that there are, and nobody else does.

use openset_protocol::cardholder::registration::{CardToRegister, Outcome};
use openset_protocol::enrolment;
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_store::Db;
use openset_store::sqlx;
use openset_testkit::keys;

use crate::bank::CODE;
use crate::ca::{Place, Running, ask, issued};
use crate::commands::{config, ok};
use crate::durability::pan_needles;
use crate::wallet::{
    Ready, card, credentials, enrol, merchant, registered, renew, until_cert_req,
    until_cert_req_of, until_renewal,
};

/// Loses every session and every answer: the CA starts with its certificates alone.
async fn start_without_answers(place: &Place, ca: Running) -> Running {
    ca.stop().await;
    let url = openset_store::sqlite_url(&place.data().join("ca.db"));
    let db = Db::open(&url, openset_ca::MIGRATIONS).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    for sql in ["DELETE FROM sessions", "DELETE FROM exchanges"] {
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    db.close().await;
    place.start().await
}

async fn serial(ready: Ready, ca_url: &str, verifier: &openset_pki::PathVerifier) -> String {
    let wire = ask(ca_url, &ready.wire).await;
    assert_eq!(ask(ca_url, &ready.wire).await, wire, "the same bytes");
    match ready.outcome(&wire, verifier) {
        Outcome::Registered(card) => hex::encode(card.chain.leaf().serial()),
        other => panic!("{other:?}"),
    }
}

async fn refused(ready: Ready, ca_url: &str, verifier: &openset_pki::PathVerifier) {
    let wire = ask(ca_url, &ready.wire).await;
    let Outcome::Refused(status) = ready.outcome(&wire, verifier) else {
        panic!("not refused")
    };
    assert_eq!(status.cert_status_code, CertStatusCode::RejectedByCa);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_certificate_is_given_again_to_the_same_key_and_card_and_to_no_other() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (verifier, key) = (trust.verifier(), keys::key("wallet"));
    let lost = until_cert_req(&ca.url, verifier, CODE, &key).await;
    let first = serial(lost, &ca.url, verifier).await;
    let ca = start_without_answers(&place, ca).await;
    // The code does not count any more: the bank is not asked.
    let again = until_cert_req(&ca.url, verifier, "USED", &key).await;
    assert_eq!(serial(again, &ca.url, verifier).await, first);
    let other = CardToRegister {
        pan: "4111111111111111".parse().unwrap(),
        ..card()
    };
    let other = until_cert_req_of(other, &ca.url, verifier, CODE, &key).await;
    refused(other, &ca.url, verifier).await;
    let later = CardToRegister {
        card_expiry: "203201".parse().unwrap(),
        ..card()
    };
    let later = until_cert_req_of(later, &ca.url, verifier, CODE, &key).await;
    refused(later, &ca.url, verifier).await;
    assert_eq!((issued(&ca.url).await, place.bank().asked().len()), (1, 1));
    for needle in pan_needles() {
        assert!(!place.holds(&needle), "a card number is kept");
    }
    // What is revoked is not given again.
    let config = config(&place);
    let at = config.to_str().unwrap();
    ok(&["revoke", &first, "--reason", "superseded", "--config", at]);
    let again = until_cert_req(&ca.url, verifier, CODE, &key).await;
    refused(again, &ca.url, verifier).await;
    assert_eq!(issued(&ca.url).await, 1);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_card_gets_its_lost_certificate_again() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (verifier, key) = (trust.verifier(), keys::key("wallet/2"));
    let old = registered(&ca.url, verifier, CODE, &keys::key("wallet")).await;
    let lost = until_renewal(&ca.url, verifier, &old, &key).await;
    let first = serial(lost, &ca.url, verifier).await;
    let ca = start_without_answers(&place, ca).await;
    let again = until_renewal(&ca.url, verifier, &old, &key).await;
    assert_eq!(serial(again, &ca.url, verifier).await, first);
    // It is renewed once: another key gets nothing.
    let other = until_renewal(&ca.url, verifier, &old, &keys::key("wallet/3")).await;
    refused(other, &ca.url, verifier).await;
    assert_eq!(issued(&ca.url).await, 2);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_gets_its_lost_certificates_again_and_another_merchant_does_not() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let verifier = trust.verifier();
    let first = credentials(
        enrol(&ca.url, verifier, merchant(), CODE, "shop").await,
        "shop",
    );
    let ca = start_without_answers(&place, ca).await;
    let outcome = enrol(&ca.url, verifier, merchant(), CODE, "shop").await;
    let again = credentials(outcome, "shop");
    for (one, other) in [
        (first.signature.thumbprint(), again.signature.thumbprint()),
        (
            first.key_exchange.thumbprint(),
            again.key_exchange.thumbprint(),
        ),
    ] {
        assert_eq!(one, other);
    }
    let mut other = merchant();
    other.id_data = IdData::Merchant {
        merchant_bin: "411111".parse().unwrap(),
        merchant_id: "shop-2".to_owned(),
    };
    let outcome = enrol(&ca.url, verifier, other, CODE, "shop").await;
    let enrolment::Outcome::Refused(status) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(status.cert_status_code, CertStatusCode::RejectedByCa);
    let outcome = renew(&ca.url, verifier, merchant(), &first, "shop/2").await;
    let renewed = credentials(outcome, "shop/2");
    let ca = start_without_answers(&place, ca).await;
    let outcome = renew(&ca.url, verifier, merchant(), &first, "shop/2").await;
    let again = credentials(outcome, "shop/2");
    assert_eq!(renewed.signature.thumbprint(), again.signature.thumbprint());
    assert_eq!(issued(&ca.url).await, 4);
    ca.stop().await;
}
