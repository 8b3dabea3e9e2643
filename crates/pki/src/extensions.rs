//! SET's extensions.
/// Who the merchant is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerchantData {
    /// The acquirer's number for the merchant.
    pub merchant_id: String,
    /// The acquirer's BIN, 6 digits.
    pub acquirer_bin: String,
    /// The name that stands on the customer's statement.
    pub name: String,
    /// ISO 3166 numeric.
    pub country: u16,
    /// Whether the gateway may give the card number to the merchant.
    pub auth_flag: bool,
}
/// Why merchant data cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("merchant data")]
pub struct MerchantDataError;
