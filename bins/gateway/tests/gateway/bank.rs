//! An issuer that does what a test tells it, and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::watch;

pub(crate) const TOKEN: &str = "issuer-token-0123456789";

/// What the bank says to what it has not been asked before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mood {
    Approve,
    Decline(&'static str),
    /// The hold of a capture is over.
    NotHeld,
    /// It holds less than is to be captured.
    AboveHold,
    /// It captures, or holds less, and does not say so.
    SilentAfterCapture,
    /// It takes back nothing that it paid.
    KeepsCaptures,
    /// Some field cannot be taken; said before the idempotency key is looked at.
    InvalidField,
    /// The cardholder has spent what was given back.
    Spent,
    /// It counts otherwise.
    OtherBooks,
}

/// What the bank has done, each under its idempotency key.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// Key, request and answer of each effect.
    pub(crate) effects: BTreeMap<String, (String, u16, Value)>,
    /// How often it was asked, repeats included.
    pub(crate) calls: usize,
}

/// The bank.
#[derive(Clone)]
pub(crate) struct Bank {
    pub(crate) address: SocketAddr,
    reserved: Arc<Mutex<Option<TcpSocket>>>,
    pub(crate) books: Arc<Mutex<Books>>,
    mood: Arc<Mutex<Mood>>,
    /// While false, answers wait; what they tell is done already.
    answering: Arc<watch::Sender<bool>>,
}

impl Bank {
    /// A bank that has an address and does not listen there yet.
    pub(crate) async fn closed() -> Self {
        // Bound, it refuses calls and keeps its port.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            reserved: Arc::new(Mutex::new(Some(socket))),
            books: Arc::default(),
            mood: Arc::new(Mutex::new(Mood::Approve)),
            answering: Arc::new(watch::Sender::new(true)),
        }
    }

    /// A bank that listens.
    pub(crate) async fn open() -> Self {
        let bank = Self::closed().await;
        bank.listen().await;
        bank
    }

    pub(crate) async fn listen(&self) {
        let reserved = self.reserved.lock().unwrap().take();
        let listener = reserved.unwrap().listen(1024).unwrap();
        let router = Router::new()
            .route("/authorizations", post(authorize))
            .route("/authorizations/{id}/capture", post(capture))
            .route("/authorizations/{id}/reverse", post(reverse))
            .route(
                "/authorizations/{id}/capture/reverse",
                post(reverse_capture),
            )
            .route("/authorizations/{id}/credit", post(credit))
            .route(
                "/authorizations/{id}/credits/{credit}/reverse",
                post(reverse_credit),
            )
            .route("/settlements", post(settle))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn set_answering(&self, answering: bool) {
        self.answering.send_replace(answering);
    }

    /// How many effects of this kind there were.
    pub(crate) fn effects(&self, kind: &str) -> usize {
        let books = self.books.lock().unwrap();
        books
            .effects
            .values()
            .filter(|(request, _, _)| request.starts_with(kind))
            .count()
    }

    /// As if nothing of this kind had been asked for.
    pub(crate) fn forget(&self, kind: &str) {
        let mut books = self.books.lock().unwrap();
        books
            .effects
            .retain(|_, (request, _, _)| !request.starts_with(kind));
    }

    /// What was asked for, of this kind.
    pub(crate) fn requests(&self, kind: &str) -> Vec<String> {
        let books = self.books.lock().unwrap();
        let all = books.effects.values().map(|(request, _, _)| request);
        all.filter(|request| request.starts_with(kind))
            .cloned()
            .collect()
    }

    pub(crate) fn calls(&self) -> usize {
        self.books.lock().unwrap().calls
    }

    /// Waits until it was asked so often.
    pub(crate) async fn asked(&self, calls: usize) {
        for _ in 0..6000 {
            if self.calls() >= calls {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the bank was asked {} times, not {calls}", self.calls());
    }

    async fn unless_silent(&self) {
        while *self.mood.lock().unwrap() == Mood::SilentAfterCapture {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn effect(
        &self,
        headers: &HeaderMap,
        request: String,
        answer: impl FnOnce(&Mood, usize) -> (u16, Value),
    ) -> Response {
        assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        let (status, body) = {
            let mood = self.mood.lock().unwrap().clone();
            let mut books = self.books.lock().unwrap();
            books.calls += 1;
            if mood == Mood::InvalidField {
                let body = Json(problem("invalid-field"));
                return (StatusCode::UNPROCESSABLE_ENTITY, body).into_response();
            }
            let number = books.effects.len();
            let effect = books.effects.entry(key).or_insert_with(|| {
                let (status, body) = answer(&mood, number);
                (request.clone(), status, body)
            });
            assert_eq!(effect.0, request, "one key, one request");
            (effect.1, effect.2.clone())
        };
        let mut answering = self.answering.subscribe();
        answering.wait_for(|answering| *answering).await.unwrap();
        (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
    }
}

async fn authorize(
    State(bank): State<Bank>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let request = format!("authorize {body}");
    bank.effect(&headers, request, |mood, number| {
        let id = format!("hold-{number}");
        let answer = match mood {
            Mood::Decline(reason) => {
                json!({"authorization_id": id, "outcome": "declined", "reason": reason})
            }
            _ => json!({
                "authorization_id": id, "outcome": "approved", "approval_code": "A1B2C3",
                "expires_at": "2030-01-01T00:00:00Z",
            }),
        };
        (200, answer)
    })
    .await
}

async fn capture(
    State(bank): State<Bank>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let request = format!("capture {id} {body}");
    let answer = bank
        .effect(&headers, request, |mood, _| match mood {
            Mood::NotHeld => (409, problem("not-held")),
            Mood::AboveHold => (409, problem("above-hold")),
            _ => (
                200,
                json!({"authorization_id": id, "state": "captured", "captured": body["amount"]}),
            ),
        })
        .await;
    bank.unless_silent().await;
    answer
}

async fn reverse(
    State(bank): State<Bank>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let request = format!("reverse {id} {body}");
    let answer = bank
        .effect(&headers, request, |mood, _| match mood {
            Mood::NotHeld => (409, problem("not-held")),
            _ => (200, json!({"authorization_id": id, "state": "held"})),
        })
        .await;
    bank.unless_silent().await;
    answer
}

async fn settle(State(bank): State<Bank>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let (net, items) = (&body["net_minor"], body["items"].as_array().unwrap());
    let request = format!("settle {net} {}", items.len());
    bank.effect(&headers, request, |mood, _| match mood {
        Mood::OtherBooks => (409, problem("net-mismatch")),
        _ => (200, json!({"batch_id": body["batch_id"], "net_minor": net})),
    })
    .await
}

async fn reverse_capture(
    State(bank): State<Bank>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let request = format!("uncapture {id}");
    let held = json!({"authorization_id": id, "state": "held"});
    bank.effect(&headers, request, |mood, _| match mood {
        Mood::KeepsCaptures => (409, problem("credited")),
        _ => (200, held),
    })
    .await
}

async fn credit(
    State(bank): State<Bank>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let request = format!("credit {id} {body}");
    let captured = json!({"authorization_id": id, "state": "captured"});
    bank.effect(&headers, request, |_, _| (200, captured)).await
}

async fn reverse_credit(
    State(bank): State<Bank>,
    Path((id, credit)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let request = format!("uncredit {id} {credit}");
    let known = bank.books.lock().unwrap().effects.contains_key(&credit);
    bank.effect(&headers, request, |mood, _| match mood {
        _ if !known => (404, problem("no-such-credit")),
        Mood::Spent => (409, problem("insufficient-funds")),
        _ => (200, json!({"authorization_id": id, "state": "captured"})),
    })
    .await
}

fn problem(code: &str) -> Value {
    json!({
        "type": format!("urn:openset:problem:{code}"), "status": 409, "code": code,
        "title": "Conflict", "detail": "nothing is held",
    })
}
