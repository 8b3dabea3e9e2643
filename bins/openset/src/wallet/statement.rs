//! `openset wallet statement`: what was paid, on the screen, with the sum of each currency.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use openset_protocol::money::Currency;
use openset_protocol::plain::plain;
use reqwest::Method;
use serde_json::Value;

use super::Access;
use crate::shown::{amount, text};

/// Which purchases.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    access: Access,
    /// From this day on, for example 2026-11-01.
    #[arg(long)]
    from: Option<String>,
    /// Until this day, it included.
    #[arg(long)]
    to: Option<String>,
    /// Only in this currency, for example EUR.
    #[arg(long)]
    currency: Option<String>,
    /// What the page before ended with; without this and --limit all is shown.
    #[arg(long)]
    after: Option<String>,
    /// At most so many.
    #[arg(long)]
    limit: Option<u16>,
}

pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let Options {
        access,
        from,
        to,
        currency,
        mut after,
        limit,
    } = options;
    let pages = limit.is_none() && after.is_none();
    let limit = limit.map(|limit| limit.to_string());
    let mut sums = BTreeMap::new();
    loop {
        let mut url = access.at("statement")?;
        let filters = [("from", &from), ("to", &to), ("currency", &currency)];
        for (name, value) in filters
            .into_iter()
            .chain([("after", &after), ("limit", &limit)])
        {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let page = access.send(Method::GET, url, |request| request).await?;
        let page: Value = serde_json::from_slice(&page).context("the wallet's answer")?;
        let items = page.get("items").and_then(Value::as_array);
        for entry in items.context("the wallet's answer has no items")? {
            show(entry, &mut sums)?;
        }
        let next = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if pages && next.is_some() {
            ensure!(next != after, "the wallet's list does not end");
            after = next;
            continue;
        }
        for (code, Sum { paid, refunded }) in &sums {
            let currency = Currency::from_alpha(code)?;
            let written = |minor: i128| currency.written(minor);
            match refunded {
                0 => println!("in all: {}", written(*paid)),
                _ => println!(
                    "in all: {} (paid {}, refunded {})",
                    written(paid - refunded),
                    written(*paid),
                    written(*refunded)
                ),
            }
        }
        if let Some(next) = next {
            println!("more: --after {}", plain(&next));
        }
        return Ok(());
    }
}

/// Of a currency, in minor units.
#[derive(Default)]
struct Sum {
    paid: i128,
    refunded: i128,
}

fn show(entry: &Value, sums: &mut BTreeMap<&'static str, Sum>) -> anyhow::Result<()> {
    let paid = amount(entry, "paid")?;
    let sum = sums.entry(paid.currency().alpha()).or_default();
    sum.paid += i128::from(paid.minor());
    if entry.get("refunded").is_some() {
        sum.refunded += i128::from(amount(entry, "refunded")?.minor());
    }
    println!(
        "{}  {:<15} {:>12}  {}  {}",
        text(entry, "ordered_at"),
        text(entry, "status"),
        paid.to_string(),
        text(entry, "merchant_id"),
        text(entry, "purchase_id")
    );
    println!("  {}", text(entry, "order_description"));
    let parts = entry.get("parts").and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        println!(
            "  {}  {:<15} {:>12}  {}",
            text(part, "as_of"),
            text(part, "state"),
            amount(part, "amount")?.to_string(),
            text(part, "approval_code")
        );
        let refunds = part.get("refunds").and_then(Value::as_array);
        for refund in refunds.into_iter().flatten() {
            println!(
                "    {}  {:<15} {:>10}",
                text(refund, "refunded_at"),
                "back",
                amount(refund, "amount")?.to_string()
            );
        }
    }
    Ok(())
}
