//! Purchases by mail: a catalogue in a file, an order in a file, an answer in a file, through all services.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use openset_tests::{Account, Answer, World, fresh};
use serde_json::{Value, json};

/// How long an answer may take in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const PRODUCT: &str = "espresso-250";
const PRICE_MINOR: u64 = 750;

async fn card(world: &World) -> (Account, String) {
    let account = world.account(1_000_000, &json!({})).await;
    let card_id = world.card(&account).await;
    (account, card_id)
}

async fn catalogue(world: &World) -> String {
    let answer = world.get("merchant", "catalogue").await.unwrap();
    let text = String::from_utf8(answer.bytes).unwrap();
    assert_eq!(answer.status, 200, "{text}");
    text
}

/// The wallet's answer to an order of two by this catalogue.
async fn order(world: &World, card_id: &str, catalogue: &str, amount_minor: u64) -> Answer {
    let body = json!({
        "card_id": card_id, "catalogue": catalogue,
        "items": [{"product_id": PRODUCT, "quantity": 2}],
        "amount": {"currency": "EUR", "amount_minor": amount_minor},
    });
    world
        .post("cardholder", "mail-orders", &fresh(), &body)
        .await
        .unwrap()
}

async fn ordered(world: &World, card_id: &str, catalogue: &str) -> Answer {
    let answer = order(world, card_id, catalogue, 2 * PRICE_MINOR).await;
    assert_eq!(answer.status, 201, "{:?}", answer.json);
    assert_eq!(answer.text("/purchase/status"), "pending");
    answer
}

fn spool(world: &World, path: &str) -> PathBuf {
    world.folder_of("merchant").join("spool").join(path)
}

/// Puts a file into the shop's folder, whole at once.
fn hand_in(world: &World, name: &str, text: &str) {
    let part = spool(world, &format!("{name}.part"));
    fs::write(&part, text).unwrap();
    fs::rename(part, spool(world, &format!("in/{name}"))).unwrap();
}

/// Waits for a file in the shop's folder.
async fn file(world: &World, path: &str) -> Vec<u8> {
    let (path, started) = (spool(world, path), Instant::now());
    loop {
        if let Ok(bytes) = fs::read(&path) {
            return bytes;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{} is not there:\n{}\n{}",
            path.display(),
            world.log("merchant"),
            world.log("gateway")
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a message is put away.
async fn done(world: &World, name: &str) {
    file(world, &format!("done/{name}")).await;
    assert!(!spool(world, &format!("in/{name}")).exists());
}

/// The wallet's view after it took the shop's answer.
async fn told(world: &World, ordered: &Answer, p_res: &[u8]) -> Answer {
    let purchase_id = ordered.text("/purchase/purchase_id");
    let path = format!("mail-orders/{purchase_id}/answer");
    let message: Value = serde_json::from_slice(p_res).unwrap();
    world
        .post("cardholder", &path, &fresh(), &message)
        .await
        .unwrap()
}

async fn assert_paid(world: &World, ordered: &Answer, p_res: &[u8]) {
    let told = told(world, ordered, p_res).await;
    assert_eq!(
        (told.status, told.text("/status")),
        (200, "paid"),
        "{:?}\n{}",
        told.json,
        world.log("merchant")
    );
    assert!(!told.text("/receipt/approval_code").is_empty());
}

async fn holds(world: &World, account: &Account) -> usize {
    let view = world.account_view(account).await;
    view["holds"].as_array().expect("holds").len()
}

#[tokio::test]
async fn purchase_by_mail_goes_from_catalogue_to_capture_in_files() {
    let world = World::start().await;
    let (account, card_id) = card(&world).await;
    let catalogue = catalogue(&world).await;
    let ordered = ordered(&world, &card_id, &catalogue).await;
    assert_eq!(ordered.text("/bought/items/0/name"), "Espresso beans 250 g");
    assert_eq!(ordered.text("/bought/merchant_id"), "shop-0001");

    // The same key is the same file.
    let key = fresh();
    let body = json!({
        "card_id": card_id, "catalogue": catalogue, "items": [{"product_id": PRODUCT, "quantity": 1}],
        "amount": {"currency": "EUR", "amount_minor": PRICE_MINOR},
    });
    let one = world.post("cardholder", "mail-orders", &key, &body).await;
    let again = world.post("cardholder", "mail-orders", &key, &body).await;
    assert_eq!(one.unwrap().bytes, again.unwrap().bytes);

    // Nobody takes it but from the folder.
    let refused = world.set("merchant", ordered.text("/p_req")).await;
    assert_eq!(refused.status, 400, "{:?}", refused.json);
    let why = refused.text("/message/Error/error_text");
    assert_eq!(why, "a mail order over HTTP is not served here");
    // The shop does not know it yet, which says nothing.
    let purchase_id = ordered.text("/purchase/purchase_id").to_owned();
    let inquiry = format!("purchases/{purchase_id}/inquiry");
    let unknown = world
        .post("cardholder", &inquiry, &fresh(), &json!({}))
        .await;
    assert_eq!(unknown.unwrap().text("/status"), "pending");

    let p_req = ordered.text("/p_req");
    hand_in(&world, "a-1.json", &format!("{p_req}\n"));
    let p_res = file(&world, "out/a-1.json").await;
    done(&world, "a-1.json").await;
    assert_paid(&world, &ordered, &p_res).await;
    assert_eq!(holds(&world, &account).await, 1);

    // Handed in again, under its name and another: the same bytes, and nothing happens twice.
    fs::remove_file(spool(&world, "out/a-1.json")).unwrap();
    for name in ["a-1.json", "b.json"] {
        hand_in(&world, name, p_req);
        assert_eq!(file(&world, &format!("out/{name}")).await, p_res);
    }
    assert_eq!(holds(&world, &account).await, 1);

    let order_id = ordered.text("/purchase/order_id");
    let path = format!("orders/{order_id}");
    let shown = world.get("merchant", &path).await.unwrap();
    assert_eq!(shown.text("/state"), "authorized", "{:?}", shown.json);
    assert_eq!(shown.json["amount"]["amount_minor"], 2 * PRICE_MINOR);
    let capture = format!("{path}/capture");
    let captured = world
        .post("merchant", &capture, &fresh(), &json!({}))
        .await
        .unwrap();
    assert_eq!(captured.text("/state"), "captured", "{:?}", captured.json);
    let inquired = world
        .post("cardholder", &inquiry, &fresh(), &json!({}))
        .await;
    assert_eq!(inquired.unwrap().text("/status"), "paid");
    assert_eq!(holds(&world, &account).await, 0);
}

#[tokio::test]
async fn mail_order_survives_the_merchant_however_often_it_is_killed() {
    let mut world = World::start().await;
    let (account, card_id) = card(&world).await;
    let catalogue = catalogue(&world).await;

    // The gateway is away: the order is there, its answer waits.
    world.kill("gateway");
    let waiting = ordered(&world, &card_id, &catalogue).await;
    hand_in(&world, "waits.json", waiting.text("/p_req"));
    let path = format!("orders/{}", waiting.text("/purchase/order_id"));
    let started = Instant::now();
    while world.get("merchant", &path).await.unwrap().text("/state") != "ordered" {
        assert!(started.elapsed() < PATIENCE, "{}", world.log("merchant"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.kill("merchant");
    assert!(!spool(&world, "out/waits.json").exists());
    assert!(spool(&world, "in/waits.json").exists());
    world.restart("gateway").await;
    world.restart("merchant").await;
    let p_res = file(&world, "out/waits.json").await;
    assert_paid(&world, &waiting, &p_res).await;
    assert_eq!(holds(&world, &account).await, 1);

    // Killed between the answer and the putting away: the same answer again.
    done(&world, "waits.json").await;
    world.kill("merchant");
    fs::rename(
        spool(&world, "done/waits.json"),
        spool(&world, "in/waits.json"),
    )
    .unwrap();
    world.restart("merchant").await;
    done(&world, "waits.json").await;
    assert_eq!(file(&world, "out/waits.json").await, p_res);

    // Killed somewhere on the way.
    for (place, delay_ms) in [0, 1_020, 1_100].into_iter().enumerate() {
        let one = ordered(&world, &card_id, &catalogue).await;
        let name = format!("killed-{place}.json");
        hand_in(&world, &name, one.text("/p_req"));
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        world.kill("merchant");
        world.restart("merchant").await;
        let p_res = file(&world, &format!("out/{name}")).await;
        done(&world, &name).await;
        assert_paid(&world, &one, &p_res).await;
        assert_eq!(holds(&world, &account).await, place + 2);
    }
}

#[tokio::test]
async fn prices_of_a_catalogue_hold_and_what_is_no_catalogue_or_order_is_refused() {
    let mut world = World::start().await;
    let (account, card_id) = card(&world).await;
    let old = catalogue(&world).await;
    assert_eq!(catalogue(&world).await, old, "it is signed once");

    // The wallet signs nothing by a catalogue that does not hold, or at another price.
    let payload_at = old.find('.').unwrap() + 40;
    let mut tampered = old.clone();
    let letter = if &old[payload_at..=payload_at] == "A" {
        "B"
    } else {
        "A"
    };
    tampered.replace_range(payload_at..=payload_at, letter);
    let refused = order(&world, &card_id, &tampered, 2 * PRICE_MINOR).await;
    assert_eq!(
        (refused.status, refused.text("/code")),
        (422, "catalogue-not-verified"),
        "{:?}",
        refused.json
    );
    let refused = order(&world, &card_id, &old, 2 * PRICE_MINOR - 1).await;
    assert_eq!(
        (refused.status, refused.text("/code")),
        (409, "amount-differs")
    );

    // The shop raises its prices; who has ordered by the old catalogue pays the old ones.
    let by_old = ordered(&world, &card_id, &old).await;
    world.kill("merchant");
    let dearer = world.folder_of("merchant").join("dearer.json");
    let product = json!({"product_id": PRODUCT, "name": "Espresso", "description": "",
        "price": {"currency": "EUR", "amount_minor": PRICE_MINOR + 100}});
    fs::write(&dearer, json!({"products": [product]}).to_string()).unwrap();
    world.configure("merchant", |table| {
        table.insert("catalogue".to_owned(), dearer.display().to_string().into());
    });
    world.restart("merchant").await;
    let new = catalogue(&world).await;
    assert_ne!(new, old);
    let refused = order(&world, &card_id, &new, 2 * PRICE_MINOR).await;
    assert_eq!(
        refused.text("/code"),
        "amount-differs",
        "{:?}",
        refused.json
    );
    hand_in(&world, "old.json", by_old.text("/p_req"));
    let p_res = file(&world, "out/old.json").await;
    assert_paid(&world, &by_old, &p_res).await;
    let view = world.account_view(&account).await;
    assert_eq!(view["held"]["amount_minor"], 2 * PRICE_MINOR, "{view}");

    // What is no message is put away with its reason.
    hand_in(&world, "letter.json", "Dear shop, please send me coffee");
    let reason = file(&world, "failed/letter.json.txt").await;
    assert!(
        String::from_utf8(reason)
            .unwrap()
            .contains("not understood")
    );
    file(&world, "failed/letter.json").await;
    // And the wallet takes another order's answer for none.
    let other = ordered(&world, &card_id, &old).await;
    let refused = told(&world, &other, &p_res).await;
    assert_eq!(
        (refused.status, refused.text("/code")),
        (422, "answer-not-verified"),
        "{:?}",
        refused.json
    );
}

/// The newest signature certificate of merchant or gateway.
async fn in_use(world: &World, owner: &str) -> String {
    let held = world.get(owner, "certificates/own").await.unwrap();
    let all = held.json["certificates"].as_array().unwrap().iter();
    let mut signing = all.filter(|one| one["status"] == "good" && one["purpose"] == "signature");
    let signing = signing.next().unwrap_or_else(|| panic!("{:?}", held.json));
    signing["thumbprint"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn mail_order_from_before_a_renewal_is_opened_and_authorized_after_it() {
    let world = World::start_with(|party, table| {
        if party != "ca" && party != "issuer" {
            table.insert("trust_refresh_seconds".to_owned(), 1.into());
        }
    })
    .await;
    let (_, card_id) = card(&world).await;
    let old = catalogue(&world).await;
    let ordered_before = ordered(&world, &card_id, &old).await;
    let before = [
        in_use(&world, "merchant").await,
        in_use(&world, "gateway").await,
    ];
    for ca in ["visa-mca", "visa-pca"] {
        world.ca_command(&["authority", "renew", ca]).await;
    }
    let started = Instant::now();
    for (owner, old) in ["merchant", "gateway"].iter().zip(&before) {
        while in_use(&world, owner).await == *old {
            assert!(started.elapsed() < PATIENCE, "{}", world.log(owner));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    // The merchant has heard of the gateway's new certificate, too.
    let started = Instant::now();
    while catalogue(&world).await == old {
        assert!(started.elapsed() < PATIENCE, "{}", world.log("merchant"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    hand_in(&world, "before.json", ordered_before.text("/p_req"));
    let p_res = file(&world, "out/before.json").await;
    assert_paid(&world, &ordered_before, &p_res).await;
    let path = format!(
        "orders/{}/capture",
        ordered_before.text("/purchase/order_id")
    );
    let captured = world
        .post("merchant", &path, &fresh(), &json!({}))
        .await
        .unwrap();
    assert_eq!(captured.text("/state"), "captured", "{:?}", captured.json);

    // And by the new one.
    let ordered_after = ordered(&world, &card_id, &catalogue(&world).await).await;
    hand_in(&world, "after.json", ordered_after.text("/p_req"));
    let p_res = file(&world, "out/after.json").await;
    assert_paid(&world, &ordered_after, &p_res).await;
}
