//! CRLs: what they revoke, and which of them are taken in.

use openset_pki::authority::{Authority, Subject};
use openset_pki::{Chain, Crl, CrlError, CrlIssuer, Installed, PathError, PathVerifier, Role};
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, Issuer,
    KeyIdMethod,
};

use crate::forge::{Signer, moment};
use crate::world::{
    DAY, LEAF_KEY, NOW, STRANGER_KEY, as_it_is, ca, install, install_bci, key, lines, serial,
    validity, world,
};

fn verify(verifier: &PathVerifier, chain: &Chain, now: i64) -> Result<(), PathError> {
    verifier.verify(chain, &as_it_is(chain), now).map(|_| ())
}

/// Offers a CRL of the first brand's merchant CA.
fn offer(verifier: &PathVerifier, crl: Crl) -> Result<Installed, PathError> {
    let chain = world().first.merchant_ca.chain().unwrap();
    verifier.install_crl(crl, CrlIssuer::Chain(&chain), NOW)
}

fn merchant_ca_crl(number: u64, this_update: i64, next_update: i64) -> Crl {
    world()
        .first
        .merchant_ca
        .issue_crl(number, this_update, next_update, &[])
        .unwrap()
}

#[test]
fn a_revoked_leaf_is_refused_and_others_are_not() {
    let verifier = world().verifier();
    let brand = &world().first;
    install(&verifier, &brand.merchant_ca, 2, &[brand.merchant.leaf()]);
    assert_eq!(
        verify(&verifier, &brand.merchant, NOW),
        Err(PathError::Revoked(Role::Merchant))
    );
    assert_eq!(verify(&verifier, &brand.merchant_key_exchange, NOW), Ok(()));
}

#[test]
fn everything_below_a_revoked_ca_is_refused() {
    let brand = &world().second;
    let parents = [
        (&world().root, &brand.brand_ca),
        (&brand.brand_ca, brand.regional_ca.as_ref().unwrap()),
    ];
    for (parent, revoked) in parents {
        let verifier = world().verifier();
        install(&verifier, parent, 2, &[revoked.certificate()]);
        let refused = PathError::Revoked(revoked.certificate().role());
        for chain in brand.chains() {
            assert_eq!(verify(&verifier, chain, NOW), Err(refused.clone()));
        }
        assert_eq!(verify(&verifier, &world().first.merchant, NOW), Ok(()));
    }
}

#[test]
fn revoking_a_cas_message_certificate_leaves_what_it_issued() {
    let verifier = world().verifier();
    let brand = &world().first;
    let [signature, key_exchange] = &brand.cardholder_ca_messages;
    install(&verifier, &brand.brand_ca, 2, &[signature.leaf()]);
    assert_eq!(
        verify(&verifier, signature, NOW),
        Err(PathError::Revoked(Role::CardholderCa))
    );
    assert_eq!(verify(&verifier, key_exchange, NOW), Ok(()));
    assert_eq!(verify(&verifier, &brand.cardholder, NOW), Ok(()));
}

#[test]
fn a_chain_is_refused_until_the_crl_of_every_ca_on_it_is_held() {
    let verifier = world().verifier_without_crls();
    let brand = &world().second;
    let path = [
        &world().root,
        &brand.brand_ca,
        brand.regional_ca.as_ref().unwrap(),
        &brand.merchant_ca,
    ];
    for authority in path {
        let missing = PathError::CrlMissing(authority.certificate().role());
        assert_eq!(verify(&verifier, &brand.merchant, NOW), Err(missing));
        install(&verifier, authority, 1, &[]);
    }
    install_bci(&verifier, brand, brand.bci(1)).unwrap();
    assert_eq!(verify(&verifier, &brand.merchant, NOW), Ok(()));
}

#[test]
fn the_crl_of_a_ca_is_not_taken_in_before_those_above_it() {
    let verifier = world().verifier_without_crls();
    let crl = merchant_ca_crl(1, NOW - DAY, NOW + DAY);
    assert_eq!(
        offer(&verifier, crl),
        Err(PathError::CrlMissing(Role::RootCa))
    );
}

#[test]
fn a_crl_runs_out_at_its_next_update() {
    let verifier = world().verifier();
    let merchant = &world().first.merchant;
    assert_eq!(verify(&verifier, merchant, NOW + 7 * DAY - 1), Ok(()));
    assert_eq!(
        verify(&verifier, merchant, NOW + 7 * DAY),
        Err(PathError::CrlStale(Role::RootCa))
    );
}

#[test]
fn a_stale_crl_is_not_taken_in() {
    let crl = merchant_ca_crl(2, NOW - 2 * DAY, NOW);
    assert_eq!(
        offer(&world().verifier(), crl),
        Err(PathError::CrlStale(Role::MerchantCa))
    );
}

#[test]
fn a_crl_from_the_future_is_not_taken_in() {
    let at = |ahead| {
        offer(
            &world().verifier(),
            merchant_ca_crl(2, NOW + ahead, NOW + DAY),
        )
    };
    assert_eq!(
        at(openset_pki::CLOCK_SKEW_S + 1),
        Err(PathError::CrlFuture(Role::MerchantCa))
    );
    assert_eq!(at(openset_pki::CLOCK_SKEW_S), Ok(Installed::Newer));
}

#[test]
fn a_clock_set_back_behind_the_crls_is_noticed() {
    let verifier = world().verifier();
    let merchant = &world().first.merchant;
    assert_eq!(verify(&verifier, merchant, NOW), Ok(()));
    assert_eq!(
        verify(&verifier, merchant, NOW - 2 * DAY),
        Err(PathError::CrlFuture(Role::RootCa))
    );
}

#[test]
fn an_older_crl_is_not_taken_in() {
    let verifier = world().verifier();
    let leaf = world().first.merchant.leaf();
    install(&verifier, &world().first.merchant_ca, 7, &[leaf]);
    let older = merchant_ca_crl(6, NOW - 1, NOW + DAY);
    assert_eq!(
        offer(&verifier, older),
        Err(PathError::CrlOlder {
            held: 7,
            offered: 6
        })
    );
    assert_eq!(
        verify(&verifier, &world().first.merchant, NOW),
        Err(PathError::Revoked(Role::Merchant))
    );
}

#[test]
fn another_crl_under_the_number_of_the_one_held_is_not_taken_in() {
    let other = merchant_ca_crl(1, NOW - 1, NOW + DAY);
    assert_eq!(
        offer(&world().verifier(), other),
        Err(PathError::CrlNumberReused { number: 1 })
    );
}

#[test]
fn the_crl_that_is_held_is_known() {
    let verifier = world().verifier();
    let crl = merchant_ca_crl(9, NOW - 1, NOW + DAY);
    assert_eq!(offer(&verifier, crl.clone()), Ok(Installed::Newer));
    assert_eq!(offer(&verifier, crl), Ok(Installed::Known));
}

#[test]
fn a_crl_signed_with_another_key_is_not_taken_in() {
    let (brand, stranger) = (&world().first, key(STRANGER_KEY));
    let issuer = Issuer::from_ca_cert_der(
        &brand.merchant_ca.certificate().der().into(),
        Signer::new(stranger),
    )
    .unwrap();
    let forged = Crl::from_der(crl_params().signed_by(&issuer).unwrap().der()).unwrap();
    assert_eq!(
        offer(&world().verifier(), forged),
        Err(PathError::CrlForged(Role::MerchantCa))
    );
}

#[test]
fn a_root_crl_signed_with_another_key_is_not_taken_in() {
    let stranger = key(STRANGER_KEY);
    let issuer = Issuer::from_ca_cert_der(
        &world().root.certificate().der().into(),
        Signer::new(stranger),
    )
    .unwrap();
    let forged = Crl::from_der(crl_params().signed_by(&issuer).unwrap().der()).unwrap();
    let refused = world().verifier().install_crl(forged, CrlIssuer::Root, NOW);
    assert_eq!(refused, Err(PathError::CrlForged(Role::RootCa)));
}

#[test]
fn a_crl_under_a_foreign_root_is_not_taken_in() {
    let subject = Subject {
        common_name: "Test root".into(),
        ..Subject::default()
    };
    let stranger = key(STRANGER_KEY);
    let root = Authority::root(
        stranger.clone(),
        &subject,
        validity(10),
        serial(),
        stranger.public_key(),
    )
    .unwrap();
    let brand = &world().first;
    let brand_ca = ca(&root, Role::BrandCa, &brand.id, key(LEAF_KEY), 2);
    let crl = brand_ca.issue_crl(2, NOW - DAY, NOW + DAY, &[]).unwrap();
    let refused =
        world()
            .verifier()
            .install_crl(crl, CrlIssuer::Chain(&brand_ca.chain().unwrap()), NOW);
    assert_eq!(refused, Err(PathError::BadSignature));
}

#[test]
fn a_crl_that_names_another_ca_is_not_taken_in() {
    let crl = world()
        .first
        .gateway_ca
        .issue_crl(2, NOW - DAY, NOW + DAY, &[])
        .unwrap();
    assert_eq!(
        offer(&world().verifier(), crl),
        Err(PathError::CrlOfAnother(Role::MerchantCa))
    );
}

#[test]
fn a_crl_issued_by_a_leaf_is_not_taken_in() {
    let merchant = &world().first.merchant;
    // rcgen itself refuses an issuer without cRLSign, so the leaf's name is given to one without keyUsage.
    let mut issuer = rcgen::CertificateParams::default();
    issuer.distinguished_name = rcgen::DistinguishedName::new();
    issuer.distinguished_name.push(
        rcgen::DnType::CountryName,
        rcgen::DnValue::PrintableString("DE".try_into().unwrap()),
    );
    issuer
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "Aurora");
    issuer
        .distinguished_name
        .push(rcgen::DnType::OrganizationalUnitName, "Bank of Tests");
    issuer
        .distinguished_name
        .push(rcgen::DnType::CommonName, merchant.leaf().common_name());
    let issuer = Issuer::new(issuer, Signer::new(key(LEAF_KEY)));
    let crl = Crl::from_der(crl_params().signed_by(&issuer).unwrap().der()).unwrap();
    let refused = world()
        .verifier()
        .install_crl(crl, CrlIssuer::Chain(merchant), NOW);
    assert_eq!(refused, Err(PathError::LeafAsCa(Role::Merchant)));
}

#[test]
fn a_revoked_ca_cannot_replace_its_crl() {
    let verifier = world().verifier();
    let brand = &world().first;
    install(
        &verifier,
        &brand.brand_ca,
        2,
        &[brand.merchant_ca.certificate()],
    );
    let crl = merchant_ca_crl(2, NOW - DAY, NOW + DAY);
    assert_eq!(
        offer(&verifier, crl),
        Err(PathError::Revoked(Role::MerchantCa))
    );
}

#[test]
fn a_crl_about_some_certificates_only_is_not_read() {
    let mut params = crl_params();
    params.issuing_distribution_point = Some(CrlIssuingDistributionPoint {
        distribution_point: CrlDistributionPoint {
            uris: vec!["http://127.0.0.1/crl".into()],
        },
        scope: None,
    });
    let issuer = Issuer::from_ca_cert_der(
        &world().root.certificate().der().into(),
        Signer::new(key(0)),
    )
    .unwrap();
    let der = params.signed_by(&issuer).unwrap().der().to_vec();
    assert_eq!(Crl::from_der(&der).unwrap_err(), CrlError::Partial);
}

#[test]
fn bytes_that_are_no_crl_are_not_read() {
    let good = merchant_ca_crl(1, NOW - DAY, NOW + DAY);
    for end in 0..good.der().len() {
        assert!(Crl::from_der(&good.der()[..end]).is_err());
    }
    assert_eq!(
        Crl::from_der(&[good.der(), &[0]].concat()).unwrap_err(),
        CrlError::Malformed
    );
    assert_eq!(
        Crl::from_der(&vec![0; openset_pki::CRL_BYTES_MAX + 1]).unwrap_err(),
        CrlError::TooLarge
    );
}

#[test]
fn a_crl_gives_back_what_it_was_made_of() {
    let leaf = world().first.merchant.leaf();
    let crl = world()
        .first
        .merchant_ca
        .issue_crl(u64::MAX, NOW, NOW + DAY, &lines(&[leaf]))
        .unwrap();
    assert_eq!(
        (crl.number(), crl.this_update(), crl.next_update()),
        (u64::MAX, NOW, NOW + DAY)
    );
    assert_eq!(crl.revoked_serials(), [leaf.serial().to_vec()]);
    assert!(crl.revokes(leaf.serial()));
    assert!(!crl.revokes(world().first.cardholder.leaf().serial()));
    assert_eq!(crl.issuer_der(), leaf.issuer_der());
}

fn crl_params() -> CertificateRevocationListParams {
    CertificateRevocationListParams {
        this_update: moment(NOW - DAY),
        next_update: moment(NOW + DAY),
        crl_number: 2_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}
