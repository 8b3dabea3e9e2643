//! The name of a payment brand.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most characters that a brand's name has.
const BRAND_CHARS_MAX: usize = 40;

/// BrandID: the name of a payment brand as it stands in the O of every certificate below the root.
///
/// 1 to 40 printable ASCII characters without a space at either end, compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BrandId(String);

/// A text is not the name of a brand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a brand has 1 to {BRAND_CHARS_MAX} printable ASCII characters and no space at either end")]
pub struct BrandIdError;

impl BrandId {
    /// Takes a text as a brand's name.
    pub fn new(text: impl Into<String>) -> Result<Self, BrandIdError> {
        let text = text.into();
        let printable = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if text.is_empty() || text.len() > BRAND_CHARS_MAX || !printable || text.trim() != text {
            return Err(BrandIdError);
        }
        Ok(Self(text))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BrandId {
    type Error = BrandIdError;

    fn try_from(text: String) -> Result<Self, BrandIdError> {
        Self::new(text)
    }
}

impl From<BrandId> for String {
    fn from(brand: BrandId) -> Self {
        brand.0
    }
}

impl FromStr for BrandId {
    type Err = BrandIdError;

    fn from_str(text: &str) -> Result<Self, BrandIdError> {
        Self::new(text)
    }
}

impl AsRef<str> for BrandId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BrandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
