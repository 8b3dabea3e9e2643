//! The certificates that an applicant has already: the one that is renewed, and the one that signs for a
//! key-exchange key alone (reference section 2, "CA on CertReq", 2).
//!
//! Each must verify now, as any other certificate, be of the registration's brand and the applicant's role,
//! and name this very applicant. What fails of that before the name is CertRes with sigValidationFail.

use super::checks::{Checked, Complaint};
use crate::Rejection;
use crate::Timestamp;
use crate::ca::{Applicant, AwaitingCertReq, Request};
use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::{Credentials, names_party};
use crate::ids::ExactBytes;
use crate::messages::cert::{CertReqData, CertStatusCode, RenewalData};
use crate::signed::{Expected, Signer, Verified, Who, verify, verify_chain};
use crate::wrapper::Jws;
use openset_jose::Thumbprint;
use openset_pki::{Certificate, Expect, PathVerifier, Purpose};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What the applicant has shown that it has.
#[derive(Debug)]
pub(super) struct Held {
    /// The certificate: the one that is renewed, or the one that signs for a key-exchange key alone.
    pub(super) certificate: Certificate,
    /// The signature certificate that signs.
    pub(super) signer: Certificate,
}

impl Held {
    fn signs(certificate: Certificate) -> Self {
        Self {
            signer: certificate.clone(),
            certificate,
        }
    }

    /// Its thumbprint, by which the bank is told.
    pub(super) fn thumbprint(&self) -> Thumbprint {
        self.certificate.thumbprint()
    }

    /// Every certificate that was shown.
    pub(super) fn shown(&self) -> Vec<Shown> {
        let mut all = vec![Shown::from(&self.certificate)];
        if self.signer != self.certificate {
            all.push(Shown::from(&self.signer));
        }
        all
    }
}

/// A certificate that an applicant has shown. It must be unrevoked still when it leads to new ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// Its serial number.
    pub serial: ExactBytes,
    /// Its thumbprint.
    pub thumbprint: Thumbprint,
}

impl From<&Certificate> for Shown {
    fn from(certificate: &Certificate) -> Self {
        Self {
            serial: ExactBytes(certificate.serial().to_vec()),
            thumbprint: certificate.thumbprint(),
        }
    }
}

/// Where a signature by a certificate belongs.
pub(super) struct Scene<'a> {
    pub(super) now: Timestamp,
    pub(super) ca: &'a Credentials,
    pub(super) request: &'a Request,
    pub(super) session: &'a AwaitingCertReq,
    pub(super) verifier: &'a PathVerifier,
}

impl Scene<'_> {
    fn verify<T: DeserializeOwned>(&self, jws: &Jws, content: ContentType) -> Checked<Verified<T>> {
        let expected = Expected {
            content,
            signer: Signer {
                role: self.session.request_type.role(),
                brand: Some(&self.session.brand_id),
            },
            to: Who::Certificate(self.ca.key_exchange.thumbprint()),
            message: "CertReq",
            rrpid: self.request.rrpid()?,
            answers: None,
            thumbs: None,
        };
        match verify(jws, &expected, self.verifier, self.now) {
            Ok(verified) => {
                self.request.wrapper.check_signed_date(verified.date)?;
                self.check_applicant(&verified.certificate)?;
                Ok(Ok(verified))
            }
            Err(error) => fails(error),
        }
    }

    /// The certificate names the applicant as the registration does. What a cardholder's certificate names
    /// is seen once the account data are open.
    fn check_applicant(&self, certificate: &Certificate) -> Result<(), Rejection> {
        match &self.session.applicant {
            Applicant::Party { id_data, .. } if !names_party(certificate, id_data) => {
                Err(Rejection::AnotherParty("applicant"))
            }
            _ => Ok(()),
        }
    }
}

/// A signature or certificate that does not hold is told in CertRes; all else is refused.
fn fails<T>(error: Rejection) -> Checked<T> {
    let text = match &error {
        Rejection::Unauthentic => {
            "The signature does not verify with the certificate that the applicant has.".to_owned()
        }
        Rejection::Certificate(path) => format!("The certificate that the applicant has: {path}."),
        _ => return Err(error),
    };
    let code = CertStatusCode::SigValidationFail;
    Ok(Err(Complaint::new(code, &text)))
}

/// CertReq's data, signed with the certificate that the applicant has.
pub(super) fn signer(scene: &Scene<'_>, jws: &Jws) -> Checked<(CertReqData, Held)> {
    let verified = scene.verify::<CertReqData>(jws, ContentType::CertReqData)?;
    Ok(verified.map(|verified| {
        let held = Held::signs(verified.certificate);
        (verified.data, held)
    }))
}

/// The second signature: over the first, by the certificate that is renewed.
pub(super) fn second_signature(scene: &Scene<'_>, jws: &Jws, cert_req: Digest) -> Checked<Held> {
    match scene.verify::<RenewalData>(jws, ContentType::RenewalData)? {
        Ok(verified) if verified.data.cert_req != cert_req => {
            Err(Rejection::DigestMismatch("cert_req"))
        }
        Ok(verified) => Ok(Ok(Held::signs(verified.certificate))),
        Err(complaint) => Ok(Err(complaint)),
    }
}

/// The key-exchange certificate that is renewed alone, of the party whose signature certificate signs.
pub(super) fn key_exchange(scene: &Scene<'_>, chain: &[ExactBytes], signer: Held) -> Checked<Held> {
    let expect = Expect {
        role: scene.session.request_type.role(),
        purpose: Purpose::KeyExchange,
        brand: Some(&scene.session.brand_id),
    };
    let certificate = match verify_chain(chain, &expect, scene.verifier, scene.now) {
        Ok(certificate) => certificate,
        Err(error) => return fails(error),
    };
    scene.check_applicant(&certificate)?;
    Ok(Ok(Held {
        certificate,
        signer: signer.signer,
    }))
}

/// The certificate that is renewed is the one that the first signature names.
pub(super) fn check_thumb(data: &CertReqData, held: Option<&Held>) -> Result<(), Rejection> {
    match (&data.ee_thumb, held) {
        (None, _) => Ok(()),
        (Some(named), Some(held)) if *named == held.thumbprint() => Ok(()),
        (Some(_), _) => Err(Rejection::DigestMismatch("ee_thumb")),
    }
}
