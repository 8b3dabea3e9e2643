//! A certificate that fits SET's profile.

use openset_jose::{PublicKey, Thumbprint};

use crate::{BrandId, MerchantData, Purpose, Role};

/// The most bytes that a certificate's DER has.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;

/// A certificate that fits the profile, parsed once; cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate;

/// Why bytes are not a certificate of the profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// To be filled.
    #[error("malformed")]
    Malformed,
}

#[allow(missing_docs, clippy::todo, reason = "skeleton")]
impl Certificate {
    pub fn from_der(_der: &[u8]) -> Result<Self, CertificateError> { todo!() }
    pub fn from_pem(_pem: &str) -> Result<Self, CertificateError> { todo!() }
    pub fn der(&self) -> &[u8] { todo!() }
    pub fn to_pem(&self) -> String { todo!() }
    pub fn thumbprint(&self) -> Thumbprint { todo!() }
    pub fn public_key(&self) -> &PublicKey { todo!() }
    pub fn role(&self) -> Role { todo!() }
    pub fn purpose(&self) -> Purpose { todo!() }
    pub fn brand(&self) -> Option<&BrandId> { todo!() }
    pub fn country(&self) -> Option<&str> { todo!() }
    pub fn common_name(&self) -> &str { todo!() }
    pub fn organizational_unit(&self) -> Option<&str> { todo!() }
    pub fn serial(&self) -> &[u8] { todo!() }
    pub fn not_before(&self) -> i64 { todo!() }
    pub fn not_after(&self) -> i64 { todo!() }
    pub fn merchant_data(&self) -> Option<&MerchantData> { todo!() }
    pub fn card_cert_required(&self) -> Option<bool> { todo!() }
    pub fn hashed_root_key(&self) -> Option<Thumbprint> { todo!() }
    pub fn subject_der(&self) -> &[u8] { todo!() }
    pub fn issuer_der(&self) -> &[u8] { todo!() }
}
