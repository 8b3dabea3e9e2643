//! Keys that nobody else gets certified: those of the CAs and of their responders.

use openset_jose::PublicKey;
use openset_pki::ocsp::{self, Response};
use openset_pki::{PathVerifier, Role};
use openset_protocol::enrolment::{self, FormOrReferral, Outcome};
use openset_protocol::messages::cert::CertStatusCode;
use openset_testkit::keys;

use crate::bank::CODE;
use crate::ca::{Place, ask, issued};
use crate::wallet::{activation_code, credentials, enrol, merchant, thumbs, with_context};

/// What a merchant is told that shows somebody else's key as its own for key exchange.
async fn told(ca_url: &str, verifier: &PathVerifier, key: &PublicKey) -> (CertStatusCode, String) {
    let (sign, open) = (keys::key("thief/sign"), keys::key("thief/open"));
    let named = thumbs(verifier);
    let step = with_context(|ctx| enrolment::start(ctx, merchant(), open.public_key(), named));
    let wire = ask(ca_url, &step.wire).await;
    let received = with_context(|ctx| step.state.handle(ctx, &wire, verifier, &open)).unwrap();
    let FormOrReferral::Form(form) = received else {
        panic!("a referral")
    };
    let answers = vec![activation_code(CODE)];
    let step = with_context(|ctx| form.submit(ctx, answers, &sign, key)).unwrap();
    let wire = ask(ca_url, &step.wire).await;
    let outcome = with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap();
    let Outcome::Refused(status) = outcome else {
        panic!("{outcome:?}")
    };
    (status.cert_status_code, status.ee_message.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_ca_and_of_its_responder_are_certified_for_nobody_else() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier) = (ca.url.as_str(), trust.verifier());
    let mca = trust.authority(Role::MerchantCa, &"Visa".parse().unwrap());
    let mca = mca.unwrap();
    let issuer = mca.chain.unwrap();
    let shop = credentials(enrol(url, verifier, merchant(), CODE, "shop").await, "shop");
    let request = ocsp::request(shop.signature.certificate(), issuer.leaf(), None).unwrap();
    let answer = reqwest::Client::new()
        .post(format!("{url}/ocsp/visa-mca"))
        .header("Content-Type", "application/ocsp-request")
        .body(request)
        .send()
        .await
        .unwrap();
    let answer = Response::from_der(&answer.bytes().await.unwrap()).unwrap();

    let (signs, opens) = (mca.message_signature.unwrap(), mca.key_exchange.unwrap());
    let taken = [
        ("the CA's own", issuer.leaf()),
        ("its messages' signature", signs.leaf()),
        ("its messages' key exchange", opens.leaf()),
        ("its responder's", answer.responder()),
        ("a merchant's", shop.key_exchange.certificate()),
    ];
    for (whose, certificate) in taken {
        let (code, text) = told(url, verifier, certificate.public_key()).await;
        assert_eq!(code, CertStatusCode::RejectedByCa, "{whose}");
        assert_eq!(
            text, "This key was certified before; make a new one.",
            "{whose}"
        );
    }
    assert_eq!(issued(url).await, 2);
    ca.stop().await;
}
