//! Amounts in REST: integers in minor units, with the currency's three letters.

use std::fmt;

use openset_protocol::money::{AMOUNT_MINOR_MAX, Currency, NotACurrency};
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

/// An amount as answers state it: for programs in minor units, for people as they write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Money {
    /// ISO 4217 letters.
    #[schema(value_type = String, examples("EUR"))]
    currency: Currency,
    /// Minor units.
    #[schema(examples(4200))]
    amount_minor: i64,
    /// The same with as many decimals as the currency has.
    #[schema(examples("EUR 42.00"))]
    text: String,
}

impl Money {
    pub(crate) fn new(currency: Currency, amount_minor: i64) -> Self {
        Self {
            text: currency.written(amount_minor.into()),
            currency,
            amount_minor,
        }
    }
}

/// An amount that is asked for: above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestedAmount {
    /// ISO 4217 letters.
    #[serde(deserialize_with = "currency")]
    #[schema(value_type = String, examples("EUR"))]
    pub(crate) currency: Currency,
    /// Minor units, from 1.
    #[schema(value_type = i64, minimum = 1, examples(4200))]
    pub(crate) amount_minor: PositiveMinor,
}

/// An amount that is to stand: 0 for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StandingAmount {
    /// ISO 4217 letters.
    #[serde(deserialize_with = "currency")]
    #[schema(value_type = String, examples("EUR"))]
    pub(crate) currency: Currency,
    /// Minor units, from 0.
    #[serde(deserialize_with = "minor_or_zero")]
    #[schema(minimum = 0, examples(0))]
    pub(crate) amount_minor: i64,
}

fn minor_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let minor = u64::deserialize(deserializer)
        .ok()
        .filter(|minor| *minor <= AMOUNT_MINOR_MAX);
    let minor = minor.and_then(|minor| i64::try_from(minor).ok());
    minor.ok_or_else(|| de::Error::custom(format_args!("give {PERMITTED}, or 0")))
}

/// Minor units from 1 to [`AMOUNT_MINOR_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PositiveMinor(i64);

/// [`AMOUNT_MINOR_MAX`] in words: as digits it would look like a card number, and be redacted.
const PERMITTED: &str = "a whole number of minor units above 0 and below 10^12";
const _: () = assert!(AMOUNT_MINOR_MAX == 10_u64.pow(12) - 1);

impl PositiveMinor {
    pub(crate) fn get(self) -> i64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for PositiveMinor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(PositiveVisitor)
    }
}

struct PositiveVisitor;

impl de::Visitor<'_> for PositiveVisitor {
    type Value = PositiveMinor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PERMITTED)
    }

    fn visit_u64<E: de::Error>(self, minor: u64) -> Result<PositiveMinor, E> {
        let fits = (1..=AMOUNT_MINOR_MAX).contains(&minor);
        let minor = i64::try_from(minor).ok().filter(|_| fits);
        minor
            .map(PositiveMinor)
            .ok_or_else(|| E::custom(format_args!("give {PERMITTED}")))
    }

    fn visit_i64<E: de::Error>(self, minor: i64) -> Result<PositiveMinor, E> {
        self.visit_u64(u64::try_from(minor).unwrap_or(0))
    }
}

/// By its letters, whatever else stands there is not repeated in the error.
pub(crate) fn currency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
    let text = String::deserialize(deserializer)?;
    Currency::from_alpha(&text).map_err(|error: NotACurrency| de::Error::custom(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(amount: &str) -> Result<RequestedAmount, String> {
        let json = format!(r#"{{"currency":"EUR","amount_minor":{amount}}}"#);
        serde_json::from_str(&json).map_err(|error| error.to_string())
    }

    #[test]
    fn amount_is_written_with_the_decimals_of_its_currency() {
        for (currency, minor, text) in [
            ("USD", 1990, "USD 19.90"),
            ("USD", 5, "USD 0.05"),
            ("USD", -199_000, "USD -1990.00"),
            ("JPY", 1990, "JPY 1990"),
            ("JPY", 0, "JPY 0"),
            ("KWD", 1990, "KWD 1.990"),
            ("KWD", -9, "KWD -0.009"),
            ("EUR", i64::MIN, "EUR -92233720368547758.08"),
        ] {
            let currency = Currency::from_alpha(currency).unwrap();
            assert_eq!(Money::new(currency, minor).text, text);
        }
    }

    #[test]
    fn requested_amount_is_a_whole_number_above_zero() {
        assert_eq!(read("4200").unwrap().amount_minor.get(), 4200);
        for wrong in ["0", "-1", "1.5", "1e3", "\"42\"", "null", "1000000000000"] {
            let error = read(wrong).unwrap_err();
            assert!(
                error.contains("whole number of minor units"),
                "{wrong}: {error}"
            );
        }
    }
}
