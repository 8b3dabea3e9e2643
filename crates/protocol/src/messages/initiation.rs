//! The payment initiation ("wake-up"): starts the wallet for an order (reference section 5). It is not
//! signed: the wallet shows description and amount to the person, and the merchant proves itself by
//! PInitRes.

use crate::ids::LocalId;
use crate::messages::install_recur::InstallRecurData;
use crate::money::{Currency, CurrencyAmount};
use serde::{Deserialize, Serialize};

/// A payment initiation, media type `application/set-payment-initiation+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentInitiation {
    /// Always `payment`.
    pub set_initiation_type: String,
    /// The protocol's version.
    pub set_version: String,
    /// Where SET messages for the order go.
    pub set_url: String,
    /// The brands that the merchant takes.
    pub brands: Vec<String>,
    /// What the order comes to.
    pub amount: Money,
    /// OD, the order description: its UTF-8 bytes are hashed exactly as they stand here.
    pub order_description: String,
    /// The merchant's name for the order.
    pub lid_m: LocalId,
    /// In which parts, or how often, the amount is paid; absent if once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plan: Option<InstallRecurData>,
}

/// An amount as REST interfaces write it: three letters and integer minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// ISO 4217, three letters.
    pub currency: Currency,
    /// Minor units (cents), never a fraction.
    pub amount_minor: u64,
}

impl TryFrom<Money> for CurrencyAmount {
    type Error = crate::money::AmountTooLarge;

    fn try_from(money: Money) -> Result<Self, Self::Error> {
        Self::new(money.currency, money.amount_minor)
    }
}

impl From<CurrencyAmount> for Money {
    fn from(amount: CurrencyAmount) -> Self {
        Self {
            currency: amount.currency(),
            amount_minor: amount.minor(),
        }
    }
}
