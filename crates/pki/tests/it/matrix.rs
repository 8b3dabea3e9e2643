//! The negative matrix: every path, CRL and BrandCRLIdentifier that a verifier must refuse, each with its one error.
//! OCSP responses stand in `matrix_ocsp`.

use openset_pki::authority::{Authority, IssueRequest, Validity};
use openset_pki::{
    BrandCrlIdentifier, Certificate, CertificateError, Chain, Crl, CrlIssuer, Expect, PathError,
    PathVerifier, Purpose, Role, oid,
};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType,
    Issuer, KeyIdMethod, KeyUsagePurpose,
};

use crate::forge::{Forgery, Signer, certificate_type, moment};
use crate::world::{
    Brand, DAY, LEAF_KEY, NOW, ROOT_KEY, STRANGER_KEY, YEAR, as_it_is, install, install_bci, key,
    named, request, world,
};

/// The key of the first brand's merchant CA, as `world` numbers them.
const MERCHANT_CA_KEY: usize = 7;

/// What is refused, how, and with which error.
type Row = (&'static str, fn() -> PathError, PathError);

fn brand() -> &'static Brand {
    &world().first
}

/// Judges a chain as what it says it is.
fn refused(chain: &Chain) -> PathError {
    refused_by(&world().verifier(), chain, NOW)
}

fn refused_by(verifier: &PathVerifier, chain: &Chain, now: i64) -> PathError {
    verifier.verify(chain, &as_it_is(chain), now).unwrap_err()
}

/// Judges a chain as something else.
fn refused_as(chain: &Chain, change: impl FnOnce(&mut Expect<'static>)) -> PathError {
    let mut expect = Expect {
        role: chain.leaf().role(),
        purpose: chain.leaf().purpose(),
        brand: Some(&brand().id),
    };
    change(&mut expect);
    let verdict = world().verifier().verify(chain, &expect, NOW);
    verdict.unwrap_err()
}

fn chain_of(certificates: &[&Certificate]) -> Chain {
    Chain::new(certificates.iter().map(|&one| one.clone()).collect()).unwrap()
}

/// A merchant of the first brand's merchant CA with these dates.
fn merchant_from_to(not_before: i64, not_after: i64) -> Chain {
    let request = IssueRequest {
        validity: Validity {
            not_before,
            not_after,
        },
        ..request(&brand().id, Role::Merchant, Purpose::Signature)
    };
    let ca = &brand().merchant_ca;
    ca.chain_of(&ca.issue_end_entity(&request).unwrap())
}

/// A leaf that the first brand's merchant CA really signed.
fn under_merchant_ca(forgery: &Forgery) -> Chain {
    forgery.chain_under(&brand().merchant_ca, key(MERCHANT_CA_KEY))
}

/// Why a merchant's certificate with this change is none of the profile.
fn merchant_with(change: impl FnOnce(&mut CertificateParams)) -> PathError {
    let forgery = Forgery::leaf(Role::Merchant, "Aurora").but(change);
    forgery.refused().into()
}

fn extension(arcs: &[u64], content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(arcs, content)
}

fn check(rows: &[Row]) {
    for (name, refuse, expected) in rows {
        assert_eq!(refuse(), *expected, "{name}");
    }
}

#[test]
fn every_path_that_breaks_a_rule_is_refused_by_name() {
    check(&[
        (
            "expired",
            || refused(&merchant_from_to(NOW - YEAR, NOW - 1)),
            PathError::Expired(Role::Merchant),
        ),
        (
            "not yet valid",
            || refused(&merchant_from_to(NOW + 1, NOW + YEAR)),
            PathError::NotYetValid(Role::Merchant),
        ),
        (
            "wrong role",
            || refused_as(&brand().merchant, |expect| expect.role = Role::Gateway),
            PathError::WrongRole {
                expected: Role::Gateway,
                found: Role::Merchant,
            },
        ),
        (
            "a role that its CA does not issue for",
            || {
                let cardholder = Forgery::leaf(Role::Cardholder, "Aurora");
                refused(&under_merchant_ca(&cardholder))
            },
            PathError::WrongIssuer {
                issuer: Role::MerchantCa,
                subject: Role::Cardholder,
                purpose: Purpose::Signature,
            },
        ),
        (
            "CA as leaf",
            || refused(&brand().merchant_ca.chain().unwrap()),
            PathError::CaAsLeaf,
        ),
        (
            "leaf as CA",
            || {
                let merchant = &brand().merchant;
                let below = Forgery::leaf(Role::Merchant, "Aurora").certificate(
                    merchant.leaf(),
                    key(LEAF_KEY),
                    key(STRANGER_KEY).public_key(),
                );
                let above = merchant.certificates().iter();
                let path: Vec<_> = std::iter::once(&below).chain(above).collect();
                refused(&chain_of(&path))
            },
            PathError::LeafAsCa(Role::Merchant),
        ),
        (
            "an encryption key signs",
            || {
                refused_as(&brand().merchant_key_exchange, |expect| {
                    expect.purpose = Purpose::Signature;
                })
            },
            PathError::WrongPurpose {
                expected: Purpose::Signature,
                found: Purpose::KeyExchange,
            },
        ),
        (
            "a signature key receives a sealed message",
            || {
                refused_as(&brand().gateway, |expect| {
                    expect.purpose = Purpose::KeyExchange;
                })
            },
            PathError::WrongPurpose {
                expected: Purpose::KeyExchange,
                found: Purpose::Signature,
            },
        ),
        (
            "another brand than expected",
            || {
                refused_as(&brand().merchant, |expect| {
                    expect.brand = Some(&world().second.id);
                })
            },
            PathError::WrongBrand,
        ),
        (
            "a leaf of one brand under a CA of another",
            || {
                refused(&under_merchant_ca(&Forgery::leaf(
                    Role::Merchant,
                    "Borealis",
                )))
            },
            PathError::WrongBrand,
        ),
        (
            "path too long",
            || refused(&too_long()),
            PathError::PathTooLong(Role::BrandCa),
        ),
        (
            "chain out of order",
            || {
                let [leaf, merchant_ca, brand_ca] = brand().merchant.certificates() else {
                    panic!("three certificates")
                };
                refused(&chain_of(&[leaf, brand_ca, merchant_ca]))
            },
            PathError::UnknownIssuer,
        ),
        (
            "self-signed",
            || {
                let forgery = Forgery::leaf(Role::Merchant, "Aurora");
                let signed = forgery.params.self_signed(&Signer::new(key(STRANGER_KEY)));
                let leaf = Certificate::from_der(signed.unwrap().der()).unwrap();
                refused(&chain_of(&[&leaf]))
            },
            PathError::SelfSigned,
        ),
        (
            "signed by another key",
            || {
                let forgery = Forgery::leaf(Role::Merchant, "Aurora");
                refused(&forgery.chain_under(&brand().merchant_ca, key(STRANGER_KEY)))
            },
            PathError::BadSignature,
        ),
        (
            "name out of order",
            || {
                merchant_with(|params| {
                    let mut name = DistinguishedName::new();
                    name.push(DnType::CommonName, "shop");
                    name.push(DnType::OrganizationName, "Aurora");
                    params.distinguished_name = name;
                })
            },
            CertificateError::Name("its attributes are not in the order C, O, OU, CN").into(),
        ),
        (
            "doubled certificateType",
            || {
                merchant_with(|params| {
                    let again = certificate_type(&[Role::Gateway]);
                    let again = extension(oid::CERTIFICATE_TYPE, again);
                    params.custom_extensions.push(again);
                })
            },
            CertificateError::DoubledExtension.into(),
        ),
        (
            "certificateType of two roles",
            || {
                merchant_with(|params| {
                    let both = certificate_type(&[Role::Merchant, Role::Gateway]);
                    params.custom_extensions[0] = extension(oid::CERTIFICATE_TYPE, both);
                })
            },
            CertificateError::CertificateType.into(),
        ),
        (
            "missing certificateType",
            || {
                merchant_with(|params| {
                    params.custom_extensions.remove(0);
                })
            },
            CertificateError::MissingExtension("certificateType").into(),
        ),
        (
            "unknown critical extension",
            || {
                merchant_with(|params| {
                    let mut unknown = extension(&[1, 2, 3, 4], vec![5, 0]);
                    unknown.set_criticality(true);
                    params.custom_extensions.push(unknown);
                })
            },
            CertificateError::UnknownCriticalExtension("1.2.3.4".to_owned()).into(),
        ),
        (
            "a key that both signs and opens",
            || {
                merchant_with(|params| {
                    params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
                })
            },
            CertificateError::KeyUsage.into(),
        ),
    ]);
}

/// A merchant under a brand CA that allows no CA below it.
fn too_long() -> Chain {
    let (own, stranger) = (key(MERCHANT_CA_KEY), key(STRANGER_KEY));
    let root = world().root.certificate();
    let brand_ca = Forgery::authority(Role::BrandCa, "Aurora", 0);
    let brand_ca = brand_ca.certificate(root, key(ROOT_KEY), stranger.public_key());
    let merchant_ca = Forgery::authority(Role::MerchantCa, "Aurora", 0);
    let merchant_ca = merchant_ca.certificate(&brand_ca, stranger, own.public_key());
    let leaf = Forgery::leaf(Role::Merchant, "Aurora");
    let leaf = leaf.certificate(&merchant_ca, own, key(LEAF_KEY).public_key());
    chain_of(&[&leaf, &merchant_ca, &brand_ca])
}

/// Offers a CRL of the first brand's merchant CA to a verifier that holds number 1 of everything.
fn crl_refused(number: u64, this_update: i64, next_update: i64) -> PathError {
    let issued = brand()
        .merchant_ca
        .issue_crl(number, this_update, next_update, &[]);
    offered(&world().verifier(), issued.unwrap())
}

fn offered(verifier: &PathVerifier, crl: Crl) -> PathError {
    let chain = brand().merchant_ca.chain().unwrap();
    let outcome = verifier.install_crl(crl, CrlIssuer::Chain(&chain), NOW);
    outcome.unwrap_err()
}

/// A CRL in the merchant CA's name, signed with another key.
fn forged_crl() -> Crl {
    let params = CertificateRevocationListParams {
        this_update: moment(NOW - DAY),
        next_update: moment(NOW + DAY),
        crl_number: 2_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let issuer = brand().merchant_ca.certificate().der().into();
    let issuer = Issuer::from_ca_cert_der(&issuer, Signer::new(key(STRANGER_KEY)));
    let signed = params.signed_by(&issuer.unwrap()).unwrap();
    Crl::from_der(signed.der()).unwrap()
}

#[test]
fn every_crl_that_does_not_count_is_refused_by_name() {
    check(&[
        (
            "missing",
            || {
                let verifier = world().verifier_without_crls();
                for above in [&world().root, &brand().brand_ca] {
                    install(&verifier, above, 1, &[]);
                }
                refused_by(&verifier, &brand().merchant, NOW)
            },
            PathError::CrlMissing(Role::MerchantCa),
        ),
        (
            "stale when offered",
            || crl_refused(2, NOW - DAY, NOW),
            PathError::CrlStale(Role::MerchantCa),
        ),
        (
            "stale while held",
            || {
                let verifier = world().verifier();
                refused_by(&verifier, &brand().merchant, NOW + 7 * DAY)
            },
            PathError::CrlStale(Role::RootCa),
        ),
        (
            "from the future",
            || crl_refused(2, NOW + DAY, NOW + 2 * DAY),
            PathError::CrlFuture(Role::MerchantCa),
        ),
        (
            "older",
            || crl_refused(0, NOW - DAY, NOW + DAY),
            PathError::CrlOlder {
                held: 1,
                offered: 0,
            },
        ),
        (
            "another one of the same number",
            || crl_refused(1, NOW - DAY, NOW + DAY),
            PathError::CrlNumberReused { number: 1 },
        ),
        (
            "with a number far ahead",
            || crl_refused(u64::MAX, NOW - DAY, NOW + DAY),
            PathError::NumberAhead { number: u64::MAX },
        ),
        (
            "forged",
            || offered(&world().verifier(), forged_crl()),
            PathError::CrlForged(Role::MerchantCa),
        ),
        (
            "of another CA",
            || {
                let other = brand().gateway_ca.issue_crl(2, NOW, NOW + DAY, &[]);
                offered(&world().verifier(), other.unwrap())
            },
            PathError::CrlOfAnother(Role::MerchantCa),
        ),
        (
            "lists the leaf",
            || {
                let verifier = world().verifier();
                let merchant = &brand().merchant;
                install(&verifier, &brand().merchant_ca, 2, &[merchant.leaf()]);
                refused_by(&verifier, merchant, NOW)
            },
            PathError::Revoked(Role::Merchant),
        ),
    ]);
}

/// Offers a BrandCRLIdentifier of the first brand to a verifier that holds number 1 of everything.
fn bci_refused(sequence: u64, not_before: i64, not_after: i64) -> PathError {
    let crls = brand().crls(1);
    let issued = brand()
        .brand_ca
        .issue_brand_crl_identifier(sequence, not_before, not_after, &crls);
    bci_offered(issued.unwrap())
}

fn bci_offered(bci: BrandCrlIdentifier) -> PathError {
    install_bci(&world().verifier(), brand(), bci).unwrap_err()
}

/// The merchant's chain under a brand whose word leaves out, or names another number for, the merchant CA.
fn judged_by_word_on_merchant_ca(number: Option<u64>) -> PathError {
    let verifier = world().verifier_without_bcis();
    let merchant_ca = &brand().merchant_ca;
    let name = merchant_ca.certificate().subject_der();
    let mut crls = brand().crls(1);
    crls.retain(|named| named.issuer_der != name);
    crls.extend(number.map(|number| named(merchant_ca, number)));
    let bci = brand()
        .brand_ca
        .issue_brand_crl_identifier(1, NOW - DAY, NOW + DAY, &crls);
    install_bci(&verifier, brand(), bci.unwrap()).unwrap();
    refused_by(&verifier, &brand().merchant, NOW)
}

#[test]
fn every_brand_crl_identifier_that_does_not_count_is_refused_by_name() {
    let id = &brand().id;
    check(&[
        (
            "missing",
            || {
                let verifier = world().verifier_without_bcis();
                refused_by(&verifier, &brand().merchant, NOW)
            },
            PathError::BciMissing(id.clone()),
        ),
        (
            "stale when offered",
            || bci_refused(2, NOW - DAY, NOW - 1),
            PathError::BciStale(id.clone()),
        ),
        (
            "from the future",
            || bci_refused(2, NOW + DAY, NOW + 2 * DAY),
            PathError::BciFuture(id.clone()),
        ),
        (
            "older",
            || bci_refused(0, NOW - DAY, NOW + DAY),
            PathError::BciOlder {
                held: 1,
                offered: 0,
            },
        ),
        (
            "another one of the same number",
            || bci_refused(1, NOW - DAY, NOW + DAY),
            PathError::BciSequenceReused { sequence: 1 },
        ),
        (
            "with a number far ahead",
            || bci_refused(u64::MAX, NOW - DAY, NOW + DAY),
            PathError::NumberAhead { number: u64::MAX },
        ),
        (
            "forged",
            || {
                let mut der = brand().bci(2).der().to_vec();
                *der.last_mut().unwrap() ^= 1;
                bci_offered(BrandCrlIdentifier::from_der(&der).unwrap())
            },
            PathError::BciForged(id.clone()),
        ),
        (
            "of another brand's CA",
            || {
                let verifier = world().verifier();
                install_bci(&verifier, &world().second, brand().bci(2)).unwrap_err()
            },
            PathError::BciOfAnother(id.clone()),
        ),
        (
            "leaves out a CA on the path",
            || judged_by_word_on_merchant_ca(None),
            PathError::BciOmits(Role::MerchantCa),
        ),
        (
            "names a newer CRL than the one held",
            || judged_by_word_on_merchant_ca(Some(2)),
            PathError::CrlBehindBci {
                authority: Role::MerchantCa,
                held: 1,
                named: 2,
            },
        ),
        (
            "of a revoked brand CA",
            || {
                let verifier = world().verifier();
                let revoked: [&Authority; 1] = [&brand().brand_ca];
                let revoked = revoked.map(Authority::certificate);
                install(&verifier, &world().root, 2, &revoked);
                install_bci(&verifier, brand(), brand().bci(2)).unwrap_err()
            },
            PathError::Revoked(Role::BrandCa),
        ),
    ]);
}
