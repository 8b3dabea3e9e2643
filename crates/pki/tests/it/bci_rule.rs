//! Which BrandCRLIdentifier a path is judged by, and from when on.

use openset_pki::authority::Authority;
use openset_pki::{
    BrandCrlIdentifier, Chain, CrlIdentifier, Installed, NUMBER_AHEAD_MAX, PathError, PathVerifier,
    Purpose, Role,
};

use crate::world::{
    Brand, DAY, NOW, as_it_is, ca_named, install, install_bci, key, named, request, world,
};

/// The keys of the first brand's second generation.
const SECOND_GENERATION_KEYS: usize = 15;

fn verify(verifier: &PathVerifier, chain: &Chain, now: i64) -> Result<(), PathError> {
    verifier.verify(chain, &as_it_is(chain), now).map(|_| ())
}

/// The brand's word with another number of one CA's CRL.
fn naming(brand: &Brand, sequence: u64, authority: &Authority, number: u64) -> BrandCrlIdentifier {
    let other = named(authority, number);
    let mut crls = brand.crls(1);
    crls.retain(|named| named.issuer_der != other.issuer_der);
    crls.push(other);
    brand
        .brand_ca
        .issue_brand_crl_identifier(sequence, NOW - DAY, NOW + 14 * DAY, &crls)
        .unwrap()
}

#[test]
fn it_waits_for_every_crl_that_it_names_and_the_one_before_it_counts_meanwhile() {
    let brand = &world().first;
    for late in [&brand.merchant_ca, &brand.gateway_ca, &world().root] {
        let verifier = world().verifier();
        let newer = naming(brand, 2, late, 2);
        let outcome = install_bci(&verifier, brand, newer.clone());
        assert_eq!(outcome, Ok(Installed::Newer));
        assert_eq!(verify(&verifier, &brand.merchant, NOW), Ok(()));
        let in_effect = verifier.brand_crl_identifier_held(&brand.id);
        assert_eq!(in_effect, Some(brand.bci(1)));
        let all = verifier.brand_crl_identifiers_held(&brand.id);
        assert_eq!(all, [brand.bci(1), newer.clone()]);
        assert_eq!(
            install_bci(&verifier, brand, newer.clone()),
            Ok(Installed::Known)
        );
        install(&verifier, late, 2, &[]);
        let in_effect = verifier.brand_crl_identifier_held(&brand.id);
        assert_eq!(in_effect, Some(newer.clone()));
        assert_eq!(verifier.brand_crl_identifiers_held(&brand.id), [newer]);
        assert_eq!(verify(&verifier, &brand.merchant, NOW), Ok(()));
    }
}

#[test]
fn one_that_waits_counts_when_the_one_before_it_has_run_out() {
    let verifier = world().verifier_without_bcis();
    let brand = &world().first;
    let first = brand
        .brand_ca
        .issue_brand_crl_identifier(1, NOW - DAY, NOW + DAY, &brand.crls(1));
    install_bci(&verifier, brand, first.unwrap()).unwrap();
    install_bci(&verifier, brand, naming(brand, 2, &brand.merchant_ca, 2)).unwrap();
    let behind = PathError::CrlBehindBci {
        authority: Role::MerchantCa,
        held: 1,
        named: 2,
    };
    // The second look is at what was remembered.
    for (now, verdict) in [
        (NOW, Ok(())),
        (NOW + DAY, Ok(())),
        (NOW + DAY + 1, Err(behind)),
    ] {
        assert_eq!(verify(&verifier, &brand.merchant, now), verdict);
    }
    // It does not name a newer CRL of these.
    assert_eq!(verify(&verifier, &brand.gateway, NOW + DAY + 1), Ok(()));
}

#[test]
fn the_first_one_counts_at_once() {
    let verifier = world().verifier_without_bcis();
    let brand = &world().first;
    install_bci(&verifier, brand, naming(brand, 2, &brand.merchant_ca, 2)).unwrap();
    assert_eq!(verifier.brand_crl_identifier_held(&brand.id), None);
    assert!(matches!(
        verify(&verifier, &brand.merchant, NOW),
        Err(PathError::CrlBehindBci { .. })
    ));
    assert_eq!(verify(&verifier, &brand.gateway, NOW), Ok(()));
}

#[test]
fn one_that_waits_stops_older_ones_and_does_not_wait_for_unknown_cas() {
    let verifier = world().verifier();
    let brand = &world().first;
    install_bci(&verifier, brand, naming(brand, 5, &brand.merchant_ca, 2)).unwrap();
    assert_eq!(
        install_bci(&verifier, brand, brand.bci(4)),
        Err(PathError::BciOlder {
            held: 5,
            offered: 4
        })
    );
    assert_eq!(
        install_bci(&verifier, brand, brand.bci(5)),
        Err(PathError::BciSequenceReused { sequence: 5 })
    );
    let unknown = CrlIdentifier {
        issuer_der: world().second.merchant.leaf().subject_der().to_vec(),
        number: 9,
    };
    let crls = [brand.crls(1), vec![unknown]].concat();
    let newest = brand
        .brand_ca
        .issue_brand_crl_identifier(6, NOW - DAY, NOW + DAY, &crls)
        .unwrap();
    install_bci(&verifier, brand, newest.clone()).unwrap();
    let in_effect = verifier.brand_crl_identifier_held(&brand.id);
    assert_eq!(in_effect, Some(newest));
}

#[test]
fn numbers_far_ahead_of_the_clock_are_refused() {
    let brand = &world().first;
    let limit = u64::try_from(NOW + NUMBER_AHEAD_MAX).unwrap();
    for (number, refused) in [(limit, false), (limit + 1, true), (u64::MAX, true)] {
        let verifier = world().verifier();
        let expected = if refused {
            Err(PathError::NumberAhead { number })
        } else {
            Ok(Installed::Newer)
        };
        let crl = brand
            .merchant_ca
            .issue_crl(number, NOW - DAY, NOW + DAY, &[])
            .unwrap();
        let chain = brand.merchant_ca.chain().unwrap();
        let installed = verifier.install_crl(crl, openset_pki::CrlIssuer::Chain(&chain), NOW);
        assert_eq!(installed, expected);
        for bci in [
            brand.bci(number),
            naming(brand, 2, &brand.gateway_ca, number),
        ] {
            let verifier = world().verifier();
            assert_eq!(install_bci(&verifier, brand, bci), expected);
        }
    }
}

/// The first brand's second brand CA, with a merchant CA below it and a merchant of that one.
fn second_generation() -> (Authority, Authority, Chain) {
    let brand = &world().first;
    let brand_ca = ca_named(
        &world().root,
        Role::BrandCa,
        &brand.id,
        "brand CA 2",
        key(SECOND_GENERATION_KEYS),
        2,
    );
    let merchant_ca = ca_named(
        &brand_ca,
        Role::MerchantCa,
        &brand.id,
        "merchant CA 2",
        key(SECOND_GENERATION_KEYS + 1),
        0,
    );
    let leaf = merchant_ca
        .issue_end_entity(&request(&brand.id, Role::Merchant, Purpose::Signature))
        .unwrap();
    let chain = merchant_ca.chain_of(&leaf);
    (brand_ca, merchant_ca, chain)
}

#[test]
fn each_brand_ca_counts_its_own_and_judges_its_own_paths() {
    let brand = &world().first;
    let (brand_ca, merchant_ca, merchant) = second_generation();
    let verifier = world().verifier();
    for authority in [&brand_ca, &merchant_ca] {
        install(&verifier, authority, 1, &[]);
    }
    // The first generation speaks for itself alone, with its own numbers.
    assert_eq!(
        verify(&verifier, &merchant, NOW),
        Err(PathError::BciOmits(Role::BrandCa))
    );
    let own = [&world().root, &brand_ca, &merchant_ca].map(|authority| named(authority, 1));
    let second = brand_ca
        .issue_brand_crl_identifier(700, NOW, NOW + DAY, &own)
        .unwrap();
    let chain = brand_ca.chain().unwrap();
    verifier
        .install_brand_crl_identifier(second, &chain, NOW)
        .unwrap();
    install_bci(&verifier, brand, brand.bci(2)).unwrap();
    assert_eq!(verify(&verifier, &merchant, NOW), Ok(()));
    assert_eq!(verify(&verifier, &brand.merchant, NOW), Ok(()));
    // Each without its own word: the other's does not name its CAs.
    assert_eq!(
        verify(&verifier, &merchant, NOW + DAY + 1),
        Err(PathError::BciOmits(Role::BrandCa))
    );
    install(&verifier, &world().root, 2, &[brand_ca.certificate()]);
    assert_eq!(
        verify(&verifier, &merchant, NOW),
        Err(PathError::Revoked(Role::BrandCa))
    );
    assert_eq!(verify(&verifier, &brand.merchant, NOW), Ok(()));
}

#[test]
fn a_later_brand_ca_speaks_for_the_paths_of_one_that_speaks_no_more() {
    let brand = &world().first;
    let (brand_ca, ..) = second_generation();
    let verifier = world().verifier_without_bcis();
    install(&verifier, &brand_ca, 1, &[]);
    let crls = [brand.crls(1), vec![named(&brand_ca, 1)]].concat();
    let of_both = brand_ca
        .issue_brand_crl_identifier(1, NOW - DAY, NOW + 6 * DAY, &crls)
        .unwrap();
    let chain = brand_ca.chain().unwrap();
    verifier
        .install_brand_crl_identifier(of_both, &chain, NOW)
        .unwrap();
    assert_eq!(verify(&verifier, &brand.merchant, NOW), Ok(()));
    assert_eq!(
        verify(&verifier, &brand.merchant, NOW + 6 * DAY + 1),
        Err(PathError::BciStale(brand.id.clone()))
    );
    assert_eq!(
        verify(&verifier, &world().second.merchant, NOW),
        Err(PathError::BciMissing(world().second.id.clone()))
    );
}

#[test]
fn what_rested_on_the_word_of_another_brand_ca_is_forgotten_when_that_one_is_revoked() {
    type Revoke = fn(&PathVerifier, &Authority, &Authority);
    let by_mark: Revoke = |verifier, _, brand_ca| {
        verifier.mark_revoked(&brand_ca.certificate().thumbprint());
    };
    let by_crl: Revoke = |verifier, root, brand_ca| {
        install(verifier, root, 2, &[brand_ca.certificate()]);
    };
    let brand = &world().first;
    let root = crate::roots::second();
    let own_key = key(SECOND_GENERATION_KEYS);
    let brand_ca = ca_named(&root, Role::BrandCa, &brand.id, "brand CA 2", own_key, 2);
    let chain = brand_ca.chain().unwrap();
    let crls = [brand.crls(1), vec![named(&root, 1), named(&brand_ca, 1)]].concat();
    let of_both = brand_ca.issue_brand_crl_identifier(1, NOW - DAY, NOW + 6 * DAY, &crls);
    let of_both = of_both.unwrap();
    for revoke in [by_mark, by_crl] {
        let verifier = world().verifier_without_bcis();
        verifier.accept_root(root.certificate().der()).unwrap();
        install(&verifier, &root, 1, &[]);
        install(&verifier, &brand_ca, 1, &[]);
        verifier
            .install_brand_crl_identifier(of_both.clone(), &chain, NOW)
            .unwrap();
        assert_eq!(verify(&verifier, &brand.merchant, NOW), Ok(()));
        revoke(&verifier, &root, &brand_ca);
        assert_eq!(
            verify(&verifier, &brand.merchant, NOW),
            Err(PathError::BciMissing(brand.id.clone()))
        );
    }
}

#[test]
fn one_that_has_run_out_stops_older_ones_all_the_same() {
    let verifier = world().verifier();
    let brand = &world().first;
    let issue = |sequence, not_after| {
        let crls = brand.crls(1);
        let issued =
            brand
                .brand_ca
                .issue_brand_crl_identifier(sequence, NOW - DAY, not_after, &crls);
        issued.unwrap()
    };
    let stale = PathError::BciStale(brand.id.clone());
    for _ in 0..2 {
        let outcome = install_bci(&verifier, brand, issue(8, NOW - 1));
        assert_eq!(outcome, Err(stale.clone()));
    }
    assert_eq!(
        install_bci(&verifier, brand, issue(7, NOW + DAY)),
        Err(PathError::BciOlder {
            held: 8,
            offered: 7
        })
    );
    assert_eq!(verify(&verifier, &brand.merchant, NOW), Err(stale));
    assert_eq!(
        install_bci(&verifier, brand, issue(9, NOW + DAY)),
        Ok(Installed::Newer)
    );
    assert_eq!(verify(&verifier, &brand.merchant, NOW), Ok(()));
}
