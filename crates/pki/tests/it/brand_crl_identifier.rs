//! The brand's word on which CRLs are current: how it is read, issued and taken in.

use openset_pki::authority::IssueError;
use openset_pki::{
    BRAND_CRL_IDENTIFIER_BYTES_MAX, BrandCrlIdentifier, BrandCrlIdentifierError, CrlIdentifier,
    Installed, PathError, Purpose, Role,
};

use crate::world::{DAY, NOW, YEAR, as_it_is, install, install_bci, world};

#[test]
fn it_gives_back_what_it_was_made_of() {
    let brand = &world().second;
    let crls = brand.crls(u64::MAX);
    let bci = brand
        .brand_ca
        .issue_brand_crl_identifier(u64::MAX, NOW, NOW + DAY, &crls)
        .unwrap();
    let read = BrandCrlIdentifier::from_der(bci.der()).unwrap();
    assert_eq!(read, bci);
    assert_eq!(
        (read.sequence(), read.not_before(), read.not_after()),
        (u64::MAX, NOW, NOW + DAY)
    );
    assert_eq!(read.brand(), &brand.id);
    assert_eq!(
        read.issuer_der(),
        brand.brand_ca.certificate().subject_der()
    );
    assert_eq!(read.crls(), crls);
}

#[test]
fn bytes_that_are_none_are_not_read() {
    let good = world().first.bci(1);
    for end in 0..good.der().len() {
        assert!(BrandCrlIdentifier::from_der(&good.der()[..end]).is_err());
    }
    let refused = |der: &[u8]| BrandCrlIdentifier::from_der(der).unwrap_err();
    let longer = [good.der(), &[0]].concat();
    assert_eq!(refused(&longer), BrandCrlIdentifierError::Malformed);
    let large = vec![0; BRAND_CRL_IDENTIFIER_BYTES_MAX + 1];
    assert_eq!(refused(&large), BrandCrlIdentifierError::TooLarge);
}

/// Flips are either noticed at reading or by the signature; nothing altered is ever taken in.
#[test]
fn no_altered_byte_gets_through() {
    let verifier = world().verifier();
    let brand = &world().first;
    let good = brand.bci(2);
    for place in 0..good.der().len() {
        let mut der = good.der().to_vec();
        der[place] ^= 1;
        if let Ok(altered) = BrandCrlIdentifier::from_der(&der) {
            assert!(install_bci(&verifier, brand, altered).is_err(), "{place}");
        }
    }
    assert_eq!(install_bci(&verifier, brand, good), Ok(Installed::Newer));
}

#[test]
fn a_brand_ca_alone_issues_it_within_its_own_validity() {
    let brand = &world().second;
    let crls = brand.crls(1);
    let others = [
        &world().root,
        brand.regional_ca.as_ref().unwrap(),
        &brand.merchant_ca,
    ];
    for other in others {
        let role = other.certificate().role();
        assert_eq!(
            other.issue_brand_crl_identifier(1, NOW, NOW + DAY, &crls),
            Err(IssueError::NotAnAuthority(
                role,
                Purpose::CertificateSigning
            ))
        );
    }
    let issue = |not_before, not_after, crls: &[CrlIdentifier]| {
        let issued = brand
            .brand_ca
            .issue_brand_crl_identifier(1, not_before, not_after, crls);
        issued.unwrap_err()
    };
    assert_eq!(
        issue(NOW, NOW + 7 * YEAR, &crls),
        IssueError::OutlivesIssuer {
            issuer_ends: NOW + 6 * YEAR
        }
    );
    assert_eq!(issue(-1, NOW, &crls), IssueError::Dates);
    assert_eq!(
        issue(NOW, NOW - 1, &crls),
        BrandCrlIdentifierError::Validity.into()
    );
    assert_eq!(
        issue(NOW, NOW, &[]),
        BrandCrlIdentifierError::Doubled.into()
    );
    let doubled = [&crls[..1], &crls[..1]].concat();
    assert_eq!(
        issue(NOW, NOW, &doubled),
        BrandCrlIdentifierError::Doubled.into()
    );
    let many: Vec<_> = (0..2000_u64)
        .map(|number| {
            let mut one = crls[0].clone();
            one.issuer_der.extend(number.to_be_bytes());
            one
        })
        .collect();
    assert_eq!(
        issue(NOW, NOW, &many),
        BrandCrlIdentifierError::TooLarge.into()
    );
}

#[test]
fn it_lasts_until_its_last_second() {
    let verifier = world().verifier_without_bcis();
    let brand = &world().first;
    let bci = brand
        .brand_ca
        .issue_brand_crl_identifier(1, NOW - DAY, NOW + DAY, &brand.crls(1))
        .unwrap();
    install_bci(&verifier, brand, bci).unwrap();
    let merchant = &brand.merchant;
    let at = |now| {
        verifier
            .verify(merchant, &as_it_is(merchant), now)
            .map(|_| ())
    };
    assert_eq!(at(NOW + DAY), Ok(()));
    assert_eq!(
        at(NOW + DAY + 1),
        Err(PathError::BciStale(brand.id.clone()))
    );
}

#[test]
fn that_of_a_revoked_brand_ca_no_longer_counts() {
    let verifier = world().verifier();
    let brand = &world().first;
    install(&verifier, &world().root, 2, &[brand.brand_ca.certificate()]);
    assert_eq!(verifier.brand_crl_identifier_held(&brand.id), None);
    assert_eq!(
        install_bci(&verifier, brand, brand.bci(9)),
        Err(PathError::Revoked(Role::BrandCa))
    );
    let verifier = world().verifier();
    verifier.mark_revoked(&brand.brand_ca.certificate().thumbprint());
    assert_eq!(verifier.brand_crl_identifier_held(&brand.id), None);
}
