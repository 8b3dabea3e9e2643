//! Restarts, repetitions and secrecy of what is kept.

use openset_protocol::cardholder::registration::{self, Outcome};
use openset_testkit::keys;

use crate::bank::CODE;
use crate::ca::{Place, ask, issued, post_set};
use crate::wallet::{PAN, card, until_cert_req, with_context};

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_goes_on_after_a_restart_where_it_was() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let fingerprint = place.fingerprint();
    let wallet = until_cert_req(&ca.url, trust.verifier(), CODE, &keys::key("wallet")).await;
    ca.stop().await;
    let ca = place.start().await;
    assert_eq!(place.fingerprint(), fingerprint);
    let wire = ask(&ca.url, &wallet.wire).await;
    assert!(matches!(
        wallet.outcome(&wire, trust.verifier()),
        Outcome::Registered(_)
    ));
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_cert_req_gets_the_same_bytes_and_one_certificate() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let wallet = until_cert_req(&ca.url, trust.verifier(), CODE, &keys::key("wallet")).await;
    let at_once = (0..6).map(|_| {
        let (url, wire) = (ca.url.clone(), wallet.wire.clone());
        tokio::spawn(async move { post_set(&url, &wire).await })
    });
    let mut answers = Vec::new();
    for answer in at_once.collect::<Vec<_>>() {
        answers.extend(answer.await.unwrap().ok().map(|answer| answer.body));
    }
    let wire = ask(&ca.url, &wallet.wire).await;
    assert!(!answers.is_empty());
    for answer in answers {
        assert_eq!(
            String::from_utf8_lossy(&answer),
            String::from_utf8_lossy(&wire)
        );
    }
    ca.stop().await;
    let ca = place.start().await;
    assert_eq!(ask(&ca.url, &wallet.wire).await, wire);
    assert_eq!(issued(&ca.url).await, 1);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_messages_before_cert_req_get_the_same_bytes() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let step = with_context(|ctx| registration::start(ctx, card(), None));
    let first = ask(&ca.url, &step.wire).await;
    assert_eq!(ask(&ca.url, &step.wire).await, first);
    let step = with_context(|ctx| step.state.handle(ctx, &first, trust.verifier())).unwrap();
    let form = ask(&ca.url, &step.wire).await;
    assert_eq!(ask(&ca.url, &step.wire).await, form);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_issuer_is_down_nothing_is_decided_and_the_same_bytes_succeed_later() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let wallet = until_cert_req(&ca.url, trust.verifier(), CODE, &keys::key("wallet")).await;
    place.bank().set_down(true);
    assert!(post_set(&ca.url, &wallet.wire).await.is_err());
    assert_eq!(issued(&ca.url).await, 0);
    place.bank().set_down(false);
    let wire = ask(&ca.url, &wallet.wire).await;
    assert!(matches!(
        wallet.outcome(&wire, trust.verifier()),
        Outcome::Registered(_)
    ));
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn card_number_and_private_keys_stand_in_no_file_of_the_ca() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let wallet = until_cert_req(&ca.url, trust.verifier(), CODE, &keys::key("wallet")).await;
    assert!(!any_form_of_the_pan(&place));
    ask(&ca.url, &wallet.wire).await;
    assert!(!any_form_of_the_pan(&place));
    assert!(!place.holds(b"Alice") && !place.holds(CODE.as_bytes()));
    assert!(place.holds(b"visa-cca"), "the search reads the database");
    // What an RSA private key in PKCS#8 begins with, after its length.
    let pkcs8 = [
        0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
        0x01,
    ];
    assert!(!place.holds(&pkcs8));
    ca.stop().await;
}

/// As text, in hexadecimal, in base64 at each of its three places, and as its bare SHA-256.
fn any_form_of_the_pan(place: &Place) -> bool {
    pan_needles().iter().any(|needle| place.holds(needle))
}

pub(crate) fn pan_needles() -> Vec<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    let digest = openset_jose::sha256(PAN.as_bytes());
    let mut needles = vec![
        PAN.as_bytes().to_vec(),
        hex::encode(PAN).into_bytes(),
        digest.to_vec(),
        hex::encode(digest).into_bytes(),
        STANDARD_NO_PAD.encode(digest).as_bytes()[..40].to_vec(),
        openset_jose::base64url::encode(&digest).as_bytes()[..40].to_vec(),
    ];
    for shift in 0..3 {
        let shifted = [vec![b'x'; shift], PAN.as_bytes().to_vec()].concat();
        // The first and last characters depend on the neighbours.
        needles.push(STANDARD_NO_PAD.encode(shifted).as_bytes()[4..20].to_vec());
    }
    needles
}
