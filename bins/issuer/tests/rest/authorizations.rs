use serde_json::{Value, json};

use crate::bank::{Bank, GATEWAY, OPERATOR, OTHER_GATEWAY, Opened, Vaulted, authorization};

/// Declines with a reason, holds nothing, and says the same again.
async fn assert_declined(bank: &Bank, account: &Opened, request: &Value, reason: &str) {
    let first = bank.post("/authorizations", GATEWAY, reason, request).await;
    let told = first.expect(200);
    assert_eq!(told["outcome"], "declined", "{told}");
    assert_eq!(told["reason"], reason);
    assert_eq!(told.get("approval_code"), None);
    assert_eq!(
        bank.state(told["authorization_id"].as_str().unwrap()).await,
        "declined"
    );
    let shown = bank.show(account).await;
    assert_eq!(shown["holds"], json!([]), "{reason}");
    assert_eq!(shown["held"]["amount_minor"], 0, "{reason}");
    assert_eq!(
        shown["available"]["amount_minor"], shown["credit_limit"],
        "{reason}"
    );
    assert_eq!(
        bank.post("/authorizations", GATEWAY, reason, request).await,
        first,
        "{reason}"
    );
}

#[tokio::test]
async fn each_reason_for_a_decline_leaves_no_hold() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;

    let above = authorization(&card, 10_001);
    assert_declined(&bank, &card, &above, "insufficientFunds").await;

    let mut dollars = authorization(&card, 100);
    dollars["amount"]["currency"] = json!("USD");
    assert_declined(&bank, &card, &dollars, "wrongCurrency").await;

    let mut unknown = authorization(&card, 100);
    unknown["pan"] = json!("4111111111111111");
    assert_declined(&bank, &card, &unknown, "unknownCard").await;

    let past = bank
        .account_with(&json!({
            "holder": "Past Example", "brand": "Visa", "currency": "EUR", "credit_limit": 10_000,
            "expiry": "202605"
        }))
        .await;
    assert_declined(&bank, &past, &authorization(&past, 100), "expiredCard").await;

    let blocked = bank.account(10_000).await;
    let path = format!("/accounts/{}", blocked.account_id);
    let answer = bank
        .post(&format!("{path}/block"), OPERATOR, "b", &json!({}))
        .await;
    assert_eq!(answer.expect(200)["blocked"], true);
    assert_declined(
        &bank,
        &blocked,
        &authorization(&blocked, 100),
        "blockedCard",
    )
    .await;
    let answer = bank
        .post(&format!("{path}/unblock"), OPERATOR, "u", &json!({}))
        .await;
    assert_eq!(answer.expect(200)["blocked"], false);
    bank.approved(&blocked, "after", 100).await;
}

#[tokio::test]
async fn card_with_another_brand_or_expiry_is_an_unknown_one() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    for (field, other) in [("brand", "MasterCard"), ("expiry", "203001")] {
        let mut request = authorization(&card, 100);
        request[field] = json!(other);
        let told = bank
            .post("/authorizations", GATEWAY, field, &request)
            .await
            .expect(200);
        assert_eq!(told["reason"], "unknownCard", "{field}");
    }
}

#[tokio::test]
async fn card_expires_when_its_month_is_over() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    assert_eq!(card.expiry, "202906", "three years after June 2026");
    bank.approved(&card, "now", 100).await;
    bank.vaulted.move_clock(3 * 365 * 86_400 + 17 * 86_400);
    let told = bank.authorize(&card, "later", 100).await.expect(200);
    assert_eq!(told["reason"], "expiredCard");
}

#[tokio::test]
async fn approval_holds_the_amount_up_to_the_last_cent() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let answer = bank.authorize(&card, "k", 10_000).await.expect(200);
    assert_eq!(answer["outcome"], "approved");
    assert_eq!(answer["approval_code"].as_str().unwrap().len(), 6);
    assert_eq!(
        answer["expires_at"], "2026-06-22T12:00:00Z",
        "seven days later"
    );
    assert_eq!(bank.sums(&card).await, [0, 10_000, 0]);
    let shown = bank.show(&card).await;
    assert_eq!(
        shown["holds"][0]["authorization_id"],
        answer["authorization_id"]
    );
    assert_eq!(
        shown["card"]["pan_masked"].as_str().unwrap()[6..12],
        *"******"
    );
    let told = bank.authorize(&card, "one-more", 1).await.expect(200);
    assert_eq!(told["reason"], "insufficientFunds");
}

#[tokio::test]
async fn same_key_brings_the_same_bytes_and_one_hold() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let first = bank.authorize(&card, "key", 4200).await;
    assert_eq!(first.expect(200)["outcome"], "approved");
    for _ in 0..3 {
        assert_eq!(bank.authorize(&card, "key", 4200).await, first);
    }
    assert_eq!(
        bank.authorize(&card, "key", 4201).await.problem(422),
        "idempotency-key-reused"
    );
    assert_eq!(bank.sums(&card).await, [5800, 4200, 0]);
    let elsewhere = authorization(&card, 4200);
    let other = bank
        .post("/authorizations", OTHER_GATEWAY, "key", &elsewhere)
        .await;
    assert_ne!(
        other.expect(200)["authorization_id"],
        first.json()["authorization_id"]
    );
    assert_eq!(bank.sums(&card).await, [1600, 8400, 0]);
    // Whatever would be decided now.
    assert_eq!(bank.authorize(&card, "key", 4200).await, first);
    assert_eq!(bank.sums(&card).await, [1600, 8400, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_authorizations_never_overspend() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let keys: Vec<String> = (0..30).map(|number| format!("key-{number}")).collect();
    let answers = all(keys.iter().map(|key| bank.authorize(&card, key, 99))).await;
    let outcomes: Vec<Value> = answers.iter().map(|answer| answer.expect(200)).collect();
    let approved = outcomes
        .iter()
        .filter(|told| told["outcome"] == "approved")
        .count();
    assert_eq!(approved, 10);
    assert!(
        outcomes
            .iter()
            .all(|told| { told["outcome"] == "approved" || told["reason"] == "insufficientFunds" })
    );
    assert_eq!(bank.sums(&card).await, [10, 990, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn same_key_at_the_same_moment_takes_one_hold() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let answers = all((0..20).map(|_| bank.authorize(&card, "key", 100))).await;
    assert_eq!(answers[0].expect(200)["outcome"], "approved");
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(bank.sums(&card).await, [900, 100, 0]);
}

#[tokio::test]
async fn gateway_sees_its_own_authorizations_alone() {
    let bank = Bank::open().await;
    let card = bank.account(1000).await;
    let path = format!("/authorizations/{}", bank.approved(&card, "key", 100).await);
    assert_eq!(
        bank.get(&path, OTHER_GATEWAY).await.problem(404),
        "no-such-authorization"
    );
    assert_eq!(bank.get(&path, OPERATOR).await.expect(200)["state"], "held");
    let stolen = json!({"amount": {"currency": "EUR", "amount_minor": 100}});
    let answer = bank
        .post(&format!("{path}/capture"), OTHER_GATEWAY, "steal", &stolen)
        .await;
    assert_eq!(answer.problem(404), "no-such-authorization");
    assert_eq!(bank.sums(&card).await, [900, 100, 0]);
}

#[tokio::test]
async fn brands_and_their_bins_come_from_the_configuration() {
    let toml = "expiry_years = 1\n[[brands]]\nbrand = \"Example\"\nbin = \"999999\"";
    let bank = Vaulted::new(toml).start().await;
    let body = json!({
        "holder": "Alice", "brand": "Example", "currency": "JPY", "credit_limit": 100
    });
    let card = bank.account_with(&body).await;
    assert!(card.pan.starts_with("999999"));
    assert_eq!(card.expiry, "202706");
    let visa = json!({"holder": "A", "brand": "Visa", "currency": "EUR", "credit_limit": 1});
    let refused = bank.post("/accounts", OPERATOR, "v", &visa).await;
    assert_eq!(refused.problem(422), "invalid-field");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/brand");
}

#[tokio::test]
async fn account_is_opened_once_for_one_key() {
    let bank = Bank::open().await;
    let body = json!({"holder": "A", "brand": "Visa", "currency": "EUR", "credit_limit": 1});
    let first = bank.post("/accounts", OPERATOR, "key", &body).await;
    assert_eq!(first.status, 201);
    assert_eq!(bank.post("/accounts", OPERATOR, "key", &body).await, first);
    assert_ne!(
        bank.post("/accounts", OPERATOR, "other", &body).await,
        first
    );
}

/// All at the same moment.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    crate::replicas::join_all(futures.collect()).await
}
