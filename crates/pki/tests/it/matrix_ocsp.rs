//! Every OCSP response that does not count, with the one reason.

use openset_pki::ocsp::{self, Request, Response, Status};
use openset_pki::{PathError, Role};

use crate::ocsp::{
    LIFETIME, NONCE, RESPONDER_KEY, aged, answer, check, forged_by, good, request, responder,
    responder_certificate,
};
use crate::world::{DAY, LEAF_KEY, NOW, STRANGER_KEY, world};

type Make = fn() -> Response;

#[test]
fn every_ocsp_response_that_does_not_count_is_refused_by_name() {
    let rows: [(&str, Make, PathError); 11] = [
        (
            "without the nonce",
            || good(None),
            PathError::OcspWrongNonce,
        ),
        (
            "with another nonce",
            || good(Some(b"another nonce")),
            PathError::OcspWrongNonce,
        ),
        (
            "about another certificate",
            || {
                let brand = &world().first;
                let other = brand.merchant_key_exchange.leaf();
                let der = ocsp::request(other, brand.merchant_ca.certificate(), Some(NONCE));
                let request = Request::from_der(&der.unwrap()).unwrap();
                answer(
                    &responder(&brand.merchant_ca, brand),
                    &request,
                    Status::Good,
                )
            },
            PathError::OcspOtherCertificate,
        ),
        (
            "about the same number of another CA",
            || {
                let brand = &world().first;
                let other_ca = brand.gateway_ca.certificate();
                let der = ocsp::request(brand.merchant.leaf(), other_ca, Some(NONCE));
                let request = Request::from_der(&der.unwrap()).unwrap();
                answer(&responder(&brand.gateway_ca, brand), &request, Status::Good)
            },
            PathError::OcspWrongIssuer,
        ),
        (
            "by the responder of another CA",
            || {
                let brand = &world().first;
                forged_by(
                    &responder_certificate(&brand.gateway_ca, brand),
                    RESPONDER_KEY,
                )
            },
            PathError::OcspWrongResponder,
        ),
        (
            "by a certificate for messages",
            || forged_by(world().first.merchant.leaf(), LEAF_KEY),
            PathError::OcspWrongResponder,
        ),
        (
            "by the CA itself",
            || forged_by(world().first.merchant_ca.certificate(), 7),
            PathError::OcspWrongResponder,
        ),
        (
            "signed by another key",
            || {
                let brand = &world().first;
                let certificate = responder_certificate(&brand.merchant_ca, brand);
                forged_by(&certificate, STRANGER_KEY)
            },
            PathError::OcspForged,
        ),
        (
            "out of date",
            || aged(NOW - LIFETIME, NOW),
            PathError::OcspStale(Role::Merchant),
        ),
        (
            "from the future",
            || aged(NOW + openset_pki::CLOCK_SKEW_S + 1, NOW + DAY),
            PathError::OcspFuture(Role::Merchant),
        ),
        (
            "unknown",
            || {
                let brand = &world().first;
                let responder = responder(&brand.merchant_ca, brand);
                answer(&responder, &request(Some(NONCE)), Status::Unknown)
            },
            PathError::OcspUnknown(Role::Merchant),
        ),
    ];
    for (name, make, expected) in rows {
        let refused = check(&world().verifier(), &make());
        assert_eq!(refused, Err(expected), "{name}");
    }
}
