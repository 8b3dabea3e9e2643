//! How the OpenAPI document shows types that are defined in crates without OpenAPI.
#![expect(
    dead_code,
    reason = "these types are never made: they only describe others"
)]

use utoipa::ToSchema;

/// An amount in minor units (cents) of an ISO 4217 currency.
#[derive(ToSchema)]
pub(crate) struct Amount {
    #[schema(examples("EUR"))]
    currency: String,
    #[schema(minimum = 0, maximum = 999_999_999_999_u64)]
    amount_minor: u64,
}

/// A batch of the acquirer, and which of its items.
#[derive(ToSchema)]
pub(crate) struct BatchPlace {
    batch_id: String,
    #[schema(minimum = 1)]
    batch_sequence_num: u32,
}

/// The payment initiation: what starts a wallet for an order.
#[derive(ToSchema)]
pub(crate) struct PaymentInitiation {
    /// Always `payment`.
    set_initiation_type: String,
    /// The protocol's version.
    set_version: String,
    /// Where the wallet sends its SET messages.
    set_url: String,
    /// The brands that the shop takes.
    brands: Vec<String>,
    amount: Amount,
    /// Its UTF-8 bytes are hashed exactly as they stand here.
    order_description: String,
    /// The shop's name for the order.
    lid_m: String,
    /// In which parts, or how often, the amount is paid; absent if once.
    plan: Option<InstallRecurData>,
}

/// In which parts, or how often, an order is paid.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum InstallRecurData {
    /// The amount in at most so many parts.
    InstallTotalTrans(u8),
    /// The amount again and again.
    Recurring {
        /// At least so many days lie between two payments.
        frequency_days: u16,
        /// The last moment of a payment.
        #[schema(examples("2027-11-22T23:59:59Z"))]
        expiry: String,
    },
}
