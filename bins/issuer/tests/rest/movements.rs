use std::sync::atomic::Ordering;

use serde_json::json;

use crate::bank::{Bank, GATEWAY};
use crate::books;

#[tokio::test]
async fn capture_takes_a_part_and_frees_the_rest() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    let first = bank.movement(&id, "capture", "c", 4000).await;
    let captured = first.expect(200);
    assert_eq!(captured["state"], "captured");
    assert_eq!(
        captured["captured"],
        json!({"currency": "EUR", "amount_minor": 4000, "text": "EUR 40.00"})
    );
    assert_eq!(bank.sums(&card).await, [6000, 0, 4000]);
    let shown = bank.show(&card).await;
    assert_eq!(shown["holds"], json!([]));
    assert_eq!(shown["postings"][0]["kind"], "capture");
    assert_eq!(shown["postings"][0]["memo"], "Books & Co");
    assert_eq!(shown["postings"][0]["amount"]["amount_minor"], 4000);

    assert_eq!(
        bank.movement(&id, "capture", "c", 4000).await,
        first,
        "replayed"
    );
    let again = bank.movement(&id, "capture", "c2", 200).await;
    assert_eq!(again.problem(409), "already-captured");
    assert_eq!(
        bank.movement(&id, "capture", "c2", 200).await,
        again,
        "refusals are kept too"
    );
    assert_eq!(bank.sums(&card).await, [6000, 0, 4000]);
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn movement_whose_answer_was_forgotten_is_still_made_once() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "capture", "c", 4000).await.expect(200);
    bank.movement(&id, "credit", "d", 1000).await.expect(200);
    bank.undo_credit(&id, "d", "e").await.expect(200);
    let owed = bank.sums(&card).await;
    bank.vaulted.move_clock(31 * 86_400);
    let capture = bank.movement(&id, "capture", "c", 4000).await.expect(200);
    assert_eq!(capture["state"], "captured");
    let credit = bank.movement(&id, "credit", "d", 1000).await.expect(200);
    assert_eq!(credit["credit_id"], "d");
    bank.undo_credit(&id, "d", "e").await.expect(200);
    assert_eq!(bank.sums(&card).await, owed);
    // The key still stands for that alone.
    for (key, what, minor) in [("c", "credit", 1000), ("d", "credit", 999)] {
        bank.vaulted.move_clock(31 * 86_400);
        let other = bank.movement(&id, what, key, minor).await;
        assert_eq!(other.problem(422), "idempotency-key-reused", "{key}");
    }
    assert_eq!(bank.sums(&card).await, owed);
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test]
async fn capture_above_the_hold_or_in_another_currency_changes_nothing() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    let above = bank.movement(&id, "capture", "c1", 4201).await;
    assert_eq!(above.problem(422), "above-hold");
    assert_eq!(above.json()["errors"][0]["pointer"], "/amount/amount_minor");
    let dollars = json!({"amount": {"currency": "USD", "amount_minor": 1}});
    let path = format!("/authorizations/{id}/capture");
    assert_eq!(
        bank.post(&path, GATEWAY, "c2", &dollars).await.problem(422),
        "wrong-currency"
    );
    assert_eq!(bank.sums(&card).await, [5800, 4200, 0]);
    assert_eq!(bank.state(&id).await, "held");
}

#[tokio::test]
async fn release_gives_the_hold_back_and_may_be_repeated() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    assert_eq!(
        bank.release(&id, "r").await.expect(200)["state"],
        "released"
    );
    assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
    assert_eq!(
        bank.release(&id, "r2").await.expect(200)["state"],
        "released"
    );
    assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
    assert_eq!(
        bank.movement(&id, "capture", "c", 1).await.problem(409),
        "not-held"
    );
    let taken = bank.approved(&card, "b", 100).await;
    bank.movement(&taken, "capture", "d", 100).await.expect(200);
    assert_eq!(
        bank.release(&taken, "r3").await.problem(409),
        "already-captured"
    );
}

#[tokio::test]
async fn reversal_of_a_part_frees_it_and_the_rest_may_be_captured() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    let lowered = bank.movement(&id, "reverse", "r", 3000).await.expect(200);
    assert_eq!(lowered["state"], "held");
    assert_eq!(lowered["reversed"]["amount_minor"], 1200);
    assert_eq!(bank.sums(&card).await, [7000, 3000, 0]);
    // The same key: the same answer. Another: it stands already.
    let again = bank.movement(&id, "reverse", "r", 3000).await.expect(200);
    assert_eq!(again, lowered);
    bank.movement(&id, "reverse", "r2", 3000).await.expect(200);
    assert_eq!(bank.sums(&card).await, [7000, 3000, 0]);
    let above = bank.movement(&id, "reverse", "r3", 3001).await;
    assert_eq!(above.problem(422), "above-hold");
    let above = bank.movement(&id, "capture", "c", 3001).await;
    assert_eq!(above.problem(422), "above-hold");
    bank.movement(&id, "capture", "c2", 2000).await.expect(200);
    assert_eq!(bank.sums(&card).await, [8000, 0, 2000]);
    let late = bank.movement(&id, "reverse", "r4", 0).await;
    assert_eq!(late.problem(409), "already-captured");
}

#[tokio::test]
async fn hold_that_was_lowered_expires_for_what_was_left_of_it() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "reverse", "r", 1000).await.expect(200);
    bank.vaulted.now_s.fetch_add(8 * 86_400, Ordering::Relaxed);
    for _ in 0..600 {
        if bank.sums(&card).await == [10_000, 0, 0] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
    assert_eq!(bank.state(&id).await, "expired");
    bank.movement(&id, "reverse", "r2", 0).await.expect(200);
    let late = bank.movement(&id, "reverse", "r3", 1).await;
    assert_eq!(late.problem(409), "not-held");
}

#[tokio::test]
async fn credits_never_exceed_the_capture() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    assert_eq!(
        bank.movement(&id, "credit", "x", 1).await.problem(409),
        "not-captured"
    );
    bank.movement(&id, "capture", "c", 4000).await.expect(200);
    let first = bank.movement(&id, "credit", "k1", 1500).await;
    assert_eq!(first.expect(200)["credited"]["amount_minor"], 1500);
    assert_eq!(
        bank.movement(&id, "credit", "k1", 1500).await,
        first,
        "replayed"
    );
    assert_eq!(bank.sums(&card).await, [7500, 0, 2500]);
    assert_eq!(
        bank.movement(&id, "credit", "k2", 2501).await.problem(422),
        "above-capture"
    );
    bank.movement(&id, "credit", "k3", 2500).await.expect(200);
    assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
    assert_eq!(
        bank.movement(&id, "credit", "k4", 1).await.problem(422),
        "above-capture"
    );
    books::assert_right(&bank.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_captures_and_releases_move_the_money_once() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    let (one, two, three, four) = tokio::join!(
        bank.movement(&id, "capture", "c1", 4200),
        bank.release(&id, "r1"),
        bank.movement(&id, "capture", "c2", 4200),
        bank.release(&id, "r2"),
    );
    let captures = [one.status, three.status];
    let taken = captures.iter().filter(|status| **status == 200).count();
    if taken == 1 {
        assert_eq!([two.status, four.status], [409, 409]);
        assert_eq!(bank.sums(&card).await, [5800, 0, 4200]);
    } else {
        assert_eq!((taken, [two.status, four.status]), (0, [200, 200]));
        assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
    }
}

#[tokio::test]
async fn hold_taken_before_a_block_may_still_be_captured() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 4200).await;
    let path = format!("/accounts/{}/block", card.account_id);
    bank.post(&path, crate::bank::OPERATOR, "b", &json!({}))
        .await
        .expect(200);
    bank.movement(&id, "capture", "c", 4200).await.expect(200);
}
