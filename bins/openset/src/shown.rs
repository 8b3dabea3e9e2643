//! Fields of a service's answer, as they are shown on the screen.

use anyhow::Context as _;
use openset_protocol::messages::initiation::Money;
use openset_protocol::money::CurrencyAmount;
use openset_protocol::plain::plain;
use serde_json::Value;

/// A text, without what would repaint the screen.
pub(crate) fn text(value: &Value, field: &str) -> String {
    plain(value.get(field).and_then(Value::as_str).unwrap_or("?"))
}

/// An amount as people write it.
pub(crate) fn amount(value: &Value, field: &str) -> anyhow::Result<CurrencyAmount> {
    let money = value.get(field);
    let money = money.with_context(|| format!("the answer has no {field}"))?;
    let money: Money =
        serde_json::from_value(money.clone()).with_context(|| format!("{field} is no amount"))?;
    Ok(CurrencyAmount::try_from(money)?)
}
