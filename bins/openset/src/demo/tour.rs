//! `openset demo --tour`: the life of a payment after its purchase, on the running services, with the money that moves in each
//! chapter, and the audit's verdict at the end.

use std::path::Path;

use anyhow::{Context as _, ensure};
use openset_protocol::messages::install_recur::InstallRecurData;
use serde_json::{Value, json};

use super::Story;
use super::calls::Calls;
use super::screen::Screen;
use crate::audit;

mod books;
mod chapters;

use books::Books;

/// What a chapter has at hand.
pub(crate) struct Tour<'a> {
    calls: &'a Calls,
    story: &'a Story,
    screen: &'a Screen,
    /// As they stood after the newest step.
    books: Books,
}

/// How to read what moves.
const LEGEND: [&str; 3] = [
    "Under each step stands the money that it moved. In the acquirer's (the gateway's) and the merchant's books, which are kept by",
    "double entry, what is owed to somebody is below zero: payable/<merchant> is what the acquirer owes the merchant,",
    "receivable/issuer what the issuer owes the acquirer.",
];

/// Plays every chapter, then audits the stores below `data`; without a folder (services elsewhere) it says how to.
pub(crate) async fn run(
    calls: &Calls,
    story: &Story,
    screen: &Screen,
    data: Option<&Path>,
) -> anyhow::Result<()> {
    let mut tour = Tour {
        calls,
        story,
        screen,
        books: Books::read(calls, story).await?,
    };
    screen.heading("A tour of what may come after a purchase");
    for line in LEGEND {
        screen.line(&screen.dim(line));
    }
    for chapter in chapters::ALL {
        screen.heading(chapter.title());
        Box::pin(tour.play(chapter)).await?;
    }
    screen.heading("Audit");
    match data {
        Some(data) => verdict(data, screen).await,
        None => {
            screen.line("The stores are not here: run `openset audit` where they are.");
            Ok(())
        }
    }
}

/// Reads all stores, by another program's eyes.
async fn verdict(data: &Path, screen: &Screen) -> anyhow::Result<()> {
    let report = audit::audit(&audit::Options::of_folder(data)).await?;
    screen.line(report.to_string().trim_end());
    ensure!(
        report.findings.is_empty(),
        "the audit found what does not agree"
    );
    screen.line("The tour is over: every store agrees with every other.");
    Ok(())
}

impl Tour<'_> {
    /// What was done, what came of it, and the money that moved.
    async fn told(&mut self, what: &str, came: &str) -> anyhow::Result<()> {
        self.screen.line(&format!("  {what:<62} {came}"));
        let after = Books::read(self.calls, self.story).await?;
        after.show_since(&self.books, self.screen);
        self.books = after;
        Ok(())
    }

    /// A new purchase of one of each of these.
    async fn bought(&self, products: &[&str]) -> anyhow::Result<Bought> {
        let mut minor = 0_u64;
        let mut currency = Value::Null;
        for product in products {
            let price = self.calls.price(product).await?;
            let of_one = price.get("amount_minor").and_then(Value::as_u64);
            minor = minor.saturating_add(of_one.context("the product's price")?);
            currency = price.get("currency").cloned().unwrap_or_default();
        }
        let item = |product: &&str| json!({"product_id": product, "quantity": 1});
        let request = json!({
            "merchant_url": self.calls.url("merchant"), "card_id": self.story.card_id,
            "items": products.iter().map(item).collect::<Vec<_>>(),
            "amount": {"currency": currency, "amount_minor": minor},
        });
        self.paid(&request).await
    }

    /// Agrees to what the shop offers for one of these, to be paid again and again; gives the plan for people, too.
    async fn subscribed(&self, product: &str) -> anyhow::Result<(Bought, String)> {
        let items = json!({"items": [{"product_id": product, "quantity": 1}]});
        let order = self.calls.post("merchant", "orders", &items).await?;
        let offer = order.get("payment_initiation").context("an offer")?;
        let plan = offer.get("plan").context("a plan")?;
        let request = json!({
            "card_id": self.story.card_id, "initiation": offer,
            "amount": offer.get("amount"), "plan": plan,
        });
        let told: InstallRecurData = serde_json::from_value(plan.clone())?;
        Ok((self.paid(&request).await?, told.to_string()))
    }

    async fn paid(&self, request: &Value) -> anyhow::Result<Bought> {
        let purchase = self.calls.post("cardholder", "purchases", request).await?;
        let status = purchase.get("status").and_then(Value::as_str);
        ensure!(
            status == Some("paid"),
            "the purchase is not paid: {purchase}"
        );
        let name = |field: &str| {
            let found = purchase.get(field).and_then(Value::as_str);
            found.map(str::to_owned).context("an order")
        };
        Ok(Bought {
            order_id: name("order_id")?,
            purchase_id: name("purchase_id")?,
        })
    }

    /// What the shop's people ask about an order; waits until it is done.
    async fn ask(&self, order_id: &str, what: &str, body: &Value) -> anyhow::Result<Value> {
        let path = format!("orders/{order_id}/{what}");
        self.calls.post_until_done("merchant", &path, body).await
    }

    /// What the wallet knows of a purchase once it has inquired.
    async fn inquired(&self, purchase_id: &str) -> anyhow::Result<Value> {
        let path = format!("purchases/{purchase_id}/inquiry");
        self.calls.post("cardholder", &path, &json!({})).await
    }
}

/// A purchase, as shop and wallet name it.
struct Bought {
    order_id: String,
    purchase_id: String,
}
