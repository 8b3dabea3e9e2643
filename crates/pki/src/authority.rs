//! Issues certificates and CRLs.
//!
//! An [`Authority`] issues only what [`crate::PathVerifier`] would accept from it: for the roles that are its
//! own to issue for, in its own brand, not beyond its own validity. What comes out was read back and fits the
//! profile. Drawing serial numbers, keeping them unique and counting CRLs is the caller's.

mod brand_crl_identifier;
mod certification_request;
mod request;
mod signer;

use openset_jose::{PrivateKey, PublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};

pub use certification_request::{CertificationRequest, CertificationRequestError};
pub use request::{
    IssueAuthority, IssueRequest, RevocationReason, Revoked, Serial, Subject, Validity,
};

use crate::extensions::{
    encode_card_cert_required, encode_certificate_type, encode_hashed_root_key,
};
use crate::{
    BrandCrlIdentifierError, BrandId, CHAIN_LENGTH_MAX, Certificate, CertificateError, Chain, Crl,
    CrlError, MerchantDataError, Purpose, Role, oid,
};
use request::date;
use signer::{Signer, SubjectKey};

/// How many CAs stand below the root at most: brand, regional, issuing.
const ROOT_PATH_LEN: u8 = 3;

/// A CA: its certificate, the chain that leads to the root, and the key that signs.
#[derive(Clone, Debug)]
pub struct Authority {
    certificate: Certificate,
    /// This CA and those above it, without the root; empty for the root.
    chain: Vec<Certificate>,
    key: PrivateKey,
}

/// Why an authority does not issue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// A role or purpose that is not this CA's to issue for.
    #[error(
        "a {issuer} does not issue {purpose} certificates to a {subject}: ask the CA whose task it is"
    )]
    NotMine {
        /// This CA.
        issuer: Role,
        /// For whom.
        subject: Role,
        /// What for.
        purpose: Purpose,
    },
    /// Another brand than this CA's, or none.
    #[error("every certificate below the root names a brand, and that of the CA which issues it")]
    Brand,
    /// A root that names a brand.
    #[error("the root belongs to all brands: leave the brand out of its name")]
    BrandInRoot,
    /// Dates that end before they begin or lie outside 1970 to 9999.
    #[error("dates must lie between 1970 and 9999, and the first before the last")]
    Dates,
    /// A certificate that would outlive its issuer's.
    #[error(
        "the certificate would outlive its issuer's, which ends at {issuer_ends}: ask for a shorter validity"
    )]
    OutlivesIssuer {
        /// The last second of the issuer's validity.
        issuer_ends: i64,
    },
    /// More CAs below than this CA's own certificate allows.
    #[error("this CA's certificate allows no CA below it with that path length")]
    PathLength,
    /// Merchant data that is missing or out of bounds, or that is not a merchant's.
    #[error("merchant data belongs in a merchant's certificates and in no other")]
    MerchantDataMisplaced,
    /// Merchant data out of bounds.
    #[error("the merchant data cannot stand in a certificate")]
    MerchantData(#[from] MerchantDataError),
    /// `cardCertRequired` anywhere but in a gateway's key-exchange certificate.
    #[error("cardCertRequired belongs in a gateway's key-exchange certificate and in no other")]
    CardCertRequiredMisplaced,
    /// A key that is not the one in the certificate.
    #[error("the private key does not belong to the CA's certificate: check which key was loaded")]
    KeyMismatch,
    /// A certificate that is not a CA's, or not of the place it is loaded for.
    #[error("a {0}'s {1} certificate cannot issue here")]
    NotAnAuthority(Role, Purpose),
    /// A public key that cannot be written.
    #[error("the public key is not an RSA key")]
    PublicKey,
    /// What was made does not fit the profile.
    #[error("the certificate would not fit the profile")]
    Certificate(#[from] CertificateError),
    /// The CRL that was made does not fit the profile.
    #[error("the CRL would not fit the profile")]
    Crl(#[from] CrlError),
    /// The BrandCRLIdentifier that was made would not be read.
    #[error("the BrandCRLIdentifier would not be accepted")]
    BrandCrlIdentifier(#[from] BrandCrlIdentifierError),
    /// The certificate library refused.
    #[error("the certificate library refuses: {0}")]
    Library(String),
}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self::Library(error.to_string())
    }
}

impl Authority {
    /// Makes a root, which signs itself. Its certificate holds the digest of the key of the root after it, which
    /// is to be kept offline until then.
    pub fn root(
        key: PrivateKey,
        subject: &Subject,
        validity: Validity,
        serial: Serial,
        next_root_key: &PublicKey,
    ) -> Result<Self, IssueError> {
        if subject.brand.is_some() {
            return Err(IssueError::BrandInRoot);
        }
        let mut params = params(subject.to_name()?, validity, serial, Role::RootCa)?;
        as_authority(&mut params, ROOT_PATH_LEN);
        let next = encode_hashed_root_key(&next_root_key.thumbprint());
        params
            .custom_extensions
            .push(CustomExtension::from_oid_content(
                oid::HASHED_ROOT_KEY,
                next,
            ));
        let certificate = params.self_signed(&Signer::new(&key)?)?;
        Self::root_with_key(Certificate::from_der(certificate.der())?, key)
    }

    /// The root again, from its certificate and key.
    pub fn root_with_key(certificate: Certificate, key: PrivateKey) -> Result<Self, IssueError> {
        if certificate.role() != Role::RootCa {
            return Err(IssueError::NotAnAuthority(
                certificate.role(),
                certificate.purpose(),
            ));
        }
        Self::checked(certificate, Vec::new(), key)
    }

    /// A CA below the root again, from its chain, its own certificate first, and its key.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "cheap to clone, and the authority keeps it"
    )]
    pub fn with_key(chain: Chain, key: PrivateKey) -> Result<Self, IssueError> {
        if chain.certificates().len() >= CHAIN_LENGTH_MAX {
            return Err(CertificateError::ChainTooLong.into());
        }
        Self::checked(chain.leaf().clone(), chain.certificates().to_vec(), key)
    }

    fn checked(
        certificate: Certificate,
        chain: Vec<Certificate>,
        key: PrivateKey,
    ) -> Result<Self, IssueError> {
        if !certificate.is_authority() {
            return Err(IssueError::NotAnAuthority(
                certificate.role(),
                certificate.purpose(),
            ));
        }
        if key.public_key() != certificate.public_key() {
            return Err(IssueError::KeyMismatch);
        }
        Ok(Self {
            certificate,
            chain,
            key,
        })
    }

    /// This CA's certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// This CA's chain, its own certificate first. None for the root.
    pub fn chain(&self) -> Option<Chain> {
        Chain::new(self.chain.clone()).ok()
    }

    /// The chain of a certificate that this CA issued.
    pub fn chain_of(&self, certificate: &Certificate) -> Chain {
        let certificates = std::iter::once(certificate)
            .chain(&self.chain)
            .cloned()
            .collect();
        Chain::new(certificates)
            .expect("an authority's chain has room for one more certificate, and no root in it")
    }

    /// Issues the certificate of a CA below this one.
    pub fn issue_authority(
        &self,
        public_key: &PublicKey,
        request: &IssueAuthority,
    ) -> Result<Certificate, IssueError> {
        self.check_request(
            request.role,
            Purpose::CertificateSigning,
            request.subject.brand.as_ref(),
            request.validity,
        )?;
        if self
            .certificate
            .path_len()
            .is_some_and(|path_len| u32::from(request.path_len) >= path_len)
        {
            return Err(IssueError::PathLength);
        }
        let mut params = params(
            request.subject.to_name()?,
            request.validity,
            request.serial,
            request.role,
        )?;
        as_authority(&mut params, request.path_len);
        self.sign(&params, public_key)
    }

    /// Issues a certificate for messages: to an end entity, or to an issuing CA below this one for its
    /// signatures or its key exchange.
    pub fn issue_end_entity(&self, request: &IssueRequest<'_>) -> Result<Certificate, IssueError> {
        let IssueRequest { role, purpose, .. } = *request;
        self.check_request(
            role,
            purpose,
            request.subject.brand.as_ref(),
            request.validity,
        )?;
        if !matches!(purpose, Purpose::Signature | Purpose::KeyExchange) {
            return Err(IssueError::NotMine {
                issuer: self.certificate.role(),
                subject: role,
                purpose,
            });
        }
        if request.merchant_data.is_some() != (role == Role::Merchant) {
            return Err(IssueError::MerchantDataMisplaced);
        }
        let is_gateway_key_exchange = role == Role::Gateway && purpose == Purpose::KeyExchange;
        if request.card_cert_required.is_some() && !is_gateway_key_exchange {
            return Err(IssueError::CardCertRequiredMisplaced);
        }
        let mut params = params(
            request.subject.to_name()?,
            request.validity,
            request.serial,
            role,
        )?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![match purpose {
            Purpose::KeyExchange => KeyUsagePurpose::KeyEncipherment,
            _ => KeyUsagePurpose::DigitalSignature,
        }];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(oid::role_usage(role))];
        let merchant_data = request
            .merchant_data
            .as_ref()
            .map(|data| data.encode())
            .transpose()?;
        let card_cert_required = request.card_cert_required.map(encode_card_cert_required);
        let set = [
            (oid::MERCHANT_DATA, merchant_data),
            (oid::CARD_CERT_REQUIRED, card_cert_required),
        ];
        for (arcs, content) in set {
            params
                .custom_extensions
                .extend(content.map(|content| CustomExtension::from_oid_content(arcs, content)));
        }
        self.sign(&params, request.public_key)
    }

    /// Issues the certificate of this issuing CA's OCSP responder.
    pub fn issue_ocsp_responder(
        &self,
        public_key: &PublicKey,
        subject: &Subject,
        validity: Validity,
        serial: Serial,
    ) -> Result<Certificate, IssueError> {
        const NULL: [u8; 2] = [5, 0];
        let role = self.certificate.role();
        self.check_request(role, Purpose::OcspSigning, subject.brand.as_ref(), validity)?;
        let mut params = params(subject.to_name()?, validity, serial, role)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        params
            .custom_extensions
            .push(CustomExtension::from_oid_content(
                oid::OCSP_NO_CHECK,
                NULL.to_vec(),
            ));
        self.sign(&params, public_key)
    }

    /// Issues a complete CRL, good from `this_update` until just before `next_update`. The caller counts the
    /// numbers up and lists every revoked certificate that has not run out.
    pub fn issue_crl(
        &self,
        number: u64,
        this_update: i64,
        next_update: i64,
        revoked: &[Revoked],
    ) -> Result<Crl, IssueError> {
        let revoked_certs = revoked.iter().map(revoked_line).collect::<Result<_, _>>()?;
        let key_identifier = self
            .certificate
            .key_identifier()
            .unwrap_or_default()
            .to_vec();
        let params = CertificateRevocationListParams {
            this_update: date(this_update)?,
            next_update: date(next_update)?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::PreSpecified(key_identifier),
        };
        let crl = params.signed_by(&self.issuer()?)?;
        Ok(Crl::from_der(crl.der())?)
    }

    /// What holds for every certificate that this CA issues.
    fn check_request(
        &self,
        role: Role,
        purpose: Purpose,
        brand: Option<&BrandId>,
        validity: Validity,
    ) -> Result<(), IssueError> {
        let issuer = self.certificate.role();
        if !issuer.may_issue(role, purpose) {
            return Err(IssueError::NotMine {
                issuer,
                subject: role,
                purpose,
            });
        }
        let own = self.certificate.brand();
        if brand.is_none() || (own.is_some() && own != brand) {
            return Err(IssueError::Brand);
        }
        if validity.not_after > self.certificate.not_after() {
            return Err(IssueError::OutlivesIssuer {
                issuer_ends: self.certificate.not_after(),
            });
        }
        Ok(())
    }

    fn sign(
        &self,
        params: &CertificateParams,
        public_key: &PublicKey,
    ) -> Result<Certificate, IssueError> {
        let certificate = params.signed_by(&SubjectKey::new(public_key)?, &self.issuer()?)?;
        Ok(Certificate::from_der(certificate.der())?)
    }

    fn issuer(&self) -> Result<Issuer<'static, Signer>, IssueError> {
        Ok(Issuer::from_ca_cert_der(
            self.certificate.as_pki_type(),
            Signer::new(&self.key)?,
        )?)
    }
}

/// What all certificates have.
fn params(
    name: DistinguishedName,
    validity: Validity,
    serial: Serial,
    role: Role,
) -> Result<CertificateParams, IssueError> {
    let (not_before, not_after) = validity.to_dates()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = not_before;
    params.not_after = not_after;
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.use_authority_key_identifier_extension = true;
    params.custom_extensions = vec![CustomExtension::from_oid_content(
        oid::CERTIFICATE_TYPE,
        encode_certificate_type(role),
    )];
    Ok(params)
}

/// What a CA's certificate has besides.
fn as_authority(params: &mut CertificateParams, path_len: u8) {
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
}

fn revoked_line(revoked: &Revoked) -> Result<RevokedCertParams, IssueError> {
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from_slice(&revoked.serial),
        revocation_time: date(revoked.at)?,
        reason_code: revoked.reason.into_code(),
        invalidity_date: None,
    })
}
