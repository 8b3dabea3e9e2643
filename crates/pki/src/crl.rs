//! One CA's list of revoked certificates.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use openset_jose::Thumbprint;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};

use crate::Certificate;
use crate::authority::{RevocationReason, Revoked};
use crate::oid;
use crate::reading::is_sha256_with_rsa;
use crate::signature::SignatureCheck;

/// The most bytes that a CRL has: about 25,000 revoked certificates.
pub const CRL_BYTES_MAX: usize = 1024 * 1024;

/// A complete CRL of version 2, parsed once; clones share it. That it is genuine only
/// [`crate::PathVerifier::install_crl`] finds out.
#[derive(Clone)]
pub struct Crl(Arc<Fields>);

struct Fields {
    der: Vec<u8>,
    issuer_der: Vec<u8>,
    authority_key_identifier: Option<Vec<u8>>,
    number: u64,
    this_update: i64,
    next_update: i64,
    serials: Vec<Vec<u8>>,
    list: CertRevocationList<'static>,
}

/// Why bytes are not a CRL of the profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// More bytes than [`CRL_BYTES_MAX`].
    #[error("a CRL has at most {CRL_BYTES_MAX} bytes")]
    TooLarge,
    /// Not one DER CRL.
    #[error("expected one X.509 CRL in DER and nothing after it")]
    Malformed,
    /// Another signature algorithm than RSA PKCS#1 v1.5 with SHA-256.
    #[error("CRLs are signed with sha256WithRSAEncryption alone")]
    SignatureAlgorithm,
    /// No `cRLNumber`, or one beyond 64 bits.
    #[error("a CRL needs a cRLNumber of at most 64 bits")]
    Number,
    /// No `nextUpdate`, or one that is not after `thisUpdate`.
    #[error("a CRL needs a nextUpdate after its thisUpdate")]
    NextUpdate,
    /// An extension that stands there twice.
    #[error("the CRL has an extension twice")]
    DoubledExtension,
    /// An issuingDistributionPoint: the CRL may be about some certificates only.
    #[error("the CRL is about some certificates only: a complete one is needed")]
    Partial,
    /// A rule of RFC 5280 that the path library finds broken.
    #[error("the CRL breaks a rule of RFC 5280: {0}")]
    Refused(String),
}

impl Crl {
    /// Reads one complete CRL.
    pub fn from_der(der: &[u8]) -> Result<Self, CrlError> {
        if der.len() > CRL_BYTES_MAX {
            return Err(CrlError::TooLarge);
        }
        let (rest, parsed) =
            CertificateRevocationList::from_der(der).map_err(|_| CrlError::Malformed)?;
        if !rest.is_empty() {
            return Err(CrlError::Malformed);
        }
        if !is_sha256_with_rsa(&parsed.signature_algorithm)
            || parsed.signature_algorithm != parsed.tbs_cert_list.signature
        {
            return Err(CrlError::SignatureAlgorithm);
        }
        let this_update = parsed.last_update().timestamp();
        let next_update = parsed
            .next_update()
            .ok_or(CrlError::NextUpdate)?
            .timestamp();
        if next_update <= this_update {
            return Err(CrlError::NextUpdate);
        }
        let number = number(parsed.extensions())?;
        let list = OwnedCertRevocationList::from_der(der)
            .map_err(|error| CrlError::Refused(error.to_string()))?;
        let list = CertRevocationList::Owned(list);
        if list.issuing_distribution_point().is_some() {
            return Err(CrlError::Partial);
        }
        Ok(Self(Arc::new(Fields {
            der: der.to_vec(),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            authority_key_identifier: authority_key_identifier(parsed.extensions()),
            number,
            this_update,
            next_update,
            serials: parsed
                .iter_revoked_certificates()
                .map(|line| line.raw_serial().to_vec())
                .collect(),
            list,
        })))
    }

    /// The CRL's DER, as it was read.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// SHA-256 of the DER.
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of(&self.0.der)
    }

    /// The issuer's name, DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.issuer_der
    }

    /// The key identifier in authorityKeyIdentifier: which of two CAs of one name made it.
    pub(crate) fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.0.authority_key_identifier.as_deref()
    }

    /// `cRLNumber`: each CRL of a CA has a higher one than the last.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// When it was made, in seconds since 1970.
    pub fn this_update(&self) -> i64 {
        self.0.this_update
    }

    /// When it stops being good, in seconds since 1970.
    pub fn next_update(&self) -> i64 {
        self.0.next_update
    }

    /// Whether the certificate with this serial number is revoked.
    pub fn revokes(&self, serial: &[u8]) -> bool {
        // The list was read to its end when it was parsed, so a look-up cannot fail; if it did, the
        // certificate would not be trusted.
        self.0
            .list
            .find_serial(serial)
            .map_or(true, |line| line.is_some())
    }

    /// The serial numbers of the revoked certificates.
    pub fn revoked_serials(&self) -> &[Vec<u8>] {
        &self.0.serials
    }

    /// Its lines, in their order; a reason that the profile does not have counts as unspecified.
    pub fn revoked(&self) -> Vec<Revoked> {
        let Ok((_, parsed)) = CertificateRevocationList::from_der(self.der()) else {
            return Vec::new();
        };
        let line = |line: &RevokedCertificate<'_>| Revoked {
            serial: line.raw_serial().to_vec(),
            at: line.revocation_date.timestamp(),
            reason: reason(line.reason_code().map_or(0, |(_, code)| code.0)),
        };
        parsed.iter_revoked_certificates().map(line).collect()
    }

    /// Whether it has this CA's name and its key's signature, whatever its dates and the CA's: for lists that were
    /// kept. Lists that are to count are judged by [`crate::PathVerifier::install_crl`].
    pub fn is_signed_by(&self, issuer: &Certificate) -> bool {
        self.issuer_der() == issuer.subject_der() && SignatureCheck::default().crl(self, issuer)
    }

    pub(crate) fn as_webpki(&self) -> &CertRevocationList<'static> {
        &self.0.list
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crl")
            .field("number", &self.0.number)
            .field("next_update", &self.0.next_update)
            .field("revoked", &self.0.serials.len())
            .finish_non_exhaustive()
    }
}

/// The reason of this number (RFC 5280, 5.3.1).
fn reason(code: u8) -> RevocationReason {
    match code {
        1 => RevocationReason::KeyCompromise,
        2 => RevocationReason::CaCompromise,
        3 => RevocationReason::AffiliationChanged,
        4 => RevocationReason::Superseded,
        5 => RevocationReason::CessationOfOperation,
        9 => RevocationReason::PrivilegeWithdrawn,
        _ => RevocationReason::Unspecified,
    }
}

fn authority_key_identifier(extensions: &[X509Extension<'_>]) -> Option<Vec<u8>> {
    let extension = extensions
        .iter()
        .find(|extension| oid::is(&extension.oid, oid::AUTHORITY_KEY_IDENTIFIER))?;
    match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => {
            identifier.key_identifier.as_ref().map(|id| id.0.to_vec())
        }
        _ => None,
    }
}

/// The cRLNumber, after making sure that no extension stands there twice.
fn number(extensions: &[X509Extension<'_>]) -> Result<u64, CrlError> {
    let mut seen = HashSet::with_capacity(extensions.len());
    if !extensions
        .iter()
        .all(|extension| seen.insert(extension.oid.as_bytes()))
    {
        return Err(CrlError::DoubledExtension);
    }
    let extension = extensions
        .iter()
        .find(|extension| oid::is(&extension.oid, oid::CRL_NUMBER))
        .ok_or(CrlError::Number)?;
    match extension.parsed_extension() {
        ParsedExtension::CRLNumber(number) => u64::try_from(number).map_err(|_| CrlError::Number),
        _ => Err(CrlError::Number),
    }
}
