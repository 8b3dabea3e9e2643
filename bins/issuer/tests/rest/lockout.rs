//! Activation codes that strangers guess at, and fresh ones.

use openset_jose::Thumbprint;
use serde_json::{Value, json};

use crate::bank::{Answer, Bank, CA, GATEWAY, OPERATOR, Opened};

fn claim(card: &Opened, code: &str, key: &str) -> Value {
    json!({
        "pan": card.pan, "expiry": card.expiry, "holder": "Alice Example", "brand": "Visa",
        "activation_code": code, "key_thumbprint": Thumbprint::of(key.as_bytes())
    })
}

/// Why it is not approved; null if it is.
async fn reason(bank: &Bank, claim: &Value) -> Value {
    let answer = bank
        .post("/registrations/approve", CA, "unused", claim)
        .await
        .expect(200);
    assert_eq!(answer["approved"], answer["reason"].is_null());
    answer["reason"].clone()
}

async fn guess_until_locked(bank: &Bank, card: &Opened) {
    for _ in 0..5 {
        let guess = claim(card, "AAAAA-AAAAA", "mine");
        assert_eq!(reason(bank, &guess).await, "wrongCode");
    }
    let right = claim(card, &card.activation_code, "mine");
    assert_eq!(reason(bank, &right).await, "codeLocked");
}

async fn fresh_code(bank: &Bank, account_id: &str, token: &str, key: &str) -> Answer {
    let path = format!("/accounts/{account_id}/activation-code");
    bank.post(&path, token, key, &json!({})).await
}

#[tokio::test]
async fn guesses_without_the_expiry_or_the_holder_lock_nobody_out() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    for (field, wrong) in [("expiry", "203001"), ("holder", "Mallory Example")] {
        let mut guess = claim(&card, "AAAAA-AAAAA", "theirs");
        guess[field] = json!(wrong);
        for _ in 0..6 {
            assert_eq!(reason(&bank, &guess).await, "wrongCode", "{field}");
        }
    }
    let right = claim(&card, &card.activation_code, "mine");
    assert_eq!(reason(&bank, &right).await, Value::Null);
}

#[tokio::test]
async fn lock_ends_an_hour_after_the_first_wrong_attempt() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let right = claim(&card, &card.activation_code, "mine");
    guess_until_locked(&bank, &card).await;
    bank.vaulted.move_clock(3599);
    assert_eq!(reason(&bank, &right).await, "codeLocked");
    bank.vaulted.move_clock(1);
    guess_until_locked(&bank, &card).await;
    bank.vaulted.move_clock(3600);
    assert_eq!(reason(&bank, &right).await, Value::Null);
}

#[tokio::test]
async fn fresh_code_ends_a_lock_and_frees_a_card_whose_key_is_lost() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    guess_until_locked(&bank, &card).await;
    let given = fresh_code(&bank, &card.account_id, OPERATOR, "fresh-1").await;
    let answer = given.expect(200);
    assert_eq!(answer["account_id"], card.account_id.as_str());
    let code = answer["activation_code"].as_str().unwrap().to_owned();
    assert_ne!(code, card.activation_code);
    let again = fresh_code(&bank, &card.account_id, OPERATOR, "fresh-1").await;
    assert_eq!(again, given, "one key, one code");

    let old = claim(&card, &card.activation_code, "mine");
    assert_eq!(reason(&bank, &old).await, "wrongCode");
    let mine = claim(&card, &code, "mine");
    assert_eq!(reason(&bank, &mine).await, Value::Null);
    let other = claim(&card, &code, "another");
    assert_eq!(reason(&bank, &other).await, "codeUsed");

    let answer = fresh_code(&bank, &card.account_id, OPERATOR, "fresh-2").await;
    let answer = answer.expect(200);
    let code = answer["activation_code"].as_str().unwrap();
    assert_eq!(reason(&bank, &mine).await, "wrongCode");
    let other = claim(&card, code, "another");
    assert_eq!(reason(&bank, &other).await, Value::Null);
}

#[tokio::test]
async fn fresh_code_is_for_operators_and_for_accounts_that_exist() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let refused = fresh_code(&bank, &card.account_id, GATEWAY, "k").await;
    assert_eq!(refused.problem(403), "forbidden");
    let unknown = fresh_code(&bank, "nobody", OPERATOR, "k").await;
    assert_eq!(unknown.problem(404), "no-such-account");
    let api = bank.get("/openapi.json", "").await.expect(200);
    assert!(api["paths"]["/accounts/{id}/activation-code"]["post"].is_object());
}
