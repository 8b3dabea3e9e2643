//! Root rollover: a verifier follows the promises that roots make, link by link.

use openset_jose::sha256;
use openset_pki::authority::{Authority, IssueAuthority, Subject};
use openset_pki::{
    AnchorError, CrlIssuer, Installed, PathError, PathVerifier, Purpose, ROOT_OVERLAP_S, Role,
    TrustAnchor,
};

use crate::world::{
    DAY, NEXT_ROOT_KEY, NOW, STRANGER_KEY, YEAR, as_it_is, install, key, named, request, serial,
    subject, validity, world,
};

/// The key of the root after the next.
const THIRD_ROOT_KEY: usize = 14;
/// The keys of a brand under the next root.
const BRAND_KEYS: usize = 15;

fn root(name: &str, own: usize, next: usize, years: i64) -> Authority {
    let subject = Subject {
        common_name: name.into(),
        ..Subject::default()
    };
    let next = key(next).public_key();
    Authority::root(key(own).clone(), &subject, validity(years), serial(), next).unwrap()
}

pub(crate) fn second() -> Authority {
    root("Test root 2", NEXT_ROOT_KEY, THIRD_ROOT_KEY, 20)
}

fn third() -> Authority {
    root("Test root 3", THIRD_ROOT_KEY, STRANGER_KEY, 30)
}

fn accept(verifier: &PathVerifier, root: &Authority) -> Result<(), AnchorError> {
    verifier.accept_root(root.certificate().der()).map(|_| ())
}

#[test]
fn promised_roots_are_accepted_link_by_link_and_no_other() {
    let verifier = world().verifier();
    let stranger = root("Test root 2", STRANGER_KEY, STRANGER_KEY, 20);
    assert_eq!(
        accept(&verifier, &stranger),
        Err(AnchorError::NotTheSuccessor)
    );
    // The third is promised by the second alone.
    assert_eq!(
        accept(&verifier, &third()),
        Err(AnchorError::NotTheSuccessor)
    );
    let (second, third) = (second(), third());
    for root in [&second, &third, &second] {
        assert_eq!(accept(&verifier, root), Ok(()));
    }
    let roots = verifier.roots();
    let expected = [&world().root, &second, &third].map(|root| root.certificate().clone());
    assert_eq!(roots, expected);
}

#[test]
fn a_promised_root_with_the_name_of_the_old_one_or_without_its_own_signature_is_refused() {
    let verifier = world().verifier();
    let same_name = root("Test root", NEXT_ROOT_KEY, THIRD_ROOT_KEY, 20);
    assert_eq!(accept(&verifier, &same_name), Err(AnchorError::NameTaken));
    let mut der = second().certificate().der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    assert_eq!(verifier.accept_root(&der), Err(AnchorError::NotSelfSigned));
    let brand_ca = world().first.brand_ca.certificate();
    assert_eq!(
        verifier.accept_root(brand_ca.der()),
        Err(AnchorError::NotARoot(Role::BrandCa))
    );
    assert_eq!(verifier.roots().len(), 1);
}

#[test]
fn chains_under_both_roots_are_accepted_after_the_rollover_until_each_root_ends() {
    let verifier = world().verifier();
    let brand = &world().first;
    let second = second();
    let second_generation = |parent: &Authority, role: Role, own: usize, path_len| {
        let request = IssueAuthority {
            role,
            subject: subject(&brand.id, &format!("{role} 2")),
            validity: validity(6),
            serial: serial(),
            path_len,
        };
        let issued = parent.issue_authority(key(own).public_key(), &request);
        Authority::with_key(parent.chain_of(&issued.unwrap()), key(own).clone()).unwrap()
    };
    let brand_ca = second_generation(&second, Role::BrandCa, BRAND_KEYS, 2);
    let merchant_ca = second_generation(&brand_ca, Role::MerchantCa, BRAND_KEYS + 1, 0);
    let leaf = merchant_ca
        .issue_end_entity(&request(&brand.id, Role::Merchant, Purpose::Signature))
        .unwrap();
    let new = merchant_ca.chain_of(&leaf);
    let verify = |chain, now| verifier.verify(chain, &as_it_is(chain), now).map(|_| ());
    assert_eq!(verify(&new, NOW), Err(PathError::UnknownIssuer));
    accept(&verifier, &second).unwrap();
    assert_eq!(verify(&new, NOW), Err(PathError::CrlMissing(Role::RootCa)));
    let crl = second.issue_crl(1, NOW - DAY, NOW + DAY, &[]).unwrap();
    let installed = verifier.install_crl(crl, CrlIssuer::Root, NOW);
    assert_eq!(installed, Ok(Installed::Newer));
    for authority in [&brand_ca, &merchant_ca] {
        install(&verifier, authority, 1, &[]);
    }
    assert_eq!(verify(&new, NOW), Err(PathError::BciOmits(Role::RootCa)));
    // The new brand CA speaks for the CAs under both roots.
    let mut crls = brand.crls(1);
    crls.extend([&second, &brand_ca, &merchant_ca].map(|authority| named(authority, 1)));
    let bci = brand_ca
        .issue_brand_crl_identifier(2, NOW - DAY, NOW + DAY, &crls)
        .unwrap();
    verifier
        .install_brand_crl_identifier(bci, &brand_ca.chain().unwrap(), NOW)
        .unwrap();
    assert_eq!(verify(&new, NOW), Ok(()));
    assert_eq!(verify(&brand.merchant, NOW), Ok(()));
    // A certificate of a CA under one root is not one of the other's.
    let crossed = [
        &leaf,
        merchant_ca.certificate(),
        brand.brand_ca.certificate(),
    ];
    let crossed = openset_pki::Chain::new(crossed.map(Clone::clone).to_vec()).unwrap();
    let fresh = world().verifier();
    accept(&fresh, &second).unwrap();
    let refused = fresh.verify(&crossed, &as_it_is(&crossed), NOW);
    assert!(refused.is_err(), "{refused:?}");
    let ended = verify(&brand.merchant, NOW + 11 * YEAR);
    assert!(matches!(ended, Err(PathError::Expired(_))), "{ended:?}");
}

#[test]
fn a_party_may_begin_with_a_later_root() {
    let second = second();
    let der = second.certificate().der();
    let anchor = TrustAnchor::pinned(der, &sha256(der)).unwrap();
    let verifier = PathVerifier::new(anchor, openset_jose::default_provider());
    assert_eq!(accept(&verifier, &second), Ok(()));
    assert_eq!(accept(&verifier, &third()), Ok(()));
    assert_eq!(
        accept(&verifier, &world().root),
        Err(AnchorError::NotTheSuccessor)
    );
}

#[test]
fn a_root_is_trusted_for_an_overlap_after_its_successor_began() {
    let verifier = world().verifier();
    let (first, second) = (world().root.certificate(), second());
    let until = |root: &openset_pki::Certificate| verifier.root_trusted_until(&root.thumbprint());
    assert_eq!(until(first), Some(first.not_after()));
    assert_eq!(until(second.certificate()), None);
    let ends = second.certificate().not_before() + ROOT_OVERLAP_S;
    assert!(NOW < ends && ends < first.not_after());
    // The first root's CRLs and the brand's word last as long.
    let verify = |verifier: &PathVerifier, now| {
        let chain = &world().first.merchant;
        verifier.verify(chain, &as_it_is(chain), now).map(|_| ())
    };
    let brand = &world().first;
    for authority in [&world().root, &brand.brand_ca, &brand.merchant_ca] {
        let crl = authority.issue_crl(2, NOW - DAY, ends + YEAR, &[]).unwrap();
        let chain = authority.chain();
        let issuer = chain.as_ref().map_or(CrlIssuer::Root, CrlIssuer::Chain);
        verifier.install_crl(crl, issuer, NOW).unwrap();
    }
    let bci = brand
        .brand_ca
        .issue_brand_crl_identifier(2, NOW - DAY, ends + YEAR, &brand.crls(1));
    crate::world::install_bci(&verifier, brand, bci.unwrap()).unwrap();
    assert_eq!(verify(&verifier, ends + 1), Ok(()));
    accept(&verifier, &second).unwrap();
    assert_eq!(until(first), Some(ends));
    assert_eq!(until(second.certificate()), Some(NOW + 20 * YEAR));
    assert_eq!(verify(&verifier, ends), Ok(()));
    let ended = Err(PathError::Expired(Role::RootCa));
    assert_eq!(verify(&verifier, ends + 1), ended);
    let crl = world().root.issue_crl(3, NOW, ends + YEAR, &[]).unwrap();
    let refused = verifier.install_crl(crl, CrlIssuer::Root, ends + 1);
    assert_eq!(refused, Err(PathError::Expired(Role::RootCa)));
    let crl = second.issue_crl(1, NOW, ends + YEAR, &[]).unwrap();
    let installed = verifier.install_crl(crl, CrlIssuer::Root, ends + 1);
    assert_eq!(installed, Ok(Installed::Newer));
}

#[test]
fn a_roots_key_has_one_certificate() {
    let verifier = world().verifier();
    accept(&verifier, &second()).unwrap();
    for key in [NEXT_ROOT_KEY, crate::world::ROOT_KEY] {
        let again = root("Test root 2, again", key, STRANGER_KEY, 30);
        assert_eq!(accept(&verifier, &again), Err(AnchorError::SecondOfKey));
    }
    assert_eq!(verifier.roots().len(), 2);
}
