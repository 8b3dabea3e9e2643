//! A bank on port 0, and the calls that tests make to it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use openset_issuer::Clock;
use openset_protocol::Timestamp;
use openset_service::CancellationToken;
use openset_service::config::{self, Party};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) const OPERATOR: &str = "operator-token-0123456789";
pub(crate) const GATEWAY: &str = "gateway-token-01234567890";
pub(crate) const OTHER_GATEWAY: &str = "gateway-token-of-another-bank";
pub(crate) const CA: &str = "ca-token-0123456789abcdef";

/// 2026-06-15T12:00:00Z
const START_S: i64 = 1_781_524_800;

/// What remains when a bank is stopped: its folder, its clock, its configuration.
pub(crate) struct Vaulted {
    pub(crate) folder: Arc<TempDir>,
    pub(crate) now_s: Arc<AtomicI64>,
    extra_toml: String,
}

/// A bank that answers.
pub(crate) struct Bank {
    pub(crate) vaulted: Vaulted,
    url: String,
    client: reqwest::Client,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Status, headers that matter, and the body's very bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body of an answer that must have this status.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }

    /// The code of a problem document that must have this status.
    pub(crate) fn problem(&self, status: u16) -> String {
        let problem = self.expect(status);
        assert_eq!(self.content_type, "application/problem+json");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// A card as its bank gave it out.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) account_id: String,
    pub(crate) pan: String,
    pub(crate) expiry: String,
    pub(crate) activation_code: String,
}

impl Vaulted {
    pub(crate) fn new(extra_toml: &str) -> Self {
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            now_s: Arc::new(AtomicI64::new(START_S)),
            extra_toml: extra_toml.to_owned(),
        }
    }

    /// Another replica of the same bank.
    pub(crate) fn replica(&self) -> Self {
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            now_s: Arc::clone(&self.now_s),
            extra_toml: self.extra_toml.clone(),
        }
    }

    pub(crate) async fn start(self) -> Bank {
        let file = self.folder.path().join("issuer.toml");
        std::fs::write(&file, self.toml()).unwrap();
        let args = ["issuer", "--config"].map(OsString::from).into_iter();
        let args = args.chain([file.into_os_string()]);
        let config = config::load_from(Party::Issuer, args, &BTreeMap::new()).unwrap();
        let listener = TcpListener::bind(config.common.listen).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let now_s = Arc::clone(&self.now_s);
        let clock = Clock::reading(move || Timestamp::from_seconds(now_s.load(Ordering::Relaxed)));
        let run = openset_issuer::run_by(clock, listener, config, shutdown.clone());
        let bank = Bank {
            vaulted: self,
            url,
            client: reqwest::Client::new(),
            shutdown,
            task: tokio::spawn(run),
        };
        // The listener takes connections before the bank is open: this waits for it.
        bank.get("/readyz", "").await.expect(200);
        bank
    }

    fn toml(&self) -> String {
        let token = |name: &str, scope: &str, token: &str| {
            format!("[[tokens]]\nname = \"{name}\"\nscope = \"{scope}\"\ntoken = \"{token}\"\n")
        };
        format!(
            "listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\npassphrase = \"correct horse\"\n\
             sweep_seconds = 1\n{}\n{}{}{}{}",
            self.data_dir(),
            self.extra_toml,
            token("operator", "operator", OPERATOR),
            token("gateway", "gateway", GATEWAY),
            token("other", "gateway", OTHER_GATEWAY),
            token("ca", "ca", CA),
        )
    }

    pub(crate) fn database_url(&self) -> String {
        openset_store::sqlite_url(&Path::new(&self.data_dir()).join("issuer.db"))
    }

    pub(crate) fn data_dir(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    pub(crate) fn move_clock(&self, seconds: i64) {
        self.now_s.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Bank {
    pub(crate) async fn open() -> Self {
        Vaulted::new("").start().await
    }

    pub(crate) async fn stop(self) -> Vaulted {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
        self.vaulted
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        key: Option<&str>,
        body: Option<&str>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Answer {
            status: response.status().as_u16(),
            content_type: header("content-type").unwrap_or_default(),
            retry_after: header("retry-after"),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(Method::GET, path, token, None, None).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, key: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.send(Method::POST, path, token, Some(key), Some(&body))
            .await
    }

    /// An account in EUR for Alice, with Visa.
    pub(crate) async fn account(&self, credit_limit: i64) -> Opened {
        self.account_with(&json!({
            "holder": "Alice Example", "brand": "Visa", "currency": "EUR", "credit_limit": credit_limit
        }))
        .await
    }

    pub(crate) async fn account_with(&self, body: &Value) -> Opened {
        let body = body.to_string();
        let answer = self
            .send(Method::POST, "/accounts", OPERATOR, None, Some(&body))
            .await;
        let opened = answer.expect(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Opened {
            account_id: text(&opened["account_id"]),
            pan: text(&opened["card"]["pan"]),
            expiry: text(&opened["card"]["expiry"]),
            activation_code: text(&opened["activation_code"]),
        }
    }

    pub(crate) async fn show(&self, opened: &Opened) -> Value {
        let path = format!("/accounts/{}", opened.account_id);
        self.get(&path, OPERATOR).await.expect(200)
    }

    /// Available, held and owed, in minor units.
    pub(crate) async fn sums(&self, opened: &Opened) -> [i64; 3] {
        let shown = self.show(opened).await;
        ["available", "held", "balance"].map(|sum| shown[sum]["amount_minor"].as_i64().unwrap())
    }

    pub(crate) async fn authorize(&self, opened: &Opened, key: &str, minor: i64) -> Answer {
        self.post(
            "/authorizations",
            GATEWAY,
            key,
            &authorization(opened, minor),
        )
        .await
    }

    /// The id of an authorization that must be approved.
    pub(crate) async fn approved(&self, opened: &Opened, key: &str, minor: i64) -> String {
        let answer = self.authorize(opened, key, minor).await.expect(200);
        assert_eq!(answer["outcome"], "approved", "{answer}");
        answer["authorization_id"].as_str().unwrap().to_owned()
    }

    /// Capture, credit or reversal of (or to) an amount in EUR.
    pub(crate) async fn movement(&self, id: &str, what: &str, key: &str, minor: i64) -> Answer {
        let body = json!({"amount": {"currency": "EUR", "amount_minor": minor}});
        self.post(&format!("/authorizations/{id}/{what}"), GATEWAY, key, &body)
            .await
    }

    /// Undoes the capture of an authorization.
    pub(crate) async fn undo_capture(&self, id: &str, key: &str) -> Answer {
        let path = format!("/authorizations/{id}/capture/reverse");
        self.post(&path, GATEWAY, key, &json!({})).await
    }

    /// Undoes a credit, by its id as a path spells it.
    pub(crate) async fn undo_credit(&self, id: &str, credit_id: &str, key: &str) -> Answer {
        let path = format!("/authorizations/{id}/credits/{credit_id}/reverse");
        self.post(&path, GATEWAY, key, &json!({})).await
    }

    /// Reverses all of a hold.
    pub(crate) async fn release(&self, id: &str, key: &str) -> Answer {
        self.movement(id, "reverse", key, 0).await
    }

    pub(crate) async fn state(&self, id: &str) -> Value {
        self.get(&format!("/authorizations/{id}"), GATEWAY)
            .await
            .expect(200)["state"]
            .clone()
    }
}

/// A request for an amount in EUR.
pub(crate) fn authorization(opened: &Opened, minor: i64) -> Value {
    json!({
        "pan": opened.pan, "expiry": opened.expiry, "brand": "Visa",
        "amount": {"currency": "EUR", "amount_minor": minor},
        "merchant_id": "M-1", "merchant_name": "Books & Co", "reference": "order-1"
    })
}

/// Every file under a folder, its bytes.
pub(crate) fn files_under(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_under(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}
