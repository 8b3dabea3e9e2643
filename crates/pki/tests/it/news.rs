//! What a verifier says that it holds, and what it learns from messages.

use openset_pki::{BrandCrlIdentifier, Certificate, Chain, Crl, PathError, PathVerifier, Role};

use crate::world::{DAY, NOW, as_it_is, lines, world};

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
    let stale = merchant_ca.issue_crl(3, NOW - 2 * DAY, NOW, &[]).unwrap();
    let crls = [older.der().to_vec(), stale.der().to_vec()];
    let older = brand.bci(0);
    assert_eq!(verifier.learn(&crls, Some(older.der()), NOW), Ok(0));
    verify(&verifier, &brand.merchant).unwrap();
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
