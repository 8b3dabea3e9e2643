//! `openset wallet mail-order` and `mail-answer`: purchases by mail, from file to file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use openset_protocol::messages::initiation::Money;
use openset_protocol::money::CurrencyAmount;
use openset_protocol::plain::plain;
use openset_protocol::wrapper::MessageWrapper;
use openset_service::random;
use serde_json::{Value, json};

use super::{Access, write};
use crate::ended::Ended;

/// What to order.
#[derive(Debug, clap::Args)]
pub(crate) struct Order {
    #[command(flatten)]
    access: Access,
    /// The shop's catalogue, as `openset merchant catalogue` or GET /catalogue gave it.
    #[arg(long)]
    catalogue: PathBuf,
    /// The card to pay with: its card_id.
    #[arg(long)]
    card: String,
    /// A product, and how many of it: espresso-250=2. May be repeated.
    #[arg(long = "item", required = true, value_name = "PRODUCT=QUANTITY")]
    items: Vec<String>,
    /// What it may cost in all: "EUR 15.00". If the order comes to another amount nothing is signed.
    #[arg(long)]
    amount: CurrencyAmount,
    /// The file to write the order to, for the shop; one that exists stays as it is.
    #[arg(long)]
    out: PathBuf,
    /// Idempotency-Key: the same one again is the same order and the same file; without, a fresh one.
    #[arg(long)]
    key: Option<String>,
}

/// The shop's answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Answer {
    #[command(flatten)]
    access: Access,
    /// The file that came back.
    file: PathBuf,
    /// The purchase that it answers; the one that it names unless given.
    #[arg(long)]
    purchase: Option<String>,
}

pub(crate) async fn order(order: Order) -> anyhow::Result<()> {
    let Order { access, out, .. } = &order;
    ensure!(
        !out.exists(),
        "{} is there already; choose another name",
        out.display()
    );
    let items: Vec<Value> = order
        .items
        .iter()
        .map(|text| item(text))
        .collect::<anyhow::Result<_>>()?;
    let body = json!({
        "card_id": order.card, "amount": Money::from(order.amount), "items": items,
        "catalogue": text(&order.catalogue)?,
    });
    let key = order.key.clone().unwrap_or_else(random::hex_id::<16>);
    let answered = access.post_once("mail-orders", &key, &body).await;
    let answer = answered.with_context(|| format!("under the key {key}"))?;
    let answer: Value = serde_json::from_slice(&answer).context("the wallet's answer")?;
    let shown = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    let p_req = shown("/p_req").context("the wallet's answer has no p_req")?;
    // It is signed by now, so this is what is needed if the file cannot be written.
    println!(
        "order {} of merchant {}",
        plain(shown("/purchase/purchase_id").unwrap_or_default()),
        plain(shown("/bought/merchant_id").unwrap_or_default())
    );
    let written = write(out, p_req.as_bytes());
    written.with_context(|| format!("choose another --out, with --key {key}"))?;
    for line in answer
        .pointer("/bought/items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let price: Money = serde_json::from_value(line["unit_price"].clone())?;
        println!(
            "{} x {} @ {}",
            line["quantity"],
            plain(line["name"].as_str().unwrap_or_default()),
            CurrencyAmount::try_from(price)?
        );
    }
    println!("written to {}: {} bytes", out.display(), p_req.len());
    Ok(())
}

pub(crate) async fn answer(answer: Answer) -> anyhow::Result<Ended> {
    let file = text(&answer.file)?;
    let purchase = match answer.purchase {
        Some(named) => named,
        None => named(&file)?,
    };
    let path = format!("mail-orders/{purchase}/answer");
    let told = answer.access.post_bytes(&path, file.into_bytes()).await?;
    let told: Value = serde_json::from_slice(&told).context("the wallet's answer")?;
    let shown = |name: &str| plain(told[name].as_str().unwrap_or_default());
    println!("purchase {}: {}", shown("purchase_id"), shown("status"));
    if let Some(problem) = told["problem"].as_str() {
        println!("{}", plain(problem));
    }
    Ok(Ended::told(&shown("status"), &["paid", "partly_refunded"]))
}

/// The purchase that a message names in its header.
fn named(file: &str) -> anyhow::Result<String> {
    let wrapper = MessageWrapper::decode(file.as_bytes())?;
    let xid = wrapper.message_header.message_ids.xid;
    let xid = xid.context("the file names no purchase; give --purchase ID")?;
    Ok(xid.to_string())
}

fn text(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {} as text", path.display()))?;
    Ok(text.trim_ascii_end().to_owned())
}

fn item(text: &str) -> anyhow::Result<Value> {
    let (product_id, quantity) = text
        .split_once('=')
        .with_context(|| format!("--item {text}: write it as espresso-250=2"))?;
    let quantity: u32 = quantity
        .parse()
        .with_context(|| format!("--item {text}: the quantity is a number"))?;
    Ok(json!({"product_id": product_id, "quantity": quantity}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn items_are_read_as_they_are_written_on_the_command_line() {
        assert_eq!(
            item("espresso-250=2").unwrap(),
            json!({"product_id": "espresso-250", "quantity": 2})
        );
        assert!(item("espresso-250").is_err());
        assert!(item("espresso-250=two").is_err());
    }
}
