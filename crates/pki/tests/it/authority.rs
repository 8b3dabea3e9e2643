//! What an authority refuses to issue.

use openset_pki::authority::{
    Authority, IssueAuthority, IssueError, IssueRequest, Serial, Subject, Validity,
};
use openset_pki::{Certificate, Chain, CrlIssuer, MerchantDataError, Purpose, Role};

use crate::world::{
    DAY, LEAF_KEY, NOW, ROOT_KEY, STRANGER_KEY, YEAR, as_it_is, key, merchant_data, request,
    serial, subject, validity, world,
};

fn merchant_request() -> IssueRequest<'static> {
    request(&world().first.id, Role::Merchant, Purpose::Signature)
}

fn merchant_ca_refuses(request: &IssueRequest<'_>) -> IssueError {
    world()
        .first
        .merchant_ca
        .issue_end_entity(request)
        .unwrap_err()
}

#[test]
fn an_authority_issues_for_its_own_roles_alone() {
    let brand = &world().first;
    let error = merchant_ca_refuses(&request(&brand.id, Role::Gateway, Purpose::Signature));
    let refused = IssueError::NotMine {
        issuer: Role::MerchantCa,
        subject: Role::Gateway,
        purpose: Purpose::Signature,
    };
    assert_eq!(error, refused);
    let error = brand.cardholder_ca.issue_end_entity(&request(
        &brand.id,
        Role::Cardholder,
        Purpose::KeyExchange,
    ));
    assert!(matches!(
        error,
        Err(IssueError::NotMine {
            purpose: Purpose::KeyExchange,
            ..
        })
    ));
    let error = brand.brand_ca.issue_end_entity(&request(
        &brand.id,
        Role::MerchantCa,
        Purpose::CertificateSigning,
    ));
    assert!(matches!(
        error,
        Err(IssueError::NotMine {
            purpose: Purpose::CertificateSigning,
            ..
        })
    ));
    let error = world()
        .root
        .issue_authority(key(LEAF_KEY).public_key(), &ca_request(Role::MerchantCa, 0));
    assert!(matches!(
        error,
        Err(IssueError::NotMine {
            issuer: Role::RootCa,
            ..
        })
    ));
}

fn ca_request(role: Role, path_len: u8) -> IssueAuthority {
    let subject = subject(&world().first.id, "another CA");
    IssueAuthority {
        role,
        subject,
        validity: validity(1),
        serial: serial(),
        path_len,
    }
}

#[test]
fn an_authority_issues_in_its_own_brand_alone() {
    let error = merchant_ca_refuses(&request(
        &world().second.id,
        Role::Merchant,
        Purpose::Signature,
    ));
    assert_eq!(error, IssueError::Brand);
    let mut unbranded = merchant_request();
    unbranded.subject.brand = None;
    assert_eq!(merchant_ca_refuses(&unbranded), IssueError::Brand);
}

#[test]
fn a_root_names_no_brand() {
    let next = key(LEAF_KEY).public_key();
    let named = subject(&world().first.id, "root");
    let error =
        Authority::root(key(ROOT_KEY).clone(), &named, validity(1), serial(), next).unwrap_err();
    assert_eq!(error, IssueError::BrandInRoot);
}

#[test]
fn nothing_is_issued_that_outlives_its_issuer() {
    let long = IssueRequest {
        validity: validity(7),
        ..merchant_request()
    };
    assert_eq!(
        merchant_ca_refuses(&long),
        IssueError::OutlivesIssuer {
            issuer_ends: NOW + 6 * YEAR
        }
    );
}

#[test]
fn impossible_dates_are_refused() {
    let backwards = Validity {
        not_before: NOW,
        not_after: NOW - 1,
    };
    assert_eq!(
        merchant_ca_refuses(&IssueRequest {
            validity: backwards,
            ..merchant_request()
        }),
        IssueError::Dates
    );
    let ancient = Validity {
        not_before: i64::MIN,
        not_after: NOW,
    };
    assert_eq!(
        merchant_ca_refuses(&IssueRequest {
            validity: ancient,
            ..merchant_request()
        }),
        IssueError::Dates
    );
    let crl = world().first.merchant_ca.issue_crl(1, NOW, i64::MAX, &[]);
    assert_eq!(crl.unwrap_err(), IssueError::Dates);
    assert!(
        world()
            .first
            .merchant_ca
            .issue_crl(1, NOW, NOW, &[])
            .is_err()
    );
}

#[test]
fn no_ca_is_issued_beyond_the_path_length() {
    let brand_ca = &world().first.brand_ca;
    let public_key = key(LEAF_KEY).public_key();
    let error = brand_ca
        .issue_authority(public_key, &ca_request(Role::RegionalCa, 2))
        .unwrap_err();
    assert_eq!(error, IssueError::PathLength);
    brand_ca
        .issue_authority(public_key, &ca_request(Role::RegionalCa, 1))
        .unwrap();
}

#[test]
fn merchant_data_goes_to_merchants_alone() {
    let without = IssueRequest {
        merchant_data: None,
        ..merchant_request()
    };
    assert_eq!(
        merchant_ca_refuses(&without),
        IssueError::MerchantDataMisplaced
    );
    let brand = &world().first;
    let gateway = IssueRequest {
        merchant_data: Some(merchant_data()),
        ..request(&brand.id, Role::Gateway, Purpose::Signature)
    };
    assert_eq!(
        brand.gateway_ca.issue_end_entity(&gateway).unwrap_err(),
        IssueError::MerchantDataMisplaced
    );
    let mut bad = merchant_data();
    bad.acquirer_bin = "x".into();
    let bad = IssueRequest {
        merchant_data: Some(bad),
        ..merchant_request()
    };
    assert_eq!(
        merchant_ca_refuses(&bad),
        IssueError::MerchantData(MerchantDataError::AcquirerBin)
    );
}

#[test]
fn card_cert_required_goes_to_gateways_key_exchange_alone() {
    let merchant = IssueRequest {
        card_cert_required: Some(true),
        ..merchant_request()
    };
    assert_eq!(
        merchant_ca_refuses(&merchant),
        IssueError::CardCertRequiredMisplaced
    );
}

#[test]
fn names_out_of_bounds_are_refused() {
    for change in [
        |subject: &mut Subject| subject.country = Some("de".into()),
        |subject: &mut Subject| subject.country = Some("DEU".into()),
        |subject: &mut Subject| subject.common_name = String::new(),
        |subject: &mut Subject| subject.common_name = "x".repeat(65),
        |subject: &mut Subject| subject.organizational_unit = Some("a\0b".into()),
    ] {
        let mut request = merchant_request();
        change(&mut request.subject);
        assert!(matches!(
            merchant_ca_refuses(&request),
            IssueError::Certificate(_)
        ));
    }
}

#[test]
fn an_authority_needs_its_own_key_and_its_own_certificate() {
    let (brand, stranger) = (&world().first, key(STRANGER_KEY));
    let chain = brand.merchant_ca.chain().unwrap();
    assert_eq!(
        Authority::with_key(chain, stranger.clone()).unwrap_err(),
        IssueError::KeyMismatch
    );
    let leaf = Authority::with_key(brand.merchant.clone(), key(LEAF_KEY).clone()).unwrap_err();
    assert_eq!(
        leaf,
        IssueError::NotAnAuthority(Role::Merchant, Purpose::Signature)
    );
    let certificate = brand.brand_ca.certificate().clone();
    let not_root = Authority::root_with_key(certificate, key(4).clone()).unwrap_err();
    assert_eq!(
        not_root,
        IssueError::NotAnAuthority(Role::BrandCa, Purpose::CertificateSigning)
    );
}

#[test]
fn an_authority_goes_on_after_a_restart() {
    let brand = &world().first;
    let root = Certificate::from_pem(&world().root.certificate().to_pem()).unwrap();
    let root = Authority::root_with_key(root, key(ROOT_KEY).clone()).unwrap();
    let chain = Chain::from_x5c(&brand.merchant_ca.chain().unwrap().to_x5c()).unwrap();
    let merchant_ca = Authority::with_key(chain, key(7).clone()).unwrap();
    let verifier = world().verifier();
    let crl = root.issue_crl(2, NOW - DAY, NOW + DAY, &[]).unwrap();
    verifier.install_crl(crl, CrlIssuer::Root, NOW).unwrap();
    let chain = merchant_ca.chain_of(&merchant_ca.issue_end_entity(&merchant_request()).unwrap());
    verifier.verify(&chain, &as_it_is(&chain), NOW).unwrap();
}

#[test]
fn serial_numbers_are_positive_and_sixteen_bytes_long() {
    for byte in [0x00, 0x80, 0xff] {
        let serial = Serial::from_bytes([byte; 16]);
        let request = IssueRequest {
            serial,
            ..merchant_request()
        };
        let certificate = world()
            .first
            .merchant_ca
            .issue_end_entity(&request)
            .unwrap();
        assert_eq!(certificate.serial(), serial.as_bytes());
        assert!((0x40..0x80).contains(&certificate.serial()[0]));
    }
}

#[test]
fn neither_an_authority_nor_its_errors_show_a_key() {
    let shown = format!("{:?}", world().first.merchant_ca);
    assert!(shown.contains("[redacted]"), "{shown}");
}

#[test]
fn a_request_carries_key_and_name_and_is_refused_when_altered() {
    use openset_pki::authority::{CertificationRequest, CertificationRequestError, Subject};
    let key = crate::world::key(0);
    let subject = Subject {
        brand: Some("Visa".parse().unwrap()),
        organizational_unit: Some("Brand".to_owned()),
        common_name: "Visa Brand CA".to_owned(),
        ..Subject::default()
    };
    let der = CertificationRequest::write(key, &subject).unwrap();
    let read = CertificationRequest::from_der(&der).unwrap();
    assert_eq!(read.public_key(), key.public_key());
    assert_eq!(read.subject(), &subject);
    let at = der.windows(4).position(|four| four == b"Visa").unwrap();
    let mut altered = der.clone();
    altered[at] = b'W';
    assert_eq!(
        CertificationRequest::from_der(&altered).unwrap_err(),
        CertificationRequestError::NotPossessed
    );
    assert_eq!(
        CertificationRequest::from_der(&[der, vec![0]].concat()).unwrap_err(),
        CertificationRequestError::Malformed
    );
}
