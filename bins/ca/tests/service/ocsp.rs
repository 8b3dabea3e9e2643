//! Whether a certificate is revoked, asked at the running service: by this project's verifier and by OpenSSL.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openset_pki::ocsp::{self, OcspError, OcspWindow, Response};
use openset_pki::{Certificate, Chain, PathError, PathVerifier, Purpose, Role};
use openset_protocol::enrolment;
use openset_service::{clock, random};
use serde_json::json;

use crate::bank::CODE;
use crate::ca::{OPERATOR, Place, Running};
use crate::commands::{config, list, ok, until_served};
use crate::wallet::{enrol, merchant};

const REQUEST: &str = "application/ocsp-request";

async fn shop(ca: &Running, place: &Place, name: &str) -> Chain {
    let trust = place.trust(&ca.url).await;
    match enrol(&ca.url, trust.verifier(), merchant(), CODE, name).await {
        enrolment::Outcome::Enrolled(shop) => shop.signature.unwrap(),
        outcome => panic!("{outcome:?}"),
    }
}

async fn post(ca: &Running, id: &str, request: Vec<u8>) -> Vec<u8> {
    let response = reqwest::Client::new()
        .post(format!("{}/ocsp/{id}", ca.url))
        .header("Content-Type", REQUEST)
        .body(request)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/ocsp-response");
    assert_eq!(headers["cache-control"], "no-store");
    response.bytes().await.unwrap().to_vec()
}

/// Asks about the first certificate of a chain with a nonce, and checks the answer.
async fn ask(
    ca: &Running,
    id: &str,
    verifier: &PathVerifier,
    subject: &Certificate,
) -> Result<OcspWindow, PathError> {
    let issuer = verifier.issuer_of(subject).unwrap();
    let nonce = random::bytes::<32>();
    let request = ocsp::request(subject, &issuer, Some(&nonce)).unwrap();
    let response = Response::from_der(&post(ca, id, request).await).unwrap();
    assert!(
        verifier
            .check_ocsp(&response, subject, Some(&[7; 32]), 0)
            .is_err()
    );
    verifier.check_ocsp(&response, subject, Some(&nonce), clock::now_seconds())
}

/// The status of an answer that is an error (RFC 6960 section 4.2.1).
fn error(der: &[u8]) -> u8 {
    assert_eq!(&der[..4], &[0x30, 3, 0x0a, 1], "{der:?}");
    der[4]
}

async fn revoke(ca: &Running, subject: &Certificate) {
    let serial = hex::encode(subject.serial());
    let response = reqwest::Client::new()
        .post(format!("{}/certificates/{serial}/revoke", ca.url))
        .bearer_auth(OPERATOR)
        .json(&json!({ "reason": "superseded" }))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_told_at_once_also_by_a_ca_that_was_retired() {
    let place = Place::new().await;
    let ca = place.start().await;
    let (one, other) = (
        shop(&ca, &place, "one").await,
        shop(&ca, &place, "other").await,
    );
    let trust = place.trust(&ca.url).await;
    let verifier = trust.verifier();
    let window = ask(&ca, "visa-mca", verifier, one.leaf()).await.unwrap();
    assert_eq!(window.next_update - window.this_update, 600);
    revoke(&ca, one.leaf()).await;
    let revoked = Err(PathError::Revoked(Role::Merchant));
    assert_eq!(ask(&ca, "visa-mca", verifier, one.leaf()).await, revoked);
    ok(&[
        "authority",
        "renew",
        "visa-mca",
        "--config",
        config(&place).to_str().unwrap(),
    ]);
    until_served(&ca, "visa-mca-2").await;
    trust.refresh().await.unwrap();
    // It answers also before a round of upkeep has made its responder.
    let renewed = trust.authority(Role::MerchantCa, &"Visa".parse().unwrap());
    let renewed = renewed.unwrap().chain.unwrap();
    let request = ocsp::request(other.leaf(), renewed.leaf(), None).unwrap();
    Response::from_der(&post(&ca, "visa-mca-2", request).await).unwrap();
    ask(&ca, "visa-mca", verifier, other.leaf()).await.unwrap();
    let young = shop(&ca, &place, "young").await;
    ask(&ca, "visa-mca-2", verifier, young.leaf())
        .await
        .unwrap();
    ca.stop().await;
    let ca = place.start().await;
    revoke(&ca, other.leaf()).await;
    assert_eq!(ask(&ca, "visa-mca", verifier, other.leaf()).await, revoked);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_have_no_answer_get_ocsp_s_own_errors() {
    let place = Place::new().await;
    let ca = place.start().await;
    let shop = shop(&ca, &place, "shop").await;
    let trust = place.trust(&ca.url).await;
    let issuer = trust.verifier().issuer_of(shop.leaf()).unwrap();
    let request = ocsp::request(shop.leaf(), &issuer, None).unwrap();
    assert_eq!(
        error(&post(&ca, "visa-mca", b"no request".to_vec()).await),
        1
    );
    assert_eq!(error(&post(&ca, "visa-mca", vec![0x30; 20_000]).await), 1);
    for id in ["visa-cca", "visa-bca", "root", "nobody"] {
        assert_eq!(error(&post(&ca, id, request.clone()).await), 6, "{id}");
    }
    let client = reqwest::Client::new();
    let url = format!("{}/ocsp/visa-mca", ca.url);
    let plain = client
        .post(&url)
        .body(request.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(plain.status(), 415);

    // By GET, as it is and with each sign escaped that may be.
    let base64 = STANDARD.encode(&request);
    let escaped = base64
        .replace('/', "%2F")
        .replace('+', "%2B")
        .replace('=', "%3D");
    for text in [base64.as_str(), base64.trim_end_matches('='), &escaped] {
        let answer = client.get(format!("{url}/{text}")).send().await.unwrap();
        let response = Response::from_der(&answer.bytes().await.unwrap()).unwrap();
        let now = clock::now_seconds();
        trust
            .verifier()
            .check_ocsp(&response, shop.leaf(), None, now)
            .unwrap();
    }
    let answer = client.get(format!("{url}/!!")).send().await.unwrap();
    assert_eq!(error(&answer.bytes().await.unwrap()), 1);
    let document = crate::ca::get(&ca.url, "openapi.json").await;
    for path in ["/ocsp/{ca}", "/ocsp/{ca}/{request}"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }

    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responder_outlives_a_restart_and_is_replaced_when_it_is_revoked() {
    let place = Place::new().await;
    let config = config(&place);
    let ca = place.start().await;
    let shop = shop(&ca, &place, "shop").await;
    let trust = place.trust(&ca.url).await;
    let verifier = trust.verifier();
    let issuer = verifier.issuer_of(shop.leaf()).unwrap();
    let request = ocsp::request(shop.leaf(), &issuer, None).unwrap();
    let responder = |der: Vec<u8>| Response::from_der(&der).unwrap().responder().clone();
    let first = responder(post(&ca, "visa-mca", request.clone()).await);
    assert_eq!(
        (first.role(), first.purpose()),
        (Role::MerchantCa, Purpose::OcspSigning)
    );
    let days = (first.not_after() - clock::now_seconds()) / 86_400;
    assert!((3..=4).contains(&days), "{days}");
    ca.stop().await;
    let ca = place.start().await;
    assert_eq!(
        responder(post(&ca, "visa-mca", request.clone()).await),
        first
    );
    let stale = Response::from_der(&post(&ca, "visa-mca", request.clone()).await).unwrap();
    revoke(&ca, &first).await;
    let second = responder(post(&ca, "visa-mca", request).await);
    assert_ne!(second.public_key(), first.public_key());
    ask(&ca, "visa-mca", verifier, shop.leaf()).await.unwrap();
    // What the revoked one has said counts for nothing once its CA's list is known.
    let trust = place.trust(&ca.url).await;
    trust.refresh().await.unwrap();
    let now = clock::now_seconds();
    assert_eq!(
        trust.verifier().check_ocsp(&stale, shop.leaf(), None, now),
        Err(PathError::Revoked(Role::MerchantCa))
    );
    let own = list(
        &config,
        &["--own", "--role", "merchant_ca", "--status", "good"],
    );
    let signing = own.iter().filter(|one| one["purpose"] == "ocsp_signing");
    assert_eq!(signing.count(), 1);
    ca.stop().await;
}

/// What OpenSSL makes of the answer about a certificate.
fn openssl(folder: &Path, url: &str, more: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["ocsp", "-issuer", "issuer.pem"])
        .args(more)
        .args(["-cert", "shop.pem", "-url", url, "-CAfile", "root.pem"])
        .args(["-verify_other", "chain.pem"])
        .current_dir(folder)
        .output()
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_asks_by_sha1_and_sha256_and_believes_the_answers() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("SKIPPED: openssl is not installed");
        return;
    }
    let place = Place::new().await;
    let ca = place.start().await;
    let shop = shop(&ca, &place, "shop").await;
    let folder = place.data();
    let write = |name: &str, pem: String| std::fs::write(folder.join(name), pem).unwrap();
    let trust = place.trust(&ca.url).await;
    let issuer = trust.verifier().issuer_of(shop.leaf()).unwrap();
    write("issuer.pem", issuer.to_pem());
    write("shop.pem", shop.leaf().to_pem());
    let above = trust
        .verifier()
        .authority_chain(issuer.subject_der(), None)
        .unwrap();
    write(
        "chain.pem",
        above
            .certificates()
            .iter()
            .map(Certificate::to_pem)
            .collect(),
    );
    let root = reqwest::get(format!("{}/root.pem", ca.url)).await.unwrap();
    write("root.pem", root.text().await.unwrap());
    let url = format!("{}/ocsp/visa-mca", ca.url);
    for hash in [&[][..], &["-sha256"][..]] {
        let said = openssl(&folder, &url, hash);
        assert!(
            said.contains("Response verify OK") && said.contains("shop.pem: good"),
            "{said}"
        );
        assert!(!said.contains("WARNING"), "the nonce is repeated: {said}");
    }
    // A certificate that the CA itself has, and one that nobody has.
    let own = format!("0x{}", hex::encode(issuer.serial()));
    for serial in [own.as_str(), "0x1234"] {
        let said = openssl(&folder, &url, &["-serial", serial]);
        assert!(said.contains(&format!("{serial}: unknown")), "{said}");
    }
    revoke(&ca, shop.leaf()).await;
    let said = openssl(&folder, &url, &[]);
    assert!(
        said.contains("shop.pem: revoked") && said.contains("superseded"),
        "{said}"
    );
    ca.stop().await;
}

#[test]
fn an_answer_that_is_an_error_is_read_as_one() {
    let der = ocsp::refusal(ocsp::Refusal::TryLater);
    assert!(matches!(
        Response::from_der(&der),
        Err(OcspError::Refused(_))
    ));
}
