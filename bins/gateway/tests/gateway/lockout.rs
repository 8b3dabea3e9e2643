//! Activation codes of merchants that were guessed at, or whose keys are lost.

use openset_jose::Thumbprint;
use serde_json::{Value, json};

use crate::bank::Bank;
use crate::service::{ACTIVATION_CODE, CA, Premises, Service};

fn application(code: &str, key: &str) -> Value {
    json!({
        "merchant_id": "shop-1", "merchant_bin": "411111", "brand": "Visa", "activation_code": code,
        "key_thumbprint": Thumbprint::of(key.as_bytes()).to_string(),
        "key_exchange_thumbprint": Thumbprint::of(format!("{key}/2").as_bytes()).to_string(),
    })
}

async fn reason(service: &Service, code: &str, key: &str) -> Value {
    let asked = application(code, key);
    let (status, answer) = service.post("/registrations/approve", CA, &asked).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["approved"], answer["reason"].is_null());
    answer["reason"].clone()
}

async fn guess_until_locked(service: &Service) {
    for _ in 0..5 {
        assert_eq!(reason(service, "WRONG", "mine").await, "wrongCode");
    }
    assert_eq!(reason(service, ACTIVATION_CODE, "mine").await, "codeLocked");
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_ends_an_hour_after_the_first_wrong_attempt() {
    let service = Premises::new(&Bank::open().await).start().await;
    guess_until_locked(&service).await;
    let premises = service.stop().await;
    let db = premises.open_database().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE registrations SET wrong_since_s = wrong_since_s - 3600")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let service = premises.start().await;
    // Wrong attempts are counted from one again.
    assert_eq!(reason(&service, "WRONG", "mine").await, "wrongCode");
    let approved = reason(&service, ACTIVATION_CODE, "mine").await;
    assert_eq!(approved, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_code_in_the_configuration_ends_a_lock_and_replaces_lost_keys() {
    let service = Premises::new(&Bank::open().await).start().await;
    guess_until_locked(&service).await;
    let mut premises = service.stop().await;
    premises.shop.1 = "SECOND-CODE";
    let service = premises.start().await;
    assert_eq!(reason(&service, ACTIVATION_CODE, "mine").await, "wrongCode");
    assert_eq!(reason(&service, "SECOND-CODE", "mine").await, Value::Null);
    assert_eq!(reason(&service, "SECOND-CODE", "other").await, "codeUsed");
    let mut premises = service.stop().await;
    premises.shop.1 = "THIRD-CODE";
    let service = premises.start().await;
    assert_eq!(reason(&service, "THIRD-CODE", "other").await, Value::Null);
    // Neither a restart nor a renaming makes a used code new.
    let mut premises = service.stop().await;
    premises.shop.0 = "Shop One and a Half";
    let service = premises.start().await;
    assert_eq!(reason(&service, "THIRD-CODE", "mine").await, "codeUsed");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_was_used_before_codes_were_recorded_stays_used() {
    let service = Premises::new(&Bank::open().await).start().await;
    assert_eq!(reason(&service, ACTIVATION_CODE, "mine").await, Value::Null);
    let premises = service.stop().await;
    let db = premises.open_database().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE registrations SET code_hash = NULL")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let service = premises.start().await;
    assert_eq!(reason(&service, ACTIVATION_CODE, "other").await, "codeUsed");
}
