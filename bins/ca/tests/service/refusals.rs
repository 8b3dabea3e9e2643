//! What is refused, and how. That a key is certified once stands in `again`.

use openset_protocol::cardholder::registration::{self, Outcome};
use openset_protocol::enrolment;
use openset_protocol::messages::cert::{CertStatus, CertStatusCode};
use openset_protocol::wrapper::MessageWrapper;
use openset_testkit::keys;

use crate::bank::CODE;
use crate::ca::{GATEWAY_CODE, Place, ask, issued, refused};
use crate::wallet::{card, enrol, gateway, merchant, until_cert_req, with_context};

/// What everybody is told who may be guessing: neither whether there is such a card or gateway, nor whether the
/// code is wrong, used or locked.
const UNTOLD_BY_ISSUER: &str = "The issuer does not approve. Check what you entered and try again, after some \
     attempts an hour later; if all of it is right, ask the issuer for a fresh activation code.";
const UNTOLD_BY_BRAND: &str = "The brand does not approve. Check what you entered and try again, after some \
     attempts an hour later; if all of it is right, ask the brand for a fresh activation code.";

fn refusal(outcome: enrolment::Outcome) -> CertStatus {
    let enrolment::Outcome::Refused(status) = outcome else {
        panic!("{outcome:?}")
    };
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_is_refused_by_the_issuer_and_ends_the_registration() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let wallet = until_cert_req(&ca.url, trust.verifier(), "WRONG", &keys::key("wallet")).await;
    let wire = ask(&ca.url, &wallet.wire).await;
    assert_eq!(ask(&ca.url, &wallet.wire).await, wire);
    let Outcome::Refused(status) = wallet.outcome(&wire, trust.verifier()) else {
        panic!("not refused")
    };
    assert_eq!(status.cert_status_code, CertStatusCode::RejectedByIssuer);
    assert_eq!(status.ee_message.as_deref(), Some(UNTOLD_BY_ISSUER));
    assert_eq!((issued(&ca.url).await, place.bank().asked().len()), (0, 1));
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_code_is_for_one_pair_of_keys_and_few_attempts() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let (url, verifier) = (ca.url.as_str(), trust.verifier());
    let wrong = refusal(enrol(url, verifier, gateway(), "WRONG", "a").await);
    assert_eq!(wrong.ee_message.as_deref(), Some(UNTOLD_BY_BRAND));
    let enrolled = enrol(url, verifier, gateway(), GATEWAY_CODE, "b").await;
    assert!(matches!(enrolled, enrolment::Outcome::Enrolled(_)));
    let used = refusal(enrol(url, verifier, gateway(), GATEWAY_CODE, "c").await);
    assert_eq!(used.ee_message.as_deref(), Some(UNTOLD_BY_BRAND));
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_code_is_locked_after_five_wrong_attempts() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    for _ in 0..5 {
        let wrong = refusal(enrol(&ca.url, trust.verifier(), gateway(), "WRONG", "a").await);
        assert_eq!(wrong.cert_status_code, CertStatusCode::RejectedByCa);
    }
    let locked = refusal(enrol(&ca.url, trust.verifier(), gateway(), GATEWAY_CODE, "a").await);
    assert_eq!(locked.ee_message.as_deref(), Some(UNTOLD_BY_BRAND));
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_without_the_acquirers_word_gets_nothing() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let status = refusal(enrol(&ca.url, trust.verifier(), merchant(), "WRONG", "shop").await);
    assert_eq!(status.cert_status_code, CertStatusCode::RejectedByAcquirer);
    let untold = UNTOLD_BY_BRAND.replace("brand", "acquirer");
    assert_eq!(status.ee_message, Some(untold));
    assert_eq!(issued(&ca.url).await, 0);
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_stale_misplaced_and_unknown_messages_get_their_error_codes() {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    assert_eq!(refused(&ca.url, b"{").await, "decodingFailure");
    let step = with_context(|ctx| registration::start(ctx, card()));
    let mut stale = MessageWrapper::decode(&step.wire).unwrap();
    stale.message_header.date = stale.message_header.date.plus(-3600);
    assert_eq!(refused(&ca.url, &stale.encode()).await, "messageTooOld");
    let text = String::from_utf8(step.wire.clone()).unwrap();
    let foreign = text.replace("\"Visa\"", "\"Acme\"");
    assert_eq!(
        refused(&ca.url, foreign.as_bytes()).await,
        "unspecifiedFailure"
    );
    let unknown = text.replace("CardCInitReq", "CardCInitReqq");
    assert_eq!(
        refused(&ca.url, unknown.as_bytes()).await,
        "messageNotSupported"
    );
    let wallet = until_cert_req(&ca.url, trust.verifier(), CODE, &keys::key("wallet")).await;
    ask(&ca.url, &wallet.wire).await;
    let again = String::from_utf8(wallet.wire.clone())
        .unwrap()
        .replace("\"sw_ident\":\"", "\"sw_ident\":\"x");
    assert_eq!(
        refused(&ca.url, again.as_bytes()).await,
        "unknownLID",
        "the registration has ended"
    );
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_passphrase_does_not_start_the_ca() {
    let place = Place::new().await;
    place.start().await.stop().await;
    let error = place.start_with_passphrase("another").await.unwrap_err();
    assert!(format!("{error:#}").contains("passphrase"), "{error:#}");
}
