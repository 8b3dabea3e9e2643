//! A mock of issuer and acquirer: approves whoever knows the code, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The code that the bank approves.
pub(crate) const CODE: &str = "K7QWE-2MX9A";
/// The token that the bank expects.
pub(crate) const TOKEN: &str = "the-bank-expects-this-token";

#[derive(Clone, Default)]
pub(crate) struct Bank(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    url: String,
    asked: Vec<Value>,
    down: bool,
    blocked: bool,
}

impl Bank {
    pub(crate) async fn start() -> Self {
        let bank = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        bank.0.lock().unwrap().url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/registrations/approve", post(approve))
            .with_state(bank.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        bank
    }

    pub(crate) fn url(&self) -> String {
        self.0.lock().unwrap().url.clone()
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.0.lock().unwrap().asked.clone()
    }

    /// Whether it approves renewals no more.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.0.lock().unwrap().blocked = blocked;
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }
}

async fn approve(
    State(bank): State<Bank>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Response {
    let mut books = bank.0.lock().unwrap();
    if books.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    // The certificate of a renewal was verified by the CA: here is only whether the applicant is still good.
    let standing = request["renews"].is_string() && request["activation_code"].is_null();
    let answer = if books.blocked && standing {
        json!({ "approved": false, "reason": "blockedCard" })
    } else if request["activation_code"] != CODE && !standing {
        json!({ "approved": false, "reason": "wrongCode" })
    } else if request["pan"].is_string() {
        json!({ "approved": true, "issuer_name": "Mock Bank" })
    } else {
        json!({
            "approved": true, "name": "Corner Books", "country": "276",
            "acquirer_name": "Mock Acquirer", "merch_cat_code": "5942"
        })
    };
    books.asked.push(request);
    Json(answer).into_response()
}
