//! A gateway on port 0, in a runtime of its own so that it can be killed, and the calls that tests make to it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use openset_gateway::Options;
use openset_pki::PathVerifier;
use openset_protocol::identity::Credentials;
use openset_protocol::wrapper::{Message, MessageWrapper};
use openset_service::CancellationToken;
use openset_service::config::{self, Config, Party};
use openset_service::enrolment::Keyring;
use openset_service::telemetry::{LogFormat, LogLayer};
use openset_store::Db;
use openset_testkit::pki::ACQUIRER_BIN;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tracing_subscriber::layer::SubscriberExt;

use crate::bank::{Bank, TOKEN};
use crate::purchase::{GATEWAY, verifier};

pub(crate) const OPERATOR: &str = "operator-token-0123456789";
pub(crate) const CA: &str = "ca-token-0123456789abcdef";
pub(crate) const ACTIVATION_CODE: &str = "SHOP1-CODE";

/// All log lines of all gateways of this process.
pub(crate) static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let writer = log.clone();
    let layer = LogLayer::new(Party::Gateway, LogFormat::Json, move || writer.clone());
    let filter = tracing_subscriber::EnvFilter::new("trace");
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    tracing::subscriber::set_global_default(subscriber).unwrap();
    log
});

#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// What remains when a gateway is killed.
#[derive(Clone)]
pub(crate) struct Premises {
    pub(crate) folder: Arc<TempDir>,
    issuer: String,
    /// As in every certificate of the fixture, unless told otherwise.
    pub(crate) acquirer_bin: &'static str,
    /// What the acquirer calls the shop, and the code that it gave it.
    pub(crate) shop: (&'static str, &'static str),
    extra_toml: String,
    /// What the acquirer lets the shop authorize above a purchase's amount.
    pub(crate) tolerance_percent: u8,
    /// How many days early it lets recurring payments come.
    pub(crate) recurring_early_days: u16,
    /// Whether the acquirer lets the shop capture together with the authorization.
    pub(crate) capture_now: bool,
}

/// A gateway that answers.
pub(crate) struct Service {
    pub(crate) premises: Premises,
    pub(crate) url: String,
    client: reqwest::Client,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    runtime: Option<Runtime>,
}

impl Premises {
    pub(crate) fn new(bank: &Bank) -> Self {
        Self::with(bank, "")
    }

    pub(crate) fn with(bank: &Bank, extra_toml: &str) -> Self {
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            issuer: format!("http://{}", bank.address),
            acquirer_bin: ACQUIRER_BIN,
            shop: ("Shop One", ACTIVATION_CODE),
            extra_toml: extra_toml.to_owned(),
            tolerance_percent: 0,
            recurring_early_days: 0,
            capture_now: true,
        }
    }

    /// Another replica, which asks the same bank.
    pub(crate) fn replica(&self) -> Self {
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            ..self.clone()
        }
    }

    fn toml(&self) -> String {
        let data = self.folder.path().join("data");
        format!(
            r#"
            listen = "127.0.0.1:0"
            data_dir = "{data}"
            passphrase = "correct horse battery staple"
            acquirer_bin = "{bin}"
            issuer_url = "{issuer}"
            issuer_token = "{TOKEN}"
            message_of_day = "Thank you"
            brands = ["Visa"]
            {extra}
            [[merchants]]
            merchant_id = "shop-1"
            name = "{name}"
            country = "276"
            merch_cat_code = "5942"
            brands = ["Visa"]
            activation_code = "{code}"
            tolerance_percent = {tolerance}
            recurring_early_days = {early}
            capture_now = {capture_now}
            [[merchants]]
            merchant_id = "shop-2"
            name = "Shop Two"
            country = "276"
            merch_cat_code = "5942"
            brands = ["Visa"]
            activation_code = "SHOP2-CODE"
            [[tokens]]
            token = "{OPERATOR}"
            scope = "operator"
            [[tokens]]
            token = "{CA}"
            scope = "ca"
            "#,
            bin = self.acquirer_bin,
            tolerance = self.tolerance_percent,
            early = self.recurring_early_days,
            capture_now = self.capture_now,
            name = self.shop.0,
            code = self.shop.1,
            data = data.display(),
            issuer = self.issuer,
            extra = self.extra_toml,
        )
    }

    /// A gateway that has its certificates.
    pub(crate) async fn start(self) -> Service {
        self.start_holding(vec![GATEWAY.clone()]).await
    }

    /// A gateway that has these certificates, the current ones first.
    pub(crate) async fn start_holding(self, credentials: Vec<Credentials>) -> Service {
        self.start_trusting(credentials, verifier()).await
    }

    /// A gateway that knows what this verifier knows.
    pub(crate) async fn start_trusting(
        self,
        credentials: Vec<Credentials>,
        verifier: Arc<PathVerifier>,
    ) -> Service {
        let service = self
            .launch(|listener, config, shutdown| {
                let keyring = Keyring::holding(credentials);
                Box::pin(openset_gateway::run_as(
                    keyring, verifier, listener, config, shutdown,
                ))
            })
            .await;
        service.until_ready().await;
        service
    }

    /// A gateway that has to apply for them.
    pub(crate) async fn start_enrolling(self) -> Service {
        self.launch(|listener, config, shutdown| {
            Box::pin(openset_gateway::run(listener, config, shutdown))
        })
        .await
    }

    async fn launch(
        self,
        run: impl FnOnce(TcpListener, Config<Options>, CancellationToken) -> Running,
    ) -> Service {
        LazyLock::force(&LOG);
        let file = self.folder.path().join("gateway.toml");
        std::fs::write(&file, self.toml()).unwrap();
        let args = ["gateway", "--config"].map(OsString::from).into_iter();
        let args = args.chain([file.into_os_string()]);
        let config = config::load_from(Party::Gateway, args, &BTreeMap::new()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .spawn(TcpListener::bind("127.0.0.1:0"))
            .await
            .unwrap()
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let task = runtime.spawn(run(listener, config, shutdown.clone()));
        let client = reqwest::Client::new();
        Service {
            premises: self,
            url,
            client,
            shutdown,
            task,
            runtime: Some(runtime),
        }
    }

    /// The database of a gateway that is stopped.
    pub(crate) async fn open_database(&self) -> Db {
        let file = self.folder.path().join("data").join("gateway.db");
        let url = openset_store::sqlite_url(&file);
        Db::open(&url, openset_gateway::MIGRATIONS).await.unwrap()
    }

    pub(crate) fn database(&self) -> Vec<u8> {
        let data = self.folder.path().join("data");
        all_bytes(&data)
    }
}

fn all_bytes(folder: &Path) -> Vec<u8> {
    // SQLite takes its log away when the last connection of a killed gateway closes.
    for _ in 0..100 {
        let files = std::fs::read_dir(folder).unwrap();
        let read: std::io::Result<Vec<_>> = files.map(|file| std::fs::read(file?.path())).collect();
        if let Ok(all) = read {
            return all.concat();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the files do not come to rest");
}

/// An answer to a SET message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SetAnswer {
    pub(crate) status: u16,
    pub(crate) retry_after: bool,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for SetAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start: String = String::from_utf8_lossy(&self.body)
            .chars()
            .take(300)
            .collect();
        write!(f, "{} {start}", self.status)
    }
}

impl SetAnswer {
    /// The protocol's answer.
    pub(crate) fn taken(self) -> Vec<u8> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.body
    }

    /// The code of SET's Error.
    pub(crate) fn refused(&self) -> String {
        assert_eq!(self.status, 400, "{}", String::from_utf8_lossy(&self.body));
        let Message::Error(error) = MessageWrapper::decode(&self.body).unwrap().message else {
            panic!("not SET's Error")
        };
        serde_json::to_value(error.claim().unwrap().error_code)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// "Send the same bytes again."
    pub(crate) fn working(&self) {
        assert_eq!(self.status, 503, "{}", String::from_utf8_lossy(&self.body));
        assert!(self.retry_after);
    }
}

impl Service {
    pub(crate) async fn until_ready(&self) {
        for _ in 0..6000 {
            let ready = self.client.get(format!("{}/readyz", self.url)).send().await;
            if ready.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            assert!(!self.task.is_finished(), "the gateway ended: see its log");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway does not get ready");
    }

    pub(crate) async fn healthy(&self) -> bool {
        let alive = self
            .client
            .get(format!("{}/healthz", self.url))
            .send()
            .await;
        alive.is_ok_and(|answer| answer.status() == 200)
    }

    pub(crate) async fn set(&self, wire: &[u8]) -> SetAnswer {
        self.set_as("application/set-payment+json", wire).await
    }

    pub(crate) async fn set_as(&self, media_type: &str, wire: &[u8]) -> SetAnswer {
        let request = self.client.post(format!("{}/set", self.url));
        let request = request
            .header("content-type", media_type)
            .body(wire.to_vec());
        let answer = request.send().await.unwrap();
        SetAnswer {
            status: answer.status().as_u16(),
            retry_after: answer.headers().contains_key("retry-after"),
            body: answer.bytes().await.unwrap().to_vec(),
        }
    }

    /// Sends the same bytes until they are answered.
    pub(crate) async fn set_until_answered(&self, wire: &[u8]) -> Vec<u8> {
        for _ in 0..1200 {
            let answer = self.set(wire).await;
            if answer.status != 503 {
                return answer.taken();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the gateway does not answer");
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let request = self
            .client
            .get(format!("{}{path}", self.url))
            .bearer_auth(token);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// What `GET /metrics` answers.
    pub(crate) async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.url);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// POST without a body: the status alone.
    pub(crate) async fn post_empty(&self, path: &str, token: &str) -> u16 {
        let url = format!("{}{path}", self.url);
        let answer = self.client.post(url).bearer_auth(token).send().await;
        answer.unwrap().status().as_u16()
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .bearer_auth(token);
        let answer = request.json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// What the operator sees of a purchase.
    pub(crate) async fn authorization(&self, xid: &str) -> Value {
        let (status, view) = self.get(&format!("/authorizations/{xid}"), OPERATOR).await;
        assert_eq!(status, 200, "{view}");
        view
    }

    /// Waits until a purchase is in this state.
    pub(crate) async fn until(&self, xid: &str, state: &str) -> Value {
        for _ in 0..2400 {
            let view = self.authorization(xid).await;
            if view["state"] == state {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} is not {state}", self.authorization(xid).await);
    }

    /// The balance of an account of the books, which must add up.
    pub(crate) async fn balance(&self, account: &str) -> Option<i64> {
        let (_, ledger) = self.get("/ledger", OPERATOR).await;
        assert_eq!(ledger["audit"]["balanced"], true, "{ledger}");
        let accounts = ledger["accounts"].as_array().unwrap();
        let sum: i64 = accounts
            .iter()
            .map(|account| account["balance_minor"].as_i64().unwrap())
            .sum();
        assert_eq!(sum, 0, "{ledger}");
        let found = accounts.iter().find(|found| found["id"] == account)?;
        found["balance_minor"].as_i64()
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> Premises {
        self.shutdown.cancel();
        (&mut self.task).await.unwrap().unwrap();
        self.kill().await
    }

    /// Ends it as a crash does: nothing that was begun is finished.
    pub(crate) async fn kill(mut self) -> Premises {
        self.runtime.take().unwrap().shutdown_background();
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.premises.clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
