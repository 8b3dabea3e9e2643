//! Reads a certificate and checks it against the profile.

use std::collections::HashSet;

use openset_jose::{Provider, Thumbprint};
use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{KeyUsage, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AlgorithmIdentifier, X509Version};

use crate::certificate::{CERTIFICATE_BYTES_MAX, CertificateError, Fields};
use crate::name::Name;
use crate::{BrandId, MerchantData, Purpose, Role, der, extensions, oid};

/// The longest serial number (RFC 5280 section 4.1.2.2).
const SERIAL_BYTES_MAX: usize = 20;

/// Reads one certificate of the profile.
pub(crate) fn read(
    provider: &'static dyn Provider,
    der: &[u8],
) -> Result<Fields, CertificateError> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::TooLarge);
    }
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    if !rest.is_empty() {
        return Err(CertificateError::Malformed);
    }
    check_frame(&parsed)?;
    let extensions = Extensions::of(&parsed)?;
    let role = extensions.role()?;
    let purpose = extensions.purpose()?;
    if !role.holds(purpose) {
        return Err(CertificateError::RolePurpose { role, purpose });
    }
    let path_len = extensions.path_len(purpose)?;
    extensions.check_usage(role, purpose)?;
    extensions.check_no_check(role, purpose)?;
    let set = extensions.set_content(role, purpose)?;
    let name = Name::read(&parsed.subject)?;
    Name::read(&parsed.issuer)?;
    let public_key = provider.public_key_from_spki(parsed.subject_pki.raw)?;
    Ok(Fields {
        der: CertificateDer::from(der.to_vec()),
        thumbprint: Thumbprint::of(der),
        key_thumbprint: public_key.thumbprint(),
        public_key,
        key_identifier: extensions.key_identifier()?,
        authority_key_identifier: extensions.authority_key_identifier()?,
        role,
        purpose,
        path_len,
        brand: brand(role, &name)?,
        name,
        subject_der: parsed.subject.as_raw().to_vec(),
        issuer_der: parsed.issuer.as_raw().to_vec(),
        serial: serial(&parsed)?,
        not_before: parsed.validity.not_before.timestamp(),
        not_after: parsed.validity.not_after.timestamp(),
        merchant_data: set.merchant_data,
        card_cert_required: set.card_cert_required,
        hashed_root_key: set.hashed_root_key,
    })
}

/// What every certificate has in common.
fn check_frame(parsed: &X509Certificate<'_>) -> Result<(), CertificateError> {
    if parsed.version != X509Version::V3 {
        return Err(CertificateError::Version);
    }
    if !is_sha256_with_rsa(&parsed.signature_algorithm)
        || parsed.signature_algorithm != parsed.signature
    {
        return Err(CertificateError::SignatureAlgorithm);
    }
    if parsed.issuer_uid.is_some() || parsed.subject_uid.is_some() {
        return Err(CertificateError::UniqueIdentifier);
    }
    if parsed.validity.not_before.timestamp() > parsed.validity.not_after.timestamp() {
        return Err(CertificateError::Validity);
    }
    Ok(())
}

/// RFC 4055 section 5: sha256WithRSAEncryption with NULL parameters.
pub(crate) fn is_sha256_with_rsa(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let null = algorithm
        .parameters
        .as_ref()
        .is_some_and(|p| p.tag() == Tag::Null && p.data.is_empty());
    null && oid::is(&algorithm.algorithm, oid::SHA256_WITH_RSA)
}

fn serial(parsed: &X509Certificate<'_>) -> Result<Vec<u8>, CertificateError> {
    let serial = parsed.raw_serial();
    let magnitude = serial.strip_prefix(&[0]).unwrap_or(serial);
    let negative = serial.first().is_none_or(|&first| first >= 0x80);
    if negative || magnitude.is_empty() || magnitude.len() > SERIAL_BYTES_MAX {
        return Err(CertificateError::Serial);
    }
    Ok(serial.to_vec())
}

/// Set-reference section 1: O is the brand in every certificate below the root.
fn brand(role: Role, name: &Name) -> Result<Option<BrandId>, CertificateError> {
    if name.common_name.is_none() {
        return Err(CertificateError::Name("the subject has no CN"));
    }
    match (role, &name.organization) {
        (Role::RootCa, _) => Ok(None),
        (_, Some(organization)) => Ok(Some(BrandId::new(organization.as_str())?)),
        (_, None) => Err(CertificateError::Name(
            "the subject has no O, which is the brand",
        )),
    }
}

/// The content of an extKeyUsage that names this usage alone.
fn only_usage(usage: &[u8]) -> Vec<u8> {
    der::sequence(&[der::value(der::OBJECT_IDENTIFIER, usage)])
}

/// The extensions of a certificate, none of them twice.
struct Extensions<'a> {
    all: &'a [X509Extension<'a>],
}

/// The content of SET's own extensions, as far as the role has them.
struct SetContent {
    merchant_data: Option<MerchantData>,
    card_cert_required: Option<bool>,
    hashed_root_key: Option<Thumbprint>,
}

impl<'a> Extensions<'a> {
    /// Which of two extensions counts is for nobody to decide, so none may stand there twice; and nothing
    /// critical is passed over.
    fn of(parsed: &'a X509Certificate<'a>) -> Result<Self, CertificateError> {
        let all = parsed.extensions();
        let mut seen = HashSet::with_capacity(all.len());
        for extension in all {
            if !seen.insert(extension.oid.as_bytes()) {
                return Err(CertificateError::DoubledExtension);
            }
            let known = oid::is(&extension.oid, oid::KEY_USAGE)
                || oid::is(&extension.oid, oid::BASIC_CONSTRAINTS);
            if extension.critical && !known {
                return Err(CertificateError::UnknownCriticalExtension(
                    extension.oid.to_id_string(),
                ));
            }
        }
        Ok(Self { all })
    }

    fn find(&self, arcs: &[u64]) -> Option<&'a X509Extension<'a>> {
        self.all
            .iter()
            .find(|extension| oid::is(&extension.oid, arcs))
    }

    fn role(&self) -> Result<Role, CertificateError> {
        let extension = self
            .find(oid::CERTIFICATE_TYPE)
            .ok_or(CertificateError::MissingExtension("certificateType"))?;
        extensions::decode_certificate_type(extension.value)
            .ok_or(CertificateError::CertificateType)
    }

    fn purpose(&self) -> Result<Purpose, CertificateError> {
        /// The bits of keyUsage (RFC 5280 section 4.2.1.3) as x509-parser numbers them.
        const DIGITAL_SIGNATURE: u16 = 1;
        const KEY_ENCIPHERMENT: u16 = 1 << 2;
        const KEY_CERT_SIGN_AND_CRL_SIGN: u16 = 1 << 5 | 1 << 6;
        let extension = self
            .find(oid::KEY_USAGE)
            .ok_or(CertificateError::MissingExtension("keyUsage"))?;
        let ParsedExtension::KeyUsage(KeyUsage { flags }) = extension.parsed_extension() else {
            return Err(CertificateError::MalformedExtension("keyUsage"));
        };
        if !extension.critical {
            return Err(CertificateError::MalformedExtension("keyUsage"));
        }
        match *flags {
            DIGITAL_SIGNATURE if self.is_for_ocsp_alone() => Ok(Purpose::OcspSigning),
            DIGITAL_SIGNATURE => Ok(Purpose::Signature),
            KEY_ENCIPHERMENT => Ok(Purpose::KeyExchange),
            KEY_CERT_SIGN_AND_CRL_SIGN => Ok(Purpose::CertificateSigning),
            _ => Err(CertificateError::KeyUsage),
        }
    }

    fn path_len(&self, purpose: Purpose) -> Result<Option<u32>, CertificateError> {
        let extension = self
            .find(oid::BASIC_CONSTRAINTS)
            .ok_or(CertificateError::MissingExtension("basicConstraints"))?;
        let ParsedExtension::BasicConstraints(constraints) = extension.parsed_extension() else {
            return Err(CertificateError::MalformedExtension("basicConstraints"));
        };
        let misplaced_length = constraints.path_len_constraint.is_some() && !constraints.ca;
        if !extension.critical || misplaced_length {
            return Err(CertificateError::MalformedExtension("basicConstraints"));
        }
        if constraints.ca != (purpose == Purpose::CertificateSigning) {
            return Err(CertificateError::BasicConstraints);
        }
        Ok(constraints.path_len_constraint)
    }

    fn is_for_ocsp_alone(&self) -> bool {
        let extension = self.find(oid::EXTENDED_KEY_USAGE);
        extension.is_some_and(|extension| extension.value == only_usage(oid::OCSP_SIGNING_DER))
    }

    /// A responder's certificate says that nobody need ask about it (RFC 6960 section 4.2.2.2.1), and no other does.
    fn check_no_check(&self, role: Role, purpose: Purpose) -> Result<(), CertificateError> {
        const NULL: &[u8] = &[5, 0];
        const NAME: &str = "id-pkix-ocsp-nocheck";
        match (self.find(oid::OCSP_NO_CHECK), purpose) {
            (None, Purpose::OcspSigning) => Err(CertificateError::MissingExtension(NAME)),
            (Some(found), Purpose::OcspSigning) if found.value != NULL => {
                Err(CertificateError::MalformedExtension(NAME))
            }
            (None, _) | (Some(_), Purpose::OcspSigning) => Ok(()),
            (Some(_), _) => Err(CertificateError::MisplacedExtension {
                extension: NAME,
                role,
                purpose,
            }),
        }
    }

    /// A certificate for messages has its role's extKeyUsage and no other, a responder's that for OCSP and no other; a
    /// CA's has none, since one would limit what it may issue.
    fn check_usage(&self, role: Role, purpose: Purpose) -> Result<(), CertificateError> {
        let found = self.find(oid::EXTENDED_KEY_USAGE);
        let expected = match purpose {
            Purpose::Signature | Purpose::KeyExchange => {
                Some(only_usage(oid::role_usage_der(role)))
            }
            Purpose::OcspSigning => Some(only_usage(oid::OCSP_SIGNING_DER)),
            Purpose::CertificateSigning => None,
        };
        if found.map(|extension| extension.value) == expected.as_deref() {
            Ok(())
        } else {
            Err(CertificateError::ExtendedKeyUsage(role))
        }
    }

    fn set_content(&self, role: Role, purpose: Purpose) -> Result<SetContent, CertificateError> {
        let is_merchant = role == Role::Merchant;
        let is_gateway_key_exchange = role == Role::Gateway && purpose == Purpose::KeyExchange;
        let content = |arcs, name, decoded_here: bool| match self.find(arcs) {
            Some(_) if !decoded_here => Err(CertificateError::MisplacedExtension {
                extension: name,
                role,
                purpose,
            }),
            found => Ok(found.map(|extension| extension.value)),
        };
        let merchant_data = content(oid::MERCHANT_DATA, "merchantData", is_merchant)?
            .map(|value| {
                MerchantData::decode(value)
                    .ok_or(CertificateError::MalformedExtension("merchantData"))
            })
            .transpose()?;
        let card_cert_required = content(
            oid::CARD_CERT_REQUIRED,
            "cardCertRequired",
            is_gateway_key_exchange,
        )?
        .map(|value| {
            extensions::decode_card_cert_required(value)
                .ok_or(CertificateError::MalformedExtension("cardCertRequired"))
        })
        .transpose()?;
        let hashed_root_key = content(oid::HASHED_ROOT_KEY, "hashedRootKey", role == Role::RootCa)?
            .map(|value| {
                extensions::decode_hashed_root_key(value)
                    .ok_or(CertificateError::MalformedExtension("hashedRootKey"))
            })
            .transpose()?;
        match role {
            Role::Merchant if merchant_data.is_none() => {
                Err(CertificateError::MissingExtension("merchantData"))
            }
            Role::RootCa if hashed_root_key.is_none() => {
                Err(CertificateError::MissingExtension("hashedRootKey"))
            }
            _ => Ok(SetContent {
                merchant_data,
                card_cert_required,
                hashed_root_key,
            }),
        }
    }

    fn key_identifier(&self) -> Result<Option<Vec<u8>>, CertificateError> {
        let Some(extension) = self.find(oid::SUBJECT_KEY_IDENTIFIER) else {
            return Ok(None);
        };
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Ok(Some(identifier.0.to_vec())),
            _ => Err(CertificateError::MalformedExtension("subjectKeyIdentifier")),
        }
    }

    fn authority_key_identifier(&self) -> Result<Option<Vec<u8>>, CertificateError> {
        let Some(extension) = self.find(oid::AUTHORITY_KEY_IDENTIFIER) else {
            return Ok(None);
        };
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                Ok(identifier.key_identifier.as_ref().map(|id| id.0.to_vec()))
            }
            _ => Err(CertificateError::MalformedExtension(
                "authorityKeyIdentifier",
            )),
        }
    }
}
