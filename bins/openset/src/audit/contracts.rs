//! What the acquirer agreed with each merchant: how far it may go from what a cardholder signed. It stands in the gateway's
//! configuration, not in a store.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use openset_protocol::balance::{EARLY_DAYS_MAX, TOLERANCE_PERCENT_MAX};

/// How far a merchant may go.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Leeway {
    /// By so many percent its authorizations may come to more than the purchase.
    pub(super) tolerance_percent: u8,
    /// So many days before its time a recurring payment may come.
    pub(super) early_days: u16,
}

/// The acquirer's contracts, by merchant; None where they are not at hand.
#[derive(Debug, Clone, Default)]
pub(super) struct Contracts(Option<BTreeMap<String, Leeway>>);

impl Contracts {
    /// As the gateway's configuration has them: of this file, or of the data folder if there is one in it.
    pub(super) fn read(given: Option<&Path>, data: &Path) -> anyhow::Result<Self> {
        let usual = data.join("gateway/gateway.toml");
        let file = match given {
            Some(file) => file,
            None if usual.exists() => &usual,
            None => return Ok(Self(None)),
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        // Without the reason: it would show a line of the file, which may hold a token.
        let table: toml::Table = toml::from_str(&text)
            .ok()
            .with_context(|| format!("{} is not the gateway's configuration", file.display()))?;
        Ok(Self(Some(contracts(&table))))
    }

    /// How far this merchant may go; None where no contract is at hand.
    pub(super) fn of(&self, merchant_id: &str) -> Option<Leeway> {
        let contracts = self.0.as_ref()?;
        Some(contracts.get(merchant_id).copied().unwrap_or_default())
    }

    /// As far as any acquirer lets a merchant go, where no contract is at hand.
    pub(super) fn or_most(&self, merchant_id: &str) -> Leeway {
        self.of(merchant_id).unwrap_or(Leeway {
            tolerance_percent: TOLERANCE_PERCENT_MAX,
            early_days: EARLY_DAYS_MAX,
        })
    }
}

fn contracts(table: &toml::Table) -> BTreeMap<String, Leeway> {
    let merchants = table.get("merchants").and_then(toml::Value::as_array);
    let mut contracts: BTreeMap<String, Leeway> = BTreeMap::new();
    for merchant in merchants.into_iter().flatten() {
        let number = |name: &str| merchant.get(name).and_then(toml::Value::as_integer);
        let name = merchant.get("merchant_id").and_then(toml::Value::as_str);
        let tolerance = number("tolerance_percent").unwrap_or(0);
        let early = number("recurring_early_days").unwrap_or(0);
        let of = contracts.entry(name.unwrap_or_default().to_owned());
        let of = of.or_default();
        // One contract for each brand: the widest of them.
        let tolerance = u8::try_from(tolerance).unwrap_or(0);
        of.tolerance_percent = of.tolerance_percent.max(tolerance);
        of.early_days = of.early_days.max(u16::try_from(early).unwrap_or(0));
    }
    contracts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn contract_that_says_nothing_gives_no_leeway_and_none_at_all_the_most() {
        let table = "[[merchants]]\nmerchant_id = 'a'\nrecurring_early_days = 3\n[[merchants]]\nmerchant_id = 'b'";
        let contracts = Contracts(Some(contracts(&table.parse().unwrap())));
        let early = |id: &str| contracts.of(id).unwrap().early_days;
        assert_eq!((early("a"), early("b"), early("c")), (3, 0, 0));
        assert_eq!(Contracts(None).or_most("a").early_days, EARLY_DAYS_MAX);
    }
}
