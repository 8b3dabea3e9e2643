//! Regions of one CA: each issues at its own address, and refers other regions' cards there.

use openset_pki::PathVerifier;
use openset_protocol::cardholder::registration::{self, CardToRegister, FormOrReferral, Outcome};
use openset_protocol::enrolment;
use openset_protocol::messages::cert::CertStatusCode;
use openset_testkit::keys;

use crate::bank::CODE;
use crate::ca::{Place, ask, issued, refused};
use crate::wallet::{card, enrol, merchant, until_cert_req, with_context};

/// Europe takes whatever no other region names.
const REGIONS: &str = r#"
public_url = "https://ca.example"
referral_urls = ["https://elsewhere.example/set"]
[[regions]]
name = "Europe"
[[regions]]
name = "Asia Pacific"
bins = ["400000"]
"#;

/// The form or referral for a card of this number.
async fn form(at: &str, verifier: &PathVerifier, pan: &str) -> FormOrReferral {
    let card = CardToRegister {
        pan: pan.parse().unwrap(),
        ..card()
    };
    let step = with_context(|ctx| registration::start(ctx, card, None));
    let wire = ask(at, &step.wire).await;
    let step = with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap();
    let wire = ask(at, &step.wire).await;
    with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap()
}

/// The addresses that a card of this number is referred to; none if it gets its form.
async fn referred(at: &str, verifier: &PathVerifier, pan: &str) -> Option<Vec<String>> {
    match form(at, verifier, pan).await {
        FormOrReferral::Form(_) => None,
        FormOrReferral::Referral(referral) => Some(referral.referral_urls),
    }
}

/// A card of the BIN that Asia names, and one that nobody does.
const ASIAN: &str = "4000001234567899";
const OTHER: &str = "4111110000000005";

#[tokio::test(flavor = "multi_thread")]
async fn a_card_of_another_regions_bin_is_referred_there_and_gets_that_regions_certificate() {
    let place = Place::new().await.with_options(REGIONS);
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let verifier = trust.verifier();
    let there = referred(&ca.url, verifier, ASIAN).await;
    let asia = "https://ca.example/regions/asia-pacific/set".to_owned();
    assert_eq!(there.as_deref(), Some([asia].as_slice()));
    assert_eq!(referred(&ca.url, verifier, OTHER).await, None);
    let at = format!("{}/regions/asia-pacific/set", ca.url);
    let back = referred(&at, verifier, OTHER).await;
    let europe = "https://ca.example/set".to_owned();
    assert_eq!(back.as_deref(), Some([europe].as_slice()));

    let wallet = until_cert_req(&at, verifier, CODE, &keys::key("wallet")).await;
    let wire = ask(&at, &wallet.wire).await;
    let Outcome::Registered(registered) = wallet.outcome(&wire, verifier) else {
        panic!("not registered")
    };
    let of_asia = |chain: &openset_pki::Chain| {
        let issuer = chain.authorities()[0].common_name();
        assert!(issuer.contains("Asia Pacific"), "{issuer}");
    };
    of_asia(&registered.chain);
    let outcome = enrol(&at, verifier, merchant(), CODE, "shop").await;
    let enrolment::Outcome::Enrolled(shop) = outcome else {
        panic!("{outcome:?}")
    };
    of_asia(&shop.both().unwrap().0);

    let nowhere = format!("{}/regions/atlantis/set", ca.url);
    let step = with_context(|ctx| registration::start(ctx, card(), None));
    assert_eq!(refused(&nowhere, &step.wire).await, "unspecifiedFailure");
    ca.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_no_region_serves_is_referred_elsewhere_and_refused_by_name_where_it_was_served()
 {
    let place = Place::new().await;
    let ca = place.start().await;
    let trust = place.trust(&ca.url).await;
    let verifier = trust.verifier();
    let wallet = until_cert_req(&ca.url, verifier, CODE, &keys::key("wallet")).await;
    ca.stop().await;

    // Meanwhile the region has come to serve other cards alone.
    let place = place.with_options(
        "referral_urls = [\"https://elsewhere.example/set\"]\n[[regions]]\nname = \"Europe\"\nbins = [\"555555\"]",
    );
    let ca = place.start().await;
    let elsewhere = "https://elsewhere.example/set".to_owned();
    let there = referred(&ca.url, verifier, ASIAN).await;
    assert_eq!(there.as_deref(), Some([elsewhere].as_slice()));
    let wire = ask(&ca.url, &wallet.wire).await;
    let Outcome::Refused(status) = wallet.outcome(&wire, verifier) else {
        panic!("not refused")
    };
    assert_eq!(status.cert_status_code, CertStatusCode::InvalidBin);
    assert_eq!((place.bank().asked().len(), issued(&ca.url).await), (0, 0));
    ca.stop().await;
}
