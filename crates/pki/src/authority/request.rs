//! What an authority is asked to issue.

use std::fmt;

use openset_jose::{PublicKey, Random};
use rcgen::string::PrintableString;
use rcgen::{DistinguishedName, DnType, DnValue};
use time::OffsetDateTime;

use super::IssueError;
use crate::name::check_text;
use crate::{BrandId, CertificateError, MerchantData, Purpose, Role};

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
    /// The revoked certificate's serial number, as [`crate::Certificate::serial`] gives it.
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

impl Subject {
    /// The name in rcgen's form. Countries are PrintableString, as RFC 5280 appendix A has it.
    pub(super) fn to_name(&self) -> Result<DistinguishedName, IssueError> {
        let mut name = DistinguishedName::new();
        if let Some(country) = &self.country {
            if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(CertificateError::Name("C is two capital letters of ISO 3166").into());
            }
            let country = PrintableString::try_from(country.as_str())
                .map_err(|_| CertificateError::Name("C is two capital letters of ISO 3166"))?;
            name.push(DnType::CountryName, DnValue::PrintableString(country));
        }
        let brand = self.brand.as_ref().map(BrandId::as_str);
        let texts = [
            (DnType::OrganizationName, brand),
            (
                DnType::OrganizationalUnitName,
                self.organizational_unit.as_deref(),
            ),
            (DnType::CommonName, Some(self.common_name.as_str())),
        ];
        for (kind, text) in texts {
            let Some(text) = text else { continue };
            check_text(text)?;
            name.push(kind, DnValue::Utf8String(text.to_owned()));
        }
        Ok(name)
    }
}

impl Validity {
    /// Both ends in rcgen's form.
    pub(super) fn to_dates(self) -> Result<(OffsetDateTime, OffsetDateTime), IssueError> {
        if self.not_before > self.not_after {
            return Err(IssueError::Dates);
        }
        Ok((date(self.not_before)?, date(self.not_after)?))
    }
}

/// The last second that a certificate can name (RFC 5280 section 4.1.2.5.2): the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// A moment in rcgen's form.
pub(super) fn date(seconds: i64) -> Result<OffsetDateTime, IssueError> {
    if !(0..=LAST_SECOND).contains(&seconds) {
        return Err(IssueError::Dates);
    }
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IssueError::Dates)
}

impl Serial {
    /// A new serial number: 126 bits of it are random.
    pub fn random(rng: Random<'_>) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self::from_bytes(bytes)
    }

    /// Takes 16 bytes, of which the two highest bits are set to 01: so the number is positive and its DER has
    /// exactly these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let mut bytes = bytes;
        let [first, ..] = &mut bytes;
        *first = *first & 0x3f | 0x40;
        Self(bytes)
    }

    /// The number, as it stands in the certificate.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl RevocationReason {
    /// In rcgen's form; no reason given is no reason written (RFC 5280 section 5.3.1).
    pub(super) fn into_code(self) -> Option<rcgen::RevocationReason> {
        use rcgen::RevocationReason as Code;
        match self {
            Self::Unspecified => None,
            Self::KeyCompromise => Some(Code::KeyCompromise),
            Self::CaCompromise => Some(Code::CaCompromise),
            Self::AffiliationChanged => Some(Code::AffiliationChanged),
            Self::Superseded => Some(Code::Superseded),
            Self::CessationOfOperation => Some(Code::CessationOfOperation),
            Self::PrivilegeWithdrawn => Some(Code::PrivilegeWithdrawn),
        }
    }
}
