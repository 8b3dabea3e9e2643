//! The people who buy: an account, a card and a certificate for each.

use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::demo::calls::{Account, Calls};
use crate::demo::screen::Screen;

/// Registrations at once: each costs the CA a signature with a large key.
const AT_ONCE: u32 = 8;
/// Enough for any number of purchases, in minor units.
const CREDIT_LIMIT: u64 = 999_999_999_999;

/// Registers `count` cardholders, each with an account of its own; gives the wallet's names of their cards.
pub(super) async fn prepare(
    calls: &Arc<Calls>,
    count: u32,
    screen: &Screen,
) -> anyhow::Result<Vec<String>> {
    screen.line(&format!("preparing {count} cardholders"));
    let mut under_way = JoinSet::new();
    let mut cards = Vec::new();
    for number in 0..count {
        if number >= AT_ONCE
            && let Some(card) = under_way.join_next().await
        {
            cards.push(card??);
        }
        under_way.spawn(one(Arc::clone(calls), number));
    }
    while let Some(card) = under_way.join_next().await {
        cards.push(card??);
    }
    Ok(cards)
}

async fn one(calls: Arc<Calls>, number: u32) -> anyhow::Result<String> {
    let holder = format!("Cardholder {number}");
    let request = json!({
        "holder": holder, "brand": calls.file.brand, "currency": "EUR", "credit_limit": CREDIT_LIMIT,
    });
    let account: Value = calls.post("issuer", "accounts", &request).await?;
    let account: Account = serde_json::from_value(account).context("the issuer's account")?;
    let (card_id, _, _) = calls.register_card(&account, &holder).await?;
    Ok(card_id)
}
