//! What the parties' books say, before and after.

use std::collections::BTreeMap;

use anyhow::Context as _;
use openset_protocol::money::Currency;
use serde_json::Value;

use crate::demo::Story;
use crate::demo::calls::Calls;
use crate::demo::screen::Screen;

/// Sums in minor units by party and account.
pub(super) struct Books(BTreeMap<(&'static str, String), (Currency, i64)>);

impl Books {
    /// Asks issuer, gateway and merchant.
    pub(super) async fn read(calls: &Calls, story: &Story) -> anyhow::Result<Self> {
        let mut books = Self(BTreeMap::new());
        let path = format!("accounts/{}", story.account_id);
        let account = calls.get("issuer", &path).await?;
        for (field, shown) in [
            ("held", "held for the cardholder"),
            ("balance", "owed by the cardholder"),
        ] {
            let minor = account.get(field).and_then(|sum| sum.get("amount_minor"));
            books.note("issuer", shown, account.get("currency"), minor)?;
        }
        for party in ["gateway", "merchant"] {
            let ledger = calls.get(party, "ledger").await?;
            let accounts = ledger.get("accounts").and_then(Value::as_array);
            for one in accounts.context("the ledger's accounts")? {
                let id = one.get("id").and_then(Value::as_str).unwrap_or_default();
                books.note(party, id, one.get("currency"), one.get("balance_minor"))?;
            }
        }
        Ok(books)
    }

    fn note(
        &mut self,
        party: &'static str,
        account: &str,
        currency: Option<&Value>,
        minor: Option<&Value>,
    ) -> anyhow::Result<()> {
        let currency = currency.and_then(Value::as_str).unwrap_or_default();
        let currency = Currency::from_alpha(currency).context("an account's currency")?;
        let minor = minor.and_then(Value::as_i64).context("an account's sum")?;
        self.0
            .insert((party, account.to_owned()), (currency, minor));
        Ok(())
    }

    /// Prints what has moved.
    pub(super) fn show_since(&self, before: &Self, screen: &Screen) {
        for ((party, account), (currency, minor)) in &self.0 {
            let earlier = before.0.get(&(*party, account.clone())).map(|sum| sum.1);
            let moved = minor.saturating_sub(earlier.unwrap_or(0));
            if moved == 0 {
                continue;
            }
            let sign = if moved > 0 { '+' } else { '-' };
            let moved = currency.written(i128::from(moved).abs());
            let now = currency.written((*minor).into());
            let line = format!("      {party:<9} {account:<36} {sign} {moved:>12}   now {now:>14}");
            screen.line(&screen.dim(&line));
        }
    }
}
