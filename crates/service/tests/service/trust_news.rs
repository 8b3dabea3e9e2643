//! How a party's trust goes on: successor roots, news from messages, a CA asked before anything runs out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openset_pki::authority::{Authority, Serial, Subject};
use openset_pki::{BrandId, Certificate, PathError, Role};
use openset_service::clock;
use openset_service::trust::{AuthorityEntry, TrustError};
use openset_testkit::keys::key;
use openset_testkit::pki::{TestPki, validity};

use crate::trust::{Ca, Party, document, entry_id, shop, verify_merchant};

/// A root with this key, which promises the next one's.
fn root(name: &str, key_name: &str, next: &str) -> Certificate {
    let subject = Subject {
        common_name: name.to_owned(),
        ..Subject::default()
    };
    let serial = Serial::from_bytes([0x41; 16]);
    let valid = validity(clock::now(), 3650);
    let root = Authority::root(
        key(key_name),
        &subject,
        valid,
        serial,
        key(next).public_key(),
    );
    root.unwrap().certificate().clone()
}

#[tokio::test]
async fn successor_of_the_pinned_root_is_followed_and_kept_and_a_stranger_is_not() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let ca = Ca::open(document(&pki, 2)).await;
    let party = Party::new().await;
    let first = STANDARD.encode(pki.root.certificate().der());
    let second = STANDARD.encode(root("Test Root 2", "root/next", "root/third").der());
    let third = STANDARD.encode(root("Test Root 3", "root/third", "root/fourth").der());
    let stranger = STANDARD.encode(root("Test Root 2", "root/stranger", "root/x").der());

    let roots = |roots: &[&String]| roots.iter().map(|root| (*root).clone()).collect::<Vec<_>>();
    ca.change(|document| document.roots = roots(&[&first, &stranger]));
    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    assert_eq!(trust.verifier().roots().len(), 1);
    ca.change(|document| document.roots = roots(&[&first, &second]));
    trust.refresh().await.unwrap();
    assert_eq!(trust.verifier().roots().len(), 2);

    // By the next start the first root has gone from the CA's document; the link from it was kept.
    ca.change(|document| document.roots = roots(&[&second, &third]));
    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    assert_eq!(trust.verifier().roots().len(), 3);
    verify_merchant(&trust, &shop(&pki)).unwrap();

    ca.change(|document| document.roots = roots(&[&stranger]));
    for error in [
        trust.refresh().await.unwrap_err(),
        party.bootstrap(&ca, &pki).await.map(drop).unwrap_err(),
    ] {
        assert!(
            matches!(error, TrustError::RootMismatch { .. }),
            "{error:?}"
        );
    }
    let newcomer = Party::new().await;
    ca.change(|document| document.roots = roots(&[&second, &third]));
    let error = newcomer.bootstrap(&ca, &pki).await.unwrap_err();
    assert!(
        matches!(error, TrustError::RootMismatch { .. }),
        "without the link a root is nobody's: {error:?}"
    );
}

#[tokio::test]
async fn crl_learned_from_a_message_is_kept_for_the_next_start_and_for_other_replicas() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let ca = Ca::open(document(&pki, 2)).await;
    let party = Party::new().await;
    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    let merchant = shop(&pki);
    let mca = &pki.brand("Brand").mca.authority;
    let news = pki.crl(mca, 3, &[merchant.leaf()]);
    let bci = pki.brand_crl_identifier("Brand", 3, 2);
    let learned = trust.verifier().learn(
        &[news.der().to_vec()],
        Some(bci.der()),
        clock::now_seconds(),
    );
    assert_eq!(learned, Ok(2));
    trust.refresh().await.unwrap();

    let replica = party.replica();
    for party in [&party, &replica] {
        let trust = party.bootstrap(&ca, &pki).await.unwrap();
        let refusal = verify_merchant(&trust, &merchant);
        assert!(matches!(refusal, Err(PathError::Revoked(_))), "{refusal:?}");
        let brand = BrandId::new("Brand").unwrap();
        let held = trust.verifier().brand_crl_identifier_held(&brand);
        assert_eq!(held.unwrap().sequence(), 3);
    }
}

#[tokio::test]
async fn refusal_that_news_may_mend_asks_the_ca_at_once_and_not_too_often() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let mut before = document(&pki, 2);
    before
        .authorities
        .retain(|entry| entry.id != entry_id(Role::MerchantCa));
    before.brands.clear();
    let ca = Ca::open(before).await;
    let party = Party::new().await;
    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    let merchant = shop(&pki);
    let refusal = verify_merchant(&trust, &merchant).unwrap_err();
    assert!(matches!(refusal, PathError::CrlMissing(_)), "{refusal:?}");

    let asked = ca.asked.load(Ordering::SeqCst);
    let revoked = PathError::Revoked(Role::Merchant);
    assert!(!trust.refresh_after(&revoked).await);
    assert_eq!(ca.asked.load(Ordering::SeqCst), asked);
    ca.change(|held| *held = document(&pki, 2));
    let ask = || trust.refresh_after(&refusal);
    let mended = tokio::join!(ask(), ask(), ask());
    assert_eq!(mended, (true, true, true), "all wait for the one answer");
    assert!(!ask().await, "the CA was asked a moment ago");
    assert_eq!(ca.asked.load(Ordering::SeqCst), asked + 1);
    verify_merchant(&trust, &merchant).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(ask().await);
}

#[tokio::test]
async fn ca_is_asked_before_a_crl_runs_out_however_seldom_it_was_to_be() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let ca = Ca::open(document(&pki, 2)).await;
    let short = |number, seconds| {
        let now = clock::now_seconds();
        let crl = pki.root.issue_crl(number, now, now + seconds, &[]).unwrap();
        STANDARD.encode(crl.der())
    };
    ca.change(|document| document.authorities[0].crl = short(3, 9));
    let party = Party::seldom().await;
    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    let asked = ca.asked.load(Ordering::SeqCst);
    ca.change(|document| document.authorities[0].crl = short(4, 1000));
    let stop = openset_service::CancellationToken::new();
    let begin = Instant::now();
    let fresh = tokio::spawn(Arc::clone(&trust).keep_fresh(stop.clone()));
    while ca.asked.load(Ordering::SeqCst) == asked {
        assert!(begin.elapsed() < Duration::from_secs(9), "asked too late");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        ca.asked.load(Ordering::SeqCst),
        asked + 1,
        "with a fresh CRL it is as seldom as it was to be"
    );
    stop.cancel();
    fresh.await.unwrap();
}

#[tokio::test]
async fn issuing_ca_is_the_one_of_the_region_that_is_not_retired() {
    let pki = TestPki::new(&["Brand"], clock::now());
    let ca = Ca::open(document(&pki, 2)).await;
    let brand = BrandId::new("Brand").unwrap();
    let id = entry_id(Role::MerchantCa);
    let mark = |region: Option<&str>, retired| {
        ca.change(|document| {
            let found: Option<&mut AuthorityEntry> =
                document.authorities.iter_mut().find(|entry| entry.id == id);
            let entry = found.unwrap();
            entry.region = region.map(str::to_owned);
            entry.retired = retired;
        });
    };
    let party = Party::new().await;
    let trust = party.bootstrap(&ca, &pki).await.unwrap();
    let issued = shop(&pki);
    assert!(trust.authority(Role::MerchantCa, &brand).is_some());
    assert!(!trust.is_issuer_retired(&issued));
    mark(Some("europe"), false);
    trust.refresh().await.unwrap();
    let of = |region| trust.authority_of_region(Role::MerchantCa, &brand, region);
    assert!(of("europe").is_some() && of("asia").is_none());
    mark(Some("europe"), true);
    trust.refresh().await.unwrap();
    assert!(trust.authority(Role::MerchantCa, &brand).is_none());
    assert!(trust.is_issuer_retired(&issued));
    verify_merchant(&trust, &issued).unwrap();
}
