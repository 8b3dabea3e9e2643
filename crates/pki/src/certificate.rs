//! A certificate that fits SET's profile.

use std::fmt;
use std::sync::Arc;

use openset_jose::{KeyError, Provider, PublicKey, Thumbprint, default_provider};
use rustls_pki_types::CertificateDer;

use crate::name::Name;
use crate::{BrandId, BrandIdError, MerchantData, Purpose, Role, reading};

/// The most bytes that a certificate's DER has.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;

/// A certificate that fits the profile, parsed once; clones share it. Equal when the DER is.
///
/// That it fits says nothing of who signed it: for that there is [`crate::PathVerifier`].
#[derive(Clone)]
pub struct Certificate(Arc<Fields>);

/// What is read from a certificate.
#[derive(Clone)]
pub(crate) struct Fields {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) thumbprint: Thumbprint,
    pub(crate) public_key: PublicKey,
    pub(crate) key_thumbprint: Thumbprint,
    pub(crate) key_identifier: Option<Vec<u8>>,
    pub(crate) authority_key_identifier: Option<Vec<u8>>,
    pub(crate) role: Role,
    pub(crate) purpose: Purpose,
    pub(crate) path_len: Option<u32>,
    pub(crate) brand: Option<BrandId>,
    pub(crate) name: Name,
    pub(crate) subject_der: Vec<u8>,
    pub(crate) issuer_der: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) merchant_data: Option<MerchantData>,
    pub(crate) card_cert_required: Option<bool>,
    pub(crate) hashed_root_key: Option<Thumbprint>,
}

/// Why bytes are not a certificate, or not a chain of certificates, of the profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// More bytes than [`CERTIFICATE_BYTES_MAX`].
    #[error("a certificate has at most {CERTIFICATE_BYTES_MAX} bytes")]
    TooLarge,
    /// Not PEM with one CERTIFICATE block.
    #[error("expected PEM with one CERTIFICATE block")]
    Pem,
    /// Not one DER certificate.
    #[error("expected one X.509 certificate in DER and nothing after it")]
    Malformed,
    /// Another version than 3.
    #[error("expected an X.509 certificate of version 3")]
    Version,
    /// Another signature algorithm than RSA PKCS#1 v1.5 with SHA-256.
    #[error("certificates are signed with sha256WithRSAEncryption alone")]
    SignatureAlgorithm,
    /// A serial number that is not a positive integer of at most 20 bytes.
    #[error("a serial number is a positive integer of at most 20 bytes")]
    Serial,
    /// `notBefore` after `notAfter`.
    #[error("the certificate's validity ends before it begins")]
    Validity,
    /// An `issuerUniqueID` or `subjectUniqueID`.
    #[error("unique identifiers are not used")]
    UniqueIdentifier,
    /// A name that is not made of C, O, OU and CN, each at most once.
    #[error("a name in the certificate is not of the profile: {0}")]
    Name(&'static str),
    /// An O that is not a brand's name.
    #[error("the certificate's O is not the name of a brand")]
    Brand(#[from] BrandIdError),
    /// A public key that is not an RSA key of the accepted sizes.
    #[error("the certificate's public key is not acceptable")]
    Key(#[from] KeyError),
    /// An extension that stands there twice.
    #[error("the certificate has an extension twice")]
    DoubledExtension,
    /// A critical extension other than keyUsage and basicConstraints.
    #[error("the certificate has a critical extension that is not known here: {0}")]
    UnknownCriticalExtension(String),
    /// An extension that the role needs is not there.
    #[error("the certificate lacks the extension {0}")]
    MissingExtension(&'static str),
    /// An extension whose content, or whose being critical, is not of the profile.
    #[error("the certificate's extension {0} is not of the profile")]
    MalformedExtension(&'static str),
    /// An extension that is another role's or purpose's.
    #[error("the extension {extension} does not belong in a {purpose} certificate of a {role}")]
    MisplacedExtension {
        /// The extension.
        extension: &'static str,
        /// The certificate's role.
        role: Role,
        /// The certificate's purpose.
        purpose: Purpose,
    },
    /// A `certificateType` that does not name exactly one role.
    #[error("certificateType must name exactly one role")]
    CertificateType,
    /// A `keyUsage` that is not exactly one purpose.
    #[error("keyUsage must be exactly one of signature, key exchange and certificate signing")]
    KeyUsage,
    /// A `basicConstraints` that contradicts `keyUsage`.
    #[error("basicConstraints must say CA if, and only if, keyUsage is certificate signing")]
    BasicConstraints,
    /// A purpose that the role does not have.
    #[error("a {role} has no {purpose} certificate")]
    RolePurpose {
        /// The certificate's role.
        role: Role,
        /// The certificate's purpose.
        purpose: Purpose,
    },
    /// An `extKeyUsage` that is not the role's.
    #[error("extKeyUsage must be the one of the role {0}, and a CA has none")]
    ExtendedKeyUsage(Role),
    /// A chain without a certificate.
    #[error("a chain needs at least the leaf's certificate")]
    EmptyChain,
    /// A chain with more certificates than [`crate::CHAIN_LENGTH_MAX`].
    #[error("a chain has at most {} certificates", crate::CHAIN_LENGTH_MAX)]
    ChainTooLong,
    /// A root's certificate inside a chain.
    #[error("a chain ends below the root: leave the root's certificate out")]
    RootInChain,
}

impl Certificate {
    /// Reads one certificate and checks it against the profile; its key is held by the default provider.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        Self::from_der_with(default_provider(), der)
    }

    /// As [`Self::from_der`], with the provider that is to hold the public key.
    pub fn from_der_with(
        provider: &'static dyn Provider,
        der: &[u8],
    ) -> Result<Self, CertificateError> {
        reading::read(provider, der).map(|fields| Self(Arc::new(fields)))
    }

    /// Reads PEM with exactly one CERTIFICATE block.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        Self::from_der(&der_of_pem(pem)?)
    }

    /// The same certificate with its public key held by `provider`.
    pub(crate) fn held_by(
        &self,
        provider: &'static dyn Provider,
    ) -> Result<Self, CertificateError> {
        if self.0.public_key.provider().name() == provider.name() {
            return Ok(self.clone());
        }
        let public_key = provider.public_key_from_spki(self.0.public_key.spki_der())?;
        let fields = Fields {
            public_key,
            ..Fields::clone(&self.0)
        };
        Ok(Self(Arc::new(fields)))
    }

    /// The certificate's DER, as it was read.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    pub(crate) fn as_pki_type(&self) -> &CertificateDer<'static> {
        &self.0.der
    }

    /// The certificate as PEM.
    pub fn to_pem(&self) -> String {
        pem::encode_config(
            &pem::Pem::new("CERTIFICATE", self.der()),
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        )
    }

    /// SHA-256 of the whole DER: `x5t#S256`.
    pub fn thumbprint(&self) -> Thumbprint {
        self.0.thumbprint
    }

    /// The owner's key.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    /// SHA-256 of the owner's SPKI.
    pub fn key_thumbprint(&self) -> Thumbprint {
        self.0.key_thumbprint
    }

    /// subjectKeyIdentifier.
    pub fn key_identifier(&self) -> Option<&[u8]> {
        self.0.key_identifier.as_deref()
    }

    /// The key identifier in authorityKeyIdentifier: which of two CAs of one name issued it.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.0.authority_key_identifier.as_deref()
    }

    /// The owner's role.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// What the key is for.
    pub fn purpose(&self) -> Purpose {
        self.0.purpose
    }

    /// Whether this is a CA's certificate, with which it issues.
    pub fn is_authority(&self) -> bool {
        self.0.purpose == Purpose::CertificateSigning
    }

    /// How many CAs may stand below this one on a path, if it says so.
    pub fn path_len(&self) -> Option<u32> {
        self.0.path_len
    }

    /// The brand: the subject's O. None for the root alone.
    pub fn brand(&self) -> Option<&BrandId> {
        self.0.brand.as_ref()
    }

    /// The subject's C.
    pub fn country(&self) -> Option<&str> {
        self.0.name.country.as_deref()
    }

    /// The subject's OU: for an end entity its bank.
    pub fn organizational_unit(&self) -> Option<&str> {
        self.0.name.organizational_unit.as_deref()
    }

    /// The subject's CN: for a cardholder the pseudonym of its account.
    pub fn common_name(&self) -> &str {
        self.0.name.common_name.as_deref().unwrap_or_default()
    }

    /// The serial number: the content of the DER INTEGER, which a CRL lists.
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// The first second of its validity, since 1970.
    pub fn not_before(&self) -> i64 {
        self.0.not_before
    }

    /// The last second of its validity, since 1970.
    pub fn not_after(&self) -> i64 {
        self.0.not_after
    }

    /// Who the merchant is; for a merchant, and for it alone.
    pub fn merchant_data(&self) -> Option<&MerchantData> {
        self.0.merchant_data.as_ref()
    }

    /// Whether the gateway refuses unsigned purchases; in a gateway's key-exchange certificate alone.
    pub fn card_cert_required(&self) -> Option<bool> {
        self.0.card_cert_required
    }

    /// SHA-256 of the next root's SPKI; for a root, and for it alone.
    pub fn hashed_root_key(&self) -> Option<Thumbprint> {
        self.0.hashed_root_key
    }

    /// The subject's name, DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.0.subject_der
    }

    /// The issuer's name, DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.issuer_der
    }
}

/// The DER in a PEM text with exactly one CERTIFICATE block.
pub(crate) fn der_of_pem(pem: &str) -> Result<Vec<u8>, CertificateError> {
    let blocks = pem::parse_many(pem).map_err(|_| CertificateError::Pem)?;
    match <[pem::Pem; 1]>::try_from(blocks) {
        Ok([block]) if block.tag() == "CERTIFICATE" => Ok(block.into_contents()),
        _ => Err(CertificateError::Pem),
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("role", &self.role())
            .field("purpose", &self.purpose())
            .field("brand", &self.brand().map(BrandId::as_str))
            .field("thumbprint", &self.thumbprint())
            .finish_non_exhaustive()
    }
}
