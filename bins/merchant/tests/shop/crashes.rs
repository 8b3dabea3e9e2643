//! kill -9 of the real program, and what the next start makes of it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openset_protocol::cardholder::purchase::PaymentStatus;

use crate::authority::Word;
use crate::bank::Mood;
use crate::shop::{Shop, World, wait_until_ready};
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
