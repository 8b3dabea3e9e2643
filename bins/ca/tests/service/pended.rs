//! Registrations that wait for an operator, and what revocation does to renewals.

use openset_protocol::cardholder::registration::{Outcome, Pended};
use openset_protocol::enrolment;
use openset_protocol::messages::cert::{CertStatus, CertStatusCode};
use openset_service::client::{CallError, HttpClient};
use openset_service::config::{Secret, url};
use openset_store::{Db, sqlx};
use openset_testkit::keys;
use openset_testkit::postgres::PostgresServer;
use serde_json::{Value, json};

use crate::backups::lose_database;
use crate::bank::CODE;
use crate::ca::{OPERATOR, Place, ask, get, issued, refused};
use crate::commands::{config, ok};
use crate::durability::pan_needles;
use crate::process::{Program, free_port};
use crate::wallet::{
    Ready, credentials, enrol, inquire, merchant, registered, renew, until_cert_req, until_renewal,
    with_context,
};

const PEND_ALL: &str = "pend = [\"cardholder\", \"merchant\", \"gateway\"]";
const RENEWED_BEFORE: Option<&str> = Some("This certificate was renewed before.");

async fn place() -> Place {
    Place::new().await.with_options(PEND_ALL)
}

/// POST as the operator.
async fn post(ca_url: &str, path: &str, body: &Value) -> Result<Value, CallError> {
    let token = OPERATOR.parse::<Secret>().unwrap().into();
    let url = url(&format!("{ca_url}/{path}"), "url").unwrap();
    HttpClient::new(None)
        .unwrap()
        .post_json(&url, Some(&token), None, body)
        .await
}

async fn waiting(ca_url: &str) -> Vec<Value> {
    let listed = get(ca_url, "registrations?state=pended").await;
    listed["items"].as_array().unwrap().clone()
}

/// The operator's route for the one that waits.
async fn route(ca_url: &str, what: &str) -> String {
    let waiting = waiting(ca_url).await;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let lid_ca = waiting[0]["lid_ca"].as_str().unwrap();
    format!("registrations/{lid_ca}/{what}")
}

async fn approve(ca_url: &str) -> Value {
    let path = route(ca_url, "approve").await;
    post(ca_url, &path, &json!({})).await.unwrap()
}

fn pended(outcome: Outcome) -> Box<Pended> {
    match outcome {
        Outcome::Pended(pended, status) => {
            assert_eq!(status.cert_status_code, CertStatusCode::RequestPended);
            pended
        }
        other => panic!("{other:?}"),
    }
}

/// That the CA itself has said no, and why.
fn rejected(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Refused(CertStatus {
            cert_status_code: CertStatusCode::RejectedByCa,
            ee_message,
            ..
        }) => ee_message,
        other => panic!("{other:?}"),
    }
}

async fn send(ready: Ready, ca_url: &str, verifier: &openset_pki::PathVerifier) -> Outcome {
    let wire = ask(ca_url, &ready.wire).await;
    ready.outcome(&wire, verifier)
}

async fn certified_after_approval(place: &Place) {
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier, key) = (ca.url.as_str(), trust.verifier(), keys::key("wallet"));
    let ready = until_cert_req(url, verifier, CODE, &key).await;
    let waits = pended(send(ready, url, verifier).await);
    let waits = pended(inquire(url, verifier, &waits, &key).await);
    assert_eq!(issued(url).await, 0);
    let listed = waiting(url).await;
    assert_eq!(listed[0]["role"], "cardholder");
    assert_eq!(listed[0]["organizational_unit"], "Mock Bank");
    let decided = approve(url).await;
    assert_eq!(decided["state"], "issued");
    assert_eq!(decided["newly"], true);
    let mut serials = Vec::new();
    for _ in 0..2 {
        let outcome = inquire(url, verifier, &waits, &key).await;
        let Outcome::Registered(registered) = outcome else {
            panic!("{outcome:?}")
        };
        serials.push(hex::encode(registered.chain.leaf().serial()));
    }
    assert_eq!(serials[0], serials[1], "the same certificate each time");
    assert_eq!(decided["serials"], json!([serials[0]]));
    let lid_ca = decided["lid_ca"].as_str().unwrap();
    let path = format!("registrations/{lid_ca}/approve");
    let again = post(url, &path, &json!({})).await.unwrap();
    assert_eq!(again["newly"], false);
    let path = format!("registrations/{lid_ca}/reject");
    let against = post(url, &path, &json!({ "reason": "no" })).await;
    assert!(against.is_err());
    assert_eq!((issued(url).await, waiting(url).await.len()), (1, 0));
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_waits_for_the_operator_and_is_certified_once() {
    certified_after_approval(&place().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_waits_for_the_operator_on_postgresql_too() {
    let Some(server) = tokio::task::spawn_blocking(PostgresServer::start)
        .await
        .unwrap()
        .unwrap()
    else {
        println!("SKIPPED: PostgreSQL is not installed");
        return;
    };
    let place = Place::on(server.create_database().unwrap()).await;
    certified_after_approval(&place.with_options(PEND_ALL)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_rejects_gets_no_certificate_and_its_key_is_free_again() {
    let place = place().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier, key) = (ca.url.as_str(), trust.verifier(), keys::key("wallet"));
    let ready = until_cert_req(url, verifier, CODE, &key).await;
    let waits = pended(send(ready, url, verifier).await);
    // While it waits, its key is taken.
    let other = until_cert_req(url, verifier, CODE, &key).await;
    rejected(send(other, url, verifier).await);
    let path = route(url, "reject").await;
    let blank = post(url, &path, &json!({ "reason": " " })).await;
    assert!(blank.is_err());
    let reason = json!({ "reason": "Come to the counter." });
    let told = post(url, &path, &reason).await.unwrap();
    assert_eq!(told["state"], "rejected");
    let text = rejected(inquire(url, verifier, &waits, &key).await);
    assert_eq!(text.as_deref(), Some("Come to the counter."));
    let against = post(url, &path.replace("reject", "approve"), &json!({})).await;
    assert!(against.is_err());
    let again = until_cert_req(url, verifier, CODE, &key).await;
    pended(send(again, url, verifier).await);
    assert_eq!(issued(url).await, 0);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_killed_after_the_approval_still_gives_the_certificate() {
    let place = place().await;
    let folder = tempfile::tempdir().unwrap();
    let (log, port) = (folder.path().join("log"), free_port());
    let url = format!("http://127.0.0.1:{port}");
    let program = Program::start(&place, port, &log).await;
    let trust = place.trust(&url).await;
    let (verifier, key) = (trust.verifier(), keys::key("wallet"));
    let ready = until_cert_req(&url, verifier, CODE, &key).await;
    let wire = ask(&url, &ready.wire).await;
    program.kill();
    let program = Program::start(&place, port, &log).await;
    let again = ask(&url, &ready.wire).await;
    assert_eq!(again, wire, "the same bytes, the same answer");
    let waits = pended(ready.outcome(&wire, verifier));
    for needle in pan_needles() {
        assert!(!place.holds(&needle), "a card number waits in clear");
    }
    approve(&url).await;
    program.kill();
    let program = Program::start(&place, port, &log).await;
    let outcome = inquire(&url, verifier, &waits, &key).await;
    assert!(matches!(outcome, Outcome::Registered(_)), "{outcome:?}");
    assert_eq!(issued(&url).await, 1);
    program.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inquiry_about_what_nobody_knows_is_refused() {
    let place = place().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier, key) = (ca.url.as_str(), trust.verifier(), keys::key("wallet"));
    let ready = until_cert_req(url, verifier, CODE, &key).await;
    let waits = pended(send(ready, url, verifier).await);
    let step = with_context(|ctx| waits.inquire(ctx, &key)).unwrap();
    let elsewhere = Place::new().await;
    let other = elsewhere.start().await;
    assert_eq!(refused(&other.url, &step.wire).await, "unknownLID");
    other.stop().await;
    ca.stop().await;
}

/// Retires a CA, or takes that back, behind the service's back: as if it had been renewed this very moment.
async fn set_retired(place: &Place, id: &str, retired: bool) {
    let url = openset_store::sqlite_url(&place.data().join("ca.db"));
    let db = Db::open(&url, openset_ca::MIGRATIONS).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE authorities SET retired_at_s = $1 WHERE id = $2")
        .bind(retired.then_some(1_i64))
        .bind(id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_meets_a_ca_just_retired_can_be_made_again() {
    let place = place().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier, key) = (ca.url.as_str(), trust.verifier(), keys::key("wallet"));
    let ready = until_cert_req(url, verifier, CODE, &key).await;
    let waits = pended(send(ready, url, verifier).await);
    let path = route(url, "approve").await;
    set_retired(&place, "visa-cca", true).await;
    let overtaken = post(url, &path, &json!({})).await;
    assert!(overtaken.is_err());
    assert_eq!((waiting(url).await.len(), issued(url).await), (1, 0));
    set_retired(&place, "visa-cca", false).await;
    approve(url).await;
    let outcome = inquire(url, verifier, &waits, &key).await;
    assert!(matches!(outcome, Outcome::Registered(_)), "{outcome:?}");
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_since_a_back_up_is_found_after_its_restoration() {
    let place = place().await;
    let config = config(&place);
    let at = config.to_str().unwrap();
    let file = place.data().with_file_name("ca.age");
    let file = file.to_str().unwrap();
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (verifier, key) = (trust.verifier(), keys::key("wallet"));
    let ready = until_cert_req(&ca.url, verifier, CODE, &key).await;
    let waits = pended(send(ready, &ca.url, verifier).await);
    ok(&["backup", "--out", file, "--config", at]);
    let decided = approve(&ca.url).await;
    ca.stop().await;
    lose_database(&place);
    ok(&["restore", file, "--config", at]);
    let ca = place.start().await;
    assert_eq!(waiting(&ca.url).await.len(), 0);
    // The lists were issued anew.
    let trust = place.trust(&ca.url).await;
    let outcome = inquire(&ca.url, trust.verifier(), &waits, &key).await;
    let Outcome::Registered(card) = outcome else {
        panic!("{outcome:?}")
    };
    let serial = hex::encode(card.chain.leaf().serial());
    assert_eq!(decided["serials"], json!([serial]));
    assert_eq!(issued(&ca.url).await, 1);
    ca.stop().await;
}

async fn revoke(ca_url: &str, certificate: &openset_pki::Certificate, reason: &str) {
    let serial = hex::encode(certificate.serial());
    let path = format!("certificates/{serial}/revoke");
    let body = json!({ "reason": reason });
    post(ca_url, &path, &body).await.unwrap();
}

async fn status_of(ca_url: &str, certificate: &openset_pki::Certificate) -> String {
    let serial = hex::encode(certificate.serial());
    let listed = get(ca_url, "certificates").await;
    let all = listed["items"].as_array().unwrap();
    let found = all.iter().find(|held| held["serial"] == json!(serial));
    found.unwrap()["status"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_waits_is_rejected_when_the_old_certificate_is_revoked() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let key = keys::key("wallet");
    let old = registered(&ca.url, trust.verifier(), CODE, &key).await;
    ca.stop().await;
    let place = place.with_options(PEND_ALL);
    let ca = place.start().await;
    let (url, verifier, key) = (ca.url.as_str(), trust.verifier(), keys::key("wallet/2"));
    let ready = until_renewal(url, verifier, &old, &key).await;
    let waits = pended(send(ready, url, verifier).await);
    // Another renewal of the same certificate does not wait beside it.
    let other = until_renewal(url, verifier, &old, &keys::key("wallet/3")).await;
    let text = rejected(send(other, url, verifier).await);
    assert_eq!(text.as_deref(), RENEWED_BEFORE);
    let path = route(url, "approve").await;
    revoke(url, old.signature.certificate(), "superseded").await;
    let text = rejected(inquire(url, verifier, &waits, &key).await);
    assert_eq!(
        text.as_deref(),
        Some("The certificate that was shown is revoked.")
    );
    let against = post(url, &path, &json!({})).await;
    assert!(against.is_err());
    assert_eq!(issued(url).await, 1);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_once_and_what_came_of_it_falls_with_it() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier) = (ca.url.as_str(), trust.verifier());
    let first = credentials(enrol(url, verifier, merchant(), CODE, "shop").await, "shop");
    let outcome = renew(url, verifier, merchant(), &first, "shop/2").await;
    let second = credentials(outcome, "shop/2");
    let outcome = renew(url, verifier, merchant(), &first, "shop/3").await;
    let enrolment::Outcome::Refused(status) = outcome else {
        panic!("renewed twice")
    };
    assert_eq!(status.cert_status_code, CertStatusCode::RejectedByCa);
    assert_eq!(status.ee_message.as_deref(), RENEWED_BEFORE);
    let outcome = renew(url, verifier, merchant(), &second, "shop/4").await;
    let third = credentials(outcome, "shop/4");
    // That there is a successor is no reason to distrust it.
    revoke(url, second.signature.certificate(), "superseded").await;
    assert_eq!(status_of(url, third.signature.certificate()).await, "good");
    revoke(url, first.signature.certificate(), "key_compromise").await;
    let came_of_it = second.key_exchange.certificate();
    assert_eq!(status_of(url, came_of_it).await, "revoked");
    // It came of a code, not of the certificate.
    let beside = first.key_exchange.certificate();
    assert_eq!(status_of(url, beside).await, "good");
    ca.stop().await;
}
