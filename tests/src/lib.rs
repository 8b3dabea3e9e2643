//! What crosses services: five real processes with a folder and free ports of their own.
//!
//! A [`World`] writes the configuration that `openset setup` writes, starts the programs beside the
//! test program, and when it is dropped audits their stores and stops them. Where a test moves the clock, it starts the services inside
//! its own program instead.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support"
)]

mod audited;
mod gate;
mod in_process;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use openset::setup::{self, DemoFile, PARTIES, Plan, Seen};
use openset_testkit::postgres::PostgresServer;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use gate::Gate;

/// How long a service may take to be ready in a debug build on a busy machine.
const READY_PATIENCE: Duration = Duration::from_secs(90);

/// An HTTP answer with its body as JSON.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null when it is not JSON.
    pub json: Value,
    /// The body as it came.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// A string member of the body.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.json
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// Five services.
pub struct World {
    folder: TempDir,
    running: Vec<(&'static str, Running)>,
    inside: bool,
    /// Whether its stores are audited at the end.
    audits: bool,
    /// Where they answer and what opens them.
    pub file: DemoFile,
    client: reqwest::Client,
}

/// A service that was started.
enum Running {
    Process(Child),
    Inside(in_process::Task),
}

impl Running {
    fn end(&mut self) {
        match self {
            Self::Process(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Inside(task) => task.stop(),
        }
    }
}

/// A card that an account was opened for.
#[derive(Debug, Clone)]
pub struct Account {
    /// The issuer's name for the account.
    pub account_id: String,
    /// The card number.
    pub pan: String,
    /// Its expiry.
    pub expiry: String,
    /// The code for its registration.
    pub activation_code: String,
}

impl World {
    /// Starts five services and waits until all are ready.
    pub async fn start() -> Self {
        Self::start_with(|_, _| ()).await
    }

    /// As [`Self::start`], after `change` was applied to each party's configuration.
    pub async fn start_with(change: impl Fn(&str, &mut toml::Table)) -> Self {
        Self::begin(false, &[], change).await
    }

    /// As [`Self::start`], each party with a database of its own on a PostgreSQL.
    pub async fn start_on(server: &PostgresServer) -> Self {
        Self::start_with(|party, table| {
            let url = server.create_database().unwrap();
            let before = table.insert("database_url".to_owned(), url.into());
            assert!(before.is_none(), "{party}");
        })
        .await
    }

    /// As [`Self::start_with`], without waiting until the `unready` parties are ready.
    pub async fn start_unready(unready: &[&str], change: impl Fn(&str, &mut toml::Table)) -> Self {
        Self::begin(false, unready, change).await
    }

    /// As [`Self::start_with`], inside the test program: they read the clock that the test moves with
    /// `openset_service::clock::danger_advance`. One such world to a test program.
    pub async fn start_inside(change: impl Fn(&str, &mut toml::Table)) -> Self {
        Self::begin(true, &[], change).await
    }

    async fn begin(
        inside: bool,
        unready: &[&str],
        change: impl Fn(&str, &mut toml::Table),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path());
        setup::write(&plan).unwrap();
        let file: DemoFile =
            toml::from_str(&std::fs::read_to_string(plan.demo_file()).unwrap()).unwrap();
        let mut world = Self {
            folder,
            running: Vec::new(),
            inside,
            audits: true,
            file,
            client: reqwest::Client::new(),
        };
        for party in PARTIES {
            world.configure(party, |table| change(party, table));
        }
        world.spawn("ca");
        world.spawn("issuer");
        world.ready("ca").await;
        for party in ["gateway", "cardholder", "merchant"] {
            world.spawn(party);
        }
        for party in PARTIES {
            if !unready.contains(&party) {
                world.ready(party).await;
            }
        }
        world
    }

    /// Changes a party's configuration; it takes effect when the party starts next.
    pub fn configure(&self, party: &str, change: impl FnOnce(&mut toml::Table)) {
        let path = self.folder_of(party).join(format!("{party}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        let mut table: toml::Table = toml::from_str(&text).unwrap();
        change(&mut table);
        std::fs::write(&path, toml::to_string(&table).unwrap()).unwrap();
    }

    /// Starts a party's process.
    pub fn spawn(&mut self, party: &'static str) {
        let folder = self.folder_of(party);
        let config = folder.join(format!("{party}.toml"));
        if self.inside {
            let task = in_process::Task::start(party, &config);
            self.running.push((party, Running::Inside(task)));
            return;
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let child = Command::new(program(party))
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running.push((party, Running::Process(child)));
    }

    /// Ends a party's process at once (SIGKILL); inside the test program, in order.
    pub fn kill(&mut self, party: &str) {
        let place = self
            .running
            .iter()
            .position(|(name, _)| *name == party)
            .expect("a running party");
        let (_, mut running) = self.running.remove(place);
        running.end();
    }

    /// Starts a killed party again on its data and waits until it is ready.
    pub async fn restart(&mut self, party: &'static str) {
        self.spawn(party);
        self.ready(party).await;
    }

    /// Waits until a party says that it is ready.
    pub async fn ready(&self, party: &str) {
        let started = Instant::now();
        while self
            .get(party, "readyz")
            .await
            .is_none_or(|answer| answer.status != 200)
        {
            assert!(
                started.elapsed() < READY_PATIENCE,
                "{party} is not ready:\n{}",
                self.log(party)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where a party keeps its data.
    #[must_use]
    pub fn folder_of(&self, party: &str) -> PathBuf {
        self.folder.path().join(party)
    }

    /// What a party has logged.
    #[must_use]
    pub fn log(&self, party: &str) -> String {
        std::fs::read_to_string(self.folder_of(party).join("log")).unwrap_or_default()
    }

    /// A number that a party shows at `/metrics`; 0 while it does not show it.
    pub async fn metric(&self, party: &str, name: &str) -> u64 {
        let shown = self.get(party, "metrics").await.unwrap();
        let text = String::from_utf8(shown.bytes).unwrap();
        let numbers = text.lines().filter_map(|line| line.strip_prefix(name));
        let mut numbers = numbers.filter_map(|rest| rest.strip_prefix(' '));
        numbers.next().map_or(0, |number| number.parse().unwrap())
    }

    /// Where a party answers.
    #[must_use]
    pub fn url(&self, party: &str) -> &str {
        let urls = &self.file.urls;
        match party {
            "ca" => &urls.ca,
            "issuer" => &urls.issuer,
            "gateway" => &urls.gateway,
            "merchant" => &urls.merchant,
            _ => &urls.cardholder,
        }
    }

    fn token(&self, party: &str) -> &str {
        let tokens = &self.file.tokens;
        match party {
            "ca" => &tokens.ca,
            "issuer" => &tokens.issuer,
            "gateway" => &tokens.gateway,
            "merchant" => &tokens.merchant,
            _ => &tokens.cardholder,
        }
    }

    async fn answer(request: reqwest::RequestBuilder) -> Option<Answer> {
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.ok()?.to_vec();
        Some(Answer {
            status,
            json: serde_json::from_slice(&bytes).unwrap_or_default(),
            bytes,
        })
    }

    /// GET with the party's token; nothing when it does not answer.
    pub async fn get(&self, party: &str, path: &str) -> Option<Answer> {
        let request = self.client.get(format!("{}/{path}", self.url(party)));
        Self::answer(request.bearer_auth(self.token(party))).await
    }

    /// POST with the party's token and an Idempotency-Key; nothing when it does not answer.
    pub async fn post(&self, party: &str, path: &str, key: &str, body: &Value) -> Option<Answer> {
        let request = self.client.post(format!("{}/{path}", self.url(party)));
        let request = request
            .bearer_auth(self.token(party))
            .header("idempotency-key", key)
            .json(body);
        Self::answer(request).await
    }

    /// POST of any bytes to `/set`.
    pub async fn post_set(
        &self,
        party: &str,
        media_type: &str,
        body: impl Into<Vec<u8>>,
    ) -> Option<Answer> {
        let request = self.client.post(format!("{}/set", self.url(party)));
        Self::answer(request.header("content-type", media_type).body(body.into())).await
    }

    /// Runs a command of the certificate authority on the data of the one that serves; gives what it prints.
    pub async fn ca_command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(program("ca"));
        command.args(arguments);
        command
            .arg("--config")
            .arg(self.folder_of("ca").join("ca.toml"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// Opens an account with a credit limit in cents; `more` is laid over the request.
    pub async fn account(&self, credit_limit: u64, more: &Value) -> Account {
        let mut request = json!({"holder": "Ada Lovelace", "brand": self.file.brand, "currency": "EUR", "credit_limit": credit_limit});
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        let answer = self
            .post("issuer", "accounts", &fresh(), &request)
            .await
            .unwrap();
        assert_eq!(answer.status, 201, "{:?}", answer.json);
        Account {
            account_id: answer.text("/account_id").to_owned(),
            pan: answer.text("/card/pan").to_owned(),
            expiry: answer.text("/card/expiry").to_owned(),
            activation_code: answer.text("/activation_code").to_owned(),
        }
    }

    /// Registers a card; gives the wallet's name for it.
    pub async fn card(&self, account: &Account) -> String {
        let request = json!({
            "pan": account.pan, "expiry": account.expiry, "brand": self.file.brand, "accept_policy": true,
            "answers": {"holder": "Ada Lovelace", "activation_code": account.activation_code},
        });
        let answer = self
            .post("cardholder", "cards", &fresh(), &request)
            .await
            .unwrap();
        assert_eq!(answer.status, 201, "{:?}\n{}", answer.json, self.log("ca"));
        answer.text("/card_id").to_owned()
    }

    /// The first product and its price in cents.
    pub async fn product(&self) -> (String, u64) {
        let products = self.get("merchant", "products").await.unwrap();
        let product = products.json.pointer("/products/0").unwrap();
        (
            product["product_id"].as_str().unwrap().to_owned(),
            product["price"]["amount_minor"].as_u64().unwrap(),
        )
    }

    /// The body of a purchase of `quantity` of the first product.
    pub async fn basket(&self, card_id: &str, quantity: u64) -> Value {
        let (product_id, price) = self.product().await;
        json!({
            "merchant_url": self.url("merchant"), "card_id": card_id,
            "items": [{"product_id": product_id, "quantity": quantity}],
            "amount": {"currency": "EUR", "amount_minor": price * quantity},
        })
    }

    /// Buys one of the first product under a key.
    pub async fn purchase(&self, card_id: &str, key: &str) -> Option<Answer> {
        let basket = self.basket(card_id, 1).await;
        self.post("cardholder", "purchases", key, &basket).await
    }

    /// POST of a SET message to a party's `/set`.
    pub async fn set(&self, party: &str, message: &str) -> Answer {
        let request = self.client.post(format!("{}/set", self.url(party)));
        let request = request.header("content-type", "application/set-payment+json");
        Self::answer(request.body(message.to_owned()))
            .await
            .unwrap()
    }

    /// An account as the issuer shows it.
    pub async fn account_view(&self, account: &Account) -> Value {
        self.get("issuer", &format!("accounts/{}", account.account_id))
            .await
            .unwrap()
            .json
    }

    /// Inquires until the purchase is no longer pending, and gives its last view.
    pub async fn settled(&self, purchase_id: &str) -> Answer {
        let started = Instant::now();
        loop {
            let path = format!("purchases/{purchase_id}/inquiry");
            let answer = self.post("cardholder", &path, &fresh(), &json!({})).await;
            if let Some(answer) =
                answer.filter(|a| a.status == 200 && a.text("/status") != "pending")
            {
                return answer;
            }
            assert!(
                started.elapsed() < READY_PATIENCE,
                "still pending:\n{}\n{}",
                self.log("merchant"),
                self.log("gateway")
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for World {
    /// Audits its stores first. Here and not in each test, so that none can leave it out; a test that has failed says why by
    /// itself.
    fn drop(&mut self) {
        let audits = self.audits && !std::thread::panicking();
        let agrees = if audits { self.discrepancies() } else { Ok(()) };
        for (_, running) in &mut self.running {
            running.end();
        }
        if let Err(said) = agrees {
            panic!("at the end of the test its stores do not agree:\n{said}");
        }
    }
}

/// A fresh key or id.
#[must_use]
pub fn fresh() -> String {
    openset_service::random::hex_id::<16>()
}

fn plan(folder: &Path) -> Plan {
    // Each is given to one world: it is free until its service listens, and while that is killed.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let (mut held, mut ports) = (Vec::new(), Vec::new());
    while ports.len() < PARTIES.len() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        held.push(listener);
        if GIVEN.lock().unwrap().insert(port) {
            ports.push(port);
        }
    }
    drop(held);
    Plan {
        out: folder.to_owned(),
        config_dir: Seen::Below(folder.to_owned()),
        data_dir: Seen::Below(folder.to_owned()),
        root_sha256_file: folder.join("ca/root.sha256"),
        listen: std::net::Ipv4Addr::LOCALHOST.into(),
        ports: ports.try_into().unwrap(),
        url: "http://127.0.0.1:{port}".to_owned(),
        unsigned: false,
    }
}

/// The command line's program.
#[must_use]
pub fn openset() -> PathBuf {
    built("openset")
}

/// A service's program.
fn program(party: &str) -> PathBuf {
    built(&format!("openset-{party}"))
}

/// A program: `cargo test --workspace` builds it beside the tests' own folder.
fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap();
    let program = folder.join(name);
    assert!(
        program.exists(),
        "{} is not built; run `cargo build --workspace --bins` first",
        program.display()
    );
    program
}
