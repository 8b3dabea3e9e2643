use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use openset_jose::Thumbprint;
use openset_store::Db;
use serde_json::json;

use crate::bank::{Bank, CA, OPERATOR, Opened, Vaulted, files_under};

#[tokio::test]
async fn restart_keeps_accounts_holds_answers_and_codes() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let first = bank.authorize(&card, "a", 4200).await;
    let id = first.expect(200)["authorization_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let taken = bank.approved(&card, "b", 1000).await;
    let capture = bank.movement(&taken, "capture", "c", 1000).await;
    let claim = json!({
        "pan": card.pan, "expiry": card.expiry, "holder": "Alice Example", "brand": "Visa",
        "activation_code": card.activation_code, "key_thumbprint": Thumbprint::of(b"mine")
    });
    bank.post("/registrations/approve", CA, "r", &claim)
        .await
        .expect(200);
    let before = bank.show(&card).await;

    let bank = bank.stop().await.start().await;
    assert_eq!(bank.show(&card).await, before);
    assert_eq!(bank.authorize(&card, "a", 4200).await, first);
    assert_eq!(bank.movement(&taken, "capture", "c", 1000).await, capture);
    assert_eq!(bank.show(&card).await, before, "replays change nothing");
    bank.movement(&id, "capture", "d", 4200).await.expect(200);
    assert_eq!(bank.sums(&card).await, [4800, 0, 5200]);
    let mut other = claim.clone();
    other["key_thumbprint"] = json!(Thumbprint::of(b"another"));
    let answer = bank
        .post("/registrations/approve", CA, "r", &other)
        .await
        .expect(200);
    assert_eq!(answer["reason"], "codeUsed");
}

#[tokio::test]
async fn hold_expires_after_seven_days_and_the_money_is_free_again() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let old = bank.approved(&card, "a", 4200).await;
    bank.vaulted.move_clock(3 * 86_400);
    let young = bank.approved(&card, "b", 100).await;
    bank.vaulted.move_clock(4 * 86_400);
    assert_eq!(bank.state(&old).await, "expired", "before any sweep");
    assert_eq!(
        bank.movement(&old, "capture", "c", 1).await.problem(409),
        "not-held"
    );
    wait_for(&bank, &card, [9900, 100, 0]).await;
    assert_eq!(bank.state(&young).await, "held");
    assert_eq!(
        bank.release(&old, "r").await.expect(200)["state"],
        "expired"
    );
    assert_eq!(bank.sums(&card).await, [9900, 100, 0], "given back once");
}

async fn wait_for(bank: &Bank, card: &Opened, sums: [i64; 3]) {
    for _ in 0..600 {
        if bank.sums(card).await == sums {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the sweep did not come: {:?}", bank.sums(card).await);
}

#[tokio::test]
async fn caller_that_hangs_up_between_commit_and_answer_finds_its_hold() {
    let toml = "danger_pause_after_commit_ms = 10000";
    let bank = Vaulted::new(toml).start().await;
    let card = bank.account(10_000).await;
    let patience = Duration::from_millis(5000);
    let heard = tokio::time::timeout(patience, bank.authorize(&card, "a", 4200)).await;
    assert!(
        heard.is_err(),
        "the answer must not come before the pause is over"
    );
    assert_eq!(
        bank.sums(&card).await,
        [5800, 4200, 0],
        "committed before the answer"
    );
    let answer = bank.authorize(&card, "a", 4200).await.expect(200);
    assert_eq!(answer["outcome"], "approved");
    assert_eq!(bank.sums(&card).await, [5800, 4200, 0], "one hold");
}

#[tokio::test]
async fn key_whose_first_call_is_still_at_work_is_told_to_come_again() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    bank.authorize(&card, "a", 4200).await.expect(200);
    let vaulted = bank.stop().await;
    let db = Db::open(&vaulted.database_url(), openset_issuer::MIGRATIONS)
        .await
        .unwrap();
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE idempotency SET status = NULL, body = NULL")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let bank = vaulted.start().await;
    let answer = bank.authorize(&card, "a", 4200).await;
    assert_eq!(answer.problem(409), "idempotency-key-in-flight");
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    assert_eq!(bank.sums(&card).await, [5800, 4200, 0]);
}

#[tokio::test]
async fn card_number_and_code_lie_nowhere_in_the_data_folder() {
    let bank = Bank::open().await;
    let body = json!({
        "holder": "Alice Example", "brand": "Visa", "currency": "EUR", "credit_limit": 10_000
    });
    // With a key, so that the whole answer is kept for replays.
    let opened = bank
        .post("/accounts", OPERATOR, "key", &body)
        .await
        .expect(201);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let card = Opened {
        account_id: text(&opened["account_id"]),
        pan: text(&opened["card"]["pan"]),
        expiry: text(&opened["card"]["expiry"]),
        activation_code: text(&opened["activation_code"]),
    };
    let id = bank.approved(&card, "a", 4200).await;
    bank.movement(&id, "capture", "c", 4200).await.expect(200);
    bank.authorize(&card, "b", 999_999).await.expect(200);
    let claim = json!({
        "pan": card.pan, "expiry": card.expiry, "holder": "Alice Example", "brand": "Visa",
        "activation_code": card.activation_code, "key_thumbprint": Thumbprint::of(b"mine")
    });
    bank.post("/registrations/approve", CA, "r", &claim)
        .await
        .expect(200);

    let data_dir = bank.vaulted.data_dir();
    assert_absent(&data_dir, &card);
    let _folder = bank.stop().await;
    assert_absent(&data_dir, &card);
}

/// What is there in clear is found by the same search, so it can find something.
fn assert_absent(data_dir: &str, card: &Opened) {
    let files = files_under(Path::new(data_dir));
    let found = |needle: &[u8]| {
        files
            .iter()
            .any(|(_, bytes)| bytes.windows(needle.len()).any(|part| part == needle))
    };
    assert!(found(card.account_id.as_bytes()) && found(b"Alice Example"));
    let bare_code = card.activation_code.replace('-', "");
    for secret in [&card.pan, &card.activation_code, &bare_code] {
        for form in forms(secret.as_bytes()) {
            assert!(!found(&form), "{}", String::from_utf8_lossy(&form));
        }
    }
}

/// Text, hexadecimal, base64 at each of its three alignments, and SHA-256 in all of these.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let digest = openset_jose::sha256(secret);
    let mut forms = Vec::new();
    for plain in [secret, &digest[..]] {
        forms.push(plain.to_vec());
        forms.push(hex::encode(plain).into_bytes());
        forms.push(hex::encode_upper(plain).into_bytes());
        for shift in 0..3 {
            let shifted = [&b"\0\0\0"[..shift], plain].concat();
            let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&shifted);
            // The letters at both ends depend on the neighbours.
            let inner = &encoded[4.min(shift * 4)..encoded.len() - 2];
            forms.push(inner.as_bytes().to_vec());
            forms.push(inner.replace('+', "-").replace('/', "_").into_bytes());
        }
    }
    forms
}
