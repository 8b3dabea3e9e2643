//! `openset merchant order` and `orders`: orders on the screen.

use anyhow::Context as _;
use openset_protocol::plain::plain;
use serde_json::Value;

use crate::shown::{amount, text};

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
