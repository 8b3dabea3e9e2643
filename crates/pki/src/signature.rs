//! Checks and counts the signatures of certificates, CRLs and BrandCRLIdentifiers.

use std::sync::atomic::{AtomicU64, Ordering};

use openset_jose::Operation;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::{BrandCrlIdentifier, Certificate, Crl};

/// RSA PKCS#1 v1.5 with SHA-256, the one algorithm of the profile, and how often it was run.
#[derive(Debug, Default)]
pub(crate) struct SignatureCheck {
    run: AtomicU64,
}

impl SignatureCheck {
    /// How many signatures were checked.
    pub(crate) fn count(&self) -> u64 {
        self.run.load(Ordering::Relaxed)
    }

    /// Whether `issuer`'s key signed `certificate`.
    pub(crate) fn certificate(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate.der()) else {
            return false;
        };
        self.signed_by(
            issuer,
            parsed.tbs_certificate.as_ref(),
            &parsed.signature_value.data,
        )
    }

    /// Whether `issuer`'s key signed `crl`.
    pub(crate) fn crl(&self, crl: &Crl, issuer: &Certificate) -> bool {
        let Ok((_, parsed)) = CertificateRevocationList::from_der(crl.der()) else {
            return false;
        };
        self.signed_by(
            issuer,
            parsed.tbs_cert_list.as_ref(),
            &parsed.signature_value.data,
        )
    }

    /// Whether `issuer`'s key signed `bci`.
    pub(crate) fn brand_crl_identifier(
        &self,
        bci: &BrandCrlIdentifier,
        issuer: &Certificate,
    ) -> bool {
        bci.signed_parts()
            .is_some_and(|(tbs, signature)| self.signed_by(issuer, tbs, signature))
    }

    /// Whether the key of these bits signed `message`.
    pub(crate) fn by_key(&self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.verify_signature(key, message, signature).is_ok()
    }

    pub(crate) fn signed_by(&self, issuer: &Certificate, message: &[u8], signature: &[u8]) -> bool {
        let key = key_bits(issuer.public_key().spki_der());
        key.is_some_and(|key| self.verify_signature(&key, message, signature).is_ok())
    }
}

/// The `subjectPublicKey` of an SPKI.
pub(crate) fn key_bits(spki_der: &[u8]) -> Option<Vec<u8>> {
    let (_, spki) = SubjectPublicKeyInfo::from_der(spki_der).ok()?;
    Some(spki.subject_public_key.data.into_owned())
}

impl SignatureVerificationAlgorithm for SignatureCheck {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        self.run.fetch_add(1, Ordering::Relaxed);
        // A signature is as long as the modulus.
        Operation::VerifyPkcs1.count(signature.len().saturating_mul(8));
        RSA_PKCS1_2048_8192_SHA256.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        RSA_PKCS1_2048_8192_SHA256.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        RSA_PKCS1_2048_8192_SHA256.signature_alg_id()
    }
}
