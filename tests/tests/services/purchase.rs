//! A purchase through all ten steps, what each party knows of it after, and every way in which the bank says no.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use openset_tests::{Answer, World, fresh};
use serde_json::{Value, json};

async fn bought(world: &World, limit: u64) -> (openset_tests::Account, String, Answer) {
    let account = world.account(limit, &json!({})).await;
    let card_id = world.card(&account).await;
    let answer = world.purchase(&card_id, &fresh()).await.unwrap();
    (account, card_id, answer)
}

fn holds(view: &Value) -> Vec<Value> {
    view["holds"].as_array().cloned().expect("holds")
}

#[tokio::test]
async fn purchase_is_paid_and_captured_once() {
    let world = World::start().await;
    let (account, _, answer) = bought(&world, 100_000).await;
    assert_eq!(
        (answer.status, answer.text("/status")),
        (201, "paid"),
        "{:?}",
        answer.json
    );
    assert!(!answer.text("/receipt/approval_code").is_empty());
    assert_eq!(answer.text("/message"), "Your bank wishes you a good read.");
    assert_eq!(holds(&world.account_view(&account).await).len(), 1);

    let order = answer.text("/order_id").to_owned();
    let path = format!("orders/{order}/capture");
    let key = fresh();
    let first = world
        .post("merchant", &path, &key, &json!({}))
        .await
        .unwrap();
    assert_eq!(first.text("/state"), "captured", "{:?}", first.json);
    let again = world
        .post("merchant", &path, &key, &json!({}))
        .await
        .unwrap();
    assert_eq!(again.bytes, first.bytes);
    let view = world.account_view(&account).await;
    assert!(holds(&view).is_empty(), "{view}");
    let ledger = world.get("gateway", "ledger").await.unwrap();
    assert_eq!(ledger.status, 200);

    let purchase_id = answer.text("/purchase_id").to_owned();
    let inquiry = world.settled(&purchase_id).await;
    assert_eq!(inquiry.text("/status"), "paid");
}

#[tokio::test]
async fn same_idempotency_key_is_the_same_purchase() {
    let world = World::start().await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let key = fresh();
    let first = world.purchase(&card_id, &key).await.unwrap();
    let again = world.purchase(&card_id, &key).await.unwrap();
    assert_eq!(first.text("/purchase_id"), again.text("/purchase_id"));
    assert_eq!(holds(&world.account_view(&account).await).len(), 1);

    let other = world.basket(&card_id, 3).await;
    let refused = world
        .post("cardholder", "purchases", &key, &other)
        .await
        .unwrap();
    assert_eq!(
        (refused.status, refused.text("/code")),
        (422, "idempotency-key-reused")
    );
}

#[tokio::test]
async fn two_requests_with_one_key_at_once_are_one_purchase() {
    let world = World::start().await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let key = fresh();
    let (one, two) = tokio::join!(
        world.purchase(&card_id, &key),
        world.purchase(&card_id, &key)
    );
    assert_eq!(
        one.unwrap().text("/purchase_id"),
        two.unwrap().text("/purchase_id")
    );
    assert_eq!(holds(&world.account_view(&account).await).len(), 1);
}

/// The purchase was declined for this reason, the wallet says so, and the issuer holds nothing.
async fn assert_declined(
    world: &World,
    account: &openset_tests::Account,
    answer: &Answer,
    reason: &str,
) {
    assert_eq!(answer.text("/status"), "declined", "{:?}", answer.json);
    assert_eq!(answer.json.pointer("/receipt"), None);
    let path = format!("authorizations/{}", answer.text("/xid"));
    let authorization = world.get("gateway", &path).await.unwrap();
    assert_eq!(
        authorization.text("/resp_reason"),
        reason,
        "{:?}",
        authorization.json
    );
    let view = world.account_view(account).await;
    if reason != "unknownCard" {
        assert!(holds(&view).is_empty(), "{view}");
        assert_eq!(view["held"]["amount_minor"], 0, "{view}");
    }
}

#[tokio::test]
async fn every_decline_ends_cleanly_and_leaves_no_hold() {
    let world = World::start().await;
    let (account, _, answer) = bought(&world, 1).await;
    assert_declined(&world, &account, &answer, "insufficientFunds").await;

    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let path = format!("accounts/{}/block", account.account_id);
    let block = world
        .post("issuer", &path, &fresh(), &json!({}))
        .await
        .unwrap();
    assert!(block.status < 300, "{:?}", block.json);
    let answer = world.purchase(&card_id, &fresh()).await.unwrap();
    assert_declined(&world, &account, &answer, "blockedCard").await;

    let account = world.account(100_000, &json!({"currency": "USD"})).await;
    let card_id = world.card(&account).await;
    let answer = world.purchase(&card_id, &fresh()).await.unwrap();
    assert_declined(&world, &account, &answer, "wrongCurrency").await;
}

#[tokio::test]
async fn card_that_the_issuer_has_forgotten_is_declined() {
    let mut world = World::start().await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    world.kill("issuer");
    for entry in std::fs::read_dir(world.folder_of("issuer"))
        .unwrap()
        .flatten()
    {
        if entry.file_name().to_string_lossy().contains(".db") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    world.restart("issuer").await;
    let answer = world.purchase(&card_id, &fresh()).await.unwrap();
    assert_declined(&world, &account, &answer, "unknownCard").await;
}

/// The certificate of a card ends with it, so only a bank whose clock is ahead of all others sees one.
#[tokio::test]
async fn card_that_is_past_its_month_at_the_issuer_is_declined() {
    let mut world = World::start().await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    world.kill("issuer");
    let ahead =
        openset_issuer::Clock::reading(|| openset_service::clock::now().plus(4 * 366 * 86_400));
    let path = world
        .folder_of("issuer")
        .join("issuer.toml")
        .display()
        .to_string();
    let party = openset_service::config::Party::Issuer;
    let args = ["issuer", "--config", &path].map(std::ffi::OsString::from);
    let config =
        openset_service::config::load_from(party, args, &std::collections::BTreeMap::new())
            .unwrap();
    let listener = tokio::net::TcpListener::bind(config.common.listen)
        .await
        .unwrap();
    let stop = openset_service::CancellationToken::new();
    let issuer = tokio::spawn(openset_issuer::run_by(
        ahead,
        listener,
        config,
        stop.clone(),
    ));
    world.ready("issuer").await;
    let answer = world.purchase(&card_id, &fresh()).await.unwrap();
    assert_declined(&world, &account, &answer, "expiredCard").await;
    stop.cancel();
    issuer.await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_keeps_what_is_not_theirs_to_know() {
    let world = World::start().await;
    let (account, _, answer) = bought(&world, 100_000).await;
    assert_eq!(answer.text("/status"), "paid");
    let description = answer.text("/order_description").to_owned();
    assert!(description.len() > 12);
    for party in openset::setup::PARTIES {
        assert_absent(&world, party, &account.pan, "card number");
    }
    for party in ["gateway", "issuer", "ca"] {
        assert_absent(&world, party, &description, "order description");
    }
    // The search finds what is there.
    assert!(found(&world, "merchant", description.as_bytes()));
}

/// Neither data nor log of a party hold a text: plain, in hexadecimal, in base64 at any alignment, or as
/// its bare SHA-256.
fn assert_absent(world: &World, party: &str, text: &str, what: &str) {
    use base64::Engine as _;
    let digest = openset_jose::sha256(text.as_bytes());
    let standard = base64::engine::general_purpose::STANDARD_NO_PAD;
    let mut needles = vec![
        text.as_bytes().to_vec(),
        hex::encode(text).into_bytes(),
        hex::encode_upper(text).into_bytes(),
        digest.to_vec(),
        hex::encode(digest).into_bytes(),
        standard.encode(digest).into_bytes(),
        openset_jose::base64url::encode(&digest).into_bytes(),
    ];
    for skip in 0..3 {
        for encoded in [
            standard.encode(&text.as_bytes()[skip..]),
            openset_jose::base64url::encode(&text.as_bytes()[skip..]),
        ] {
            // The last characters depend on what follows.
            needles.push(encoded.as_bytes()[..encoded.len() - 3].to_vec());
        }
    }
    for needle in needles {
        assert!(
            !found(world, party, &needle),
            "{party} keeps the {what} as {}",
            String::from_utf8_lossy(&needle)
        );
    }
}

fn found(world: &World, party: &str, needle: &[u8]) -> bool {
    let entries = std::fs::read_dir(world.folder_of(party)).unwrap();
    entries.flatten().filter(|e| e.path().is_file()).any(|e| {
        let bytes = std::fs::read(e.path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[tokio::test]
async fn whole_purchase_on_postgresql() {
    let Some(server) = openset_testkit::postgres::PostgresServer::start().unwrap() else {
        println!("PostgreSQL's initdb was not found: the purchase on PostgreSQL was not run");
        return;
    };
    let world = World::start_on(&server).await;
    let (account, _, answer) = bought(&world, 100_000).await;
    assert_eq!(answer.text("/status"), "paid", "{:?}", answer.json);
    let path = format!("orders/{}/capture", answer.text("/order_id"));
    let captured = world
        .post("merchant", &path, &fresh(), &json!({}))
        .await
        .unwrap();
    assert_eq!(captured.text("/state"), "captured", "{:?}", captured.json);
    assert!(holds(&world.account_view(&account).await).is_empty());
    for party in openset::setup::PARTIES {
        let files = std::fs::read_dir(world.folder_of(party)).unwrap().flatten();
        let sqlite = files
            .filter(|f| f.path().extension().is_some_and(|x| x == "db"))
            .count();
        assert_eq!(sqlite, 0, "{party} keeps a SQLite file beside PostgreSQL");
    }
}
