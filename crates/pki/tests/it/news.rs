//! What a verifier says that it holds, and what it learns from messages.

use openset_pki::{
    BrandCrlIdentifier, Certificate, Chain, Crl, CrlIssuer, Installed, NEWS_AUTHORITIES_MAX,
    NEWS_CRLS_MAX, NUMBER_AHEAD_MAX, PathError, PathVerifier, Role,
};

use crate::world::{DAY, NOW, as_it_is, install, lines, world};

fn verify(verifier: &PathVerifier, chain: &Chain) -> Result<(), PathError> {
    verifier.verify(chain, &as_it_is(chain), NOW).map(|_| ())
}

/// The next CRL of the second brand's merchant CA, which revokes its merchant.
fn revoking() -> Crl {
    let brand = &world().second;
    let lines = lines(&[brand.merchant.leaf()]);
    brand
        .merchant_ca
        .issue_crl(2, NOW - DAY, NOW + DAY, &lines)
        .unwrap()
}

#[test]
fn what_is_held_is_told_by_brand() {
    let verifier = world().verifier();
    for brand in [&world().first, &world().second] {
        let mut expected: Vec<_> = brand
            .authorities()
            .iter()
            .map(|authority| authority.certificate().thumbprint())
            .collect();
        let mut held = verifier.authorities_held(&brand.id);
        expected.sort_unstable();
        held.sort_unstable();
        assert_eq!(held, expected);
        let crls = verifier.crls_held(&brand.id);
        assert_eq!(crls.len(), expected.len() + 1);
        assert_eq!(
            crls[0].issuer_der(),
            world().root.certificate().subject_der()
        );
        let bci = verifier.brand_crl_identifier_held(&brand.id);
        assert_eq!(bci.as_ref(), Some(&brand.bci(1)));
    }
    let empty = world().verifier_without_crls();
    assert!(empty.authorities_held(&world().first.id).is_empty());
    assert!(empty.crls_held(&world().first.id).is_empty());
}

#[test]
fn the_issuer_of_a_certificate_is_found_among_known_cas_and_roots() {
    let verifier = world().verifier();
    let brand = &world().second;
    for chain in brand.chains() {
        let issuer = verifier.issuer_of(chain.leaf()).unwrap();
        assert_eq!(Some(&issuer), chain.certificates().get(1));
        let found = verifier.authority_chain(issuer.subject_der(), issuer.key_identifier());
        assert_eq!(found.unwrap().certificates(), &chain.certificates()[1..]);
    }
    let brand_ca = brand.brand_ca.certificate();
    assert_eq!(
        verifier.issuer_of(brand_ca).as_ref(),
        Some(world().root.certificate())
    );
    assert_eq!(
        verifier.authority_chain(brand_ca.subject_der(), Some(b"another key")),
        None
    );
    let empty = world().verifier_without_crls();
    assert_eq!(empty.issuer_of(brand.merchant.leaf()), None);
}

#[test]
fn a_crl_that_came_with_a_message_is_in_force_at_once() {
    let verifier = world().verifier();
    let brand = &world().second;
    verify(&verifier, &brand.merchant).unwrap();
    let root = world().root.issue_crl(2, NOW, NOW + DAY, &[]).unwrap();
    // Children before parents: the order of the sender's does not matter.
    let news = [revoking().der().to_vec(), root.der().to_vec()];
    let bci = brand.bci(2);
    assert_eq!(verifier.learn(&news, Some(bci.der()), NOW), Ok(3));
    assert_eq!(verifier.learn(&news, Some(bci.der()), NOW), Ok(0));
    assert_eq!(
        verify(&verifier, &brand.merchant),
        Err(PathError::Revoked(Role::Merchant))
    );
}

#[test]
fn what_is_of_no_use_is_passed_over() {
    let brand = &world().second;
    let unknown = world().verifier_without_crls();
    let bci = brand.bci(2);
    let crls = [revoking().der().to_vec()];
    assert_eq!(unknown.learn(&crls, Some(bci.der()), NOW), Ok(0));
    let verifier = world().verifier();
    let merchant_ca = &brand.merchant_ca;
    let older = merchant_ca.issue_crl(0, NOW, NOW + DAY, &[]).unwrap();
    let stale = merchant_ca.issue_crl(0, NOW - 2 * DAY, NOW, &[]).unwrap();
    let crls = [older.der().to_vec(), stale.der().to_vec()];
    let older = brand.bci(0);
    assert_eq!(verifier.learn(&crls, Some(older.der()), NOW), Ok(0));
    verify(&verifier, &brand.merchant).unwrap();
}

#[test]
fn what_is_numbered_far_ahead_is_passed_over_and_the_rest_is_taken_in() {
    let brand = &world().second;
    let ahead = u64::try_from(NOW + NUMBER_AHEAD_MAX + 1).unwrap();
    let of_gateways = brand.gateway_ca.issue_crl(ahead, NOW, NOW + DAY, &[]);
    let crls = [of_gateways.unwrap(), revoking()].map(|crl| crl.der().to_vec());
    let verifier = world().verifier();
    let bci = brand.bci(ahead);
    assert_eq!(verifier.learn(&crls, Some(bci.der()), NOW), Ok(1));
    let held = verifier.brand_crl_identifier_held(&brand.id);
    assert_eq!(held, Some(brand.bci(1)));
    verify(&verifier, &brand.gateway).unwrap();
    assert_eq!(
        verify(&verifier, &brand.merchant),
        Err(PathError::Revoked(Role::Merchant))
    );
}

#[test]
fn a_genuine_crl_that_has_run_out_stops_older_ones_all_the_same() {
    let verifier = world().verifier();
    let brand = &world().second;
    let stale = brand
        .merchant_ca
        .issue_crl(5, NOW - 2 * DAY, NOW, &[])
        .unwrap();
    let news = [stale.der().to_vec()];
    assert_eq!(verifier.learn(&news, None, NOW), Ok(0));
    let refused = PathError::CrlStale(Role::MerchantCa);
    assert_eq!(verify(&verifier, &brand.merchant), Err(refused));
    verify(&verifier, &brand.gateway).unwrap();
    let offer = |number| {
        let crl = brand.merchant_ca.issue_crl(number, NOW, NOW + DAY, &[]);
        let chain = brand.merchant_ca.chain().unwrap();
        verifier.install_crl(crl.unwrap(), CrlIssuer::Chain(&chain), NOW)
    };
    assert_eq!(
        offer(4),
        Err(PathError::CrlOlder {
            held: 5,
            offered: 4
        })
    );
    assert_eq!(offer(6), Ok(Installed::Newer));
    verify(&verifier, &brand.merchant).unwrap();
}

#[test]
fn under_a_root_whose_crl_has_run_out_numbers_are_kept_all_the_same() {
    let verifier = world().verifier();
    let brand = &world().first;
    let later = NOW + 7 * DAY;
    let crl = |number, until| {
        let crl = brand.brand_ca.issue_crl(number, NOW, until, &[]);
        let chain = brand.brand_ca.chain().unwrap();
        verifier.install_crl(crl.unwrap(), CrlIssuer::Chain(&chain), later)
    };
    let stale = Err(PathError::CrlStale(Role::RootCa));
    assert_eq!(crl(9, later + DAY), stale);
    assert!(matches!(
        crl(8, later + DAY),
        Err(PathError::CrlOlder { held: 9, .. })
    ));
}

/// A message brings the CAs of the second brand and their CRLs to a party that knows the root alone.
fn introduction() -> (Vec<Certificate>, Vec<Vec<u8>>) {
    let brand = &world().second;
    let authorities = brand.authorities();
    let certificates = authorities.iter().map(|ca| ca.certificate().clone());
    let crls = authorities.iter().map(|authority| {
        let crl = authority.issue_crl(1, NOW - DAY, NOW + DAY, &[]);
        crl.unwrap().der().to_vec()
    });
    // Issuing CAs first: the order does not matter.
    (certificates.rev().collect(), crls.rev().collect())
}

fn knowing_the_root() -> PathVerifier {
    let verifier = world().verifier_without_crls();
    install(&verifier, &world().root, 1, &[]);
    verifier
}

#[test]
fn cas_that_came_with_their_crls_are_known_from_then_on() {
    let brand = &world().second;
    let (certificates, crls) = introduction();
    let verifier = knowing_the_root();
    assert_eq!(verifier.learn(&crls, None, NOW), Ok(0));
    assert_eq!(verifier.learn_with(&certificates, &[], None, NOW), Ok(0));
    assert!(verifier.authorities_held(&brand.id).is_empty());
    let bci = brand.bci(1);
    let learned = verifier.learn_with(&certificates, &crls, Some(bci.der()), NOW);
    assert_eq!(learned, Ok(crls.len() + 1));
    let leaf = Chain::new(vec![brand.merchant.leaf().clone()]).unwrap();
    verify(&verifier, &leaf).unwrap();
    // Those of another root, and what is no CA, are of no use.
    let stranger = world().verifier_without_crls();
    assert_eq!(stranger.learn_with(&certificates, &crls, None, NOW), Ok(0));
    let leaves = [brand.merchant.leaf().clone()];
    let verifier = knowing_the_root();
    assert_eq!(verifier.learn_with(&leaves, &crls, None, NOW), Ok(0));
}

#[test]
fn news_are_taken_in_wholly_or_not_at_all() {
    let brand = &world().second;
    let (certificates, crls) = introduction();
    let bci = brand.bci(1);
    let flipped = |der: &[u8]| {
        let mut der = der.to_vec();
        *der.last_mut().unwrap() ^= 1;
        der
    };
    for forged in 0..=crls.len() {
        let verifier = knowing_the_root();
        let mut crls = crls.clone();
        let mut bci = bci.der().to_vec();
        match crls.get_mut(forged) {
            Some(crl) => *crl = flipped(crl),
            None => bci = flipped(&bci),
        }
        let checks = verifier.signature_checks();
        let refused = verifier.learn_with(&certificates, &crls, Some(&bci), NOW);
        assert!(
            matches!(
                refused,
                Err(PathError::CrlForged(_) | PathError::BciForged(_))
            ),
            "{refused:?}"
        );
        assert!(verifier.signature_checks() > checks);
        assert!(verifier.authorities_held(&brand.id).is_empty());
        assert_eq!(verifier.crls_held(&brand.id).len(), 1);
        assert!(verifier.brand_crl_identifiers_held(&brand.id).is_empty());
    }
}

#[test]
fn news_are_bounded() {
    let verifier = knowing_the_root();
    let (certificates, crls) = introduction();
    let crls: Vec<_> = crls.into_iter().cycle().take(NEWS_CRLS_MAX + 1).collect();
    let certificates: Vec<_> = certificates
        .into_iter()
        .cycle()
        .take(NEWS_AUTHORITIES_MAX + 1)
        .collect();
    let learn = |certificates: &[Certificate], crls: &[Vec<u8>]| {
        verifier.learn_with(certificates, crls, None, NOW)
    };
    let refused = Err(PathError::TooMuchNews);
    assert_eq!(learn(&[], &crls), refused);
    assert_eq!(learn(&certificates, &[]), refused);
    let accepted = learn(
        &certificates[..NEWS_AUTHORITIES_MAX],
        &crls[..NEWS_CRLS_MAX],
    );
    assert_eq!(accepted, Ok(5));
}

#[test]
fn what_is_forged_or_malformed_is_refused() {
    let verifier = world().verifier();
    let brand = &world().second;
    let learn = |crls: &[Vec<u8>], bci: Option<&[u8]>| verifier.learn(crls, bci, NOW);
    assert!(matches!(
        learn(&[vec![0x30, 0]], None),
        Err(PathError::CrlMalformed(_))
    ));
    assert!(matches!(
        learn(&[], Some(&[0x30, 0])),
        Err(PathError::BciMalformed(_))
    ));
    let flipped = |der: &[u8]| {
        let mut der = der.to_vec();
        *der.last_mut().unwrap() ^= 1;
        der
    };
    assert_eq!(
        learn(&[flipped(revoking().der())], None),
        Err(PathError::CrlForged(Role::MerchantCa))
    );
    let bci = flipped(brand.bci(2).der());
    BrandCrlIdentifier::from_der(&bci).unwrap();
    assert_eq!(
        learn(&[], Some(&bci)),
        Err(PathError::BciForged(brand.id.clone()))
    );
    verify(&verifier, &brand.merchant).unwrap();
}

#[test]
fn a_marked_certificate_is_refused_from_then_on_wherever_it_stands() {
    let brand = &world().second;
    let marks: [(&Certificate, Role); 3] = [
        (brand.merchant.leaf(), Role::Merchant),
        (brand.merchant_ca.certificate(), Role::MerchantCa),
        (
            brand.regional_ca.as_ref().unwrap().certificate(),
            Role::RegionalCa,
        ),
    ];
    for (certificate, role) in marks {
        let verifier = world().verifier();
        verify(&verifier, &brand.merchant).unwrap();
        verifier.mark_revoked(&certificate.thumbprint());
        let leaf = brand.merchant.leaf().thumbprint();
        let expect = as_it_is(&brand.merchant);
        assert_eq!(verifier.known(&leaf, &expect, NOW), None);
        assert_eq!(
            verify(&verifier, &brand.merchant),
            Err(PathError::Revoked(role))
        );
        verify(&verifier, &world().first.merchant).unwrap();
        let checks = verifier.signature_checks();
        verifier.mark_revoked(&certificate.thumbprint());
        verify(&verifier, &world().first.merchant).unwrap();
        assert_eq!(
            verifier.signature_checks(),
            checks,
            "a mark again is no news"
        );
    }
}
