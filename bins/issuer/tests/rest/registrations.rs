use openset_jose::Thumbprint;
use serde_json::{Value, json};

use crate::bank::{Answer, Bank, CA, OPERATOR, Opened};

fn claim(card: &Opened, key: &str) -> Value {
    json!({
        "pan": card.pan, "expiry": card.expiry, "holder": " alice  EXAMPLE", "brand": "Visa",
        "activation_code": card.activation_code,
        "key_thumbprint": Thumbprint::of(key.as_bytes())
    })
}

async fn ask(bank: &Bank, claim: &Value) -> Answer {
    bank.post("/registrations/approve", CA, "unused", claim)
        .await
}

async fn reason(bank: &Bank, claim: &Value) -> String {
    let answer = ask(bank, claim).await.expect(200);
    assert_eq!(answer["approved"], false, "{answer}");
    answer["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn code_approves_one_key_however_often_it_asks() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let first = ask(&bank, &claim(&card, "mine")).await;
    assert_eq!(
        first.expect(200),
        json!({"approved": true, "issuer_name": "OpenSET Test Bank"})
    );
    assert_eq!(ask(&bank, &claim(&card, "mine")).await, first);
    assert_eq!(reason(&bank, &claim(&card, "another")).await, "codeUsed");
    let mut guess = claim(&card, "mine");
    guess["activation_code"] = json!("AAAAA-AAAAA");
    for _ in 0..7 {
        assert_eq!(reason(&bank, &guess).await, "wrongCode");
    }
    assert_eq!(
        ask(&bank, &claim(&card, "mine")).await,
        first,
        "guesses lock nobody out"
    );
}

#[tokio::test]
async fn code_is_locked_after_five_wrong_attempts() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let mut guess = claim(&card, "mine");
    guess["activation_code"] = json!("AAAAA-AAAAA");
    for _ in 0..5 {
        assert_eq!(reason(&bank, &guess).await, "wrongCode");
    }
    assert_eq!(reason(&bank, &guess).await, "codeLocked");
    assert_eq!(reason(&bank, &claim(&card, "mine")).await, "codeLocked");
    let other = bank.account(1000).await;
    assert_eq!(
        ask(&bank, &claim(&other, "mine")).await.expect(200)["approved"],
        true
    );
}

#[tokio::test]
async fn fifth_attempt_may_still_be_right_and_small_letters_do() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let mut guess = claim(&card, "mine");
    guess["activation_code"] = json!("AAAAA-AAAAA");
    for _ in 0..4 {
        assert_eq!(reason(&bank, &guess).await, "wrongCode");
    }
    guess["activation_code"] = json!(card.activation_code.to_lowercase().replace('-', " "));
    assert_eq!(ask(&bank, &guess).await.expect(200)["approved"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_the_same_moment_are_counted_one_by_one() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let mut guess = claim(&card, "mine");
    guess["activation_code"] = json!("AAAAA-AAAAA");
    let guesses = (0..20).map(|_| reason(&bank, &guess)).collect();
    let reasons = crate::replicas::join_all(guesses).await;
    assert_eq!(
        reasons
            .iter()
            .filter(|reason| *reason == "wrongCode")
            .count(),
        5
    );
    assert_eq!(
        reasons
            .iter()
            .filter(|reason| *reason == "codeLocked")
            .count(),
        15
    );
}

#[tokio::test]
async fn what_differs_from_the_card_is_not_approved_and_leaves_the_code_usable() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    for (field, wrong, expected) in [
        ("pan", "4111111111111111", "unknownCard"),
        ("holder", "Mallory Example", "detailsDiffer"),
        ("expiry", "203001", "detailsDiffer"),
        ("brand", "MasterCard", "detailsDiffer"),
    ] {
        let mut claim = claim(&card, "mine");
        claim[field] = json!(wrong);
        assert_eq!(reason(&bank, &claim).await, expected, "{field}");
    }
    let block = format!("/accounts/{}/block", card.account_id);
    bank.post(&block, OPERATOR, "b", &json!({}))
        .await
        .expect(200);
    assert_eq!(reason(&bank, &claim(&card, "mine")).await, "blockedCard");
    bank.post(
        &format!("/accounts/{}/unblock", card.account_id),
        OPERATOR,
        "u",
        &json!({}),
    )
    .await;
    assert_eq!(
        ask(&bank, &claim(&card, "mine")).await.expect(200)["approved"],
        true
    );
}

#[tokio::test]
async fn expired_card_is_not_approved() {
    let bank = Bank::open().await;
    let card = bank
        .account_with(&json!({
            "holder": "Alice Example", "brand": "Visa", "currency": "EUR", "credit_limit": 1,
            "expiry": "202605"
        }))
        .await;
    assert_eq!(reason(&bank, &claim(&card, "mine")).await, "expiredCard");
}

#[tokio::test]
async fn thumbprint_that_is_none_is_refused() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let mut claim = claim(&card, "mine");
    claim["key_thumbprint"] = json!("abc");
    let answer = ask(&bank, &claim).await;
    assert_eq!(answer.problem(422), "invalid-field");
    assert_eq!(answer.json()["errors"][0]["pointer"], "/key_thumbprint");
}

fn renewal(card: &Opened, key: &str) -> Value {
    json!({
        "pan": card.pan, "expiry": card.expiry, "brand": "Visa",
        "renews": Thumbprint::of(b"the certificate that is there"),
        "key_thumbprint": Thumbprint::of(key.as_bytes())
    })
}

#[tokio::test]
async fn renewal_is_approved_without_a_code_while_the_account_is_good() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    ask(&bank, &claim(&card, "mine")).await.expect(200);
    let answer = ask(&bank, &renewal(&card, "new")).await.expect(200);
    assert_eq!(
        answer,
        json!({"approved": true, "issuer_name": "OpenSET Test Bank"})
    );
    for (field, wrong, expected) in [
        ("pan", "4111111111111111", "unknownCard"),
        ("expiry", "203001", "detailsDiffer"),
        ("brand", "MasterCard", "detailsDiffer"),
    ] {
        let mut renewal = renewal(&card, "new");
        renewal[field] = json!(wrong);
        assert_eq!(reason(&bank, &renewal).await, expected, "{field}");
    }
    let block = format!("/accounts/{}/block", card.account_id);
    bank.post(&block, OPERATOR, "b", &json!({}))
        .await
        .expect(200);
    assert_eq!(reason(&bank, &renewal(&card, "newer")).await, "blockedCard");
}

#[tokio::test]
async fn renewal_of_an_expired_card_is_not_approved_and_no_renewal_uses_up_the_code() {
    let bank = Bank::open().await;
    let expired = bank
        .account_with(&json!({
            "holder": "Alice Example", "brand": "Visa", "currency": "EUR", "credit_limit": 1,
            "expiry": "202605"
        }))
        .await;
    assert_eq!(
        reason(&bank, &renewal(&expired, "new")).await,
        "expiredCard"
    );
    let card = bank.account(1000).await;
    ask(&bank, &renewal(&card, "new")).await.expect(200);
    let first = ask(&bank, &claim(&card, "mine")).await.expect(200);
    assert_eq!(first["approved"], true);
}

#[tokio::test]
async fn code_and_certificate_together_or_neither_are_refused() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let mut both = claim(&card, "mine");
    both["renews"] = json!(Thumbprint::of(b"a certificate"));
    let mut neither = renewal(&card, "mine");
    neither.as_object_mut().unwrap().remove("renews");
    for request in [both, neither] {
        let answer = ask(&bank, &request).await;
        assert_eq!(answer.problem(422), "invalid-field");
    }
}
