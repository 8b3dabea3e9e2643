//! `openset audit` on the stores of real services: they agree, also while purchases go on, and each kind of record that is
//! falsified is found by its name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod falsified;
mod promises;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openset::audit::{Code, Options, Report, audit};
use openset_store::sqlx::{self, AnyConnection, Connection as _};
use openset_testkit::postgres::PostgresServer;
use openset_tests::{Answer, World, fresh};
use serde_json::{Value, json};

/// The audit of the databases below a folder.
fn options(data: &Path) -> Options {
    Options {
        pause: Duration::from_millis(200),
        ..Options::of_folder(data)
    }
}

fn data(world: &World) -> std::path::PathBuf {
    world.folder_of("gateway").parent().unwrap().to_owned()
}

async fn bought(world: &World, card_id: &str) -> Answer {
    let answer = world.purchase(card_id, &fresh()).await.unwrap();
    assert_eq!(answer.text("/status"), "paid", "{:?}", answer.json);
    answer
}

async fn ask(world: &World, purchase: &Answer, what: &str, body: &Value) -> Answer {
    let path = format!("orders/{}/{what}", purchase.text("/order_id"));
    let answer = world.post("merchant", &path, &fresh(), body).await.unwrap();
    assert_eq!(answer.status, 200, "{:?}", answer.json);
    answer
}

/// One purchase given back in part and captured, one captured whole, one held, one given back whole.
async fn four_purchases(world: &World) {
    let account = world.account(1_000_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let part = bought(world, &card_id).await;
    let (_, price) = world.product().await;
    let left = json!({"new_amount": {"currency": "EUR", "amount_minor": price - 100}});
    ask(world, &part, "reverse", &left).await;
    ask(world, &part, "capture", &json!({})).await;
    let whole = bought(world, &card_id).await;
    ask(world, &whole, "capture", &json!({})).await;
    bought(world, &card_id).await;
    let reversed = bought(world, &card_id).await;
    ask(world, &reversed, "reverse", &json!({})).await;
}

/// One purchase captured, and its batch closed and paid out.
async fn paid_batch(world: &World) {
    let account = world.account(1_000_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let whole = bought(world, &card_id).await;
    let captured = ask(world, &whole, "capture", &json!({})).await;
    let batch = format!("batches/{}", captured.text("/batch/batch_id"));
    let path = format!("{batch}/close");
    let closed = world.post("merchant", &path, &fresh(), &json!({})).await;
    assert!(closed.unwrap().status < 300);
    for _ in 0..1800 {
        let view = world.get("merchant", &batch).await.unwrap();
        if view.json["payout"].is_object() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no payout was seen:\n{}", world.log("merchant"));
}

/// Waits until nothing is in flight; then all agrees.
pub(crate) async fn at_rest(options: &Options) {
    let mut report = audit(options).await.unwrap();
    for _ in 0..600 {
        if report.in_flight.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        report = audit(options).await.unwrap();
    }
    assert_agrees(&report);
    assert_eq!(report.in_flight, [], "{report}");
}

fn assert_agrees(report: &Report) {
    assert!(report.agrees, "{report}");
}

#[tokio::test]
async fn stores_agree_and_every_record_that_is_falsified_is_found_by_its_name() {
    let mut world = World::start().await;
    paid_batch(&world).await;
    four_purchases(&world).await;
    let folder = data(&world);
    at_rest(&options(&folder)).await;

    for party in ["merchant", "cardholder", "gateway", "issuer", "ca"] {
        world.kill(party);
    }
    let said = command(&folder);
    assert_eq!(said.0, Some(0), "{}", said.1);
    assert!(said.1.ends_with("nor each other\n"), "{}", said.1);
    falsified::each_is_found(&folder).await;
    drop(world);
}

/// The program's status, and what it prints.
fn command(folder: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(openset_tests::openset());
    let output = command.arg("audit").arg("--data").arg(folder).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), said)
}

#[tokio::test]
async fn purchases_under_way_are_not_taken_for_discrepancies() {
    let world = Arc::new(World::start().await);
    let account = world.account(90_000_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (going_on, until) = (world.clone(), stop.clone());
    let stream = tokio::spawn(async move {
        let mut count = 0;
        while !until.load(Ordering::Relaxed) {
            let purchase = going_on.purchase(&card_id, &fresh()).await.unwrap();
            let path = format!("orders/{}/capture", purchase.text("/order_id"));
            let captured = going_on.post("merchant", &path, &fresh(), &json!({})).await;
            count += u32::from(captured.is_some());
        }
        count
    });
    for _ in 0..8 {
        let report = audit(&options(&data(&world))).await.unwrap();
        assert_agrees(&report);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(stream.await.unwrap() > 0, "there was nothing under way");
    let report = audit(&options(&data(&world))).await.unwrap();
    assert_agrees(&report);
}

/// A record, what falsifies it, what takes that back, and what the audit says.
type OnPostgres = (&'static str, &'static str, &'static str, Code);

#[rustfmt::skip]
const ON_POSTGRES: &[OnPostgres] = &[
    ("gateway", "UPDATE ledger_accounts SET balance_minor = balance_minor + 1 WHERE id LIKE 'payable/%'",
     "UPDATE ledger_accounts SET balance_minor = balance_minor - 1 WHERE id LIKE 'payable/%'", Code::BalanceWrong),
    ("gateway", "UPDATE movements SET state = 'refused' WHERE kind = 'capture'",
     "UPDATE movements SET state = 'done' WHERE kind = 'capture'", Code::MovementDiffers),
    ("issuer", "UPDATE accounts SET held_minor = held_minor + 1",
     "UPDATE accounts SET held_minor = held_minor - 1", Code::HeldWrong),
    ("issuer", "UPDATE movements SET settled_by = 'nobody/0' WHERE kind = 'capture'",
     "UPDATE movements SET settled_by = NULL WHERE kind = 'capture'", Code::SettlementWrong),
    ("merchant", "UPDATE authorizations SET amount_minor = amount_minor + 1",
     "UPDATE authorizations SET amount_minor = amount_minor - 1", Code::ApprovalDiffers),
];

async fn execute(world: &World, party: &str, statement: &'static str) {
    let url = world.database_url(party).unwrap();
    let mut conn = AnyConnection::connect(&url).await.unwrap();
    let done = sqlx::query(statement).execute(&mut conn).await.unwrap();
    assert!(done.rows_affected() > 0, "{statement} changed nothing");
    conn.close().await.unwrap();
}

#[tokio::test]
async fn stores_on_postgresql_agree_and_what_is_falsified_there_is_found() {
    let Some(server) = PostgresServer::start().unwrap() else {
        println!("PostgreSQL's initdb was not found: the audit on PostgreSQL was not run");
        return;
    };
    let world = World::start_on(&server).await;
    four_purchases(&world).await;
    let options = Options {
        pause: Duration::ZERO,
        ..world.audit_options()
    };
    at_rest(&options).await;
    for (party, falsify, restore, code) in ON_POSTGRES {
        execute(&world, party, falsify).await;
        let report = audit(&options).await.unwrap();
        assert!(
            report.findings.iter().any(|one| one.code == *code),
            "{party}: {falsify} is not {}:\n{report}",
            code.name()
        );
        execute(&world, party, restore).await;
        assert_agrees(&audit(&options).await.unwrap());
    }
    // And no test ends well with such a store.
    let (party, falsify, ..) = ON_POSTGRES[0];
    execute(&world, party, falsify).await;
    let ended = catch_unwind(AssertUnwindSafe(|| drop(world))).unwrap_err();
    let said = ended.downcast::<String>().unwrap();
    assert!(said.contains(&Code::BalanceWrong.name()), "{said}");
}

#[tokio::test]
async fn what_cannot_be_read_is_no_agreement() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(command(folder.path()).0, Some(2));
}
