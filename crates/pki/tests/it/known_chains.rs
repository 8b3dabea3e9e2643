//! What a verifier remembers, and when it forgets.

use std::sync::Arc;

use openset_pki::authority::{IssueRequest, Validity};
use openset_pki::{Chain, Expect, PathError, PathVerifier, Purpose, Role};

use crate::forge::Forgery;
use crate::world::{DAY, NOW, as_it_is, install, install_bci, key, request, world};

fn verify(verifier: &PathVerifier, chain: &Chain, now: i64) -> Result<(), PathError> {
    verifier.verify(chain, &as_it_is(chain), now).map(|_| ())
}

#[test]
fn a_known_chain_costs_no_signature_check() {
    let verifier = world().verifier();
    let chain = &world().second.merchant;
    let before = verifier.signature_checks();
    verify(&verifier, chain, NOW).unwrap();
    let after_first = verifier.signature_checks();
    assert!(
        after_first >= before + 4,
        "four certificates were signed by others"
    );
    for _ in 0..3 {
        verify(&verifier, chain, NOW + 1).unwrap();
    }
    assert_eq!(verifier.signature_checks(), after_first);
}

#[test]
fn news_make_the_verifier_forget_the_chains_that_they_concern_and_no_other() {
    type News = fn(&PathVerifier);
    let own: [(&str, News); 7] = [
        ("CRL of the root", |verifier| {
            install(verifier, &world().root, 2, &[]);
        }),
        ("CRL of the brand CA", |verifier| {
            install(verifier, &world().first.brand_ca, 2, &[]);
        }),
        ("CRL of the merchant CA", |verifier| {
            install(verifier, &world().first.merchant_ca, 2, &[]);
        }),
        ("BrandCRLIdentifier of the brand", |verifier| {
            let brand = &world().first;
            install_bci(verifier, brand, brand.bci(2)).unwrap();
        }),
        ("leaf marked as revoked", |verifier| {
            verifier.mark_revoked(&world().first.merchant.leaf().thumbprint());
        }),
        ("CA marked as revoked", |verifier| {
            verifier.mark_revoked(&world().first.brand_ca.certificate().thumbprint());
        }),
        ("another root", |verifier| {
            let root = crate::roots::second();
            verifier.accept_root(root.certificate().der()).unwrap();
        }),
    ];
    let others: [(&str, News); 5] = [
        ("CRL of another CA of the brand", |verifier| {
            install(verifier, &world().first.gateway_ca, 2, &[]);
        }),
        ("CRL of another brand", |verifier| {
            install(verifier, &world().second.brand_ca, 2, &[]);
        }),
        ("BrandCRLIdentifier of another brand", |verifier| {
            let brand = &world().second;
            install_bci(verifier, brand, brand.bci(2)).unwrap();
        }),
        ("another leaf marked as revoked", |verifier| {
            verifier.mark_revoked(&world().first.gateway.leaf().thumbprint());
        }),
        ("an older CRL", |verifier| {
            let older = world().first.merchant_ca.issue_crl(0, NOW, NOW + DAY, &[]);
            let news = [older.unwrap().der().to_vec()];
            assert_eq!(verifier.learn(&news, None, NOW), Ok(0));
        }),
    ];
    let chain = &world().first.merchant;
    let rows = own.map(|(name, news)| (name, news, false));
    for (name, news, stays) in rows.into_iter().chain(others.map(|(n, f)| (n, f, true))) {
        let verifier = world().verifier();
        verify(&verifier, chain, NOW).unwrap();
        let known = || verifier.known(&chain.leaf().thumbprint(), &as_it_is(chain), NOW);
        assert!(known().is_some());
        news(&verifier);
        assert_eq!(known().is_some(), stays, "{name}");
        let before = verifier.signature_checks();
        let _verdict = verify(&verifier, chain, NOW);
        assert_eq!(verifier.signature_checks() == before, stays, "{name}");
    }
}

#[test]
fn a_known_chain_is_refused_once_its_leaf_is_revoked() {
    let verifier = world().verifier();
    let chain = &world().first.merchant;
    verify(&verifier, chain, NOW).unwrap();
    install(&verifier, &world().first.merchant_ca, 2, &[chain.leaf()]);
    assert_eq!(
        verify(&verifier, chain, NOW),
        Err(PathError::Revoked(Role::Merchant))
    );
}

#[test]
fn a_known_chain_is_refused_once_a_crl_on_its_path_has_run_out() {
    let verifier = world().verifier();
    let chain = &world().first.merchant;
    verify(&verifier, chain, NOW).unwrap();
    assert_eq!(
        verify(&verifier, chain, NOW + 7 * DAY),
        Err(PathError::CrlStale(Role::RootCa))
    );
}

#[test]
fn a_known_chain_is_refused_once_its_leaf_has_expired() {
    let verifier = world().verifier();
    let brand = &world().first;
    let short = Validity {
        not_before: NOW - DAY,
        not_after: NOW + DAY,
    };
    let request = IssueRequest {
        validity: short,
        ..request(&brand.id, Role::Merchant, Purpose::Signature)
    };
    let chain = brand
        .merchant_ca
        .chain_of(&brand.merchant_ca.issue_end_entity(&request).unwrap());
    assert_eq!(verify(&verifier, &chain, NOW), Ok(()));
    assert_eq!(verify(&verifier, &chain, NOW + DAY), Ok(()));
    assert_eq!(
        verify(&verifier, &chain, NOW + DAY + 1),
        Err(PathError::Expired(Role::Merchant))
    );
}

#[test]
fn a_known_chain_is_still_asked_for_role_purpose_and_brand() {
    let verifier = world().verifier();
    let chain = &world().first.merchant;
    verify(&verifier, chain, NOW).unwrap();
    let good = as_it_is(chain);
    let others = [
        Expect {
            role: Role::Gateway,
            ..good
        },
        Expect {
            purpose: Purpose::KeyExchange,
            ..good
        },
        Expect {
            brand: Some(&world().second.id),
            ..good
        },
    ];
    for expect in others {
        assert!(verifier.verify(chain, &expect, NOW).is_err());
        assert!(
            verifier
                .known(&chain.leaf().thumbprint(), &expect, NOW)
                .is_none()
        );
    }
    assert_eq!(
        verifier
            .known(&chain.leaf().thumbprint(), &good, NOW)
            .as_ref(),
        Some(chain.leaf())
    );
}

#[test]
fn a_refused_chain_is_not_remembered() {
    let verifier = world().verifier();
    let chain =
        Forgery::leaf(Role::Merchant, "Aurora").chain_under(&world().first.merchant_ca, key(3));
    for _ in 0..2 {
        assert_eq!(verify(&verifier, &chain, NOW), Err(PathError::BadSignature));
    }
    assert!(
        verifier
            .known(&chain.leaf().thumbprint(), &as_it_is(&chain), NOW)
            .is_none()
    );
}

#[test]
fn a_verifier_is_shared_between_threads_while_crls_come_in() {
    let verifier = Arc::new(world().verifier());
    let brand = &world().first;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let verdict = verify(&verifier, &brand.merchant, NOW);
                    assert!(matches!(
                        verdict,
                        Ok(()) | Err(PathError::Revoked(Role::Merchant))
                    ));
                }
            });
        }
        for number in 2..10 {
            install(&verifier, &brand.merchant_ca, number, &[]);
        }
        install(&verifier, &brand.merchant_ca, 10, &[brand.merchant.leaf()]);
        assert_eq!(
            verify(&verifier, &brand.merchant, NOW),
            Err(PathError::Revoked(Role::Merchant))
        );
    });
    assert_eq!(
        verify(&verifier, &brand.merchant, NOW),
        Err(PathError::Revoked(Role::Merchant))
    );
}
