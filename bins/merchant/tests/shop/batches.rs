//! Batches of the acquirer: what stands in them, closed with the shop's own totals, paid out, and purged.

use openset_protocol::messages::initiation::PaymentInitiation;
use openset_testkit::postgres::PostgresServer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bank::Mood;
use crate::movements::TWELVE_MINUTES_LATER;
use crate::refunds::{code, of, sold};
use crate::shop::{OPERATOR, Shop, World};

const CLOSE: &str = "/batches/batch-1/close";

async fn get(shop: &Shop, path: &str) -> Value {
    let (status, view) = shop.get(path, Some(OPERATOR)).await;
    assert_eq!(status, 200, "{view}");
    view
}

/// POSTs about the first batch.
async fn change(shop: &Shop, what: &str, key: &str) -> (u16, Value) {
    let path = format!("/batches/batch-1/{what}");
    shop.post(&path, Some(key), "").await
}

/// Asks with the same key until the gateway has answered.
async fn changed(shop: &Shop, path: &str, key: &str) -> (u16, Value) {
    shop.answered(path, key, "").await
}

async fn paid_out(shop: &Shop) -> Value {
    for _ in 0..1200 {
        let view = get(shop, "/batches/batch-1").await;
        if view["payout"].is_object() {
            return view;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no payout was seen");
}

/// Balances by account; accounts that nothing was posted to are not there.
async fn ledger(shop: &Shop) -> [i64; 3] {
    let books = get(shop, "/ledger").await;
    assert_eq!(books["balanced"], true, "{books}");
    let accounts = books["accounts"].as_array().unwrap();
    ["receivable/acquirer/EUR", "sales/EUR", "bank/EUR"].map(|id| {
        let of = accounts.iter().find(|account| account["id"] == id);
        of.map_or(0, |account| account["balance_minor"].as_i64().unwrap())
    })
}

/// One order of 15.00 captured and refunded by 5.00, and one captured.
async fn two_sold(world: &World, shop: &Shop) -> [PaymentInitiation; 2] {
    let one = sold(world, shop).await;
    let path = format!("/orders/{}/refund", one.lid_m);
    let refunded = shop.answered(&path, "refund", &of(500).to_string()).await;
    assert_eq!(refunded.0, 200, "{}", refunded.1);
    [one, sold(world, shop).await]
}

#[tokio::test]
async fn batch_is_closed_with_the_shops_totals_and_its_payout_is_booked_once() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    two_sold(&world, &shop).await;
    assert_eq!(ledger(&shop).await, [2500, -2500, 0]);
    let view = get(&shop, "/batches/batch-1").await;
    let ours = json!({"credits": 2, "credits_minor": 3000, "debits": 1, "debits_minor": 500});
    assert_eq!((&view["state"], &view["ours"]), (&json!("open"), &ours));
    assert_eq!(view["acquirers"], Value::Null, "it was not asked yet");
    let told = shop.post("/batches/batch-1/refresh", None, "").await.1;
    assert_eq!(told["acquirers"], ours);

    let (status, closed) = change(&shop, "close", "a").await;
    assert_eq!(
        (status, &closed["state"]),
        (200, &json!("closed")),
        "{closed}"
    );
    assert_eq!(closed["totals"], ours);
    assert_eq!(change(&shop, "close", "a").await, (200, closed));
    let again = change(&shop, "close", "b").await;
    assert_eq!(code(&again), (409, "batch-not-open"));
    let other = shop.post("/batches/batch-1/purge", Some("a"), "").await;
    assert_eq!(code(&other), (422, "idempotency-key-reused"));
    let unpaid = get(&shop, "/batches/batch-1").await;
    assert_eq!(
        (&unpaid["state"], &unpaid["payout"]),
        (&json!("closed"), &Value::Null)
    );
    assert_eq!(ledger(&shop).await, [2500, -2500, 0]);

    world.bank.state.batches.lock().unwrap().pay();
    let paid = paid_out(&shop).await;
    assert_eq!(paid["payout"]["amount"]["amount_minor"], 2500);
    assert_eq!(paid["payout"]["type"], "credit");
    assert_eq!(paid["transmission"], "completedSuccessfully");
    shop.post("/batches/batch-1/refresh", None, "").await;
    assert_eq!(ledger(&shop).await, [0, -2500, 2500]);

    sold(&world, &shop).await;
    let page = get(&shop, "/batches?limit=1").await;
    assert_eq!(page["items"][0]["batch_id"], "batch-2");
    let next = page["next"].as_str().unwrap();
    let last = get(&shop, &format!("/batches?limit=1&after={next}")).await;
    assert_eq!(
        (&last["items"][0]["batch_id"], &last["next"]),
        (&json!("batch-1"), &Value::Null)
    );
    let open = get(&shop, "/batches?state=open").await;
    assert_eq!(open["items"].as_array().unwrap().len(), 1);
    let other = shop.get("/batches?state=closing", Some(OPERATOR)).await;
    assert_eq!(code(&other), (422, "invalid-field"));
    assert_eq!(ledger(&shop).await, [1500, -4000, 2500]);
}

#[tokio::test]
async fn totals_out_of_balance_name_both_and_the_items_tell_what_is_missing_where() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    two_sold(&world, &shop).await;
    world.bank.state.batches.lock().unwrap().put_unknown(77);
    let refused = change(&shop, "close", "a").await;
    assert_eq!(code(&refused), (409, "totals-out-of-balance"));
    let detail = refused.1["detail"].as_str().unwrap();
    assert!(
        detail.contains("2 credits of 3000 and 1 debits of 500"),
        "{detail}"
    );
    assert!(detail.contains("3 credits of 3077"), "{detail}");
    assert_eq!(change(&shop, "close", "a").await, refused);
    assert_eq!(get(&shop, "/batches/batch-1").await["state"], "open");
    let compared = shop.post("/batches/batch-1/reconcile", None, "").await.1;
    let differences = compared["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{compared}");
    assert_eq!(differences[0]["missing"], "here");
    assert_eq!(differences[0]["batch_sequence_num"], 4);
    assert_eq!(differences[0]["acquirers"]["amount_minor"], 77);

    for _ in 0..2 {
        world.bank.state.batches.lock().unwrap().lose();
    }
    let compared = shop.post("/batches/batch-1/reconcile", None, "").await.1;
    let differences = compared["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{compared}");
    assert_eq!(differences[0]["missing"], "there");
    assert_eq!(differences[0]["batch_sequence_num"], 3);
    assert_eq!(differences[0]["ours"]["amount_minor"], 1500);
    let missing = shop.get("/batches/nowhere", Some(OPERATOR)).await;
    assert_eq!(code(&missing), (404, "no-such-batch"));
    assert_eq!(shop.get("/batches", None).await.0, 401);
}

#[tokio::test]
async fn purge_undoes_what_stands_in_the_batch_and_the_orders_show_it() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let [refunded, captured] = two_sold(&world, &shop).await;
    let (status, purged) = change(&shop, "purge", "a").await;
    assert_eq!(
        (status, &purged["state"]),
        (200, &json!("purged")),
        "{purged}"
    );
    let undone = purged["undone"].as_array().unwrap();
    assert_eq!(undone.len(), 3, "{purged}");
    assert_eq!(purged.get("unknown"), None);
    for order in [&refunded, &captured] {
        let view = shop.show(order).await;
        assert_eq!(view["state"], "authorized");
        assert_eq!(view["authorizations"][0]["captures"][0]["state"], "purged");
        assert_eq!(view["authorization"]["amount"]["amount_minor"], 1500);
    }
    let refund = shop.show(&refunded).await["authorizations"][0]["refunds"][0].clone();
    assert_eq!(refund["state"], "purged");
    assert_eq!(ledger(&shop).await, [0, 0, 0]);
    assert_eq!(change(&shop, "purge", "a").await, (200, purged));
    let (_, nothing) = change(&shop, "purge", "b").await;
    assert_eq!(nothing["undone"], json!([]));
    let void = json!({"refund": refund["movement"]});
    let void = shop.ask(&refunded, "void-refund", "v", void).await;
    assert_eq!(code(&void), (409, "already-voided"));
    let (status, again) = shop.capture(&captured, Some("again")).await;
    assert_eq!((status, &again["state"]), (200, &json!("captured")));
    let (status, closed) = change(&shop, "close", "c").await;
    assert_eq!(status, 200, "{closed}");
    assert_eq!(closed["totals"]["credits"], 4);
}

#[tokio::test]
async fn batch_is_opened_once() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let euros = json!({"currency": "EUR"}).to_string();
    let (status, opened) = shop.post("/batches", Some("a"), &euros).await;
    assert_eq!(
        (status, &opened["state"]),
        (200, &json!("open")),
        "{opened}"
    );
    assert_eq!(opened["batch_id"], "batch-1");
    assert_eq!(
        shop.post("/batches", Some("a"), &euros).await,
        (200, opened)
    );
    let again = shop.post("/batches", Some("b"), &euros).await;
    assert_eq!(code(&again), (409, "batch-already-open"));
    let foreign = json!({"currency": "EUR", "brand": "MasterCard"}).to_string();
    let foreign = shop.post("/batches", Some("c"), &foreign).await;
    assert_eq!(code(&foreign), (422, "invalid-field"));
    let keyless = shop.post("/batches", None, &euros).await;
    assert_eq!(code(&keyless), (400, "idempotency-key-missing"));
    assert_eq!(get(&shop, "/batches/batch-1").await["state"], "open");
}

#[tokio::test]
async fn ten_closes_at_once_are_one_close() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    two_sold(&world, &shop).await;
    let one = |_| change(&shop, "close", "same");
    let (a, b, c, d, e, f, g, h, i, j) = tokio::join!(
        one(1),
        one(2),
        one(3),
        one(4),
        one(5),
        one(6),
        one(7),
        one(8),
        one(9),
        one(10)
    );
    for answer in [a, b, c, d, e, f, g, h, i, j] {
        assert!([200, 202].contains(&answer.0), "{}", answer.1);
    }
    assert_eq!(changed(&shop, CLOSE, "same").await.0, 200);
    assert_eq!(world.bank.state.batches.lock().unwrap().closes, 1);
}

#[tokio::test]
async fn close_whose_answer_is_lost_is_asked_with_the_same_bytes_and_then_looked_at() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    two_sold(&world, &shop).await;
    world.bank.be(Mood::LosesAnswers);
    let (status, closing) = change(&shop, "close", "a").await;
    assert_eq!((status, &closing["state"]), (202, &json!("closing")));
    assert_eq!(get(&shop, "/batches/batch-1").await["state"], "closing");
    shop.close().await;
    // The gateway forgets its answers, and takes the old bytes no more.
    world.bank.state.forget();
    world.bank.be(Mood::Errors);
    world.alter(TWELVE_MINUTES_LATER).await;
    let shop = world.open_shop_waiting(300).await;
    for _ in 0..1200 {
        if world.bank.received("BatchAdminReq").0 > 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    world.bank.be(Mood::Approves);
    let (status, closed) = changed(&shop, CLOSE, "a").await;
    assert_eq!(
        (status, &closed["state"]),
        (200, &json!("closed")),
        "{closed}"
    );
    assert_eq!(closed["request"], closing["request"]);
    shop.close().await;
}

#[tokio::test]
async fn what_the_acquirer_has_purged_without_our_hearing_of_it_is_taken_up() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let [refunded, _] = two_sold(&world, &shop).await;
    world.bank.state.batches.lock().unwrap().purge_last();
    let refused = change(&shop, "close", "a").await;
    assert_eq!(code(&refused), (409, "totals-out-of-balance"));
    let compared = shop.post("/batches/batch-1/reconcile", None, "").await.1;
    assert_eq!(
        (&compared["purged"], &compared["differences"]),
        (&json!(3), &json!([]))
    );
    assert_eq!(shop.show(&refunded).await["state"], "authorized");
    assert_eq!(change(&shop, "close", "b").await.0, 200);
}

#[tokio::test]
async fn captures_of_before_there_were_books_are_booked_and_placed() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let [refunded, _] = two_sold(&world, &shop).await;
    let refund = shop.show(&refunded).await["authorizations"][0]["refunds"][0].clone();
    let void = json!({"refund": refund["movement"]});
    assert_eq!(shop.ask(&refunded, "void-refund", "v", void).await.0, 200);
    let before = ledger(&shop).await;
    assert_eq!(before, [3000, -3000, 0]);
    shop.close().await;
    for statement in [
        "DROP TABLE batches",
        "DROP TABLE batch_requests",
        "DROP INDEX movements_batch",
        "ALTER TABLE orders DROP COLUMN plan",
        "ALTER TABLE movements DROP COLUMN purged",
        "DELETE FROM ledger_postings",
        "DELETE FROM ledger_entries",
        "DELETE FROM ledger_accounts",
        "DELETE FROM _sqlx_migrations WHERE version > 180 AND version < 202",
        "UPDATE movements SET batch_id = NULL, batch_seq = NULL WHERE kind = 'capture' AND batch_seq = 1",
    ] {
        world.alter_before(statement).await;
    }
    let shop = world.open_shop().await;
    assert_eq!(ledger(&shop).await, before);
    let unplaced = get(&shop, "/batches/batch-1").await;
    assert_eq!(unplaced["ours"]["credits"], 2);
    let compared = shop.post("/batches/batch-1/reconcile", None, "").await.1;
    assert_eq!(
        (&compared["placed"], &compared["differences"]),
        (&json!(1), &json!([]))
    );
    assert_eq!(change(&shop, "close", "a").await.0, 200);
    sold(&world, &shop).await;
    assert_eq!(ledger(&shop).await, [4500, -4500, 0]);
}

#[tokio::test]
async fn replicas_close_once_and_book_one_payout() {
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
    let [refunded, _] = two_sold(&world, &one).await;
    let (a, b) = tokio::join!(change(&one, "close", "a"), change(&two, "close", "a"));
    for answer in [a, b] {
        assert!([200, 202].contains(&answer.0), "{}", answer.1);
    }
    let (status, closed) = changed(&two, CLOSE, "a").await;
    assert_eq!((status, &closed["totals"]["credits"]), (200, &json!(2)));
    world.bank.state.batches.lock().unwrap().pay();
    tokio::join!(paid_out(&one), paid_out(&two));
    assert_eq!(ledger(&one).await, [0, -2500, 2500]);
    let rest = one.ask(&refunded, "refund", "rest", json!({})).await;
    assert_eq!(rest.0, 200, "{}", rest.1);
    let path = "/batches/batch-2/purge";
    let (a, b) = tokio::join!(changed(&one, path, "b"), changed(&two, path, "b"));
    assert_eq!((a.0, &a), (200, &b));
    assert_eq!(ledger(&two).await, [0, -2500, 2500]);
    one.close().await;
    two.close().await;
}
