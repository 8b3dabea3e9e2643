//! Orders by mail: the catalogue, the folder, and whose names are taken already.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openset_protocol::cardholder::purchase::{AwaitingPRes, PaymentStatus, Step};
use openset_testkit::postgres::PostgresServer;
use tempfile::TempDir;

use crate::shop::{Shop, World};
use crate::wallet::{Reply, Wallet, post};

impl World {
    fn spool(&self, path: &str) -> PathBuf {
        self.data().join("spool").join(path)
    }

    fn hand_in(&self, name: &str, bytes: &[u8]) {
        let part = self.spool(&format!("{name}.part"));
        fs::write(&part, bytes).unwrap();
        fs::rename(part, self.spool(&format!("in/{name}"))).unwrap();
    }

    async fn answer(&self, name: &str) -> Reply {
        let body = content(&self.spool(&format!("out/{name}"))).await;
        let is_error = body.windows(7).any(|window| window == b"\"Error\"");
        Reply {
            status: if is_error { 400 } else { 200 },
            body,
        }
    }
}

/// The file, once it is there.
async fn content(path: &Path) -> Vec<u8> {
    for _ in 0..2400 {
        if let Ok(bytes) = fs::read(path) {
            return bytes;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} is not there", path.display());
}

async fn catalogue(shop: &Shop) -> String {
    let response = reqwest::get(format!("{}/catalogue", shop.url)).await;
    let response = response.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    response.text().await.unwrap()
}

async fn ordered(wallet: &Wallet, shop: &Shop, seed: u64) -> Step<AwaitingPRes> {
    wallet.order_by_mail(&catalogue(shop).await, 2, seed)
}

#[tokio::test]
async fn order_by_mail_is_authorized_once_and_answered_with_the_same_bytes() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = ordered(&wallet, &shop, 1).await;
    world.hand_in("a.json", &step.wire);
    let reply = world.answer("a.json").await;
    let outcome = wallet.read(&step.state, &reply);
    assert_eq!(outcome.status, PaymentStatus::Paid);
    world.hand_in("b.json", &step.wire);
    assert_eq!(world.answer("b.json").await, reply);
    assert_eq!(world.bank.received("AuthReq"), (1, 1));
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    shop.close().await;
}

#[tokio::test]
async fn names_that_are_taken_are_refused_and_nothing_more_is_told() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let (one, two) = (Wallet::new(&world.pki, 1), Wallet::new(&world.pki, 2));
    let first = ordered(&one, &shop, 7).await;
    world.hand_in("first.json", &first.wire);
    let reply = world.answer("first.json").await;
    assert_eq!(one.read(&first.state, &reply).status, PaymentStatus::Paid);

    // Another cardholder draws the same names.
    let thief = ordered(&two, &shop, 7).await;
    assert_eq!(
        thief.state.purchase().trans_ids().xid,
        first.state.purchase().trans_ids().xid
    );
    world.hand_in("thief.json", &thief.wire);
    let (code, text) = world.answer("thief.json").await.error();
    assert_eq!(
        (code.as_str(), text.as_str()),
        ("unknownXID", "no purchase with this XID")
    );
    // Nor does an inquiry tell anything.
    let told = two.inquire(&shop, &thief.state).await;
    assert!(told.is_err(), "{told:?}");
    let inquired = one.inquire(&shop, &first.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    assert_eq!(world.bank.received("AuthReq"), (1, 1));
    shop.close().await;
}

#[tokio::test]
async fn order_by_a_catalogue_that_the_shop_does_not_know_is_refused() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = ordered(&wallet, &shop, 1).await;
    let (db, _) = world.open_database().await;
    let mut tx = db.begin().await.unwrap();
    let forgotten = sqlx::query("DELETE FROM catalogues")
        .execute(&mut *tx)
        .await;
    assert_eq!(forgotten.unwrap().rows_affected(), 1);
    tx.commit().await.unwrap();
    db.close().await;
    world.hand_in("a.json", &step.wire);
    let (_, text) = world.answer("a.json").await.error();
    assert!(text.starts_with("catalogue is not"), "{text}");
    assert_eq!(world.bank.received("AuthReq"), (0, 0));
    shop.close().await;
}

#[tokio::test]
async fn order_by_mail_is_refused_over_http_and_a_message_that_is_none_is_put_away() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = ordered(&wallet, &shop, 1).await;
    let (_, text) = post(&shop.url, &step.wire).await.error();
    assert_eq!(text, "a mail order over HTTP is not served here");
    world.hand_in("letter.json", b"Dear shop");
    let reason = content(&world.spool("failed/letter.json.txt")).await;
    assert!(!reason.is_empty());
    world.hand_in("long.json", &vec![b'x'; 256 * 1024 + 1]);
    let reason = content(&world.spool("failed/long.json.txt")).await;
    assert_eq!(reason, b"more than 262144 bytes\n");
    shop.close().await;
}

#[tokio::test]
async fn replicas_on_one_folder_authorize_once_and_give_the_same_bytes() {
    let server = tokio::task::spawn_blocking(PostgresServer::start)
        .await
        .unwrap()
        .unwrap();
    let Some(server) = server else {
        println!("skipped: PostgreSQL is not installed");
        return;
    };
    let world = World::on(server.create_database().unwrap(), TempDir::new().unwrap()).await;
    let (one, two) = tokio::join!(
        world.open_replica(5_000, "one"),
        world.open_replica(5_000, "two")
    );
    let wallet = Wallet::new(&world.pki, 1);
    let mut replies = Vec::new();
    for number in 0..4 {
        let step = ordered(&wallet, &one, number).await;
        let name = format!("{number}.json");
        world.hand_in(&name, &step.wire);
        let reply = world.answer(&name).await;
        assert_eq!(wallet.read(&step.state, &reply).status, PaymentStatus::Paid);
        replies.push((name, reply));
    }
    assert_eq!(world.bank.received("AuthReq"), (4, 4));
    for (name, reply) in replies {
        content(&world.spool(&format!("done/{name}"))).await;
        assert_eq!(world.answer(&name).await, reply);
    }
    one.close().await;
    two.close().await;
}
