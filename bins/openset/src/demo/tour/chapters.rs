//! The chapters of the tour.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::Tour;

/// A chapter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Chapter {
    Sale,
    Parts,
    PartialCapture,
    Reversal,
    Refund,
    Recurring,
    Batch,
}

/// All of them, in their order.
pub(super) const ALL: [Chapter; 7] = [
    Chapter::Sale,
    Chapter::Parts,
    Chapter::PartialCapture,
    Chapter::Reversal,
    Chapter::Refund,
    Chapter::Recurring,
    Chapter::Batch,
];

/// Something that is delivered at once, something that is in stock, and something that ships later.
const AT_ONCE: &str = "voucher-tasting";
const STOCKED: &str = "espresso-250";
const SHIPS_LATER: &str = "hand-grinder";
/// Something that is paid every day.
const DAILY: &str = "bar-espresso";

impl Chapter {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Sale => "Sale: what is delivered at once is captured with its authorization",
            Self::Parts => "Shipment in parts: each part is authorized when it is sent",
            Self::PartialCapture => "Partial capture: the rest of the hold is free again",
            Self::Reversal => "Reversal: nothing is sent, nothing is paid",
            Self::Refund => "Refund: money goes back, in parts, and one refund is taken back",
            Self::Recurring => {
                "Recurring payment: agreed to once, paid every day, never more often"
            }
            Self::Batch => "Batch: the shop closes it, the issuer settles, the acquirer pays out",
        }
    }
}

impl Tour<'_> {
    /// Plays a chapter; fails if anything comes out otherwise than it should.
    pub(super) async fn play(&mut self, chapter: Chapter) -> anyhow::Result<()> {
        match chapter {
            Chapter::Sale => self.sale().await,
            Chapter::Parts => self.parts().await,
            Chapter::PartialCapture => self.partial_capture().await,
            Chapter::Reversal => self.reversal().await,
            Chapter::Refund => self.refund().await,
            Chapter::Recurring => self.recurring().await,
            Chapter::Batch => self.batch().await,
        }
    }

    async fn sale(&mut self) -> anyhow::Result<()> {
        let bought = self.bought(&[AT_ONCE]).await?;
        let path = format!("orders/{}", bought.order_id);
        let order = self.calls.get("merchant", &path).await?;
        let state = order.get("state").and_then(Value::as_str);
        ensure!(
            state == Some("captured"),
            "the order is not captured: {order}"
        );
        let came = "authorized and captured by one AuthReq";
        self.told("a voucher is bought", came).await
    }

    async fn parts(&mut self) -> anyhow::Result<()> {
        let bought = self.bought(&[STOCKED, SHIPS_LATER]).await?;
        self.told(
            "one product in stock and one that ships later are bought",
            "the first is authorized",
        )
        .await?;
        let first = self.ask(&bought.order_id, "capture", &json!({})).await?;
        self.told("the first part is sent", &came(&first, "captured")?)
            .await?;
        let second = self.ask(&bought.order_id, "authorize", &json!({})).await?;
        self.told(
            "the second part: AuthReq with the AuthToken",
            &came(&second, "amount")?,
        )
        .await?;
        let auth = second.get("auth").cloned().unwrap_or_default();
        let second = self
            .ask(&bought.order_id, "capture", &json!({"auth": auth}))
            .await?;
        self.told("the second part is sent", &came(&second, "captured")?)
            .await?;
        let wallet = self.inquired(&bought.purchase_id).await?;
        let receipts = wallet.get("receipts").and_then(Value::as_array);
        let count = receipts.map_or(0, Vec::len);
        ensure!(
            count == 2,
            "the wallet has {count} receipts, not 2: {wallet}"
        );
        self.told("the wallet inquires", "two receipts that the bank signed")
            .await?;
        Ok(())
    }

    async fn partial_capture(&mut self) -> anyhow::Result<()> {
        let bought = self.bought(&[STOCKED]).await?;
        self.told("a purchase", "authorized").await?;
        let body = json!({"amount": {"currency": "EUR", "amount_minor": 500}});
        let captured = self.ask(&bought.order_id, "capture", &body).await?;
        self.told(
            "a part of what is authorized is captured",
            &came(&captured, "captured")?,
        )
        .await?;
        let wallet = self.inquired(&bought.purchase_id).await?;
        let paid = wallet.pointer("/paid/amount_minor");
        ensure!(paid == Some(&json!(500)), "the wallet says {wallet}");
        self.told("the wallet inquires", &came(&wallet, "paid")?)
            .await
    }

    async fn reversal(&mut self) -> anyhow::Result<()> {
        let bought = self.bought(&[STOCKED]).await?;
        self.told("a purchase", "authorized").await?;
        let reversed = self.ask(&bought.order_id, "reverse", &json!({})).await?;
        let state = reversed.get("state").and_then(Value::as_str);
        ensure!(state == Some("reversed"), "not reversed: {reversed}");
        self.told("the whole authorization is given back", "reversed")
            .await?;
        let wallet = self.inquired(&bought.purchase_id).await?;
        let status = wallet.get("status").and_then(Value::as_str);
        ensure!(status == Some("reversed"), "the wallet says {wallet}");
        self.told("the wallet inquires", "reversed, by the bank's receipt")
            .await?;
        Ok(())
    }

    async fn refund(&mut self) -> anyhow::Result<()> {
        let order = self.story.of_purchase("order_id");
        let part = json!({"amount": {"currency": "EUR", "amount_minor": 300}});
        let refund = self.ask(order, "refund", &part).await?;
        self.told(
            "a part of the ten steps' purchase goes back",
            &came(&refund, "refunded")?,
        )
        .await?;
        let named = refund.get("movement").context("the refund's name")?;
        let void = json!({"refund": named});
        let voided = self.ask(order, "void-refund", &void).await?;
        self.told(
            "that was an error and is cancelled",
            &came(&voided, "voided")?,
        )
        .await?;
        let refund = self.ask(order, "refund", &json!({})).await?;
        self.told("all of it goes back", &came(&refund, "refunded")?)
            .await?;
        let purchase = self.story.of_purchase("purchase_id");
        let wallet = self.inquired(purchase).await?;
        let status = wallet.get("status").and_then(Value::as_str);
        ensure!(status == Some("refunded"), "the wallet says {wallet}");
        self.told("the wallet inquires", "refunded, by the bank's receipt")
            .await
    }

    /// The acquirer lets this shop collect a day early; for the day after that nobody waits here.
    async fn recurring(&mut self) -> anyhow::Result<()> {
        let (bought, plan) = self.subscribed(DAILY).await?;
        let what = "an espresso a day is agreed to, and today's is paid";
        self.told(what, &plan).await?;
        let next = json!({"capture_now": true});
        let tomorrow = self.ask(&bought.order_id, "authorize", &next).await?;
        let state = tomorrow.get("state").and_then(Value::as_str);
        ensure!(state == Some("captured"), "not paid: {tomorrow}");
        self.told(
            "tomorrow's, a day early, as the acquirer lets the shop",
            &came(&tomorrow, "amount")?,
        )
        .await?;
        let third = self.ask(&bought.order_id, "authorize", &next).await?;
        let code = third.get("auth_code").and_then(Value::as_str);
        ensure!(
            code == Some("recurringTooSoon"),
            "not refused as too soon: {third}"
        );
        self.told(
            "that of the day after, which the gateway refuses",
            "recurringTooSoon, and nothing moves",
        )
        .await?;
        let wallet = self.inquired(&bought.purchase_id).await?;
        self.told("the wallet inquires", &came(&wallet, "paid")?)
            .await
    }

    async fn batch(&mut self) -> anyhow::Result<()> {
        let open = self.calls.get("merchant", "batches?state=open").await?;
        let batch = open.pointer("/items/0/batch_id").and_then(Value::as_str);
        let batch = batch.context("an open batch")?.to_owned();
        let path = format!("batches/{batch}/close");
        let closed = self
            .calls
            .post_until_done("merchant", &path, &json!({}))
            .await?;
        let state = closed.get("state").and_then(Value::as_str);
        ensure!(state == Some("closed"), "the batch is not closed: {closed}");
        self.told(
            "the shop closes its batch, with its own totals",
            "both sides count the same",
        )
        .await?;
        let payout = self.calls.payout(&batch).await?;
        self.told(
            "the issuer settles what its cardholders owe, movement by movement",
            &came(&payout, "amount")?,
        )
        .await
    }
}

/// A sum in an answer, as people write it.
fn came(answer: &Value, field: &str) -> anyhow::Result<String> {
    let sum = crate::shown::amount(answer, field).with_context(|| answer.to_string())?;
    Ok(format!("{field} {sum}"))
}
