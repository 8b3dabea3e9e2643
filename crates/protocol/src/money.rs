//! Amounts: integers in minor units, with an ISO 4217 currency and its exponent. Never floats.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest amount of a message, in minor units. Far above any purchase, far below overflow.
pub const AMOUNT_MINOR_MAX: u64 = 999_999_999_999;

/// An ISO 4217 currency that has minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// By its three letters, for example `EUR`.
    ///
    /// # Errors
    /// The letters are not a currency of ISO 4217, or one without minor units (gold, for example).
    pub fn from_alpha(code: &str) -> Result<Self, NotACurrency> {
        let currency = iso_currency::Currency::from_code(code).ok_or(NotACurrency)?;
        currency
            .exponent()
            .map(|_| Self(currency))
            .ok_or(NotACurrency)
    }

    /// By its number, for example 978.
    ///
    /// # Errors
    /// As [`Self::from_alpha`].
    pub fn from_numeric(number: u16) -> Result<Self, NotACurrency> {
        let currency = iso_currency::Currency::from_numeric(number).ok_or(NotACurrency)?;
        currency
            .exponent()
            .map(|_| Self(currency))
            .ok_or(NotACurrency)
    }

    /// Its three letters.
    #[must_use]
    pub fn alpha(self) -> &'static str {
        self.0.code()
    }

    /// Its number.
    #[must_use]
    pub fn numeric(self) -> u16 {
        self.0.numeric()
    }

    /// How many decimal places its minor unit stands for (EUR 2, JPY 0, BHD 3).
    #[must_use]
    pub fn exponent(self) -> u16 {
        self.0.exponent().unwrap_or(0)
    }

    /// So many minor units as people write them: `USD 19.90`, `JPY 1990`, `KWD 1.990`; with a minus sign below zero.
    #[must_use]
    pub fn written(self, minor: i128) -> String {
        let (code, places) = (self.alpha(), usize::from(self.exponent()));
        let sign = if minor < 0 { "-" } else { "" };
        let digits = minor.unsigned_abs().to_string();
        if places == 0 {
            return format!("{code} {sign}{digits}");
        }
        let digits = format!("{digits:0>width$}", width = places.saturating_add(1));
        let (major, minor) = digits.split_at(digits.len().saturating_sub(places));
        format!("{code} {sign}{major}.{minor}")
    }

    /// An amount of this currency as people write it, without the currency: `19.90`.
    ///
    /// # Errors
    /// It is no number, has more decimals than the currency, or is above [`AMOUNT_MINOR_MAX`].
    pub fn amount(self, text: &str) -> Result<CurrencyAmount, NotAnAmount> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let places = usize::from(self.exponent());
        let decimals = if text.contains('.') { minor.len() } else { 0 };
        if !digits(major) || !digits(minor) || decimals > places {
            return Err(NotAnAmount);
        }
        let minor = minor.get(..decimals).unwrap_or_default();
        let amount_minor = format!("{major}{minor:0<places$}").parse();
        let amount = CurrencyAmount::new(self, amount_minor.map_err(|_| NotAnAmount)?);
        amount.map_err(|_| NotAnAmount)
    }
}

/// The text is not an amount as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an amount: write USD 19.90, JPY 1990 or KWD 1.990, with no more decimals than the currency has, and at most \
     {AMOUNT_MINOR_MAX} minor units"
)]
pub struct NotAnAmount;

/// The code is not a currency that can be paid with.
#[derive(Debug, thiserror::Error)]
#[error("not a currency of ISO 4217 with minor units; use three capital letters such as EUR")]
pub struct NotACurrency;

/// In REST interfaces a currency is its three letters.
impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.alpha())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::read(deserializer, Self::from_alpha)
    }
}

/// CurrencyAmount: `{currency, amount, amt_exp10}` with the currency's ISO number, minor units,
/// and the exponent of ten that turns them into major units (EUR: -2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrencyAmount {
    currency: Currency,
    amount_minor: u64,
}

impl CurrencyAmount {
    /// An amount in minor units.
    ///
    /// # Errors
    /// It is above [`AMOUNT_MINOR_MAX`].
    pub fn new(currency: Currency, amount_minor: u64) -> Result<Self, AmountTooLarge> {
        if amount_minor > AMOUNT_MINOR_MAX {
            Err(AmountTooLarge)
        } else {
            Ok(Self {
                currency,
                amount_minor,
            })
        }
    }

    /// Its currency.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// Its minor units.
    #[must_use]
    pub fn minor(&self) -> u64 {
        self.amount_minor
    }

    /// Its minor units as ledgers and databases hold them.
    #[must_use]
    pub fn minor_i64(&self) -> i64 {
        // At most AMOUNT_MINOR_MAX, so this never saturates.
        i64::try_from(self.amount_minor).unwrap_or(i64::MAX)
    }

    /// The fields in the order and form in which they are hashed.
    pub(crate) fn hash_fields(&self) -> [String; 3] {
        [
            self.currency.numeric().to_string(),
            self.amount_minor.to_string(),
            (-i32::from(self.currency.exponent())).to_string(),
        ]
    }
}

/// `EUR 42.00`
impl std::fmt::Display for CurrencyAmount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.currency.written(self.amount_minor.into()))
    }
}

/// As [`Display`](std::fmt::Display) writes it.
impl std::str::FromStr for CurrencyAmount {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (currency, amount) = text.split_once(' ').ok_or(NotAnAmount)?;
        let currency = Currency::from_alpha(currency).map_err(|_| NotAnAmount)?;
        currency.amount(amount)
    }
}

/// The amount is above [`AMOUNT_MINOR_MAX`].
#[derive(Debug, thiserror::Error)]
#[error("amount above {AMOUNT_MINOR_MAX} minor units")]
pub struct AmountTooLarge;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    currency: u16,
    amount: u64,
    amt_exp10: i32,
}

impl Serialize for CurrencyAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let amt_exp10 = -i32::from(self.currency.exponent());
        Wire {
            currency: self.currency.numeric(),
            amount: self.amount_minor,
            amt_exp10,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CurrencyAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let wire = Wire::deserialize(deserializer)?;
        let currency = Currency::from_numeric(wire.currency).map_err(D::Error::custom)?;
        if wire.amt_exp10 != -i32::from(currency.exponent()) {
            return Err(D::Error::custom(format!(
                "amt_exp10 contradicts ISO 4217 for {}",
                currency.alpha()
            )));
        }
        Self::new(currency, wire.amount).map_err(D::Error::custom)
    }
}

/// An amount over the purchase amount, as PRes reports it: integers, never a quotient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// The amount authorized or captured, in minor units.
    pub numerator: u64,
    /// The purchase amount, in minor units; never 0.
    pub denominator: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn amounts_are_written_and_read_as_people_write_them() {
        for (code, minor, text) in [
            ("USD", 1990, "USD 19.90"),
            ("EUR", 5, "EUR 0.05"),
            ("EUR", 0, "EUR 0.00"),
            ("JPY", 1990, "JPY 1990"),
            ("KWD", 1990, "KWD 1.990"),
            ("USD", AMOUNT_MINOR_MAX, "USD 9999999999.99"),
        ] {
            let amount = CurrencyAmount::new(Currency::from_alpha(code).unwrap(), minor).unwrap();
            assert_eq!(amount.to_string(), text);
            assert_eq!(text.parse(), Ok(amount), "{text}");
        }
        let dollars = Currency::from_alpha("USD").unwrap();
        assert_eq!(dollars.written(-1990), "USD -19.90");
        for (text, minor) in [("USD 19.9", 1990), ("USD 19", 1900), ("KWD 0.001", 1)] {
            assert_eq!(text.parse::<CurrencyAmount>().unwrap().minor(), minor);
        }
        for wrong in [
            "19.90",
            "19.90 USD",
            "USD:1990",
            "USD  19.90",
            "USD 19,90",
            "USD 1.990",
            "USD 19.",
            "USD .90",
            "USD -1.00",
            "USD +1.00",
            "JPY 19.9",
            "JPY 1990.",
            "JPY 1990.0",
            "USD 10000000000.00",
            "XXQ 1",
            "USD ",
            "",
            "USD 1e3",
        ] {
            assert_eq!(wrong.parse::<CurrencyAmount>(), Err(NotAnAmount), "{wrong}");
        }
    }

    #[test]
    fn amount_refuses_an_exponent_that_contradicts_iso_4217() {
        assert!(
            serde_json::from_str::<CurrencyAmount>(r#"{"currency":978,"amount":1,"amt_exp10":-2}"#)
                .is_ok()
        );
        assert!(
            serde_json::from_str::<CurrencyAmount>(r#"{"currency":978,"amount":1,"amt_exp10":-3}"#)
                .is_err()
        );
        assert!(
            serde_json::from_str::<CurrencyAmount>(r#"{"currency":392,"amount":1,"amt_exp10":-2}"#)
                .is_err()
        );
    }

    #[test]
    fn amount_refuses_floats_negatives_and_the_unbounded() {
        for amount in ["1.5", "-1", "1e3", "1000000000000", "\"1\""] {
            let json = format!(r#"{{"currency":978,"amount":{amount},"amt_exp10":-2}}"#);
            assert!(
                serde_json::from_str::<CurrencyAmount>(&json).is_err(),
                "{amount}"
            );
        }
    }

    #[test]
    fn currency_refuses_what_has_no_minor_units() {
        assert!(Currency::from_alpha("XAU").is_err());
        assert!(Currency::from_alpha("eur").is_err());
    }
}
