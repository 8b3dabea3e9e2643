//! What the cardholder was promised: as many payments as were signed and none before its time, and receipts that say what was
//! done. Each record that breaks a promise is found by its name, and nothing else is.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use openset::audit::{Code, audit};
use openset_store::packed::{learn_sealed, unpack};
use openset_store::vault::Vault;
use openset_store::{SecretString, sqlx};
use openset_tests::{Answer, World, fresh};
use serde_json::{Value, json};

use super::falsified::open;
use super::{at_rest, bought, data, options};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The shop's subscription is paid so often.
const FREQUENCY_DAYS: i64 = 28;

const STORES: [&str; 5] = ["issuer", "gateway", "merchant", "cardholder", "ca"];

/// Whose record, what is done to it, and the names of all that the audit says.
type Falsified = (&'static str, &'static str, &'static [Code]);

/// `{plan}` is a row that has one; the subscription's second payment is `{second}`.
#[rustfmt::skip]
const ALL: &[Falsified] = &[
    // Number, interval and end of a plan's payments.
    ("gateway", "UPDATE payments SET plan = '{\"install_total_trans\":2}' WHERE plan LIKE '{\"install%'",
     &[Code::InstalmentsExceeded, Code::PlanDiffers]),
    ("gateway", "UPDATE payments SET plan = REPLACE(plan, '\"frequency_days\":28', '\"frequency_days\":29') WHERE plan LIKE '{\"recurring%'",
     &[Code::PaymentTooSoon, Code::PlanDiffers]),
    ("gateway", "UPDATE payments SET plan = NULL WHERE plan LIKE '{\"install%'", &[Code::PlanDiffers]),
    ("gateway", "UPDATE authorizations SET received_at_s = received_at_s - 86400, decided_at_s = decided_at_s + 1 WHERE id = {second}", &[Code::PaymentTooSoon]),
    ("gateway", "UPDATE authorizations SET received_at_s = received_at_s + 366000000 WHERE id = {second}",
     &[Code::PaymentAfterEnd, Code::ApprovalDiffers]),
    ("gateway", "UPDATE authorizations SET decided_at_s = decided_at_s - 86400, received_at_s = received_at_s - 86400 \
      WHERE payment_id = (SELECT id FROM payments WHERE plan LIKE '{\"recurring%') AND id <> {second}", &[Code::ApprovalDiffers]),
    ("merchant", "UPDATE orders SET plan = '{\"install_total_trans\":2}' WHERE plan LIKE '{\"install%'",
     &[Code::InstalmentsExceeded, Code::OrderNotSigned, Code::PlanDiffers]),
    ("merchant", "UPDATE orders SET plan = REPLACE(plan, '\"frequency_days\":28', '\"frequency_days\":29') WHERE plan LIKE '{\"recurring%'",
     &[Code::PaymentTooSoon, Code::OrderNotSigned, Code::PlanDiffers]),
    ("merchant", "UPDATE authorizations SET asked_at_ms = asked_at_ms + 366000000000 WHERE number = 2 AND xid = \
      (SELECT p.xid FROM payments p JOIN orders o ON o.id = p.order_id WHERE o.plan LIKE '{\"recurring%')", &[Code::PaymentAfterEnd]),
    // What was ordered.
    ("merchant", "UPDATE orders SET description = description || '!' WHERE plan IS NULL", &[Code::OrderNotSigned]),
    ("gateway", "UPDATE payments SET limit_minor = limit_minor + 1 WHERE plan IS NULL", &[Code::LimitExceeded]),
    ("issuer", "UPDATE authorizations SET approval_code = 'Z00000' WHERE state = 'captured'", &[Code::HoldDiffers]),
    ("gateway", "UPDATE authorizations SET approval_code = 'Z00000'", &[Code::HoldDiffers, Code::ReceiptDiffers]),
    // What the wallet shows.
    ("cardholder", "UPDATE purchases SET state = 'refunded' WHERE state = 'paid'", &[Code::WalletDiffers]),
    ("cardholder", "UPDATE purchases SET state = 'paid' WHERE state = 'partly_refunded'", &[Code::WalletDiffers]),
    ("cardholder", "UPDATE purchases SET amount_minor = amount_minor + 1", &[Code::WalletDiffers]),
    // Receipts against what was done.
    ("merchant", "UPDATE authorizations SET baggage = json_remove(baggage, '$.receipt') WHERE number = 1", &[Code::ReceiptMissing]),
    ("merchant", "UPDATE authorizations SET payload = json_object('auth_code', 'approved', 'auth_amt', json_object('currency', 978, 'amount', 1, 'amt_exp10', -2)) WHERE number = 1", &[Code::ReceiptDiffers]),
    ("gateway", "UPDATE movements SET ended_at_s = ended_at_s - 1 WHERE kind = 'credit' AND batch_seq = (SELECT MAX(batch_seq) FROM \
      movements WHERE kind = 'credit' AND id NOT IN (SELECT undoes FROM movements WHERE undoes IS NOT NULL))", &[Code::ReceiptDiffers]),
    ("gateway", "UPDATE movements SET amount_minor = amount_minor + 1 WHERE id LIKE '%-rest'",
     &[Code::ReceiptDiffers, Code::MovementDiffers, Code::CapturedAboveAuthorized]),
    ("gateway", "UPDATE movements SET state = 'refused' WHERE kind = 'reversal' AND id LIKE '%-rest'",
     &[Code::ReceiptDiffers, Code::MovementDiffers]),
];

/// A shop's day: three instalments, two payments of a subscription, and refunds of which one is cancelled.
async fn promised(world: &World) {
    let account = world.account(10_000_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let machine = planned(world, &card_id, "espresso-machine").await;
    for _ in 0..2 {
        asked(world, &machine, "authorize", &json!({"last": false})).await;
    }
    let subscription = planned(world, &card_id, "subscription-250").await;
    asked(
        world,
        &subscription,
        "authorize",
        &json!({"capture_now": true}),
    )
    .await;
    let refunded = bought(world, &card_id).await;
    let (_, price) = world.product().await;
    asked(world, &refunded, "capture", &of(price - 100)).await;
    asked(world, &refunded, "refund", &of(200)).await;
    let second = asked(world, &refunded, "refund", &of(50)).await;
    let named = json!({"refund": second.json["movement"]});
    asked(world, &refunded, "void-refund", &named).await;
    let id = refunded.text("/purchase_id");
    for _ in 0..600 {
        let path = format!("purchases/{id}/inquiry");
        let told = world.post("cardholder", &path, &fresh(), &json!({})).await;
        if told.unwrap().text("/status") == "partly_refunded" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the wallet was not told:\n{}", world.log("cardholder"));
}

fn of(minor: u64) -> Value {
    json!({"amount": {"currency": "EUR", "amount_minor": minor}})
}

async fn planned(world: &World, card_id: &str, product_id: &str) -> Answer {
    let items = json!({"items": [{"product_id": product_id, "quantity": 1}]});
    let offer = world.post("merchant", "orders", &fresh(), &items).await;
    let initiation = offer.unwrap().json["payment_initiation"].clone();
    let basket = json!({"card_id": card_id, "initiation": initiation, "amount": initiation["amount"],
        "plan": initiation["plan"]});
    let bought = world
        .post("cardholder", "purchases", &fresh(), &basket)
        .await;
    let bought = bought.unwrap();
    assert_eq!(bought.text("/status"), "paid", "{:?}", bought.json);
    bought
}

/// Asks the shop until it is answered.
async fn asked(world: &World, purchase: &Answer, what: &str, body: &Value) -> Answer {
    let (started, key) = (Instant::now(), fresh());
    let path = format!("orders/{}/{what}", purchase.text("/order_id"));
    loop {
        let answer = world.post("merchant", &path, &key, body).await.unwrap();
        if answer.status == 200 {
            return answer;
        }
        let waits = [202, 503].contains(&answer.status) && started.elapsed() < PATIENCE;
        assert!(
            waits,
            "{what}: {:?}\n{}",
            answer.json,
            world.log("merchant")
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn promises_are_kept_and_every_record_that_breaks_one_is_found_and_nothing_else() {
    let mut world = World::start_with(|party, table| {
        if party == "gateway" {
            let merchants = table["merchants"].as_array_mut().unwrap();
            let merchant = merchants[0].as_table_mut().unwrap();
            merchant.insert("recurring_early_days".to_owned(), FREQUENCY_DAYS.into());
        }
    })
    .await;
    promised(&world).await;
    let folder = data(&world);
    at_rest(&options(&folder)).await;
    for party in STORES {
        world.kill(party);
    }
    super::falsified::one_file_each(&folder, &STORES).await;
    super::falsified::as_of_before(&folder).await;
    let mut others = Vec::new();
    for (party, statement, codes) in ALL {
        let copy = copied(&folder);
        let mut conn = open(copy.path(), party).await;
        let second = "(SELECT a.id FROM authorizations a JOIN payments p ON p.id = a.payment_id \
                      WHERE p.plan LIKE '{\"recurring%' ORDER BY a.rowid DESC LIMIT 1)";
        let sql = statement.replace("{second}", second);
        let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut conn);
        let rows = done.await.unwrap().rows_affected();
        assert!(rows > 0, "{statement} changed nothing");
        sqlx::Connection::close(conn).await.unwrap();
        others.extend(other_than(copy.path(), statement, codes).await);
    }
    // A contract that allows less than was done.
    let copy = copied(&folder);
    let file = copy.path().join("gateway/gateway.toml");
    let table = std::fs::read_to_string(&file).unwrap();
    let early = format!("recurring_early_days = {FREQUENCY_DAYS}");
    let less = table.replace(&early, "recurring_early_days = 27");
    assert_ne!(less, table);
    std::fs::write(&file, less).unwrap();
    others.extend(other_than(copy.path(), "27 days", &[Code::PaymentTooSoon]).await);
    // Without a contract nobody can say.
    std::fs::remove_file(&file).unwrap();
    let report = audit(&options(copy.path())).await.unwrap();
    assert!(report.agrees, "{report}");
    assert!(report.to_string().contains("is not judged"), "{report}");
    // A receipt of before the refunds, which the gateway signed, too.
    others.extend(old_receipt(&folder).await);
    for (what, change, codes) in SHOWN {
        let copy = copied(&folder);
        shown(copy.path(), change).await;
        others.extend(other_than(copy.path(), what, codes).await);
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
    drop(world);
}

/// What is done to a record of the wallet's, which is sealed.
type Shown = (&'static str, fn(&mut Value), &'static [Code]);

const SHOWN: &[Shown] = &[
    (
        "a receipt that is shown otherwise than it was signed",
        |record| first_receipt(record)["receipt"]["approval_code"] = json!("Z00000"),
        &[Code::WalletDiffers],
    ),
    (
        "a receipt that nobody signed",
        |record| {
            let jws = &mut first_receipt(record)["jws"];
            let text = jws.as_str().unwrap().to_owned();
            let (cut, _) = text.split_at(text.len() - 9);
            *jws = json!(format!("{cut}AAAAAAAAA"));
        },
        &[Code::ProofWrong],
    ),
    (
        "a plan that nobody agreed to",
        |record| record["plan"] = json!({"install_total_trans": 2}),
        &[Code::PlanDiffers],
    ),
    (
        "no receipt",
        |record| record["outcome"] = Value::Null,
        &[Code::WalletDiffers],
    ),
    (
        "a receipt of an authorization that there is not",
        |record| {
            let receipts = record["outcome"]["receipts"].as_object_mut().unwrap();
            let (name, kept) = receipts.iter().next().unwrap();
            let (name, kept) = (name.clone(), kept.clone());
            receipts.remove(&name);
            receipts.insert(name.chars().rev().collect(), kept);
        },
        &[Code::ApprovalMissing],
    ),
];

fn first_receipt(record: &mut Value) -> &mut Value {
    let receipts = record["outcome"]["receipts"].as_object_mut().unwrap();
    receipts.values_mut().next().unwrap()
}

/// Changes the record of the purchase of which something was refunded.
async fn shown(folder: &Path, change: &fn(&mut Value)) {
    let table = std::fs::read_to_string(folder.join("cardholder/cardholder.toml")).unwrap();
    let table: toml::Table = table.parse().unwrap();
    let passphrase = SecretString::from(table["passphrase"].as_str().unwrap().to_owned());
    let mut conn = open(folder, "cardholder").await;
    let vault = Vault::unlock_to_read(&mut conn, &passphrase).await.unwrap();
    let vault = vault.unwrap();
    let sql = "SELECT purchase_id, record FROM purchases WHERE state = 'partly_refunded'";
    let row = sqlx::query(sql).fetch_one(&mut conn).await.unwrap();
    let id: String = sqlx::Row::try_get(&row, 0).unwrap();
    let sealed: Vec<u8> = sqlx::Row::try_get(&row, 1).unwrap();
    let context = format!("purchases/record/{id}");
    learn_sealed(&mut conn, &sealed).await.unwrap();
    let record = vault.open(&context, &sealed).unwrap();
    let mut record: Value = serde_json::from_slice(&record).unwrap();
    change(&mut record);
    let record = vault.seal(&context, record.to_string().as_bytes());
    let sql = "UPDATE purchases SET record = $1 WHERE purchase_id = $2";
    let done = sqlx::query(sql)
        .bind(record)
        .bind(id)
        .execute(&mut conn)
        .await;
    assert_eq!(done.unwrap().rows_affected(), 1);
    sqlx::Connection::close(conn).await.unwrap();
}

/// The answer that came with the approval has the first receipt: put back, it hides what was refunded.
async fn old_receipt(folder: &Path) -> Option<String> {
    let copy = copied(folder);
    let mut conn = open(copy.path(), "merchant").await;
    let sql = "SELECT a.xid, a.auth_res_baggage FROM authorizations a JOIN movements m ON m.xid = a.xid WHERE m.kind = 'credit' LIMIT 1";
    let row = sqlx::query(sql).fetch_one(&mut conn).await.unwrap();
    let xid: String = sqlx::Row::try_get(&row, 0).unwrap();
    let first: Vec<u8> = sqlx::Row::try_get(&row, 1).unwrap();
    let first = unpack(&mut conn, first).await.unwrap();
    let first: Value = serde_json::from_slice(&first).unwrap();
    let sql =
        "UPDATE authorizations SET baggage = json_set(baggage, '$.receipt', $1) WHERE xid = $2";
    let done = sqlx::query(sql)
        .bind(first["receipt"].as_str().unwrap().to_owned())
        .bind(xid)
        .execute(&mut conn);
    assert_eq!(done.await.unwrap().rows_affected(), 1);
    sqlx::Connection::close(conn).await.unwrap();
    let codes = [Code::ReceiptOld, Code::ReceiptDiffers];
    other_than(copy.path(), "the first receipt", &codes).await
}

fn copied(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let stores = STORES.map(|party| format!("{party}/{party}.db"));
    let more = [
        "ca/root.sha256",
        "gateway/gateway.toml",
        "cardholder/cardholder.toml",
    ];
    let more = more.map(str::to_owned);
    for file in stores.into_iter().chain(more) {
        let to = copy.path().join(&file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(folder.join(&file), to).unwrap();
    }
    copy
}

/// What the audit says, if that is not these names and no other.
async fn other_than(folder: &Path, what: &str, codes: &[Code]) -> Option<String> {
    let mut options = options(folder);
    options.pause = Duration::ZERO;
    let report = audit(&options).await.unwrap();
    let found: BTreeSet<Code> = report.findings.iter().map(|one| one.code).collect();
    let expected: BTreeSet<Code> = codes.iter().copied().collect();
    (found != expected).then(|| format!("{what}\n is not {expected:?}:\n{report}"))
}
