//! OCSP: what is asked and answered, and which answers count.

use openset_pki::authority::{Authority, IssueError, RevocationReason, Validity};
use openset_pki::ocsp::{
    self, OcspError, OcspWindow, Refusal, Request, Responder, Response, Status,
};
use openset_pki::{
    Certificate, CertificateError, CrlIssuer, PathError, PathVerifier, Purpose, Role, oid,
};
use rcgen::ExtendedKeyUsagePurpose;

use crate::forge::Forgery;
use crate::world::{
    Brand, DAY, LEAF_KEY, NOW, STRANGER_KEY, as_it_is, install, key, serial, subject, validity,
    world,
};

pub(crate) const RESPONDER_KEY: usize = 17;
pub(crate) const NONCE: &[u8] = b"0123456789abcdef";
pub(crate) const LIFETIME: i64 = 600;

pub(crate) fn responder_certificate(authority: &Authority, brand: &Brand) -> Certificate {
    let subject = subject(&brand.id, "responder");
    let key = key(RESPONDER_KEY).public_key();
    authority
        .issue_ocsp_responder(key, &subject, validity(1), serial())
        .unwrap()
}

pub(crate) fn responder(authority: &Authority, brand: &Brand) -> Responder {
    Responder::new(
        authority.certificate().clone(),
        responder_certificate(authority, brand),
        key(RESPONDER_KEY).clone(),
    )
    .unwrap()
}

/// A request about the first brand's merchant.
pub(crate) fn request(nonce: Option<&[u8]>) -> Request {
    let brand = &world().first;
    let der = ocsp::request(
        brand.merchant.leaf(),
        brand.merchant_ca.certificate(),
        nonce,
    );
    Request::from_der(&der.unwrap()).unwrap()
}

pub(crate) fn answer(responder: &Responder, request: &Request, status: Status) -> Response {
    let der = responder
        .respond(request, |_| status, NOW, NOW + LIFETIME)
        .unwrap();
    Response::from_der(&der).unwrap()
}

pub(crate) fn good(nonce: Option<&[u8]>) -> Response {
    let brand = &world().first;
    let responder = responder(&brand.merchant_ca, brand);
    answer(&responder, &request(nonce), Status::Good)
}

pub(crate) fn check(verifier: &PathVerifier, response: &Response) -> Result<OcspWindow, PathError> {
    verifier.check_ocsp(response, world().first.merchant.leaf(), Some(NONCE), NOW)
}

#[test]
fn a_good_answer_is_good_for_its_window() {
    let window = OcspWindow {
        this_update: NOW,
        next_update: NOW + LIFETIME,
    };
    let verifier = world().verifier();
    assert_eq!(check(&verifier, &good(Some(NONCE))), Ok(window));
    // Whoever did not ask takes it with and without a nonce: a stapled one.
    for nonce in [None, Some(NONCE)] {
        let stapled = good(nonce);
        let leaf = world().first.merchant.leaf();
        let at = |now| verifier.check_ocsp(&stapled, leaf, None, now);
        assert_eq!(at(NOW + LIFETIME - 1), Ok(window));
        assert_eq!(
            at(NOW + LIFETIME),
            Err(PathError::OcspStale(Role::Merchant))
        );
    }
}

#[test]
fn every_issuing_ca_has_a_responder_of_its_own_and_no_other_ca_has() {
    let verifier = world().verifier();
    for brand in [&world().first, &world().second] {
        let subjects = [
            (&brand.cardholder_ca, brand.cardholder.leaf()),
            (&brand.merchant_ca, brand.merchant.leaf()),
            (&brand.gateway_ca, brand.gateway_key_exchange.leaf()),
        ];
        for (authority, leaf) in subjects {
            let der = ocsp::request(leaf, authority.certificate(), None).unwrap();
            let request = Request::from_der(&der).unwrap();
            let serials = request.serials_of(authority.certificate());
            assert_eq!(serials, [leaf.serial().to_vec()]);
            let response = answer(&responder(authority, brand), &request, Status::Good);
            verifier.check_ocsp(&response, leaf, None, NOW).unwrap();
        }
        for above in std::iter::once(&brand.brand_ca).chain(&brand.regional_ca) {
            let refused = above.issue_ocsp_responder(
                key(RESPONDER_KEY).public_key(),
                &subject(&brand.id, "responder"),
                validity(1),
                serial(),
            );
            assert!(matches!(refused, Err(IssueError::NotMine { .. })));
        }
    }
}

#[test]
fn a_revoked_certificate_is_remembered() {
    let verifier = world().verifier();
    let brand = &world().first;
    verifier
        .verify(&brand.merchant, &as_it_is(&brand.merchant), NOW)
        .unwrap();
    let revoked = Status::Revoked {
        at: NOW - DAY,
        reason: RevocationReason::KeyCompromise,
    };
    let responder = responder(&brand.merchant_ca, brand);
    let response = answer(&responder, &request(Some(NONCE)), revoked);
    let refused = PathError::Revoked(Role::Merchant);
    assert_eq!(check(&verifier, &response), Err(refused.clone()));
    let chain = verifier.verify(&brand.merchant, &as_it_is(&brand.merchant), NOW);
    assert_eq!(chain, Err(refused));
}

#[test]
fn a_known_answer_costs_no_signature_check_and_its_responder_is_still_judged() {
    let verifier = world().verifier();
    let brand = &world().first;
    let response = good(Some(NONCE));
    check(&verifier, &response).unwrap();
    install(&verifier, &brand.gateway_ca, 2, &[]);
    let checks = verifier.signature_checks();
    for _ in 0..3 {
        check(&verifier, &response).unwrap();
    }
    assert_eq!(verifier.signature_checks(), checks);
    install(&verifier, &brand.merchant_ca, 2, &[response.responder()]);
    assert_eq!(
        check(&verifier, &response),
        Err(PathError::Revoked(Role::MerchantCa))
    );
}

pub(crate) fn aged(this_update: i64, next_update: i64) -> Response {
    let brand = &world().first;
    let der = responder(&brand.merchant_ca, brand)
        .respond(
            &request(Some(NONCE)),
            |_| Status::Good,
            this_update,
            next_update,
        )
        .unwrap();
    Response::from_der(&der).unwrap()
}

/// A good answer about the first brand's merchant, as if of this responder, signed with this key.
pub(crate) fn forged_by(certificate: &Certificate, key_number: usize) -> Response {
    use x509_cert::der::asn1::{BitString, OctetString};
    use x509_cert::der::{Decode, Encode};
    use x509_ocsp::{AsResponseBytes, BasicOcspResponse, OcspResponse, ResponderId};

    let genuine = good(Some(NONCE));
    let outer = OcspResponse::from_der(genuine.der()).unwrap();
    let inner = outer.response_bytes.unwrap().response;
    let mut basic = BasicOcspResponse::from_der(inner.as_bytes()).unwrap();
    let x509 = x509_cert::Certificate::from_der(certificate.der()).unwrap();
    let spki = &x509.tbs_certificate.subject_public_key_info;
    let sha1 = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        spki.subject_public_key.raw_bytes(),
    );
    let hash = OctetString::new(sha1.as_ref()).unwrap();
    basic.tbs_response_data.responder_id = ResponderId::ByKey(hash);
    let tbs = basic.tbs_response_data.to_der().unwrap();
    let signature = key(key_number).sign_pkcs1_sha256(&tbs).unwrap();
    basic.signature = BitString::from_bytes(&signature).unwrap();
    basic.certs = Some(vec![x509]);
    let forged = OcspResponse {
        response_status: x509_ocsp::OcspResponseStatus::Successful,
        response_bytes: Some(basic.to_response_bytes().unwrap()),
    };
    Response::from_der(&forged.to_der().unwrap()).unwrap()
}

#[test]
fn an_answer_whose_certificate_is_not_the_one_that_it_names_is_refused() {
    use x509_cert::der::{Decode, Encode};
    use x509_ocsp::{AsResponseBytes, BasicOcspResponse, OcspResponse};
    let genuine = good(Some(NONCE));
    let mut outer = OcspResponse::from_der(genuine.der()).unwrap();
    let inner = outer.response_bytes.unwrap().response;
    let mut basic = BasicOcspResponse::from_der(inner.as_bytes()).unwrap();
    let brand = &world().first;
    let issued = brand.merchant_ca.issue_ocsp_responder(
        key(STRANGER_KEY).public_key(),
        &subject(&brand.id, "another"),
        validity(1),
        serial(),
    );
    let other = x509_cert::Certificate::from_der(issued.unwrap().der()).unwrap();
    basic.certs = Some(vec![other]);
    outer.response_bytes = Some(basic.to_response_bytes().unwrap());
    let swapped = Response::from_der(&outer.to_der().unwrap()).unwrap();
    assert_eq!(
        check(&world().verifier(), &swapped),
        Err(PathError::OcspWrongResponder)
    );
}

#[test]
fn an_answer_of_an_expired_or_revoked_responder_is_refused() {
    let brand = &world().first;
    let certificate = responder_certificate(&brand.merchant_ca, brand);
    let responder = Responder::new(
        brand.merchant_ca.certificate().clone(),
        certificate.clone(),
        key(RESPONDER_KEY).clone(),
    )
    .unwrap();
    let response = answer(&responder, &request(Some(NONCE)), Status::Good);
    let verifier = world().verifier();
    install(&verifier, &brand.merchant_ca, 2, &[&certificate]);
    assert_eq!(
        check(&verifier, &response),
        Err(PathError::Revoked(Role::MerchantCa))
    );
    let short = Validity {
        not_before: NOW - DAY,
        not_after: NOW - 1,
    };
    let subject = subject(&brand.id, "responder");
    let own = key(RESPONDER_KEY);
    let expired = brand
        .merchant_ca
        .issue_ocsp_responder(own.public_key(), &subject, short, serial())
        .unwrap();
    assert_eq!(
        check(&world().verifier(), &forged_by(&expired, RESPONDER_KEY)),
        Err(PathError::Expired(Role::MerchantCa))
    );
}

#[test]
fn no_altered_byte_gets_through() {
    let verifier = world().verifier();
    let genuine = good(Some(NONCE));
    for place in 0..genuine.der().len() {
        let mut der = genuine.der().to_vec();
        der[place] ^= 1;
        if let Ok(altered) = Response::from_der(&der) {
            assert!(check(&verifier, &altered).is_err(), "{place}");
        }
    }
    check(&verifier, &genuine).unwrap();
}

#[test]
fn bytes_that_are_no_ocsp_are_not_read() {
    let response = good(Some(NONCE));
    let brand = &world().first;
    let asked = ocsp::request(
        brand.merchant.leaf(),
        brand.merchant_ca.certificate(),
        Some(NONCE),
    )
    .unwrap();
    for end in 0..response.der().len() {
        assert!(Response::from_der(&response.der()[..end]).is_err());
    }
    for end in 0..asked.len() {
        assert!(Request::from_der(&asked[..end]).is_err());
    }
    let large = vec![0; ocsp::OCSP_BYTES_MAX + 1];
    assert_eq!(Response::from_der(&large).unwrap_err(), OcspError::TooLarge);
    assert_eq!(Request::from_der(&large).unwrap_err(), OcspError::TooLarge);
    let refusals = [
        Refusal::MalformedRequest,
        Refusal::InternalError,
        Refusal::TryLater,
        Refusal::Unauthorized,
    ];
    for refusal in refusals {
        let read = Response::from_der(&ocsp::refusal(refusal));
        assert!(matches!(read, Err(OcspError::Refused(_))), "{refusal:?}");
    }
    let (merchant, issuer) = (brand.merchant.leaf(), brand.merchant_ca.certificate());
    for length in [1, ocsp::OCSP_NONCE_BYTES_MAX] {
        let der = ocsp::request(merchant, issuer, Some(&vec![7; length])).unwrap();
        let read = Request::from_der(&der).unwrap();
        assert_eq!(read.nonce().map(<[u8]>::len), Some(length));
    }
    let beyond = vec![7; ocsp::OCSP_NONCE_BYTES_MAX + 1];
    let der = ocsp::request(merchant, issuer, Some(&beyond)).unwrap();
    assert_eq!(
        Request::from_der(&der).unwrap_err(),
        OcspError::CriticalExtension
    );
}

#[test]
fn a_responder_needs_its_own_key_and_a_certificate_of_the_ca_that_it_answers_for() {
    let brand = &world().first;
    let certificate = responder_certificate(&brand.merchant_ca, brand);
    let new = |issuer: &Authority, certificate: &Certificate, number| {
        let own = key(number).clone();
        Responder::new(issuer.certificate().clone(), certificate.clone(), own).unwrap_err()
    };
    assert_eq!(
        new(&brand.merchant_ca, &certificate, STRANGER_KEY),
        IssueError::KeyMismatch
    );
    let refused = IssueError::NotAnAuthority(Role::MerchantCa, Purpose::OcspSigning);
    assert_eq!(new(&brand.gateway_ca, &certificate, RESPONDER_KEY), refused);
    let refused = IssueError::NotAnAuthority(Role::Merchant, Purpose::Signature);
    assert_eq!(
        new(&brand.merchant_ca, brand.merchant.leaf(), LEAF_KEY),
        refused
    );
}

#[test]
fn a_responders_certificate_is_for_ocsp_alone() {
    const NO_CHECK: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 5];
    let no_check = |content| rcgen::CustomExtension::from_oid_content(NO_CHECK, content);
    let responder = || {
        Forgery::leaf(Role::MerchantCa, "Aurora")
            .but(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning])
    };
    const NAME: &str = "id-pkix-ocsp-nocheck";
    assert_eq!(
        responder().refused(),
        CertificateError::MissingExtension(NAME)
    );
    let malformed =
        responder().but(|params| params.custom_extensions.push(no_check(vec![5, 1, 0])));
    assert_eq!(
        malformed.refused(),
        CertificateError::MalformedExtension(NAME)
    );
    let own = [oid::ROLE_USAGE, &[u64::from(Role::MerchantCa.bit())]].concat();
    let others = [
        ExtendedKeyUsagePurpose::Other(own),
        ExtendedKeyUsagePurpose::OcspSigning,
        ExtendedKeyUsagePurpose::Any,
    ];
    for other in others {
        let both = responder().but(|params| {
            params.extended_key_usages.push(other);
            params.custom_extensions.push(no_check(vec![5, 0]));
        });
        assert_eq!(
            both.refused(),
            CertificateError::ExtendedKeyUsage(Role::MerchantCa)
        );
    }
    let merchant = Forgery::leaf(Role::Merchant, "Aurora")
        .but(|params| params.custom_extensions.push(no_check(vec![5, 0])));
    assert!(matches!(
        merchant.refused(),
        CertificateError::MisplacedExtension {
            extension: NAME,
            ..
        }
    ));
    let of_merchant = Forgery::leaf(Role::Merchant, "Aurora")
        .but(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning]);
    assert_eq!(
        of_merchant.refused(),
        CertificateError::RolePurpose {
            role: Role::Merchant,
            purpose: Purpose::OcspSigning
        }
    );
}

#[test]
fn a_responder_signs_no_messages_and_crls_name_no_reason_that_was_not_given() {
    let brand = &world().first;
    let certificate = responder_certificate(&brand.merchant_ca, brand);
    let chain = brand.merchant_ca.chain_of(&certificate);
    let expect = openset_pki::Expect {
        purpose: Purpose::Signature,
        ..as_it_is(&chain)
    };
    let refused = world().verifier().verify(&chain, &expect, NOW);
    assert_eq!(
        refused,
        Err(PathError::WrongPurpose {
            expected: Purpose::Signature,
            found: Purpose::OcspSigning
        })
    );
    let mut line = crate::world::lines(&[&certificate]);
    line[0].reason = RevocationReason::Unspecified;
    let crl = brand
        .merchant_ca
        .issue_crl(2, NOW - DAY, NOW + DAY, &line)
        .unwrap();
    assert!(crl.revokes(certificate.serial()));
    let chain = brand.merchant_ca.chain().unwrap();
    world()
        .verifier()
        .install_crl(crl, CrlIssuer::Chain(&chain), NOW)
        .unwrap();
}
