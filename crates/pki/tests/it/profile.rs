//! Certificates that are not of the profile are not even read.

use openset_jose::{Thumbprint, sha256};
use openset_pki::{
    AnchorError, CERTIFICATE_BYTES_MAX, CHAIN_LENGTH_MAX, Certificate, CertificateError, Chain,
    Purpose, Role, TrustAnchor, oid,
};
use rcgen::{
    CertificateParams, CustomExtension, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};

use crate::forge::{Forgery, Signer, certificate_type, merchant_data_der, moment};
use crate::world::{
    LEAF_KEY, NEXT_ROOT_KEY, NOW, ROOT_KEY, STRANGER_KEY, YEAR, key, merchant_data, serial,
    validity, world,
};

/// Why a merchant's signature certificate with this change is refused.
fn merchant_but(change: impl FnOnce(&mut CertificateParams)) -> CertificateError {
    Forgery::leaf(Role::Merchant, "Aurora")
        .but(change)
        .refused()
}

fn extension(arcs: &[u64], content: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(arcs, content.to_vec())
}

#[test]
fn a_certificate_gives_back_what_it_was_made_of() {
    let leaf = world().first.merchant.leaf();
    assert_eq!(
        (leaf.role(), leaf.purpose()),
        (Role::Merchant, Purpose::Signature)
    );
    assert_eq!(leaf.brand(), Some(&world().first.id));
    assert_eq!(leaf.country(), Some("DE"));
    assert_eq!(leaf.organizational_unit(), Some("Bank of Tests"));
    assert_eq!(leaf.common_name(), "merchant for signature");
    assert_eq!(
        (leaf.not_before(), leaf.not_after()),
        (NOW - YEAR, NOW + YEAR)
    );
    assert_eq!(leaf.merchant_data(), Some(&merchant_data()));
    assert_eq!(leaf.public_key(), key(LEAF_KEY).public_key());
    assert_eq!(leaf.thumbprint(), Thumbprint::of(leaf.der()));
    assert_eq!(leaf.serial().len(), 16);
    assert_eq!(
        leaf.issuer_der(),
        world().first.merchant_ca.certificate().subject_der()
    );
    assert_eq!(
        world()
            .first
            .gateway_key_exchange
            .leaf()
            .card_cert_required(),
        Some(true)
    );
    assert_eq!(world().first.gateway.leaf().card_cert_required(), None);
    let root = world().root.certificate();
    assert_eq!(root.brand(), None);
    assert_eq!(
        root.hashed_root_key(),
        Some(key(NEXT_ROOT_KEY).public_key().thumbprint())
    );
}

#[test]
fn a_certificate_is_the_same_after_pem() {
    let leaf = world().first.merchant.leaf();
    let pem = leaf.to_pem();
    assert_eq!(Certificate::from_pem(&pem).as_ref(), Ok(leaf));
    assert_eq!(
        Certificate::from_pem(&format!("{pem}{pem}")),
        Err(CertificateError::Pem)
    );
    assert_eq!(
        Certificate::from_pem(&pem.replace("CERTIFICATE", "PUBLIC KEY")),
        Err(CertificateError::Pem)
    );
    assert_eq!(Certificate::from_pem(""), Err(CertificateError::Pem));
}

#[test]
fn a_faultless_forgery_is_read() {
    for role in [
        Role::Cardholder,
        Role::Merchant,
        Role::Gateway,
        Role::MerchantCa,
    ] {
        let der = Forgery::leaf(role, "Aurora")
            .params
            .self_signed(&Signer::new(key(LEAF_KEY)))
            .unwrap();
        assert_eq!(Certificate::from_der(der.der()).unwrap().role(), role);
    }
}

#[test]
fn bytes_that_are_no_certificate_are_not_read() {
    let good = world().first.merchant.leaf().der();
    for end in 0..good.len() {
        assert!(Certificate::from_der(&good[..end]).is_err());
    }
    assert_eq!(
        Certificate::from_der(&[good, &[0]].concat()),
        Err(CertificateError::Malformed)
    );
    assert_eq!(
        Certificate::from_der(&[0; CERTIFICATE_BYTES_MAX + 1]),
        Err(CertificateError::TooLarge)
    );
}

#[test]
fn another_version_than_3_is_refused() {
    let mut der = world().first.merchant.leaf().der().to_vec();
    let version = der
        .windows(5)
        .position(|bytes| bytes == [0xa0, 3, 2, 1, 2])
        .unwrap()
        + 4;
    der[version] = 1;
    assert_eq!(Certificate::from_der(&der), Err(CertificateError::Version));
}

#[test]
fn a_missing_certificate_type_is_refused() {
    let refused = merchant_but(|params| drop(params.custom_extensions.remove(0)));
    assert_eq!(
        refused,
        CertificateError::MissingExtension("certificateType")
    );
}

#[test]
fn a_doubled_certificate_type_is_refused() {
    for role in [Role::Merchant, Role::Gateway] {
        let second = extension(oid::CERTIFICATE_TYPE, &certificate_type(&[role]));
        let refused = merchant_but(|params| params.custom_extensions.push(second));
        assert_eq!(refused, CertificateError::DoubledExtension);
    }
}

#[test]
fn any_other_doubled_extension_is_refused() {
    let private = [1, 3, 6, 1, 4, 1, 32473, 99];
    for extension in [
        extension(oid::MERCHANT_DATA, &merchant_data_der()),
        extension(&[2, 5, 29, 15], &[3, 2, 7, 0x80]),
        extension(&[2, 5, 29, 19], &[0x30, 0]),
    ] {
        let refused = merchant_but(|params| params.custom_extensions.push(extension));
        assert_eq!(refused, CertificateError::DoubledExtension);
    }
    let twice = [extension(&private, &[5, 0]), extension(&private, &[5, 0])];
    assert_eq!(
        merchant_but(|params| params.custom_extensions.extend(twice)),
        CertificateError::DoubledExtension
    );
}

#[test]
fn a_certificate_type_of_two_roles_or_none_is_refused() {
    for roles in [&[Role::Merchant, Role::Gateway][..], &[]] {
        let content = certificate_type(roles);
        let refused = merchant_but(|params| {
            params.custom_extensions[0] = extension(oid::CERTIFICATE_TYPE, &content)
        });
        assert_eq!(refused, CertificateError::CertificateType);
    }
}

#[test]
fn an_unknown_critical_extension_is_refused_and_an_unknown_other_one_is_not() {
    let mut unknown = extension(&[1, 3, 6, 1, 4, 1, 32473, 99], &[5, 0]);
    let forged = Forgery::leaf(Role::Merchant, "Aurora")
        .but(|params| params.custom_extensions.push(unknown.clone()));
    Certificate::from_der(
        forged
            .params
            .self_signed(&Signer::new(key(LEAF_KEY)))
            .unwrap()
            .der(),
    )
    .unwrap();
    unknown.set_criticality(true);
    let refused = merchant_but(|params| params.custom_extensions.push(unknown));
    assert_eq!(
        refused,
        CertificateError::UnknownCriticalExtension("1.3.6.1.4.1.32473.99".into())
    );
}

#[test]
fn a_critical_certificate_type_is_refused() {
    let refused = merchant_but(|params| params.custom_extensions[0].set_criticality(true));
    assert_eq!(
        refused,
        CertificateError::UnknownCriticalExtension("2.23.42.7.1".into())
    );
}

#[test]
fn a_key_usage_that_is_not_exactly_one_purpose_is_refused() {
    use KeyUsagePurpose::{
        ContentCommitment, CrlSign, DigitalSignature, KeyCertSign, KeyEncipherment,
    };
    let usages = [
        vec![DigitalSignature, KeyEncipherment],
        vec![DigitalSignature, ContentCommitment],
        vec![DigitalSignature, KeyCertSign, CrlSign],
        vec![KeyCertSign],
        vec![ContentCommitment],
    ];
    for usage in usages {
        assert_eq!(
            merchant_but(|params| params.key_usages = usage),
            CertificateError::KeyUsage
        );
    }
}

#[test]
fn a_missing_key_usage_is_refused() {
    let refused = merchant_but(|params| params.key_usages.clear());
    assert_eq!(refused, CertificateError::MissingExtension("keyUsage"));
}

#[test]
fn key_usage_and_basic_constraints_that_are_not_critical_are_refused() {
    let refused = merchant_but(|params| {
        params.key_usages.clear();
        params
            .custom_extensions
            .push(extension(&[2, 5, 29, 15], &[3, 2, 7, 0x80]));
    });
    assert_eq!(refused, CertificateError::MalformedExtension("keyUsage"));
    let refused = merchant_but(|params| {
        params.is_ca = IsCa::NoCa;
        params
            .custom_extensions
            .push(extension(&[2, 5, 29, 19], &[0x30, 0]));
    });
    assert_eq!(
        refused,
        CertificateError::MalformedExtension("basicConstraints")
    );
}

#[test]
fn missing_basic_constraints_are_refused() {
    let refused = merchant_but(|params| params.is_ca = IsCa::NoCa);
    assert_eq!(
        refused,
        CertificateError::MissingExtension("basicConstraints")
    );
}

#[test]
fn basic_constraints_that_contradict_the_key_usage_are_refused() {
    let leaf_as_ca = Forgery::leaf(Role::MerchantCa, "Aurora")
        .but(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    assert_eq!(leaf_as_ca.refused(), CertificateError::BasicConstraints);
    let ca_as_leaf = Forgery::authority(Role::MerchantCa, "Aurora", 0)
        .but(|params| params.is_ca = IsCa::ExplicitNoCa);
    assert_eq!(ca_as_leaf.refused(), CertificateError::BasicConstraints);
}

#[test]
fn a_purpose_that_the_role_does_not_have_is_refused() {
    let refused = |role, purpose| CertificateError::RolePurpose { role, purpose };
    let cardholder = Forgery::leaf(Role::Cardholder, "Aurora")
        .but(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    assert_eq!(
        cardholder.refused(),
        refused(Role::Cardholder, Purpose::KeyExchange)
    );
    let merchant = Forgery::authority(Role::Merchant, "Aurora", 0);
    assert_eq!(
        merchant.refused(),
        refused(Role::Merchant, Purpose::CertificateSigning)
    );
    let brand_ca = Forgery::leaf(Role::BrandCa, "Aurora");
    assert_eq!(
        brand_ca.refused(),
        refused(Role::BrandCa, Purpose::Signature)
    );
}

#[test]
fn an_extended_key_usage_that_is_not_the_roles_own_is_refused() {
    let of = |role: Role| {
        ExtendedKeyUsagePurpose::Other([oid::ROLE_USAGE, &[u64::from(role.bit())]].concat())
    };
    let refused = CertificateError::ExtendedKeyUsage(Role::Merchant);
    let usages = [
        vec![],
        vec![of(Role::Gateway)],
        vec![of(Role::Merchant), of(Role::Gateway)],
        vec![of(Role::Merchant), of(Role::Merchant)],
        vec![of(Role::Merchant), ExtendedKeyUsagePurpose::OcspSigning],
        vec![of(Role::Merchant), ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::Any],
    ];
    for usage in usages {
        assert_eq!(
            merchant_but(|params| params.extended_key_usages = usage),
            refused
        );
    }
    let limited_ca = Forgery::authority(Role::MerchantCa, "Aurora", 0)
        .but(|params| params.extended_key_usages = vec![of(Role::MerchantCa)]);
    assert_eq!(
        limited_ca.refused(),
        CertificateError::ExtendedKeyUsage(Role::MerchantCa)
    );
}

#[test]
fn set_extensions_belong_to_their_roles_alone() {
    let forged = |role, arcs: &[u64], content: &[u8]| {
        Forgery::leaf(role, "Aurora")
            .but(|params| params.custom_extensions.push(extension(arcs, content)))
            .refused()
    };
    let refused = |extension, role| CertificateError::MisplacedExtension {
        extension,
        role,
        purpose: Purpose::Signature,
    };
    let data = merchant_data_der();
    assert_eq!(
        forged(Role::Gateway, oid::MERCHANT_DATA, &data),
        refused("merchantData", Role::Gateway)
    );
    let required = [1, 1, 0xff];
    assert_eq!(
        forged(Role::Gateway, oid::CARD_CERT_REQUIRED, &required),
        refused("cardCertRequired", Role::Gateway)
    );
    assert_eq!(
        forged(Role::Cardholder, oid::HASHED_ROOT_KEY, &[]),
        refused("hashedRootKey", Role::Cardholder)
    );
}

#[test]
fn merchants_need_merchant_data() {
    let refused = merchant_but(|params| drop(params.custom_extensions.pop()));
    assert_eq!(refused, CertificateError::MissingExtension("merchantData"));
    let mut data = merchant_data_der();
    *data.last_mut().unwrap() = 1;
    let refused =
        merchant_but(|params| params.custom_extensions[1] = extension(oid::MERCHANT_DATA, &data));
    assert_eq!(
        refused,
        CertificateError::MalformedExtension("merchantData")
    );
}

#[test]
fn names_of_anything_but_c_o_ou_and_cn_once_each_are_refused() {
    let named =
        |kind, text: &str| merchant_but(|params| params.distinguished_name.push(kind, text));
    let is_name = |error| matches!(error, CertificateError::Name(_));
    assert!(is_name(named(DnType::LocalityName, "Ulm")));
    assert!(is_name(named(
        DnType::CustomDnType(vec![2, 5, 4, 10]),
        "Borealis"
    )));
    assert!(is_name(named(DnType::CommonName, &"x".repeat(65))));
    assert!(is_name(named(DnType::CommonName, "line\nbreak")));
    assert!(is_name(merchant_but(|params| assert!(
        params.distinguished_name.remove(DnType::CommonName)
    ))));
    assert!(is_name(merchant_but(|params| assert!(
        params.distinguished_name.remove(DnType::OrganizationName)
    ))));
    let ia5 = DnValue::Ia5String("x".try_into().unwrap());
    assert!(is_name(merchant_but(|params| params
        .distinguished_name
        .push(DnType::CommonName, ia5))));
    assert!(matches!(
        named(DnType::OrganizationName, "Äther"),
        CertificateError::Brand(_)
    ));
}

#[test]
fn a_serial_number_of_zero_or_of_more_than_20_bytes_is_refused() {
    for serial in [vec![0], vec![0x45; 21]] {
        assert_eq!(
            merchant_but(|params| params.serial_number = Some(serial.into())),
            CertificateError::Serial
        );
    }
}

#[test]
fn a_validity_that_ends_before_it_begins_is_refused() {
    assert_eq!(
        merchant_but(|params| params.not_after = moment(NOW - 2 * YEAR)),
        CertificateError::Validity
    );
}

#[test]
fn another_signature_algorithm_is_refused() {
    let issuer = world().first.merchant_ca.certificate();
    for algorithm in [&rcgen::PKCS_RSA_SHA384, &rcgen::PKCS_RSA_SHA512] {
        let signer = Signer::claiming(key(7), algorithm);
        let der = Forgery::leaf(Role::Merchant, "Aurora").signed_by(
            issuer,
            signer,
            key(LEAF_KEY).public_key(),
        );
        assert_eq!(
            Certificate::from_der(&der),
            Err(CertificateError::SignatureAlgorithm)
        );
    }
}

#[test]
fn a_key_that_is_not_rsa_is_refused() {
    let subject = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let issuer = world().first.merchant_ca.certificate();
    let issuer =
        rcgen::Issuer::from_ca_cert_der(&issuer.der().into(), Signer::new(key(7))).unwrap();
    let der = Forgery::leaf(Role::Merchant, "Aurora")
        .params
        .signed_by(&subject, &issuer)
        .unwrap();
    assert!(matches!(
        Certificate::from_der(der.der()),
        Err(CertificateError::Key(_))
    ));
}

#[test]
fn a_chain_has_one_to_six_certificates_and_no_root() {
    let leaf = world().first.merchant.leaf();
    assert_eq!(Chain::new(vec![]), Err(CertificateError::EmptyChain));
    let six = vec![leaf.clone(); CHAIN_LENGTH_MAX];
    let seven = [&six[..], std::slice::from_ref(leaf)].concat();
    assert_eq!(Chain::new(six).unwrap().certificates().len(), 6);
    assert_eq!(Chain::new(seven), Err(CertificateError::ChainTooLong));
    assert_eq!(
        Chain::from_x5c(&vec![vec![]; 7]),
        Err(CertificateError::ChainTooLong)
    );
    assert_eq!(Chain::from_x5c(&[]), Err(CertificateError::EmptyChain));
    assert_eq!(
        Chain::of(leaf.clone(), &vec![leaf.der().to_vec(); 6]),
        Err(CertificateError::ChainTooLong)
    );
    let chain = Chain::of(leaf.clone(), &vec![leaf.der().to_vec(); 5]);
    assert_eq!(chain.unwrap().certificates(), vec![leaf.clone(); 6]);
    let with_root = vec![leaf.clone(), world().root.certificate().clone()];
    assert_eq!(Chain::new(with_root), Err(CertificateError::RootInChain));
}

#[test]
fn only_the_pinned_root_is_trusted() {
    let der = world().root.certificate().der();
    let other_digest = sha256(b"another root");
    assert!(matches!(
        TrustAnchor::pinned(der, &other_digest),
        Err(AnchorError::Unpinned { .. })
    ));
    let pem = world().root.certificate().to_pem();
    assert_eq!(
        TrustAnchor::pinned_pem(&pem, &sha256(der))
            .unwrap()
            .certificate(),
        world().root.certificate()
    );
}

#[test]
fn a_pinned_certificate_that_is_no_root_is_not_trusted() {
    let der = world().first.brand_ca.certificate().der();
    assert_eq!(
        TrustAnchor::pinned(der, &sha256(der)).unwrap_err(),
        AnchorError::NotARoot(Role::BrandCa)
    );
}

#[test]
fn a_pinned_root_that_did_not_sign_itself_is_not_trusted() {
    let hashed = hashed_root_key_der();
    let forged = Forgery::authority(Role::RootCa, "Aurora", 3).but(|params| {
        params
            .custom_extensions
            .push(extension(oid::HASHED_ROOT_KEY, &hashed))
    });
    let der = forged.signed_as(
        world().root.certificate(),
        key(ROOT_KEY),
        key(STRANGER_KEY).public_key(),
    );
    assert_eq!(
        TrustAnchor::pinned(&der, &sha256(&der)).unwrap_err(),
        AnchorError::NotSelfSigned
    );
    let mut der = world().root.certificate().der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    assert_eq!(
        TrustAnchor::pinned(&der, &sha256(&der)).unwrap_err(),
        AnchorError::NotSelfSigned
    );
}

/// A DigestInfo with SHA-256, written by hand.
fn hashed_root_key_der() -> Vec<u8> {
    let prefix = [
        0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20,
    ];
    [&prefix[..], &[7; 32]].concat()
}

#[test]
fn a_root_accepts_the_successor_whose_key_it_announced_and_no_other() {
    let anchor = world().anchor();
    let make = |number: usize| {
        let subject = openset_pki::authority::Subject {
            common_name: "Root 2".into(),
            ..Default::default()
        };
        let key = key(number);
        openset_pki::authority::Authority::root(
            key.clone(),
            &subject,
            validity(20),
            serial(),
            key.public_key(),
        )
        .unwrap()
    };
    let next = make(NEXT_ROOT_KEY);
    assert_eq!(
        anchor
            .successor(next.certificate().der())
            .unwrap()
            .certificate(),
        next.certificate()
    );
    let other = make(STRANGER_KEY);
    assert_eq!(
        anchor.successor(other.certificate().der()).unwrap_err(),
        AnchorError::NotTheSuccessor
    );
}
