//! Issues certificates and CRLs.
use openset_jose::{PrivateKey, PublicKey, Random};

use crate::{BrandId, Certificate, Chain, Crl, MerchantData, Purpose, Role};

/// A CA: its certificate, the chain below the root, and the key that signs.
#[derive(Clone, Debug)]
pub struct Authority;

/// Why an authority does not issue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// To be filled.
    #[error("library")]
    Library,
}

/// The name of a certificate's owner; the O is the brand.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Subject {
    /// C: two letters of ISO 3166.
    pub country: Option<String>,
    /// O: the brand; none for the root.
    pub brand: Option<BrandId>,
    /// OU: the bank.
    pub organizational_unit: Option<String>,
    /// CN.
    pub common_name: String,
}

/// From when to when a certificate is good, in seconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

/// A serial number: 16 random bytes, a positive integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Serial([u8; 16]);

/// A CA's certificate to be issued.
#[derive(Clone, Debug)]
pub struct IssueAuthority {
    /// Which CA.
    pub role: Role,
    /// Its name; the brand is required.
    pub subject: Subject,
    /// From when to when.
    pub validity: Validity,
    /// Serial.
    pub serial: Serial,
    /// How many CAs may stand below it on a path.
    pub path_len: u8,
}

/// A certificate for messages to be issued.
#[derive(Clone, Debug)]
pub struct IssueRequest<'a> {
    /// The owner's key.
    pub public_key: &'a PublicKey,
    /// The owner's role.
    pub role: Role,
    /// What the key is for: signature or key exchange.
    pub purpose: Purpose,
    /// The owner's name; the brand is required.
    pub subject: Subject,
    /// From when to when.
    pub validity: Validity,
    /// Serial.
    pub serial: Serial,
    /// For a merchant, and for it alone.
    pub merchant_data: Option<MerchantData>,
    /// For a gateway's key-exchange certificate alone.
    pub card_cert_required: Option<bool>,
}

/// One line of a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The revoked certificate's serial number, as [`Certificate::serial`] gives it.
    pub serial: Vec<u8>,
    /// When it was revoked.
    pub at: i64,
    /// Why.
    pub reason: RevocationReason,
}

/// Why a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevocationReason {
    /// No reason given.
    Unspecified,
    /// The owner's key is known to others.
    KeyCompromise,
    /// The CA's key is known to others.
    CaCompromise,
    /// The owner's name or bank changed.
    AffiliationChanged,
    /// A new certificate takes its place.
    Superseded,
    /// The owner no longer takes part.
    CessationOfOperation,
    /// The owner may no longer take part.
    PrivilegeWithdrawn,
}

#[allow(missing_docs, clippy::todo, clippy::needless_pass_by_value, reason = "skeleton")]
impl Serial {
    pub fn random(_rng: Random<'_>) -> Self { todo!() }
    pub fn from_bytes(_bytes: [u8; 16]) -> Self { todo!() }
    pub fn as_bytes(&self) -> &[u8; 16] { &self.0 }
}

#[allow(missing_docs, clippy::todo, clippy::needless_pass_by_value, reason = "skeleton")]
impl Authority {
    pub fn root(_key: PrivateKey, _subject: &Subject, _validity: Validity, _serial: Serial, _next_root_key: &PublicKey) -> Result<Self, IssueError> { todo!() }
    /// The root again, from its certificate and key.
    pub fn root_with_key(_certificate: Certificate, _key: PrivateKey) -> Result<Self, IssueError> { todo!() }
    /// A CA below the root again, from its chain (its own certificate first) and key.
    pub fn with_key(_chain: Chain, _key: PrivateKey) -> Result<Self, IssueError> { todo!() }
    pub fn certificate(&self) -> &Certificate { todo!() }
    /// None for the root.
    pub fn chain(&self) -> Option<&Chain> { todo!() }
    pub fn issue_authority(&self, _public_key: &PublicKey, _request: &IssueAuthority) -> Result<Certificate, IssueError> { todo!() }
    pub fn issue_end_entity(&self, _request: &IssueRequest<'_>) -> Result<Certificate, IssueError> { todo!() }
    pub fn issue_crl(&self, _number: u64, _this_update: i64, _next_update: i64, _revoked: &[Revoked]) -> Result<Crl, IssueError> { todo!() }
    pub fn chain_of(&self, _certificate: &Certificate) -> Chain { todo!() }
}
