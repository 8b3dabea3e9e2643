//! Captures and credits that are undone.

use openset_store::Db;
use openset_store::ledger::{self, Entry, Posting};
use reqwest::Method;
use serde_json::json;

use crate::bank::{Bank, GATEWAY, OPERATOR, OTHER_GATEWAY};
use crate::books;
use crate::replicas::join_all;

const DAY_S: i64 = 86_400;

#[tokio::test]
async fn capture_that_is_undone_is_held_again_for_what_it_took() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    let early = bank.undo_capture(&id, "u0").await;
    assert_eq!(early.problem(409), "not-captured");
    bank.movement(&id, "capture", "c", 4000).await.expect(200);
    let first = bank.undo_capture(&id, "u").await;
    let undone = first.expect(200);
    assert_eq!(undone["state"], "held");
    let sums = ["amount", "reversed", "held", "captured", "credited"];
    let sums = sums.map(|sum| undone[sum]["amount_minor"].as_i64().unwrap());
    assert_eq!(sums, [4200, 200, 4000, 0, 0]);
    assert_eq!(bank.sums(&card).await, [6000, 4000, 0]);
    assert_eq!(bank.undo_capture(&id, "u").await, first, "replayed");
    // Without a body it is the same request.
    let path = format!("/authorizations/{id}/capture/reverse");
    let bare = bank
        .send(Method::POST, &path, GATEWAY, Some("u"), None)
        .await;
    assert_eq!(bare, first);
    let filled = bank.post(&path, GATEWAY, "u1", &json!({"amount": 1})).await;
    assert_eq!(filled.problem(422), "invalid-field");
    let twice = bank.undo_capture(&id, "u2").await;
    assert_eq!(twice.problem(409), "not-captured");
    let early = bank.undo_capture(&id, "u0").await;
    assert_eq!(early.problem(409), "not-captured", "refusals are kept");
    assert_eq!(bank.sums(&card).await, [6000, 4000, 0]);

    let postings = &bank.show(&card).await["postings"];
    assert_eq!(postings[0]["kind"], "capture_reversal");
    assert_eq!(postings[0]["reference"], format!("{id}/cr1"));
    assert_eq!(postings[0]["amount"]["amount_minor"], -4000);
    let another = bank.post(&path, OTHER_GATEWAY, "u", &json!({})).await;
    assert_eq!(another.problem(404), "no-such-authorization");
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn second_capture_after_an_undone_one_is_booked() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    for round in 1..=3 {
        let [capture, undo] = ["c", "u"].map(|what| format!("{what}{round}"));
        // The same amount each time: only the reference tells one capture from the next.
        let captured = bank.movement(&id, "capture", &capture, 4000).await;
        captured.expect(200);
        assert_eq!(bank.sums(&card).await, [6000, 0, 4000], "round {round}");
        bank.undo_capture(&id, &undo).await.expect(200);
        assert_eq!(bank.sums(&card).await, [6000, 4000, 0], "round {round}");
    }
    let above = bank.movement(&id, "capture", "c4", 4001).await;
    assert_eq!(above.problem(422), "above-hold");
    bank.movement(&id, "capture", "c5", 100).await.expect(200);
    assert_eq!(bank.sums(&card).await, [9900, 0, 100]);
    let shown = bank.show(&card).await;
    let references = shown["postings"].as_array().unwrap().iter();
    let references: Vec<&str> = references
        .map(|posting| posting["reference"].as_str().unwrap())
        .collect();
    let rest = ["/c4", "/cr3", "/c3", "/cr2", "/c2", "/cr1", ""].map(|end| format!("{id}{end}"));
    assert_eq!(references, rest);
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn posting_that_is_booked_already_is_corruption_and_nothing_changes() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    let url = bank.vaulted.database_url();
    let db = Db::open(&url, openset_issuer::MIGRATIONS).await.unwrap();
    let account = format!("cardholder/{}", card.account_id);
    let settlement = "settlement/gateway/EUR";
    let posting = |account, amount_minor| Posting {
        account,
        currency: "EUR",
        amount_minor,
    };
    let entry = Entry {
        kind: "capture",
        reference: &id,
        at: 0,
        memo: "",
        postings: &[posting(&account, 4000), posting(settlement, -4000)],
    };
    let mut tx = db.begin().await.unwrap();
    ledger::open_account(&mut tx, settlement, "settlement", "EUR")
        .await
        .unwrap();
    ledger::post(&mut tx, &entry).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let captured = bank.movement(&id, "capture", "c", 4000).await;
    assert_eq!(captured.problem(500), "internal");
    assert_eq!(bank.state(&id).await, "held");
    assert_eq!(bank.show(&card).await["held"]["amount_minor"], 4200);
}

#[tokio::test]
async fn capture_that_is_undone_after_the_hold_s_time_is_expired() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "capture", "c", 4200).await.expect(200);
    bank.vaulted.move_clock(7 * DAY_S);
    let undone = bank.undo_capture(&id, "u").await.expect(200);
    assert_eq!(undone["state"], "expired");
    assert_eq!(undone["held"]["amount_minor"], 0);
    assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
    let late = bank.movement(&id, "capture", "c2", 1).await;
    assert_eq!(late.problem(409), "not-held");
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn hold_that_came_back_expires_in_its_time() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "capture", "c", 3000).await.expect(200);
    bank.vaulted.move_clock(7 * DAY_S - 1);
    let undone = bank.undo_capture(&id, "u").await.expect(200);
    assert_eq!(undone["state"], "held");
    assert_eq!(bank.sums(&card).await, [7000, 3000, 0]);
    bank.vaulted.move_clock(1);
    for _ in 0..600 {
        if bank.sums(&card).await == [10_000, 0, 0] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
    assert_eq!(bank.state(&id).await, "expired");
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn capture_is_undone_on_a_blocked_account_that_has_spent_its_limit() {
    let bank = Bank::open().await;
    let card = bank.account(4200).await;
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "capture", "c", 4000).await.expect(200);
    bank.approved(&card, "b", 200).await;
    let path = format!("/accounts/{}/block", card.account_id);
    let blocked = bank.post(&path, OPERATOR, "b", &json!({})).await;
    blocked.expect(200);
    let undone = bank.undo_capture(&id, "u").await.expect(200);
    assert_eq!(undone["state"], "held");
    assert_eq!(bank.sums(&card).await, [0, 4200, 0]);
}

#[tokio::test]
async fn capture_is_not_undone_while_a_credit_of_it_stands() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "capture", "c", 4200).await.expect(200);
    bank.movement(&id, "credit", "k1", 200).await.expect(200);
    let credited = bank.undo_capture(&id, "u1").await;
    assert_eq!(credited.problem(409), "credited");
    bank.undo_credit(&id, "k1", "v1").await.expect(200);
    bank.undo_capture(&id, "u2").await.expect(200);
    assert_eq!(bank.sums(&card).await, [5800, 4200, 0]);
    // Credits of the next capture are counted on.
    bank.movement(&id, "capture", "c2", 4000).await.expect(200);
    let again = bank.undo_credit(&id, "k1", "v2").await;
    assert_eq!(again.problem(409), "credit-reversed");
    bank.movement(&id, "credit", "k2", 4000).await.expect(200);
    assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn each_credit_is_undone_by_its_own_id_and_once() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "capture", "c", 4000).await.expect(200);
    let credited = bank.movement(&id, "credit", "k/1", 1500).await.expect(200);
    assert_eq!(credited["credit_id"], "k/1");
    assert_eq!(credited["credit_state"], "standing");
    bank.movement(&id, "credit", "k2", 2500).await.expect(200);
    let first = bank.undo_credit(&id, "k%2F1", "v1").await;
    let undone = first.expect(200);
    assert_eq!(undone["credit_id"], "k/1");
    assert_eq!(undone["credit_state"], "reversed");
    assert_eq!(undone["credited"]["amount_minor"], 2500);
    assert_eq!(bank.sums(&card).await, [8500, 0, 1500]);
    assert_eq!(bank.undo_credit(&id, "k%2F1", "v1").await, first);
    let twice = bank.undo_credit(&id, "k%2F1", "v2").await;
    assert_eq!(twice.problem(409), "credit-reversed");
    // What was captured under this key is no credit.
    for unknown in ["k9", "c"] {
        let none = bank.undo_credit(&id, unknown, "v3").await;
        let reused = bank.undo_credit(&id, unknown, "v4").await;
        if unknown == "k9" {
            assert_eq!(none.problem(404), "no-such-credit");
            assert_eq!(bank.undo_credit(&id, unknown, "v3").await, none, "kept");
        } else {
            // The key names a call about another credit.
            assert_eq!(none.problem(422), "idempotency-key-reused");
            assert_eq!(reused.problem(422), "idempotency-key-reused");
        }
    }
    let capture = bank.undo_credit(&id, "c", "v5").await;
    assert_eq!(capture.problem(404), "no-such-credit");
    let other = bank.approved(&card, "b", 10).await;
    let foreign = bank.undo_credit(&other, "k2", "v6").await;
    assert_eq!(foreign.problem(404), "no-such-credit");
    assert_eq!(bank.sums(&card).await, [8490, 10, 1500]);
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn credit_stands_when_the_account_has_no_room_for_what_would_be_owed_again() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let id = bank.approved(&card, "a", 1000).await;
    bank.movement(&id, "capture", "c", 1000).await.expect(200);
    bank.movement(&id, "credit", "k1", 600).await.expect(200);
    bank.movement(&id, "credit", "k2", 400).await.expect(200);
    let spent = bank.approved(&card, "b", 500).await;
    let refused = bank.undo_credit(&id, "k1", "v1").await;
    assert_eq!(refused.problem(409), "insufficient-funds");
    assert_eq!(bank.sums(&card).await, [500, 500, 0], "nothing was changed");
    let view = bank.get(&format!("/authorizations/{id}"), GATEWAY).await;
    assert_eq!(view.expect(200)["credited"]["amount_minor"], 1000);
    bank.undo_credit(&id, "k2", "v2").await.expect(200);
    // The refusal is kept under its key; under another it goes when there is room. A block is no reason.
    bank.release(&spent, "r").await.expect(200);
    assert_eq!(bank.undo_credit(&id, "k1", "v1").await, refused);
    let path = format!("/accounts/{}/block", card.account_id);
    let blocked = bank.post(&path, OPERATOR, "b", &json!({})).await;
    blocked.expect(200);
    bank.undo_credit(&id, "k1", "v3").await.expect(200);
    assert_eq!(bank.sums(&card).await, [0, 0, 1000]);
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn key_of_one_movement_is_refused_for_another() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "capture", "c", 4200).await.expect(200);
    let reused = bank.movement(&id, "credit", "c", 100).await;
    assert_eq!(reused.problem(422), "idempotency-key-reused");
    assert_eq!(bank.sums(&card).await, [5800, 0, 4200]);
    // The key counts for one gateway: another one's movement may have it too.
    let mut request = crate::bank::authorization(&card, 100);
    request["reference"] = json!("order-2");
    let foreign = bank.post("/authorizations", OTHER_GATEWAY, "a", &request);
    let foreign = foreign.await.expect(200)["authorization_id"].clone();
    let path = format!("/authorizations/{}/capture", foreign.as_str().unwrap());
    let body = json!({"amount": request["amount"]});
    bank.post(&path, OTHER_GATEWAY, "c", &body)
        .await
        .expect(200);
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_at_once_undo_a_capture_and_a_credit_once() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "capture", "c", 4000).await.expect(200);
    bank.movement(&id, "credit", "k", 1500).await.expect(200);
    let keys: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let asked = keys.iter().map(|key| bank.undo_credit(&id, "k", key));
    let answers = join_all(asked.collect()).await;
    let done = |status| answers.iter().filter(|one| one.status == status).count();
    assert_eq!((done(200), done(409)), (1, 9));
    assert_eq!(bank.sums(&card).await, [6000, 0, 4000]);
    // The same key ten times: one effect and one answer.
    let asked = keys.iter().map(|_| bank.undo_capture(&id, "u"));
    let answers = join_all(asked.collect()).await;
    answers[0].expect(200);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(bank.sums(&card).await, [6000, 4000, 0]);
    books::assert_right(&bank.stop().await).await;
}
