//! Signatures, roles, brands, dates and lengths along a path.

use openset_pki::authority::Authority;
use openset_pki::{BrandId, Chain, Expect, PathError, PathVerifier, Purpose, Role};
use rcgen::DnType;

use crate::forge::{Forgery, moment};
use crate::world::{
    DAY, LEAF_KEY, NOW, ROOT_KEY, STRANGER_KEY, World, YEAR, as_it_is, ca, install, install_bci,
    key, named, request, serial, validity, world,
};

/// The keys of the first brand's CAs, as `world` numbers them.
const BRAND_CA_KEY: usize = 4;
const CARDHOLDER_CA_KEY: usize = 6;
const MERCHANT_CA_KEY: usize = 7;

/// The verdict of a verifier with all CRLs.
fn verdict(world: &World, chain: &Chain) -> Result<(), PathError> {
    world
        .verifier()
        .verify(chain, &as_it_is(chain), NOW)
        .map(|_| ())
}

fn chain_of(certificates: &[&openset_pki::Certificate]) -> Chain {
    Chain::new(
        certificates
            .iter()
            .map(|&certificate| certificate.clone())
            .collect(),
    )
    .unwrap()
}

#[test]
fn chains_of_every_role_and_purpose_in_both_brands_are_accepted() {
    let verifier = world().verifier();
    for brand in [&world().first, &world().second] {
        for chain in brand.chains() {
            let leaf = verifier.verify(chain, &as_it_is(chain), NOW).unwrap();
            assert_eq!(&leaf, chain.leaf());
            assert_eq!(leaf.brand(), Some(&brand.id));
        }
    }
}

#[test]
fn a_chain_is_accepted_without_a_brand_expected() {
    let expect = Expect {
        brand: None,
        ..as_it_is(&world().second.merchant)
    };
    world()
        .verifier()
        .verify(&world().second.merchant, &expect, NOW)
        .unwrap();
}

#[test]
fn a_chain_that_travelled_as_x5c_is_accepted() {
    let chain = Chain::from_x5c(&world().second.gateway.to_x5c()).unwrap();
    assert_eq!(verdict(world(), &chain), Ok(()));
}

#[test]
fn a_leaf_that_outlives_its_ca_is_refused_with_the_ca() {
    let long = Forgery::leaf(Role::Merchant, "Aurora")
        .but(|params| params.not_after = moment(NOW + 20 * YEAR));
    let chain = long.chain_under(&world().first.merchant_ca, key(MERCHANT_CA_KEY));
    let at = |now| {
        world()
            .verifier()
            .verify(&chain, &as_it_is(&chain), now)
            .unwrap_err()
    };
    assert_eq!(at(NOW + 7 * YEAR), PathError::Expired(Role::MerchantCa));
}

#[test]
fn nothing_outlives_the_root() {
    let root = world().root.certificate();
    let until = moment(NOW + 20 * YEAR);
    let brand_ca = Forgery::authority(Role::BrandCa, "Aurora", 2)
        .but(|params| params.not_after = until)
        .certificate(root, key(ROOT_KEY), key(BRAND_CA_KEY).public_key());
    let brand_ca =
        Authority::with_key(world().root.chain_of(&brand_ca), key(BRAND_CA_KEY).clone()).unwrap();
    let ca_messages =
        Forgery::leaf(Role::MerchantCa, "Aurora").but(|params| params.not_after = until);
    let chain = ca_messages.chain_under(&brand_ca, key(BRAND_CA_KEY));
    let error = world()
        .verifier()
        .verify(&chain, &as_it_is(&chain), NOW + 11 * YEAR)
        .unwrap_err();
    assert_eq!(error, PathError::Expired(Role::RootCa));
}

#[test]
fn a_chain_to_a_foreign_root_is_refused() {
    let foreign = openset_pki::authority::Subject {
        common_name: "Other root".into(),
        ..Default::default()
    };
    assert_eq!(
        verdict(world(), &chain_under_own_root(&foreign)),
        Err(PathError::UnknownIssuer)
    );
}

#[test]
fn a_chain_to_a_foreign_root_with_the_name_of_ours_is_refused() {
    let same = openset_pki::authority::Subject {
        common_name: "Test root".into(),
        ..Default::default()
    };
    assert_eq!(
        verdict(world(), &chain_under_own_root(&same)),
        Err(PathError::BadSignature)
    );
}

/// A merchant's chain, faultless but for its root.
fn chain_under_own_root(subject: &openset_pki::authority::Subject) -> Chain {
    let stranger = key(STRANGER_KEY);
    let root = Authority::root(
        stranger.clone(),
        subject,
        validity(10),
        serial(),
        stranger.public_key(),
    )
    .unwrap();
    let brand = BrandId::new("Aurora").unwrap();
    let brand_ca = ca(&root, Role::BrandCa, &brand, key(BRAND_CA_KEY), 2);
    let merchant_ca = ca(&brand_ca, Role::MerchantCa, &brand, key(MERCHANT_CA_KEY), 0);
    let leaf = merchant_ca
        .issue_end_entity(&request(&brand, Role::Merchant, Purpose::Signature))
        .unwrap();
    merchant_ca.chain_of(&leaf)
}

#[test]
fn a_leaf_signed_with_another_key_in_the_name_of_its_ca_is_refused() {
    let chain = Forgery::leaf(Role::Merchant, "Aurora")
        .chain_under(&world().first.merchant_ca, key(STRANGER_KEY));
    assert_eq!(verdict(world(), &chain), Err(PathError::BadSignature));
}

#[test]
fn a_leaf_with_any_flipped_bit_in_its_signature_is_refused() {
    let good = &world().first.merchant;
    let mut der = good.leaf().der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let leaf = openset_pki::Certificate::from_der(&der).unwrap();
    let chain = world().first.merchant_ca.chain_of(&leaf);
    assert_eq!(verdict(world(), &chain), Err(PathError::BadSignature));
}

#[test]
fn a_chain_with_a_link_left_out_is_refused() {
    let [leaf, _, brand_ca] = world().first.merchant.certificates() else {
        panic!("three certificates")
    };
    assert_eq!(
        verdict(world(), &chain_of(&[leaf, brand_ca])),
        Err(PathError::UnknownIssuer)
    );
}

#[test]
fn a_chain_without_its_upper_end_is_completed_with_known_cas_alone() {
    for brand in [&world().first, &world().second] {
        for whole in brand.chains() {
            for links in 1..whole.certificates().len() {
                let chain = Chain::new(whole.certificates()[..links].to_vec()).unwrap();
                assert_eq!(verdict(world(), &chain), Ok(()));
                let unknown =
                    world()
                        .verifier_without_crls()
                        .verify(&chain, &as_it_is(&chain), NOW);
                assert_eq!(unknown, Err(PathError::UnknownIssuer));
            }
        }
    }
}

#[test]
fn a_chain_in_another_order_or_with_something_added_is_refused() {
    let [leaf, merchant_ca, brand_ca] = world().first.merchant.certificates() else {
        panic!("three certificates")
    };
    let other = world().second.brand_ca.certificate();
    for chain in [
        chain_of(&[leaf, brand_ca, merchant_ca]),
        chain_of(&[leaf, merchant_ca, brand_ca, other]),
    ] {
        assert_eq!(verdict(world(), &chain), Err(PathError::UnknownIssuer));
    }
}

#[test]
fn an_issuing_ca_of_one_brand_under_the_ca_of_another_is_refused() {
    let merchant_ca = Forgery::authority(Role::MerchantCa, "Borealis", 0);
    let chain = chain_with_ca(&merchant_ca, Role::Merchant, "Borealis");
    assert_eq!(verdict(world(), &chain), Err(PathError::WrongBrand));
}

/// A leaf under a CA that the first brand's CA really signed.
fn chain_with_ca(forged: &Forgery, leaf_role: Role, leaf_brand: &str) -> Chain {
    let parent = &world().first.brand_ca;
    let own = key(STRANGER_KEY);
    let certificate = forged.certificate(parent.certificate(), key(BRAND_CA_KEY), own.public_key());
    let leaf = Forgery::leaf(leaf_role, leaf_brand).certificate(
        &certificate,
        own,
        key(LEAF_KEY).public_key(),
    );
    chain_of(&[&leaf, &certificate, parent.certificate()])
}

#[test]
fn a_merchant_under_a_cardholder_ca_is_refused() {
    let chain = Forgery::leaf(Role::Merchant, "Aurora")
        .chain_under(&world().first.cardholder_ca, key(CARDHOLDER_CA_KEY));
    let refused = PathError::WrongIssuer {
        issuer: Role::CardholderCa,
        subject: Role::Merchant,
        purpose: Purpose::Signature,
    };
    assert_eq!(verdict(world(), &chain), Err(refused));
}

#[test]
fn an_end_entity_under_a_brand_ca_is_refused() {
    let chain = Forgery::leaf(Role::Merchant, "Aurora")
        .chain_under(&world().first.brand_ca, key(BRAND_CA_KEY));
    let refused = PathError::WrongIssuer {
        issuer: Role::BrandCa,
        subject: Role::Merchant,
        purpose: Purpose::Signature,
    };
    assert_eq!(verdict(world(), &chain), Err(refused));
}

#[test]
fn a_brand_ca_under_a_brand_ca_is_refused() {
    let chain = chain_with_ca(
        &Forgery::authority(Role::BrandCa, "Aurora", 0),
        Role::MerchantCa,
        "Aurora",
    );
    let refused = PathError::WrongIssuer {
        issuer: Role::BrandCa,
        subject: Role::BrandCa,
        purpose: Purpose::CertificateSigning,
    };
    assert_eq!(verdict(world(), &chain), Err(refused));
}

#[test]
fn an_issuing_ca_that_certifies_its_own_messages_is_refused() {
    let chain = Forgery::leaf(Role::MerchantCa, "Aurora")
        .chain_under(&world().first.merchant_ca, key(MERCHANT_CA_KEY));
    let refused = PathError::WrongIssuer {
        issuer: Role::MerchantCa,
        subject: Role::MerchantCa,
        purpose: Purpose::Signature,
    };
    assert_eq!(verdict(world(), &chain), Err(refused));
}

#[test]
fn a_ca_in_the_place_of_a_leaf_is_refused() {
    let chain = world().first.merchant_ca.chain().unwrap();
    for purpose in [Purpose::Signature, Purpose::CertificateSigning] {
        let expect = Expect {
            purpose,
            ..as_it_is(&chain)
        };
        assert_eq!(
            world().verifier().verify(&chain, &expect, NOW).unwrap_err(),
            PathError::CaAsLeaf
        );
    }
}

#[test]
fn a_self_signed_leaf_is_refused() {
    let forged = Forgery::leaf(Role::Merchant, "Aurora");
    let der = forged
        .params
        .self_signed(&crate::forge::Signer::new(key(STRANGER_KEY)))
        .unwrap();
    let leaf = openset_pki::Certificate::from_der(der.der()).unwrap();
    assert_eq!(
        verdict(world(), &chain_of(&[&leaf])),
        Err(PathError::SelfSigned)
    );
    let chain = world().first.merchant_ca.chain_of(&leaf);
    assert_eq!(verdict(world(), &chain), Err(PathError::SelfSigned));
}

#[test]
fn two_cas_of_one_name_on_one_path_are_refused() {
    let named = |role, path_len| {
        Forgery::authority(role, "Aurora", path_len).but(|params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "the same")
        })
    };
    let (regional_key, merchant_key) = (key(STRANGER_KEY), key(MERCHANT_CA_KEY));
    let brand_ca = &world().first.brand_ca;
    let regional = named(Role::RegionalCa, 1).certificate(
        brand_ca.certificate(),
        key(BRAND_CA_KEY),
        regional_key.public_key(),
    );
    let merchant_ca =
        named(Role::MerchantCa, 0).certificate(&regional, regional_key, merchant_key.public_key());
    let leaf = Forgery::leaf(Role::Merchant, "Aurora").certificate(
        &merchant_ca,
        merchant_key,
        key(LEAF_KEY).public_key(),
    );
    let chain = chain_of(&[&leaf, &merchant_ca, &regional, brand_ca.certificate()]);
    assert_eq!(verdict(world(), &chain), Err(PathError::UnknownIssuer));
}

#[test]
fn a_renewed_ca_with_the_name_of_the_old_one_is_accepted_with_a_crl_of_its_own() {
    let brand = &world().first;
    let renewed = ca(
        &brand.brand_ca,
        Role::MerchantCa,
        &brand.id,
        key(STRANGER_KEY),
        0,
    );
    assert_eq!(
        renewed.certificate().subject_der(),
        brand.merchant_ca.certificate().subject_der()
    );
    let leaf = renewed
        .issue_end_entity(&request(&brand.id, Role::Merchant, Purpose::Signature))
        .unwrap();
    let chain = renewed.chain_of(&leaf);
    let verifier = world().verifier();
    let verify = |chain: &Chain| verifier.verify(chain, &as_it_is(chain), NOW).map(|_| ());
    assert_eq!(verify(&chain), Err(PathError::CrlMissing(Role::MerchantCa)));
    install(&verifier, &renewed, 1, &[]);
    assert_eq!(verify(&chain), Ok(()));
    assert_eq!(verify(&brand.merchant), Ok(()));
}

#[test]
fn a_rule_that_only_webpki_looks_at_is_refused_in_its_words() {
    const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];
    let malformed = rcgen::CustomExtension::from_oid_content(NAME_CONSTRAINTS, vec![5, 0]);
    let merchant_ca = Forgery::authority(Role::MerchantCa, "Aurora", 0)
        .but(|params| params.custom_extensions.push(malformed));
    let chain = chain_with_ca(&merchant_ca, Role::Merchant, "Aurora");
    let verifier = world().verifier();
    let own = Authority::with_key(
        chain_of(&chain.certificates()[1..].iter().collect::<Vec<_>>()),
        key(STRANGER_KEY).clone(),
    );
    let own = own.unwrap();
    install(&verifier, &own, 1, &[]);
    let (brand, mut crls) = (&world().first, world().first.crls(1));
    crls.push(named(&own, 1));
    let bci = brand
        .brand_ca
        .issue_brand_crl_identifier(2, NOW, NOW + DAY, &crls);
    install_bci(&verifier, brand, bci.unwrap()).unwrap();
    let error = verifier.verify(&chain, &as_it_is(&chain), NOW).unwrap_err();
    assert!(matches!(error, PathError::Refused(_)), "{error:?}");
}

#[test]
fn certificates_come_out_with_keys_of_the_verifiers_provider() {
    let verifier = PathVerifier::new(world().anchor(), openset_jose::rust_crypto());
    for authority in world().authorities() {
        install(&verifier, authority, 1, &[]);
    }
    install_bci(&verifier, &world().first, world().first.bci(1)).unwrap();
    let chain = &world().first.merchant;
    for _ in 0..2 {
        let leaf = verifier.verify(chain, &as_it_is(chain), NOW).unwrap();
        assert_eq!(
            leaf.public_key().provider().name(),
            openset_jose::rust_crypto().name()
        );
        assert_eq!(&leaf, chain.leaf());
    }
}
