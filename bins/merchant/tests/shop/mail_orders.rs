//! Orders by mail: the catalogue, the folder, and whose names are taken already.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openset_protocol::cardholder::mail_order::Catalogue;
use openset_protocol::cardholder::purchase::{AwaitingPRes, PaymentStatus, Step};
use openset_service::clock;
use openset_testkit::postgres::{PostgresServer, WAITING};
use tempfile::TempDir;

use crate::bank::Mood;
use crate::shop::{OPERATOR, Shop, World};
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
async fn nothing_that_is_paid_by_a_plan_is_offered_by_mail() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let brand = "Visa".parse().unwrap();
    let verifier = world.pki.verifier();
    let offered = Catalogue::read(&catalogue(&shop).await, &brand, verifier, clock::now());
    let offered = offered.unwrap();
    let has = |id: &str| offered.products().iter().any(|one| one.product_id == id);
    assert!(has("espresso-250"));
    assert!(!has("subscription-250") && !has("espresso-machine"));
    shop.close().await;
}

#[tokio::test]
async fn names_that_are_taken_are_refused_and_nothing_more_is_told() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let (one, two) = (Wallet::new(&world.pki, 1), Wallet::new(&world.pki, 2));
    let (offered, now) = (catalogue(&shop).await, clock::now());
    let first = one.order_by_mail_at(&offered, 2, 7, now);
    world.hand_in("first.json", &first.wire);
    let reply = world.answer("first.json").await;
    assert_eq!(one.read(&first.state, &reply).status, PaymentStatus::Paid);

    // Another cardholder draws the same names.
    let thief = two.order_by_mail_at(&offered, 2, 7, now);
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
async fn order_by_mail_is_refused_over_http_while_the_gateway_is_asked_and_after_it_answered() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(100).await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = ordered(&wallet, &shop, 1).await;
    let order = step.state.purchase().trans_ids().lid_m.clone();
    world.bank.be(Mood::Down);
    world.hand_in("a.json", &step.wire);
    let path = format!("/orders/{order}");
    wait_until("the order is there", async || {
        shop.get(&path, Some(OPERATOR)).await.0 == 200
    })
    .await;
    let refused = "a mail order over HTTP is not served here";
    let (_, text) = post(&shop.url, &step.wire).await.error();
    assert_eq!(text, refused);
    world.bank.be(Mood::Approves);
    // Nobody was told "received" in between: this is the bank's answer.
    let reply = world.answer("a.json").await;
    assert_eq!(wallet.read(&step.state, &reply).status, PaymentStatus::Paid);
    let (_, text) = post(&shop.url, &step.wire).await.error();
    assert_eq!(text, refused);
    shop.close().await;
}

#[tokio::test]
async fn what_orders_nothing_by_mail_is_refused_in_the_folder() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let order = shop.order().await;
    world.hand_in("a.json", &wallet.p_init_req(&order));
    let begun = wallet.begin(&shop, &order).await;
    world.hand_in("b.json", &begun.wire);
    for name in ["a.json", "b.json"] {
        let (_, text) = world.answer(name).await.error();
        assert_eq!(text, "what orders nothing by mail is not served here");
    }
    assert_eq!(shop.show(&order).await["state"], "open");
    shop.close().await;
}

#[tokio::test]
async fn order_that_is_dated_days_ahead_is_refused_and_one_of_the_next_hours_waits() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let catalogue = catalogue(&shop).await;
    let now = openset_service::clock::now();
    let soon = wallet.order_by_mail_at(&catalogue, 2, 1, now.plus(3_600));
    let late = wallet.order_by_mail_at(&catalogue, 2, 2, now.plus(2 * 86_400));
    world.hand_in("0-soon.json", &soon.wire);
    world.hand_in("1-late.json", &late.wire);
    let (code, _) = world.answer("1-late.json").await.error();
    assert_eq!(code, "messageTooNew");
    // It was looked at before that one.
    assert!(world.spool("in/0-soon.json").exists());
    assert!(!world.spool("out/0-soon.json").exists());
    shop.close().await;
}

/// Waits, with a bound, for something that comes about by itself.
async fn wait_until(what: &str, is: impl AsyncFn() -> bool) {
    for _ in 0..2400 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not come about: {what}");
}

/// A database of PostgreSQL, with its server; none where that is not installed.
pub(crate) async fn postgres() -> Option<(PostgresServer, String)> {
    let server = tokio::task::spawn_blocking(PostgresServer::start).await;
    let server = server.unwrap().unwrap()?;
    let url = server.create_database().unwrap();
    Some((server, url))
}

const COPY: &str = "INSERT INTO payments (xid, order_id, state, brand, cardholder, asked, dual_signature, steps, \
     steps_packed, created_at_ms) SELECT $1, order_id, state, brand, cardholder, asked, dual_signature, steps, \
     steps_packed, created_at_ms FROM payments WHERE xid = $2";

#[tokio::test]
async fn order_by_mail_that_is_rejected_never_gets_a_payment_that_came_a_moment_before() {
    let Some((_server, url)) = postgres().await else {
        println!("skipped: PostgreSQL is not installed");
        return;
    };
    let world = World::on(url, TempDir::new().unwrap()).await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let cheap = ordered(&wallet, &shop, 1).await;
    world.hand_in("cheap.json", &cheap.wire);
    let reply = world.answer("cheap.json").await;
    assert_eq!(
        wallet.read(&cheap.state, &reply).status,
        PaymentStatus::Paid
    );

    // The shop's prices are others than the wallet saw: it rejects the next order.
    world
        .alter("UPDATE catalogues SET products = replace(products, '750', '751')")
        .await;
    let dear = ordered(&wallet, &shop, 2).await;
    let (xid, order) = {
        let ids = dear.state.purchase().trans_ids();
        (ids.xid.to_string(), ids.lid_m.clone())
    };
    // Another replica is about to take the cheap order under the same XID, and has not committed.
    let (db, _) = world.open_database().await;
    let mut other = db.begin().await.unwrap();
    let cheap_xid = cheap.state.purchase().trans_ids().xid.to_string();
    let copied = sqlx::query(COPY)
        .bind(xid)
        .bind(cheap_xid)
        .execute(&mut *other)
        .await;
    assert_eq!(copied.unwrap().rows_affected(), 1);
    world.hand_in("dear.json", &dear.wire);
    wait_until("this replica waits for the other", async || {
        let waiting: i64 = sqlx::query_scalar(WAITING)
            .bind("%INSERT INTO payments%")
            .fetch_one(&mut *db.read().await.unwrap())
            .await
            .unwrap();
        waiting > 0
    })
    .await;
    other.commit().await.unwrap();
    let (code, _) = world.answer("dear.json").await.error();
    assert_eq!(code, "unknownXID");
    let path = format!("/orders/{order}");
    assert_eq!(shop.get(&path, Some(OPERATOR)).await.0, 404);
    db.close().await;
    shop.close().await;
}

#[tokio::test]
async fn order_never_shows_a_payment_that_names_another() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let (paid, dear) = (shop.order().await, shop.order().await);
    wallet.buy(&shop, &paid).await;
    shop.wait_for_state(&paid, "authorized").await;
    let (db, _) = world.open_database().await;
    let mut tx = db.begin().await.unwrap();
    let taken = sqlx::query("UPDATE orders SET xid = (SELECT xid FROM payments) WHERE id = $1")
        .bind(dear.lid_m.as_str())
        .execute(&mut *tx)
        .await;
    assert_eq!(taken.unwrap().rows_affected(), 1);
    tx.commit().await.unwrap();
    db.close().await;
    assert_eq!(shop.show(&dear).await["state"], "open");
    let (status, problem) = shop.capture(&dear, Some("capture-dear")).await;
    assert_eq!(status, 409, "{problem}");
    let (_, page) = shop.get("/orders?state=authorized", Some(OPERATOR)).await;
    let listed = page["items"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{page}");
    assert_eq!(listed[0]["order_id"], paid.lid_m.as_str());
    shop.close().await;
}

#[tokio::test]
async fn two_replicas_that_sell_different_things_each_keep_to_one_catalogue() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let first = catalogue(&shop).await;
    // Another replica of the shop has signed what it sells, a moment later.
    world
        .alter(
            "INSERT INTO catalogues (digest, brand, merchant, gateway, products, jws, made_of, issued_at_s, \
             valid_until_s) SELECT 'other', brand, merchant, gateway, products, 'other', 'other', \
             issued_at_s + 1, valid_until_s FROM catalogues",
        )
        .await;
    assert_eq!(catalogue(&shop).await, first);
    shop.close().await;
}

#[tokio::test]
async fn replicas_on_one_folder_authorize_once_and_give_the_same_bytes() {
    let Some((_server, url)) = postgres().await else {
        println!("skipped: PostgreSQL is not installed");
        return;
    };
    let world = World::on(url, TempDir::new().unwrap()).await;
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
