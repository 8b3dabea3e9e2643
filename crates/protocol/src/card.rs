//! Card numbers and the secrets that keep them out of certificates.

use crate::ids::{Nonce, value_256};
use openset_jose::{ContentKey, PrivateKey, Random, base64url, hkdf_sha256, hmac_sha256};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A card number: 12 to 19 digits with a valid check digit (ISO/IEC 7812). Wiped when dropped and
/// never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Pan(String);

impl Pan {
    /// Its digits. Handle with care: neither a merchant nor a CA may keep them.
    #[must_use]
    pub fn danger_digits(&self) -> &str {
        &self.0
    }

    /// BIN: the first six digits, which name the issuer.
    #[must_use]
    pub fn bin(&self) -> Bin {
        Bin(self.0.chars().take(6).collect())
    }

    /// The last four digits, for display.
    #[must_use]
    pub fn last_four(&self) -> String {
        self.0
            .chars()
            .skip(self.0.len().saturating_sub(4))
            .collect()
    }

    /// The number that starts with `prefix` and ends with its check digit.
    ///
    /// # Errors
    /// The prefix is not 11 to 18 digits.
    pub fn with_check_digit(prefix: &str) -> Result<Self, NotAPan> {
        if !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotAPan);
        }
        ('0'..='9')
            .find_map(|check| format!("{prefix}{check}").parse().ok())
            .ok_or(NotAPan)
    }
}

fn luhn_sum(digits: &str) -> u32 {
    let weigh = |(place, digit): (usize, u32)| match (place % 2, digit) {
        (0, digit) => digit,
        (_, digit) if digit > 4 => digit.saturating_mul(2).saturating_sub(9),
        (_, digit) => digit.saturating_mul(2),
    };
    digits
        .chars()
        .rev()
        .filter_map(|c| c.to_digit(10))
        .enumerate()
        .map(weigh)
        .sum()
}

/// The text is not a card number.
#[derive(Debug, thiserror::Error)]
#[error("not a card number: 12 to 19 digits, the last one its check digit")]
pub struct NotAPan;

impl std::str::FromStr for Pan {
    type Err = NotAPan;

    fn from_str(text: &str) -> Result<Self, NotAPan> {
        let digits = (12..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if digits && luhn_sum(text).is_multiple_of(10) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAPan)
        }
    }
}

impl std::fmt::Debug for Pan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pan([redacted])")
    }
}

impl<'de> Deserialize<'de> for Pan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// BIN, bank identification number: six digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Bin(String);

impl Bin {
    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Bin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not six digits.
#[derive(Debug, thiserror::Error)]
#[error("not a BIN: six digits")]
pub struct NotABin;

impl std::str::FromStr for Bin {
    type Err = NotABin;

    fn from_str(text: &str) -> Result<Self, NotABin> {
        let fits = text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotABin)
        }
    }
}

impl<'de> Deserialize<'de> for Bin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::read(deserializer, str::parse)
    }
}

/// CardExpiry: the last month in which the card is valid, `YYYYMM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CardExpiry {
    year: u16,
    month: u8,
}

impl CardExpiry {
    /// From a year (2000 to 2099) and a month (1 to 12).
    ///
    /// # Errors
    /// The year or month is out of range.
    pub fn new(year: u16, month: u8) -> Result<Self, NotAnExpiry> {
        let fits = (2000..=2099).contains(&year) && (1..=12).contains(&month);
        if fits {
            Ok(Self { year, month })
        } else {
            Err(NotAnExpiry)
        }
    }

    /// Whether the card is past its last month at `now`.
    #[must_use]
    pub fn is_past(self, now: crate::Timestamp) -> bool {
        let (year, month) = now.year_month();
        (i32::from(self.year), self.month) < (year, month)
    }

    /// The first moment after the card's last month, in seconds since 1970.
    #[must_use]
    pub fn ends_at(self) -> crate::Timestamp {
        let (year, month) = if self.month == 12 {
            (self.year.saturating_add(1), 1)
        } else {
            (self.year, self.month.saturating_add(1))
        };
        let text = format!("{year:04}-{month:02}-01T00:00:00Z");
        text.parse()
            .unwrap_or_else(|_| crate::Timestamp::from_seconds(0))
    }
}

impl std::fmt::Display for CardExpiry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}{:02}", self.year, self.month)
    }
}

/// The text is not a card's expiry.
#[derive(Debug, thiserror::Error)]
#[error("not a card's expiry: YYYYMM, for example 202912")]
pub struct NotAnExpiry;

impl std::str::FromStr for CardExpiry {
    type Err = NotAnExpiry;

    fn from_str(text: &str) -> Result<Self, NotAnExpiry> {
        let (year, month) = text.split_at_checked(4).ok_or(NotAnExpiry)?;
        let digits = text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit());
        let parsed = digits
            .then(|| Some((year.parse().ok()?, month.parse().ok()?)))
            .flatten();
        let (year, month) = parsed.ok_or(NotAnExpiry)?;
        Self::new(year, month)
    }
}

impl Serialize for CardExpiry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CardExpiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::read(deserializer, str::parse)
    }
}

value_256! {
    /// NonceCCA: the CA's half of PANSecret.
    NonceCca
}

impl NonceCca {
    /// A fresh one, random.
    pub fn generate(rng: Random<'_>) -> Self {
        Self(crate::ids::random(rng))
    }
}

value_256! {
    /// TransStain: HMAC of the XID under CardSecret. Whoever knows CardSecret can later show that the
    /// same cardholder acted.
    TransStain
}

/// Declares a 256-bit secret that is wiped when dropped and never printed.
macro_rules! secret_256 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(ContentKey);

        impl $name {
            /// A fresh one.
            pub fn generate(rng: Random<'_>) -> Self {
                Self(ContentKey::generate(rng))
            }

            /// From its 32 bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(ContentKey::from_bytes(bytes))
            }

            /// Its 32 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    };
}

secret_256! {
    /// CardSecret: the cardholder's half of PANSecret.
    CardSecret
}
secret_256! {
    /// PANSecret: the key that hides the card number in the certificate's name.
    PanSecret
}

impl CardSecret {
    /// The one of a signature key that was made for one card: HKDF-SHA-256 of its PKCS#8. Whoever registers the same
    /// key again shows the same secret, and so gets the certificate whose name was made with it.
    #[must_use]
    pub fn of_key(key: &PrivateKey) -> Self {
        let derived = hkdf_sha256::<32>(&[], &key.to_pkcs8(), b"openset/2/CardSecret");
        Self::from_bytes(*derived)
    }

    /// PANSecret = HKDF-SHA-256(salt NonceCCA, key CardSecret). SET 1.0 has XOR, with which whoever
    /// chooses last fixes the result.
    #[must_use]
    pub fn pan_secret(&self, nonce_cca: &NonceCca) -> PanSecret {
        let derived = hkdf_sha256::<32>(
            nonce_cca.as_bytes(),
            self.as_bytes(),
            b"openset/2/PANSecret",
        );
        PanSecret::from_bytes(*derived)
    }

    /// TransStain of a purchase.
    #[must_use]
    pub fn trans_stain(&self, xid: &crate::ids::Xid) -> TransStain {
        TransStain::from_bytes(hmac_sha256(self.as_bytes(), xid.as_bytes()))
    }
}

impl PanSecret {
    /// The certificate's common name: HMAC-SHA-256 over PAN and expiry, each with its length in
    /// front, in base64url. It is a pseudonym: one card's purchases can be linked by it.
    #[must_use]
    pub fn account_name(&self, pan: &Pan, expiry: CardExpiry) -> String {
        let fields = [
            pan.danger_digits().as_bytes(),
            expiry.to_string().as_bytes(),
        ]
        .map(<[u8]>::to_vec);
        let input = Zeroizing::new(crate::digest::length_prefixed(&[&fields[0], &fields[1]]));
        base64url::encode(&hmac_sha256(self.as_bytes(), &input))
    }
}

/// PANData: the card as the gateway receives it (reference 3.0).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PanData {
    /// The card number.
    pub pan: Pan,
    /// Its expiry.
    pub card_expiry: CardExpiry,
    /// The key of the certificate's account name.
    pub pan_secret: PanSecret,
    /// Fresh, so that HPIData tells nothing about the card.
    pub ex_nonce: Nonce,
}

/// PANToken: the card of a cardholder without a certificate, as the gateway receives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PanToken {
    /// The card number.
    pub pan: Pan,
    /// Its expiry.
    pub card_expiry: CardExpiry,
    /// Fresh, so that HPIData tells nothing about the card.
    pub ex_nonce: Nonce,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn pan_refuses_a_wrong_check_digit() {
        assert!("4111111111111111".parse::<Pan>().is_ok());
        assert!("4111111111111112".parse::<Pan>().is_err());
        assert!("41111111111".parse::<Pan>().is_err());
        assert!("4111 1111 1111 1111".parse::<Pan>().is_err());
    }

    #[test]
    fn pan_gets_its_check_digit() {
        assert_eq!(
            Pan::with_check_digit("411111111111111")
                .unwrap()
                .danger_digits(),
            "4111111111111111"
        );
        assert!(Pan::with_check_digit("41111111111111x").is_err());
    }

    #[test]
    fn pan_is_never_printed() {
        let pan: Pan = "4111111111111111".parse().unwrap();
        assert_eq!(format!("{pan:?}"), "Pan([redacted])");
    }

    #[test]
    fn expiry_is_past_from_the_next_month_on() {
        let expiry: CardExpiry = "202601".parse().unwrap();
        assert!(!expiry.is_past("2026-01-31T23:59:59Z".parse().unwrap()));
        assert!(expiry.is_past("2026-02-01T00:00:00Z".parse().unwrap()));
        assert_eq!(expiry.ends_at().to_string(), "2026-02-01T00:00:00Z");
        assert!("202613".parse::<CardExpiry>().is_err());
    }

    #[test]
    fn account_name_depends_on_both_halves_of_the_secret() {
        let pan: Pan = "4111111111111111".parse().unwrap();
        let expiry: CardExpiry = "202912".parse().unwrap();
        let name = |card: u8, nonce: u8| {
            CardSecret::from_bytes([card; 32])
                .pan_secret(&NonceCca::from_bytes([nonce; 32]))
                .account_name(&pan, expiry)
        };
        assert_eq!(name(1, 2), name(1, 2));
        assert_ne!(name(1, 2), name(2, 2));
        assert_ne!(name(1, 2), name(1, 1));
    }
}
