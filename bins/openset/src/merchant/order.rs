//! `openset merchant order` and `orders`: orders on the screen.

use anyhow::Context as _;
use openset_protocol::messages::initiation::Money;
use openset_protocol::money::CurrencyAmount;
use openset_protocol::plain::plain;
use serde_json::Value;

/// The orders of one page.
pub(super) fn list(page: &Value) -> anyhow::Result<()> {
    let orders = page.get("items").and_then(Value::as_array);
    for order in orders.context("the merchant's answer has no items")? {
        println!(
            "{}  {}  {:<10}  {}",
            text(order, "order_id"),
            text(order, "created_at"),
            text(order, "state"),
            amount(order, "amount")?
        );
    }
    if let Some(next) = page.get("next").and_then(Value::as_str) {
        println!("more: --after {}", plain(next));
    }
    Ok(())
}

/// An order with what was asked of the gateway for it.
pub(super) fn show(order: &Value) -> anyhow::Result<()> {
    println!(
        "{}  {}  {}  {}",
        text(order, "order_id"),
        text(order, "created_at"),
        text(order, "state"),
        amount(order, "amount")?
    );
    for line in items(order, "items") {
        println!(
            "  {} x {} @ {}",
            line.get("quantity").unwrap_or(&Value::Null),
            text(line, "name"),
            amount(line, "unit_price")?
        );
    }
    if let Some(why) = order.get("failure").and_then(Value::as_str) {
        println!("  {}", plain(why));
    }
    for one in items(order, "authorizations") {
        println!(
            "  authorization {}: {}, {} of {}",
            one.get("number").unwrap_or(&Value::Null),
            text(one, "state"),
            amount(one, "stands")?,
            amount(one, "asked")?
        );
        for (field, what) in [
            ("captures", "capture"),
            ("refunds", "refund"),
            ("reversals", "reversal"),
        ] {
            for movement in items(one, field) {
                println!(
                    "    {what} of {}: {}, movement {}",
                    amount(movement, "amount")?,
                    text(movement, "state"),
                    text(movement, "movement")
                );
            }
        }
    }
    Ok(())
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.get(field).and_then(Value::as_array);
    list.into_iter().flatten()
}

/// A field, without what would repaint the screen.
pub(super) fn text(value: &Value, field: &str) -> String {
    plain(value.get(field).and_then(Value::as_str).unwrap_or("?"))
}

/// An amount as people write it.
pub(super) fn amount(value: &Value, field: &str) -> anyhow::Result<CurrencyAmount> {
    let money: Option<Money> = value
        .get(field)
        .map(|value| serde_json::from_value(value.clone()))
        .transpose()
        .with_context(|| format!("{field} is no amount"))?;
    let money = money.with_context(|| format!("the answer has no {field}"))?;
    Ok(CurrencyAmount::try_from(money)?)
}
