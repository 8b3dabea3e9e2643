//! A database from before there were movements: what stood in it stands in the new tables, and what was asked is
//! answered.

use openset_merchant::MIGRATIONS;
use openset_protocol::messages::initiation::PaymentInitiation;
use openset_store::{Db, sqlite_url};
use serde_json::{Value, json};
use sqlx::Row as _;
use tempfile::TempDir;

use crate::bank::Mood;
use crate::shop::{Shop, World};
use crate::wallet::Wallet;

/// The version before movements.
const BEFORE: i64 = 160;

/// What a purchase of before came to.
struct Old {
    order: PaymentInitiation,
    state: &'static str,
    reversed_minor: i64,
    captured_minor: Option<i64>,
    cap_refusal: Option<&'static str>,
}

async fn reversed(shop: &Shop, order: &PaymentInitiation, left: u64) {
    let body = json!({"new_amount": {"currency": "EUR", "amount_minor": left}});
    shop.reverse(order, Some(&format!("reverse-{}", order.lid_m)), Some(body))
        .await;
}

async fn captured(shop: &Shop, order: &PaymentInitiation) {
    let key = format!("capture-{}", order.lid_m);
    shop.capture(order, Some(&key)).await;
}

/// One purchase for each state.
async fn purchases(world: &World, shop: &Shop) -> Vec<Old> {
    let wallet = Wallet::new(&world.pki, 1);
    let states = [
        "authorized",
        "captured",
        "part",
        "reversed",
        "refused",
        "capturing",
        "reversing",
        "declined",
        "ordered",
    ];
    let mut all = Vec::new();
    for state in states {
        let order = shop.order().await;
        match state {
            "declined" => world.bank.be(Mood::Declines),
            "ordered" => world.bank.be(Mood::Down),
            _ => {}
        }
        wallet.buy(shop, &order).await;
        match state {
            "captured" => captured(shop, &order).await,
            "part" => reversed(shop, &order, 1000).await,
            "reversed" => reversed(shop, &order, 0).await,
            "capturing" => {
                world.bank.be(Mood::Down);
                captured(shop, &order).await;
            }
            "reversing" => {
                world.bank.be(Mood::Down);
                reversed(shop, &order, 400).await;
            }
            _ => {}
        }
        world.bank.be(Mood::Approves);
        all.push(Old {
            order,
            state: match state {
                "part" | "refused" => "authorized",
                state => state,
            },
            reversed_minor: match state {
                "part" => 500,
                "reversed" => 1500,
                _ => 0,
            },
            captured_minor: (state == "captured").then_some(1500),
            cap_refusal: (state == "refused").then_some("authExpired"),
        });
    }
    all
}

/// Writes a purchase as the tables of before had it.
async fn write_old(from: &Db, to: &Db, old: &Old) {
    let order_id = old.order.lid_m.to_string();
    let mut read = from.read().await.unwrap();
    let mut tx = to.begin().await.unwrap();
    let row = sqlx::query(
        "SELECT currency, amount_minor, description, lines, xid, created_at_s FROM orders WHERE id = $1",
    )
    .bind(&order_id)
    .fetch_one(&mut *read)
    .await
    .unwrap();
    let xid: String = row.get(4);
    sqlx::query(
        "INSERT INTO orders (id, currency, amount_minor, description, lines, xid, created_at_s) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&order_id)
    .bind(row.get::<String, _>(0))
    .bind(row.get::<i64, _>(1))
    .bind(row.get::<String, _>(2))
    .bind(row.get::<String, _>(3))
    .bind(&xid)
    .bind(row.get::<i64, _>(5))
    .execute(&mut *tx)
    .await
    .unwrap();
    let awaiting: Option<String> =
        sqlx::query_scalar("SELECT awaiting FROM movements WHERE xid = $1 AND state = 'asked'")
            .bind(&xid)
            .fetch_optional(&mut *read)
            .await
            .unwrap();
    let awaited = |state: &str| awaiting.clone().filter(|_| old.state == state);
    let row = sqlx::query(
        "SELECT p.brand, p.cardholder, p.asked, p.dual_signature, a.awaiting, a.payload, a.baggage, p.steps, \
         p.created_at_ms FROM payments p JOIN authorizations a ON a.xid = p.xid WHERE p.xid = $1",
    )
    .bind(&xid)
    .fetch_one(&mut *read)
    .await
    .unwrap();
    let created_at_ms: i64 = row.get(8);
    sqlx::query(
        "INSERT INTO payments (xid, order_id, state, brand, cardholder, asked, dual_signature, awaiting_auth, \
         auth_payload, auth_baggage, awaiting_cap, cap_refusal, captured_minor, captured_at_s, steps, \
         created_at_ms, awaiting_rev, reversed_minor) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
    )
    .bind(&xid)
    .bind(&order_id)
    .bind(old.state)
    .bind(row.get::<String, _>(0))
    .bind(row.get::<String, _>(1))
    .bind(row.get::<String, _>(2))
    .bind(row.get::<String, _>(3))
    .bind(row.get::<String, _>(4))
    .bind(row.get::<Option<String>, _>(5))
    .bind(row.get::<Option<String>, _>(6))
    .bind(awaited("capturing"))
    .bind(old.cap_refusal)
    .bind(old.captured_minor)
    .bind(old.captured_minor.map(|_| created_at_ms / 1000))
    .bind(row.get::<String, _>(7))
    .bind(created_at_ms)
    .bind(awaited("reversing"))
    .bind(old.reversed_minor)
    .execute(&mut *tx)
    .await
    .unwrap();
    // Requests named the purchase.
    let asked = sqlx::query(
        "SELECT id, kind, url, media_type, body, deadline_at_ms FROM outbox WHERE reference = $1 \
         OR reference IN (SELECT id FROM movements WHERE xid = $1)",
    )
    .bind(&xid)
    .fetch_optional(&mut *read)
    .await
    .unwrap();
    assert_eq!(
        asked.is_some(),
        old.state == "ordered" || awaiting.is_some()
    );
    if let Some(row) = asked {
        sqlx::query(
            "INSERT INTO outbox (id, kind, reference, url, media_type, body, next_attempt_at_ms, deadline_at_ms, \
             attempts, lease_holder, lease_until_ms) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, 1, '', 0)",
        )
        .bind(row.get::<String, _>(0))
        .bind(row.get::<String, _>(1))
        .bind(&xid)
        .bind(row.get::<String, _>(2))
        .bind(row.get::<String, _>(3))
        .bind(row.get::<Vec<u8>, _>(4))
        .bind(row.get::<i64, _>(5))
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_stood_before_there_were_movements_stands_after_and_what_was_asked_is_answered() {
    let recent = World::new().await;
    let shop = recent.open_shop_waiting(300).await;
    let olds = purchases(&recent, &shop).await;
    recent.bank.be(Mood::Down);
    shop.close().await;

    let data = TempDir::new().unwrap();
    let url = sqlite_url(&data.path().join("merchant.db"));
    let before: Vec<_> = MIGRATIONS
        .iter()
        .copied()
        .filter(|migration| migration.version <= BEFORE)
        .collect();
    let (from, _) = recent.open_database().await;
    let to = Db::open(&url, &before).await.unwrap();
    for old in &olds {
        write_old(&from, &to, old).await;
    }
    from.close().await;
    to.close().await;

    let world = World::on(url, data).await;
    world.bank.be(Mood::Down);
    let shop = world.open_shop_waiting(300).await;
    for old in &olds {
        let view = shop.show(&old.order).await;
        assert_eq!(view["state"], old.state);
        let reversed = view["reversed"]["amount_minor"].as_i64().unwrap_or(0);
        assert_eq!(reversed, old.reversed_minor, "{view}");
        let captured = view["capture"]["amount"]["amount_minor"].as_i64();
        assert_eq!(captured, old.captured_minor, "{view}");
        assert_eq!(view["capture_refusal"].as_str(), old.cap_refusal);
        let held = view["authorization"]["amount"]["amount_minor"].as_i64();
        let expected = match old.state {
            "declined" => Some(0),
            "ordered" => None,
            _ => Some(1500 - old.reversed_minor),
        };
        assert_eq!(held, expected, "{view}");
    }
    // Nothing of before is captured twice.
    assert_eq!(
        code(shop.capture(&olds[1].order, Some("a")).await),
        "already-captured"
    );
    assert_eq!(
        code(shop.capture(&olds[3].order, Some("b")).await),
        "not-authorized"
    );
    assert_eq!(
        code(shop.capture(&olds[5].order, Some("c")).await),
        "capture-in-progress"
    );

    world.bank.be(Mood::Approves);
    let after = [
        ("capturing", "captured"),
        ("reversing", "authorized"),
        ("ordered", "authorized"),
    ];
    for (before, after) in after {
        let old = olds.iter().find(|old| old.state == before).unwrap();
        let view = shop.wait_for_state(&old.order, after).await;
        let held = view["authorization"]["amount"]["amount_minor"].clone();
        assert_eq!(
            held,
            if before == "reversing" { 400 } else { 1500 },
            "{view}"
        );
    }
    let (status, captured) = shop.capture(&olds[2].order, Some("d")).await;
    assert_eq!(status, 200, "{captured}");
    assert_eq!(captured["captured"]["amount_minor"], 1000);
    shop.close().await;
}

fn code((_, problem): (u16, Value)) -> String {
    problem["code"].as_str().unwrap().to_owned()
}
