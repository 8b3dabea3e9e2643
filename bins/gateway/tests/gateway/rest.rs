//! Certificates, registrations, health and the description of it all.

use openset_jose::Thumbprint;
use openset_pki::{Chain, Expect, Purpose, Role};
use openset_service::clock;
use serde_json::{Value, json};

use crate::bank::Bank;
use crate::purchase::PKI;
use crate::service::{ACTIVATION_CODE, CA, OPERATOR, Premises, Service};

async fn gateway() -> Service {
    Premises::new(&Bank::open().await).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_public_and_lead_to_the_root() {
    use base64::Engine as _;
    let service = gateway().await;
    let (status, body) = service.get("/certificates", "").await;
    assert_eq!(status, 200);
    let found = body["certificates"].as_array().unwrap();
    let exchange = found
        .iter()
        .find(|found| found["purpose"] == "key_exchange")
        .unwrap();
    assert_eq!(exchange["brand"], "Visa");
    let decode = |text: &Value| {
        base64::engine::general_purpose::STANDARD
            .decode(text.as_str().unwrap())
            .unwrap()
    };
    let x5c: Vec<Vec<u8>> = exchange["chain"]
        .as_array()
        .unwrap()
        .iter()
        .map(decode)
        .collect();
    let brand = "Visa".parse().unwrap();
    let expect = Expect {
        role: Role::Gateway,
        purpose: Purpose::KeyExchange,
        brand: Some(&brand),
    };
    let chain = Chain::from_x5c(&x5c).unwrap();
    PKI.verifier()
        .verify(&chain, &expect, clock::now_seconds())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_wants_a_token_of_the_right_scope() {
    let service = gateway().await;
    let xid = "A".repeat(43);
    for path in [format!("/authorizations/{xid}"), "/ledger".to_owned()] {
        assert_eq!(service.get(&path, "wrong").await.0, 401, "{path}");
        assert_eq!(service.get(&path, CA).await.0, 403, "{path}");
    }
    assert_eq!(
        service
            .get(&format!("/authorizations/{xid}"), OPERATOR)
            .await
            .0,
        404
    );
    assert_eq!(service.get("/authorizations/x", OPERATOR).await.0, 404);
    let (status, _) = service
        .post("/registrations/approve", OPERATOR, &application("A"))
        .await;
    assert_eq!(status, 403);
}

fn application(code: &str) -> Value {
    json!({
        "merchant_id": "shop-1", "merchant_bin": "411111", "brand": "Visa", "activation_code": code,
        "key_thumbprint": Thumbprint::of(b"one").to_string(),
        "key_exchange_thumbprint": Thumbprint::of(b"two").to_string(),
    })
}

async fn reason(service: &Service, application: &Value) -> Value {
    let (status, answer) = service
        .post("/registrations/approve", CA, application)
        .await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["approved"], answer["reason"].is_null());
    answer["reason"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_is_approved_for_one_pair_of_keys() {
    let service = gateway().await;
    let good = application(ACTIVATION_CODE);
    let (_, answer) = service.post("/registrations/approve", CA, &good).await;
    assert_eq!(answer["approved"], true);
    assert_eq!(answer["name"], "Shop One");
    assert_eq!(answer["country"], "276");
    assert_eq!(answer["merch_cat_code"], "5942");
    assert_eq!(reason(&service, &good).await, Value::Null);
    for key in ["key_thumbprint", "key_exchange_thumbprint"] {
        let mut other = good.clone();
        other[key] = Thumbprint::of(b"three").to_string().into();
        assert_eq!(reason(&service, &other).await, "codeUsed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_of_a_stranger_is_not_approved() {
    let service = gateway().await;
    let good = application(ACTIVATION_CODE);
    let fields = [
        ("merchant_id", "shop-9"),
        ("merchant_bin", "422222"),
        ("brand", "MasterCard"),
    ];
    for (field, value) in fields {
        let mut other = good.clone();
        other[field] = value.into();
        assert_eq!(reason(&service, &other).await, "unknownMerchant");
    }
    let (status, problem) = service
        .post(
            "/registrations/approve",
            CA,
            &json!({"merchant_id": "shop-1"}),
        )
        .await;
    assert_eq!((status, &problem["code"]), (422, &"invalid-field".into()));
}

fn renewal() -> Value {
    let mut renewal = application("unused");
    let fields = renewal.as_object_mut().unwrap();
    fields.remove("activation_code");
    let there = Thumbprint::of(b"the certificate that is there").to_string();
    fields.insert("renews".to_owned(), there.into());
    renewal
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_is_approved_without_a_code_for_merchants_under_contract() {
    let service = gateway().await;
    reason(&service, &application(ACTIVATION_CODE)).await;
    let (_, answer) = service.post("/registrations/approve", CA, &renewal()).await;
    assert_eq!(
        (&answer["approved"], &answer["name"]),
        (&true.into(), &"Shop One".into())
    );
    for key in ["key_thumbprint", "key_exchange_thumbprint"] {
        let mut alone = renewal();
        alone.as_object_mut().unwrap().remove(key);
        assert_eq!(reason(&service, &alone).await, Value::Null);
    }
    let mut stranger = renewal();
    stranger["merchant_id"] = "shop-9".into();
    assert_eq!(reason(&service, &stranger).await, "unknownMerchant");
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_needs_either_a_code_or_a_certificate_and_a_key() {
    let service = gateway().await;
    let mut both = renewal();
    both["activation_code"] = ACTIVATION_CODE.into();
    let mut neither = renewal();
    neither.as_object_mut().unwrap().remove("renews");
    let mut keyless = renewal();
    for key in ["key_thumbprint", "key_exchange_thumbprint"] {
        keyless.as_object_mut().unwrap().remove(key);
    }
    for request in [both, neither, keyless] {
        let (status, problem) = service.post("/registrations/approve", CA, &request).await;
        assert_eq!((status, &problem["code"]), (422, &"invalid-field".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn activation_code_locks_after_five_wrong_attempts() {
    let service = gateway().await;
    for _ in 0..5 {
        assert_eq!(reason(&service, &application("WRONG")).await, "wrongCode");
    }
    assert_eq!(
        reason(&service, &application(ACTIVATION_CODE)).await,
        "codeLocked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn service_tells_its_health_and_its_interface() {
    let service = gateway().await;
    let (status, ready) = service.get("/readyz", "").await;
    assert_eq!(
        (status, &ready["checks"]),
        (200, &json!(["database", "trust", "certificates"]))
    );
    let (_, api) = service.get("/openapi.json", "").await;
    let paths = [
        "/authorizations/{xid}",
        "/certificates",
        "/certificates/own",
        "/ledger",
        "/registrations/approve",
    ];
    for path in paths {
        assert!(api["paths"][path].is_object(), "{path}");
    }
}
