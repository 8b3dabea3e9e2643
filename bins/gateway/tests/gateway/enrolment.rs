//! From nothing to certificates: the gateway serves at once and enrols meanwhile, also across crashes.

use crate::authority::{BRAND_CODE, Ca, Instead, POLICY};
use crate::bank::Bank;
use crate::purchase::{SHOP, buy};
use crate::service::{Premises, Service};

const INIT: &str = "Me-AqCInitReq";
const CERT: &str = "CertReq";

async fn applicant(ca: &Ca, activation_code: &str) -> Service {
    let bank = Bank::open().await;
    Premises::with(&bank, &ca.toml(activation_code))
        .start_enrolling()
        .await
}

/// What `/readyz` lists as missing.
async fn missing(service: &Service) -> String {
    for _ in 0..6000 {
        if service.healthy().await {
            let (status, problem) = service.get("/readyz", "").await;
            assert_eq!(status, 503, "{problem}");
            return problem["errors"].to_string();
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the gateway does not listen");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_serves_at_once_and_enrols_when_its_ca_is_there() {
    let ca = Ca::closed().await;
    let service = applicant(&ca, BRAND_CODE).await;
    let found = missing(&service).await;
    assert!(
        found.contains("/trust") && found.contains("/certificates"),
        "{found}"
    );
    service.set(&buy(&SHOP, 4200).ask().wire).await.working();

    let listening = ca.listen().await;
    service.until_ready().await;
    let (_, body) = service.get("/certificates", "").await;
    assert_eq!(body["certificates"].as_array().unwrap().len(), 2);
    assert_eq!((ca.count(INIT), ca.count(CERT)), (1, 1));

    // The next start needs no CA: trust and certificates are kept, and are the same.
    listening.abort();
    let service = service.stop().await.start_enrolling().await;
    service.until_ready().await;
    assert_eq!(service.get("/certificates", "").await.1, body);
    assert_eq!((ca.count(INIT), ca.count(CERT)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_that_a_crash_cut_short_goes_on_with_the_same_request() {
    let ca = Ca::closed().await;
    ca.listen().await;
    ca.set_answering(false);
    let service = applicant(&ca, BRAND_CODE).await;
    ca.until_received(INIT, 1).await;
    let premises = service.kill().await;
    ca.set_answering(true);
    let service = premises.start_enrolling().await;
    service.until_ready().await;
    assert_eq!((ca.count(INIT), ca.count(CERT)), (2, 1));
    assert_eq!(
        ca.answered(),
        2,
        "the second Me-AqCInitReq was the first one's bytes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_were_held_back_on_the_way_are_fetched_with_the_same_request() {
    for instead in [Instead::Error, Instead::Garbled] {
        let ca = Ca::closed().await;
        ca.listen().await;
        ca.replace_answers(instead, 1);
        let service = applicant(&ca, BRAND_CODE).await;
        service.until_ready().await;
        assert_eq!((ca.count(INIT), ca.count(CERT)), (1, 2), "{instead:?}");
        assert_eq!(ca.answered(), 2, "no key is certified twice: {instead:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_enrolment_says_why_and_does_not_use_up_attempts() {
    let ca = Ca::closed().await;
    ca.listen().await;
    let service = applicant(&ca, "ANOTHER-CODE").await;
    ca.until_received(CERT, 1).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let found = missing(&service).await;
    assert!(found.contains("unknown code"), "{found}");
    assert_eq!(ca.count(CERT), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_may_accept_one_policy_alone() {
    for accepted in ["Route as you like.", POLICY] {
        let ca = Ca::closed().await;
        ca.listen().await;
        let sha256 = hex::encode(openset_jose::sha256(accepted.as_bytes()));
        let options = format!("{}\npolicy_sha256 = {sha256:?}", ca.toml(BRAND_CODE));
        let premises = Premises::with(&Bank::open().await, &options);
        let service = premises.start_enrolling().await;
        if accepted == POLICY {
            service.until_ready().await;
            assert_eq!(ca.count(CERT), 1);
        } else {
            ca.until_received(INIT, 1).await;
            let shown = hex::encode(openset_jose::sha256(POLICY.as_bytes()));
            let mut found = String::new();
            for _ in 0..3000 {
                found = missing(&service).await;
                if found.contains(&shown) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            assert!(found.contains(&shown) && found.contains(POLICY), "{found}");
            assert_eq!(ca.count(CERT), 0);
        }
    }
}
