//! kill -9 of the real program, and what the next start makes of it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openset_protocol::cardholder::purchase::PaymentStatus;

use crate::authority::Word;
use crate::bank::Mood;
use crate::refunds::sold;
use crate::shop::{OPERATOR, Shop, World, wait_until_ready};
use crate::wallet::{PAN, Wallet, post};

/// The program, killed when dropped.
struct Program {
    child: Child,
    shop: Shop,
}

impl Program {
    async fn start(world: &World, wait_ms: u64) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_openset-merchant"))
            .arg("--config")
            .arg(world.configuration(wait_ms, "one"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let at = line.find("address=")?;
            Some(line[at + 8..].split_whitespace().next()?.to_owned())
        });
        let log = world.data().join("log");
        std::thread::spawn(move || {
            let all: Vec<String> = lines.map_while(Result::ok).collect();
            std::fs::write(log, all.join("\n")).unwrap();
        });
        let url = format!("http://{}", address.unwrap());
        wait_until_ready(&url).await;
        Self {
            child,
            shop: Shop::elsewhere(url),
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_the_bank_is_asked_it_asks_again_with_the_same_bytes() {
    let world = World::new().await;
    let program = Program::start(&world, 5_000).await;
    let order = program.shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&program.shop, &order).await;
    // The bank approves, but its answer never arrives.
    world.bank.be(Mood::Slow(Duration::from_secs(60)));
    let (url, wire) = (program.shop.url.clone(), step.wire.clone());
    let sending = tokio::spawn(async move {
        reqwest::Client::new()
            .post(format!("{url}/set"))
            .header("content-type", "application/set-payment+json")
            .body(wire)
            .send()
            .await
            .is_err()
    });
    while world.bank.received("AuthReq").1 == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    program.kill();
    assert!(sending.await.unwrap(), "the wallet got no answer");

    world.bank.be(Mood::Approves);
    let program = Program::start(&world, 5_000).await;
    // The wallet sends the same bytes again and gets the outcome.
    let reply = post(&program.shop.url, &step.wire).await;
    assert_eq!(wallet.read(&step.state, &reply).status, PaymentStatus::Paid);
    assert_eq!(program.shop.show(&order).await["state"], "authorized");
    assert_eq!(
        world.bank.received("AuthReq").0,
        1,
        "the same bytes each time"
    );
    assert_eq!(post(&program.shop.url, &step.wire).await, reply);

    world.bank.be(Mood::Slow(Duration::from_secs(60)));
    let (url, path) = (program.shop.url.clone(), order.lid_m.to_string());
    let asked = world.bank.received("CapReq").1;
    let capturing = tokio::spawn(async move {
        Shop::elsewhere(url)
            .post(&format!("/orders/{path}/capture"), Some("key"), "")
            .await
    });
    while world.bank.received("CapReq").1 == asked {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    program.kill();
    assert!(capturing.await.is_err());
    world.bank.be(Mood::Approves);
    let program = Program::start(&world, 5_000).await;
    program.shop.wait_for_state(&order, "captured").await;
    assert_eq!(program.shop.capture(&order, Some("key")).await.0, 200);
    assert_eq!(
        world.bank.received("CapReq").0,
        1,
        "the same bytes each time"
    );
    program.kill();
    let log = std::fs::read_to_string(world.data().join("log")).unwrap_or_default();
    assert!(!log.contains(PAN));
}

#[tokio::test]
async fn restarted_shop_goes_on_without_its_gateway_and_its_authority() {
    let mut world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let staple = world.authority.staple(wallet.certificate(), Word::Good, 0);
    let step = wallet.begin_stapled(&shop, &order, Some(staple)).await;
    shop.close().await;
    world.authority.url = "http://127.0.0.1:9".to_owned();
    world.bank.be(Mood::Down);
    let shop = world.open_shop_waiting(200).await;
    let reply = post(&shop.url, &step.wire).await;
    assert_eq!(
        wallet.read(&step.state, &reply).status,
        PaymentStatus::Pending
    );
    shop.close().await;
    world.bank.be(Mood::Approves);
    let shop = world.open_shop().await;
    shop.wait_for_state(&order, "authorized").await;
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    shop.close().await;
}

/// Balances of what the acquirer owes and of what it has paid.
async fn owed_and_paid(shop: &Shop) -> [i64; 2] {
    let (_, books) = shop.get("/ledger", Some(OPERATOR)).await;
    assert_eq!(books["balanced"], true, "{books}");
    let accounts = books["accounts"].as_array().unwrap();
    ["receivable/acquirer/EUR", "bank/EUR"].map(|id| {
        let of = accounts.iter().find(|account| account["id"] == id);
        of.map_or(0, |account| account["balance_minor"].as_i64().unwrap())
    })
}

/// Asks for the close until it is answered for good.
async fn closed(shop: &Shop) -> serde_json::Value {
    let (status, view) = shop.answered("/batches/batch-1/close", "key", "").await;
    assert_eq!(status, 200, "{view}");
    view
}

async fn killed_around_a_close(mood: Mood, acquirer_has_closed: bool) {
    let world = World::new().await;
    let program = Program::start(&world, 5_000).await;
    sold(&world, &program.shop).await;
    world.bank.be(mood);
    let url = program.shop.url.clone();
    let closing = tokio::spawn(async move {
        let shop = Shop::elsewhere(url);
        shop.post("/batches/batch-1/close", Some("key"), "").await
    });
    let closes = || world.bank.state.batches.lock().unwrap().closes;
    world.bank.wait_for("BatchAdminReq").await;
    while acquirer_has_closed && closes() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    program.kill();
    // It may have been told that nobody knows yet.
    let told = closing.await.map_or(202, |(status, _)| status);
    assert_eq!(told, 202, "nobody was told that it is closed");
    assert_eq!(closes(), usize::from(acquirer_has_closed));

    world.bank.be(Mood::Approves);
    let program = Program::start(&world, 5_000).await;
    let view = closed(&program.shop).await;
    assert_eq!(view["state"], "closed", "{view}");
    assert_eq!((closes(), world.bank.received("BatchAdminReq").0), (1, 1));
    assert_eq!(owed_and_paid(&program.shop).await, [1500, 0]);
    // Closed, committed, and killed again before the payout was seen.
    program.kill();
    world.bank.state.batches.lock().unwrap().pay();
    let program = Program::start(&world, 5_000).await;
    for _ in 0..1200 {
        if owed_and_paid(&program.shop).await == [0, 1500] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(owed_and_paid(&program.shop).await, [0, 1500]);
    assert_eq!(closed(&program.shop).await, view);
    assert_eq!(closes(), 1);
    program.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_acquirer_closes_a_batch_it_asks_again_and_is_paid_once() {
    killed_around_a_close(Mood::Slow(Duration::from_secs(60)), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_acquirer_closed_a_batch_it_takes_the_answer_and_is_paid_once() {
    killed_around_a_close(Mood::LosesAnswers, true).await;
}
