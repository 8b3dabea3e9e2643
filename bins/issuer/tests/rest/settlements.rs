//! The bank pays gateways what their movements come to.

use openset_store::Db;
use openset_store::ledger::{self, LedgerError};
use serde_json::{Value, json};

use crate::bank::{Answer, Bank, GATEWAY, OPERATOR, OTHER_GATEWAY, Opened};
use crate::books;
use crate::replicas::join_all;

/// The movements that are settled, by their keys.
fn part(number: u32, net_minor: i64, movements: &[&str]) -> Value {
    let items: Vec<Value> = movements
        .iter()
        .map(|movement| json!({"movement": movement}))
        .collect();
    json!({
        "batch_id": "batch-1", "part": number, "last": true, "currency": "EUR",
        "net_minor": net_minor, "items": items
    })
}

async fn settle(bank: &Bank, key: &str, body: &Value) -> Answer {
    bank.post("/settlements", GATEWAY, key, body).await
}

/// What the books say of some ledger accounts; None where there is no such account.
async fn balances<const N: usize>(bank: &Bank, accounts: [&str; N]) -> [Option<i64>; N] {
    let url = bank.vaulted.database_url();
    let db = Db::open(&url, openset_issuer::MIGRATIONS).await.unwrap();
    let mut connection = db.read().await.unwrap();
    let mut found = [None; N];
    for (place, account) in accounts.into_iter().enumerate() {
        found[place] = match ledger::balance(&mut connection, account).await {
            Ok(balance) => Some(balance),
            Err(LedgerError::UnknownAccount { .. }) => None,
            Err(error) => panic!("{error}"),
        };
    }
    drop(connection);
    db.close().await;
    found
}

/// Captured 4000 under `c`, 1500 of it credited under `k`.
async fn captured(bank: &Bank) -> (Opened, String) {
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "capture", "c", 4000).await.expect(200);
    bank.movement(&id, "credit", "k", 1500).await.expect(200);
    (card, id)
}

const ACCOUNTS: [&str; 2] = ["settlement/gateway/EUR", "cash/EUR"];

#[tokio::test]
async fn settlement_pays_what_the_movements_come_to_once() {
    let bank = Bank::open().await;
    captured(&bank).await;
    assert_eq!(balances(&bank, ACCOUNTS).await, [Some(-2500), None]);
    let first = settle(&bank, "s", &part(1, 2500, &["c", "k"])).await;
    let told = first.expect(200);
    let names = ["batch_id", "part", "currency", "net_minor", "settled_at"];
    let told = names.map(|name| told[name].clone());
    let expected = json!(["batch-1", 1, "EUR", 2500, "2026-06-15T12:00:00Z"]);
    assert_eq!(json!(told), expected);
    assert_eq!(balances(&bank, ACCOUNTS).await, [Some(0), Some(-2500)]);
    // The same part under the same key and under another, whatever the order of its items.
    let again = settle(&bank, "s", &part(1, 2500, &["c", "k"])).await;
    assert_eq!(again, first);
    bank.vaulted.move_clock(60);
    let again = settle(&bank, "s2", &part(1, 2500, &["k", "c"])).await;
    assert_eq!(again, first);
    assert_eq!(balances(&bank, ACCOUNTS).await, [Some(0), Some(-2500)]);
    let other = settle(&bank, "s3", &part(1, 4000, &["c"])).await;
    assert_eq!(other.problem(422), "part-reused");
    let reused = settle(&bank, "s", &part(2, 2500, &["c", "k"])).await;
    assert_eq!(reused.problem(422), "idempotency-key-reused");
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn each_movement_is_settled_once() {
    let bank = Bank::open().await;
    captured(&bank).await;
    settle(&bank, "s1", &part(1, 4000, &["c"]))
        .await
        .expect(200);
    let twice = settle(&bank, "s2", &part(2, 2500, &["k", "c"])).await;
    assert_eq!(twice.problem(409), "already-settled");
    assert_eq!(twice.json()["errors"][0]["pointer"], "/items/1/movement");
    // Nothing of the part that was refused was settled: the key may be used for the part as it should be.
    let mended = settle(&bank, "s2", &part(2, -1500, &["k"])).await;
    assert_eq!(mended.expect(200)["net_minor"], -1500);
    assert_eq!(balances(&bank, ACCOUNTS).await, [Some(0), Some(-2500)]);
    let doubled = settle(&bank, "s3", &part(3, 0, &["k", "k"])).await;
    assert_eq!(doubled.problem(422), "invalid-field");
}

#[tokio::test]
async fn settlement_of_what_is_not_so_is_refused_and_changes_nothing() {
    let bank = Bank::open().await;
    let (card, id) = captured(&bank).await;
    let mut foreign = crate::bank::authorization(&card, 100);
    foreign["reference"] = json!("order-2");
    let told = bank.post("/authorizations", OTHER_GATEWAY, "a", &foreign);
    let other_id = told.await.expect(200)["authorization_id"].clone();
    let path = format!("/authorizations/{}/capture", other_id.as_str().unwrap());
    let amount = json!({"amount": foreign["amount"]});
    let taken = bank.post(&path, OTHER_GATEWAY, "theirs", &amount).await;
    taken.expect(200);

    for (net, movements, code) in [
        (4001, &["c"][..], "net-mismatch"),
        (-4000, &["c"], "net-mismatch"),
        (0, &["c"], "net-mismatch"),
        (4000, &["c", "no"], "no-such-movement"),
        (100, &["theirs"], "no-such-movement"),
        // A hold is no movement of money, and neither is the id of an authorization.
        (4200, &["a"], "no-such-movement"),
        (4000, &[id.as_str()], "no-such-movement"),
    ] {
        let refused = settle(&bank, "s", &part(1, net, movements)).await;
        assert_eq!(refused.problem(409), code, "{movements:?}");
    }
    let mut dollars = part(1, 4000, &["c"]);
    dollars["currency"] = json!("USD");
    let refused = settle(&bank, "s", &dollars).await;
    assert_eq!(refused.problem(422), "wrong-currency");
    let ours = part(1, 4000, &["c"]);
    let refused = bank.post("/settlements", OTHER_GATEWAY, "s", &ours).await;
    assert_eq!(refused.problem(409), "no-such-movement");
    assert_eq!(balances(&bank, ACCOUNTS).await, [Some(-2500), None]);

    // Each gateway has an account, and a batch of its own by the same name.
    let theirs = part(1, 100, &["theirs"]);
    let paid = bank.post("/settlements", OTHER_GATEWAY, "s", &theirs).await;
    paid.expect(200);
    settle(&bank, "s", &part(1, 4000, &["c"])).await.expect(200);
    let accounts = ["settlement/gateway/EUR", "settlement/other/EUR", "cash/EUR"];
    let balances = balances(&bank, accounts).await;
    assert_eq!(balances, [Some(1500), Some(0), Some(-4100)]);
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn capture_and_its_reversal_come_to_nothing_and_nothing_is_posted() {
    let bank = Bank::open().await;
    let (_, id) = captured(&bank).await;
    bank.undo_credit(&id, "k", "v").await.expect(200);
    bank.undo_capture(&id, "u").await.expect(200);
    bank.movement(&id, "capture", "c2", 100).await.expect(200);
    let nothing = settle(&bank, "s1", &part(1, 0, &["c", "k", "v", "u"])).await;
    assert_eq!(nothing.expect(200)["net_minor"], 0);
    assert_eq!(balances(&bank, ACCOUNTS).await, [Some(-100), None]);
    let empty = settle(&bank, "s2", &part(2, 0, &[])).await;
    empty.expect(200);
    settle(&bank, "s3", &part(3, 100, &["c2"]))
        .await
        .expect(200);
    assert_eq!(balances(&bank, ACCOUNTS).await, [Some(0), Some(-100)]);
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn settlement_is_for_gateways_and_reads_whole_parts() {
    let bank = Bank::open().await;
    let body = part(1, 0, &[]);
    let operator = bank.post("/settlements", OPERATOR, "s", &body).await;
    assert_eq!(operator.status, 403);
    for (name, wrong, pointer) in [
        ("batch_id", json!(""), "/batch_id"),
        ("batch_id", json!("a/b"), "/batch_id"),
        ("part", json!(-1), "/part"),
        ("net_minor", json!(1.5), "/net_minor"),
        ("currency", json!("EURO"), "/currency"),
    ] {
        let mut body = part(1, 0, &[]);
        body[name] = wrong;
        let refused = settle(&bank, "s", &body).await;
        assert_eq!(refused.problem(422), "invalid-field", "{name}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer);
    }
    // A thousand with the longest keys are read, one more is too many.
    let keys: Vec<String> = (0..1001).map(|number| format!("{number:0>200}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let full = settle(&bank, "s", &part(1, 1, &keys[..1000])).await;
    assert_eq!(full.problem(409), "no-such-movement");
    let above = settle(&bank, "s", &part(1, 1, &keys)).await;
    assert_eq!(above.problem(422), "invalid-field");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_settlements_at_once_pay_once() {
    let bank = Bank::open().await;
    captured(&bank).await;
    let body = part(1, 2500, &["c", "k"]);
    let keys: Vec<String> = (0..10).map(|number| format!("s{number}")).collect();
    let asked = keys.iter().map(|key| settle(&bank, key, &body));
    let answers = join_all(asked.collect()).await;
    answers[0].expect(200);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(balances(&bank, ACCOUNTS).await, [Some(0), Some(-2500)]);
    // Ten parts with the same movement: one of them pays it.
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "b", 100).await;
    bank.movement(&id, "capture", "d", 100).await.expect(200);
    let bodies: Vec<Value> = (10..20).map(|number| part(number, 100, &["d"])).collect();
    let keys: Vec<String> = (10..20).map(|number| format!("s{number}")).collect();
    let asked = keys.iter().zip(&bodies);
    let asked = asked.map(|(key, body)| settle(&bank, key, body));
    let answers = join_all(asked.collect()).await;
    let done = |status| answers.iter().filter(|one| one.status == status).count();
    assert_eq!((done(200), done(409)), (1, 9));
    assert_eq!(balances(&bank, ACCOUNTS).await, [Some(0), Some(-2600)]);
    books::assert_right(&bank.stop().await).await;
}
