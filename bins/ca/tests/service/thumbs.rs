//! Thumbs: what an applicant holds does not come again, and what it lacks does.

use openset_protocol::cardholder::registration::{self, Outcome};
use openset_protocol::thumbs::Thumbs;
use openset_service::client::HttpClient;
use openset_service::config::{Secret, url};
use openset_testkit::keys;
use serde_json::{Value, json};

use crate::bank::CODE;
use crate::ca::{OPERATOR, Place, ask, get};
use crate::wallet::{card, registered, thumbs, until_cert_req, with_context};

/// The size of CardCInitRes to a wallet that names these thumbs.
async fn size_of_first_answer(ca_url: &str, named: Option<Thumbs>) -> usize {
    let step = with_context(|ctx| registration::start(ctx, card(), named));
    ask(ca_url, &step.wire).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_smaller_for_whoever_has_registered_before() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let verifier = trust.verifier();
    let first = registered(&ca.url, verifier, CODE, &keys::key("wallet")).await;
    let authorities = first.signature.chain().authorities();
    assert_eq!(authorities.len(), 3, "put back by the wallet");

    let named = thumbs(verifier);
    let newcomer = size_of_first_answer(&ca.url, Some(Thumbs::default())).await;
    let silent = size_of_first_answer(&ca.url, None).await;
    let known = size_of_first_answer(&ca.url, named).await;
    // Two chains, each of a leaf and two CAs whose certificates take more than a kilobyte in base64.
    assert!(known + 4000 < silent, "{known} of {silent} bytes");
    assert!(
        silent < newcomer,
        "a newcomer gets the lists, too: {newcomer} bytes"
    );
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_comes_with_the_answers_of_a_registration() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (verifier, brand) = (trust.verifier(), card().brand_id);
    let fraud = registered(&ca.url, verifier, CODE, &keys::key("wallet")).await;
    let before = verifier.brand_crl_identifier_held(&brand).unwrap();
    let ready = until_cert_req(&ca.url, verifier, CODE, &keys::key("wallet/2")).await;

    let listed = get(&ca.url, "certificates").await;
    let all = listed["items"].as_array().unwrap();
    let card = all.iter().find(|one| one["role"] == "cardholder").unwrap();
    let serial = card["serial"].as_str().unwrap();
    let token: Secret = OPERATOR.parse().unwrap();
    let revoke = url(&format!("{}/certificates/{serial}/revoke", ca.url), "url").unwrap();
    let _: Value = HttpClient::new(None)
        .unwrap()
        .post_json(
            &revoke,
            Some(&token.into()),
            None,
            &json!({ "reason": "key_compromise" }),
        )
        .await
        .unwrap();

    let wire = ask(&ca.url, &ready.wire).await;
    let outcome = ready.outcome(&wire, verifier);
    assert!(matches!(outcome, Outcome::Registered(_)), "{outcome:?}");
    let after = verifier.brand_crl_identifier_held(&brand).unwrap();
    assert!(after.sequence() > before.sequence());
    let issuer = fraud.signature.certificate().issuer_der();
    let crls = verifier.crls_held(&brand);
    let crl = crls.iter().find(|crl| crl.issuer_der() == issuer).unwrap();
    assert!(crl.revokes(fraud.signature.certificate().serial()));
    ca.stop().await;
}
