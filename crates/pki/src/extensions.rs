//! The content of SET's certificate extensions (set-reference sections 1 and 8).
//!
//! ```text
//! HashedRootKey    ::= DigestInfo                -- RFC 8017 section 9.2, SHA-256 of the next root's SPKI
//! CertificateType  ::= BIT STRING { card(0) mer(1) pgwy(2) cca(3) mca(4) pca(5) gca(6) bca(7) rca(8) }
//! MerchantData     ::= SEQUENCE {
//!     merID           UTF8String,
//!     merAcquirerBIN  NumericString,
//!     merName         UTF8String,
//!     merCountry      INTEGER,                   -- ISO 3166 numeric
//!     merAuthFlag     BOOLEAN }
//! CardCertRequired ::= BOOLEAN
//! ```

use openset_jose::Thumbprint;
use serde::{Deserialize, Serialize};

use crate::Role;
use crate::der::{self, Reader};

/// The most characters of a merchant's number.
const MERCHANT_ID_CHARS_MAX: usize = 30;
/// The most characters of a merchant's name.
const MERCHANT_NAME_CHARS_MAX: usize = 50;
/// The digits of a BIN.
const BIN_DIGITS: usize = 6;
/// What precedes the digest in a DigestInfo with SHA-256 (RFC 8017 section 9.2, note 1).
const DIGEST_INFO_SHA256: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// merchantData: who the merchant is, in both of its certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MerchantData {
    /// merID: the acquirer's number for the merchant, 1 to 30 printable ASCII characters.
    pub merchant_id: String,
    /// merAcquirerBIN: the acquirer's BIN, 6 digits.
    pub acquirer_bin: String,
    /// The name that stands on the customer's statement, 1 to 50 characters.
    pub name: String,
    /// merCountry: ISO 3166 numeric, 1 to 999.
    pub country: u16,
    /// merAuthFlag: whether the gateway may give the card number to the merchant.
    pub auth_flag: bool,
}

/// Why merchant data cannot stand in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MerchantDataError {
    /// The merchant's number.
    #[error("a merchant's number has 1 to {MERCHANT_ID_CHARS_MAX} printable ASCII characters")]
    MerchantId,
    /// The acquirer's BIN.
    #[error("an acquirer's BIN has {BIN_DIGITS} digits")]
    AcquirerBin,
    /// The merchant's name.
    #[error(
        "a merchant's name has 1 to {MERCHANT_NAME_CHARS_MAX} characters and no control characters"
    )]
    Name,
    /// The merchant's country.
    #[error("a country is an ISO 3166 number from 1 to 999")]
    Country,
}

impl MerchantData {
    /// Checks that the fields are within their bounds.
    pub fn check(&self) -> Result<(), MerchantDataError> {
        let id = &self.merchant_id;
        if id.is_empty()
            || id.len() > MERCHANT_ID_CHARS_MAX
            || !id.chars().all(|c| c.is_ascii_graphic())
        {
            return Err(MerchantDataError::MerchantId);
        }
        if self.acquirer_bin.len() != BIN_DIGITS
            || !self.acquirer_bin.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(MerchantDataError::AcquirerBin);
        }
        let name_chars = self.name.chars().count();
        if name_chars == 0
            || name_chars > MERCHANT_NAME_CHARS_MAX
            || self.name.chars().any(char::is_control)
        {
            return Err(MerchantDataError::Name);
        }
        if !(1..=999).contains(&self.country) {
            return Err(MerchantDataError::Country);
        }
        Ok(())
    }

    /// The extension's content; the fields are within their bounds.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, MerchantDataError> {
        self.check()?;
        Ok(der::sequence(&[
            der::value(der::UTF8_STRING, self.merchant_id.as_bytes()),
            der::value(der::NUMERIC_STRING, self.acquirer_bin.as_bytes()),
            der::value(der::UTF8_STRING, self.name.as_bytes()),
            der::integer(u64::from(self.country)),
            der::boolean(self.auth_flag),
        ]))
    }

    /// Reads the extension's content; None if it is malformed, out of bounds or not canonical.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut outer = Reader::new(bytes);
        let mut fields = Reader::new(outer.read(der::SEQUENCE)?);
        outer.finish()?;
        let data = Self {
            merchant_id: fields.read_text(der::UTF8_STRING)?.to_owned(),
            acquirer_bin: fields.read_text(der::NUMERIC_STRING)?.to_owned(),
            name: fields.read_text(der::UTF8_STRING)?.to_owned(),
            country: u16::try_from(fields.read_integer()?).ok()?,
            auth_flag: fields.read_boolean()?,
        };
        fields.finish()?;
        (data.encode().ok()? == bytes).then_some(data)
    }
}

/// The content of certificateType.
pub(crate) fn encode_certificate_type(role: Role) -> Vec<u8> {
    der::single_bit(role.bit())
}

/// The one role that certificateType names; None for none, several or an unknown one.
pub(crate) fn decode_certificate_type(bytes: &[u8]) -> Option<Role> {
    Role::ALL
        .into_iter()
        .find(|&role| encode_certificate_type(role) == bytes)
}

/// The content of hashedRootKey.
pub(crate) fn encode_hashed_root_key(next_key: &Thumbprint) -> Vec<u8> {
    [DIGEST_INFO_SHA256.as_slice(), next_key.as_bytes()].concat()
}

/// The SHA-256 of the next root's SPKI that hashedRootKey holds.
pub(crate) fn decode_hashed_root_key(bytes: &[u8]) -> Option<Thumbprint> {
    let digest = bytes.strip_prefix(DIGEST_INFO_SHA256.as_slice())?;
    digest.try_into().ok().map(Thumbprint::from_bytes)
}

/// The content of cardCertRequired.
pub(crate) fn encode_card_cert_required(required: bool) -> Vec<u8> {
    der::boolean(required)
}

/// What cardCertRequired says.
pub(crate) fn decode_card_cert_required(bytes: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(bytes);
    let required = reader.read_boolean()?;
    (encode_card_cert_required(required) == bytes).then_some(required)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn data() -> MerchantData {
        MerchantData {
            merchant_id: "M-0042".into(),
            acquirer_bin: "412345".into(),
            name: "Bäckerei Lämmle".into(),
            country: 276,
            auth_flag: false,
        }
    }

    #[test]
    fn merchant_data_is_read_as_written() {
        let bytes = data().encode().unwrap();
        assert_eq!(MerchantData::decode(&bytes), Some(data()));
    }

    #[test]
    fn merchant_data_with_any_byte_cut_off_or_added_is_not_read() {
        let bytes = data().encode().unwrap();
        for end in 0..bytes.len() {
            assert_eq!(MerchantData::decode(&bytes[..end]), None);
        }
        assert_eq!(MerchantData::decode(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn merchant_data_in_another_encoding_is_not_read() {
        let bytes = data().encode().unwrap();
        let long_form = [&[0x30, 0x81], &bytes[1..]].concat();
        assert_eq!(MerchantData::decode(&long_form), None);
    }

    #[test]
    fn merchant_data_out_of_bounds_is_refused_by_name() {
        let refused = |change: fn(&mut MerchantData)| {
            let mut data = data();
            change(&mut data);
            data.encode().unwrap_err()
        };
        assert_eq!(
            refused(|d| d.merchant_id.clear()),
            MerchantDataError::MerchantId
        );
        assert_eq!(
            refused(|d| d.merchant_id = "x".repeat(31)),
            MerchantDataError::MerchantId
        );
        assert_eq!(
            refused(|d| d.acquirer_bin = "41234".into()),
            MerchantDataError::AcquirerBin
        );
        assert_eq!(
            refused(|d| d.acquirer_bin = "41234x".into()),
            MerchantDataError::AcquirerBin
        );
        assert_eq!(refused(|d| d.name = "a\nb".into()), MerchantDataError::Name);
        assert_eq!(refused(|d| d.country = 1000), MerchantDataError::Country);
    }

    #[test]
    fn certificate_type_names_exactly_one_role() {
        for role in Role::ALL {
            assert_eq!(
                decode_certificate_type(&encode_certificate_type(role)),
                Some(role)
            );
        }
        let cardholder_and_merchant = [3, 2, 6, 0xc0];
        let none = [3, 1, 0];
        let unknown_bit_nine = [3, 3, 6, 0, 0x40];
        let trailing_zero_bits = [3, 2, 0, 0x80];
        for bytes in [
            &cardholder_and_merchant[..],
            &none,
            &unknown_bit_nine,
            &trailing_zero_bits,
        ] {
            assert_eq!(decode_certificate_type(bytes), None);
        }
    }

    #[test]
    fn hashed_root_key_is_read_as_written() {
        let thumbprint = Thumbprint::of(b"next root's key");
        let bytes = encode_hashed_root_key(&thumbprint);
        assert_eq!(decode_hashed_root_key(&bytes), Some(thumbprint));
        assert_eq!(decode_hashed_root_key(&bytes[..50]), None);
    }

    #[test]
    fn card_cert_required_is_a_canonical_boolean() {
        assert_eq!(decode_card_cert_required(&[1, 1, 0xff]), Some(true));
        assert_eq!(decode_card_cert_required(&[1, 1, 0]), Some(false));
        assert_eq!(decode_card_cert_required(&[1, 1, 1]), None);
        assert_eq!(decode_card_cert_required(&[1, 1, 0, 0]), None);
    }
}
