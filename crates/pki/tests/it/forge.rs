//! Makes certificates that an [`Authority`] would not issue, with the very same library.

use openset_jose::{PrivateKey, PublicKey};
use openset_pki::authority::Authority;
use openset_pki::{Certificate, CertificateError, Chain, Role, oid};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PublicKeyData, SignatureAlgorithm,
    SigningKey,
};
use time::OffsetDateTime;

use crate::world::{LEAF_KEY, NOW, YEAR, key};

/// rcgen's view of one of our keys.
pub(crate) struct Signer {
    key: PrivateKey,
    public: rcgen::SubjectPublicKeyInfo,
    algorithm: &'static SignatureAlgorithm,
}

impl Signer {
    pub(crate) fn new(key: &PrivateKey) -> Self {
        let public = rcgen::SubjectPublicKeyInfo::from_der(key.public_key().spki_der()).unwrap();
        Self {
            key: key.clone(),
            public,
            algorithm: &rcgen::PKCS_RSA_SHA256,
        }
    }

    /// Says that it signs with another algorithm than it does.
    pub(crate) fn claiming(key: &PrivateKey, algorithm: &'static SignatureAlgorithm) -> Self {
        Self {
            algorithm,
            ..Self::new(key)
        }
    }
}

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key
            .sign_pkcs1_sha256(message)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A certificate about to be made.
pub(crate) struct Forgery {
    pub(crate) params: CertificateParams,
}

impl Forgery {
    /// What a good signature certificate of an end entity, or of an issuing CA for its messages, has.
    pub(crate) fn leaf(role: Role, brand: &str) -> Self {
        let mut params = params(brand, role);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let usage = [oid::ROLE_USAGE, &[u64::from(role.bit())]].concat();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(usage)];
        if role == Role::Merchant {
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(
                    oid::MERCHANT_DATA,
                    merchant_data_der(),
                ));
        }
        Self { params }
    }

    /// What a good certificate of a CA has.
    pub(crate) fn authority(role: Role, brand: &str, path_len: u8) -> Self {
        let mut params = params(brand, role);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { params }
    }

    pub(crate) fn but(mut self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        change(&mut self.params);
        self
    }

    /// Signs it with `signing` in the name of `issuer`.
    pub(crate) fn signed_as(
        &self,
        issuer: &Certificate,
        signing: &PrivateKey,
        subject: &PublicKey,
    ) -> Vec<u8> {
        self.signed_by(issuer, Signer::new(signing), subject)
    }

    pub(crate) fn signed_by(
        &self,
        issuer: &Certificate,
        signer: Signer,
        subject: &PublicKey,
    ) -> Vec<u8> {
        let issuer = Issuer::from_ca_cert_der(&issuer.der().into(), signer).unwrap();
        let subject = rcgen::SubjectPublicKeyInfo::from_der(subject.spki_der()).unwrap();
        self.params
            .signed_by(&subject, &issuer)
            .unwrap()
            .der()
            .to_vec()
    }

    /// The chain of a leaf with the shared leaf key, really signed by `issuer`'s key.
    pub(crate) fn chain_under(&self, issuer: &Authority, signing: &PrivateKey) -> Chain {
        issuer.chain_of(&self.certificate(
            issuer.certificate(),
            signing,
            key(LEAF_KEY).public_key(),
        ))
    }

    pub(crate) fn certificate(
        &self,
        issuer: &Certificate,
        signing: &PrivateKey,
        subject: &PublicKey,
    ) -> Certificate {
        Certificate::from_der(&self.signed_as(issuer, signing, subject)).unwrap()
    }

    /// Why the certificate is not of the profile.
    pub(crate) fn refused(&self) -> CertificateError {
        let der = self
            .params
            .self_signed(&Signer::new(key(LEAF_KEY)))
            .unwrap()
            .der()
            .to_vec();
        Certificate::from_der(&der).unwrap_err()
    }
}

fn params(brand: &str, role: Role) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, brand);
    name.push(DnType::CommonName, format!("forged {role}"));
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(vec![0x45; 16].into());
    params.not_before = moment(NOW - YEAR);
    params.not_after = moment(NOW + YEAR);
    params.use_authority_key_identifier_extension = true;
    params.custom_extensions = vec![CustomExtension::from_oid_content(
        oid::CERTIFICATE_TYPE,
        certificate_type(&[role]),
    )];
    params
}

pub(crate) fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

/// A certificateType with the bits of all these roles.
pub(crate) fn certificate_type(roles: &[Role]) -> Vec<u8> {
    let bits = roles
        .iter()
        .fold(0_u16, |bits, role| bits | 0x8000 >> role.bit());
    let [first, second] = bits.to_be_bytes();
    let unused = bits.trailing_zeros() as u8;
    match unused {
        16 => vec![3, 1, 0],
        8..16 => vec![3, 2, unused - 8, first],
        _ => vec![3, 3, unused, first, second],
    }
}

/// merchantData, written by hand: `M1`, `412345`, `Shop`, 276, false.
pub(crate) fn merchant_data_der() -> Vec<u8> {
    let content = [
        &[0x0c, 2][..],
        b"M1",
        &[0x12, 6],
        b"412345",
        &[0x0c, 4],
        b"Shop",
        &[2, 2, 1, 0x14],
        &[1, 1, 0],
    ]
    .concat();
    [&[0x30, content.len() as u8][..], &content].concat()
}
