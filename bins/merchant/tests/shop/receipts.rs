//! What the wallet is told after captures and refunds: what the bank's newest receipt says.

use openset_protocol::cardholder::purchase::{AwaitingPRes, PaymentStatus, Step};
use openset_protocol::messages::initiation::PaymentInitiation;
use openset_protocol::messages::p::CompletionCode::{self, CapturePerformed, CreditPerformed};
use serde_json::json;

use crate::bank::Mood;
use crate::movements::wait_until_done;
use crate::refunds::of;
use crate::shop::{Shop, World};
use crate::wallet::Wallet;

struct Bought {
    world: World,
    shop: Shop,
    order: PaymentInitiation,
    wallet: Wallet,
    step: Step<AwaitingPRes>,
}

impl Bought {
    async fn new() -> Self {
        let world = World::new().await;
        let shop = world.open_shop().await;
        let order = shop.order().await;
        let wallet = Wallet::new(&world.pki, 1);
        let (step, _) = wallet.buy(&shop, &order).await;
        shop.wait_for_state(&order, "authorized").await;
        Self {
            world,
            shop,
            order,
            wallet,
            step,
        }
    }

    /// What an inquiry tells: status, code, what was paid, and what of it went back.
    async fn told(&self) -> (PaymentStatus, CompletionCode, u64, u64) {
        let told = self.wallet.inquire(&self.shop, &self.step.state).await;
        let told = told.unwrap();
        let amounts = (told.paid_minor(), told.refunded_minor());
        (told.status, told.completion_code, amounts.0, amounts.1)
    }

    async fn done(&self, what: &str, body: serde_json::Value) -> serde_json::Value {
        let key = format!("{what}-{body}");
        let (status, answer) = self.shop.ask(&self.order, what, &key, body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

#[tokio::test]
async fn capture_of_a_part_is_what_the_wallet_is_told_was_paid() {
    let bought = Bought::new().await;
    bought.done("capture", of(600)).await;
    let captured = (PaymentStatus::Paid, CapturePerformed, 600, 0);
    assert_eq!(bought.told().await, captured);
    // What was released stays so when the capture is cancelled.
    bought.done("void-capture", json!({})).await;
    assert_eq!(bought.told().await.2, 600);
    bought.done("reverse", json!({})).await;
    assert_eq!(bought.told().await.0, PaymentStatus::Reversed);
}

#[tokio::test]
async fn refunds_reach_the_wallet_and_so_does_their_cancellation() {
    let bought = Bought::new().await;
    bought.done("capture", json!({})).await;
    assert_eq!(bought.told().await.1, CapturePerformed);
    let first = bought.done("refund", of(500)).await;
    let partly = (PaymentStatus::PartlyRefunded, CreditPerformed, 1500, 500);
    assert_eq!(bought.told().await, partly);
    bought.done("refund", json!({})).await;
    let all = (PaymentStatus::Refunded, CreditPerformed, 1500, 1500);
    assert_eq!(bought.told().await, all);
    let named = json!({"refund": first["movement"]});
    bought.done("void-refund", named).await;
    let rest = (PaymentStatus::PartlyRefunded, CreditPerformed, 1500, 1000);
    assert_eq!(bought.told().await, rest);
}

/// The answer to the first refund comes after the one to the second, which knows of both.
#[tokio::test]
async fn a_receipt_that_comes_late_takes_nothing_back() {
    let bought = Bought::new().await;
    bought.done("capture", json!({})).await;
    bought.world.bank.be(Mood::LosesAnswers);
    let (status, _) = bought.shop.ask(&bought.order, "refund", "a", of(300)).await;
    assert_eq!(status, 202);
    bought.world.bank.wait_for("CredReq").await;
    bought.world.bank.be(Mood::Approves);
    bought.done("refund", of(500)).await;
    wait_until_done(&bought.world, "credit").await;
    let both = (PaymentStatus::PartlyRefunded, CreditPerformed, 1500, 800);
    assert_eq!(bought.told().await, both);
}

/// The gateway kept too little of the payment: nobody can prove more than was authorized, and the wallet can read that.
#[tokio::test]
async fn without_newer_receipts_the_wallet_is_told_what_the_first_one_says() {
    let bought = Bought::new().await;
    bought.world.bank.be(Mood::GivesNoReceipts);
    bought.done("capture", of(600)).await;
    let captured = (PaymentStatus::Paid, CapturePerformed, 1500, 0);
    assert_eq!(bought.told().await, captured);
    bought.done("refund", of(200)).await;
    assert_eq!(bought.told().await, captured);
}

/// A request that an earlier version stored knows too little to verify the receipt of its answer.
#[tokio::test]
async fn receipt_for_a_request_of_before_there_were_any_is_left_out() {
    let bought = Bought::new().await;
    bought.done("capture", json!({})).await;
    let world = &bought.world;
    world.bank.be(Mood::Down);
    let asked = bought.shop.ask(&bought.order, "refund", "a", of(300)).await;
    assert_eq!(asked.0, 202);
    world.unpack_movements().await;
    world
        .alter(
            "UPDATE movements SET awaiting = json_remove(awaiting, '$.hods') WHERE state = 'asked'",
        )
        .await;
    world.bank.be(Mood::Approves);
    wait_until_done(world, "credit").await;
    let first = (PaymentStatus::Paid, CapturePerformed, 1500, 0);
    assert_eq!(bought.told().await, first);
    // The next answer brings what that one would have.
    bought.done("refund", of(200)).await;
    let both = (PaymentStatus::PartlyRefunded, CreditPerformed, 1500, 500);
    assert_eq!(bought.told().await, both);
}
