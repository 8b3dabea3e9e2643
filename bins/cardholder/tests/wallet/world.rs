//! The wallet under test: started, asked, killed, started again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use openset_cardholder::options::Options;
use openset_service::CancellationToken;
use openset_service::config::{Party, load_from};
use openset_testkit::pki::TestPki;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::authority::Authority;
use crate::shop::Shop;

pub(crate) const OWNER: &str = "owner-token-of-the-tests";
pub(crate) const PAN: &str = "4111111111111111";
/// The code with which the fake issuer approves.
pub(crate) const CODE: &str = "GOOD-CODE";

/// Made once for all tests: keys take their time.
static PKI: LazyLock<Arc<TestPki>> = LazyLock::new(|| {
    let pki = TestPki::new(&["Visa"], openset_service::clock::now());
    drop((
        pki.merchant("Visa", "shop-1"),
        pki.gateway("Visa", "gateway-1"),
    ));
    Arc::new(pki)
});

/// Everything that a wallet meets, and folders for wallets.
pub(crate) struct World {
    pub(crate) pki: Arc<TestPki>,
    pub(crate) authority: Authority,
    pub(crate) shop: Shop,
    data: TempDir,
    /// Origins that the wallets may call: the shop's, and one where nobody is.
    pub(crate) allowed: Vec<String>,
    /// Lines laid over every wallet's configuration.
    pub(crate) more: String,
}

/// A running wallet.
pub(crate) struct Wallet {
    pub(crate) url: String,
    running: Running,
}

enum Running {
    Here(CancellationToken, JoinHandle<anyhow::Result<()>>),
    /// With the thread that writes its log.
    Process(Child, Option<std::thread::JoinHandle<()>>),
}

/// What the wallet answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) media_type: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The text at a JSON pointer.
    pub(crate) fn at(&self, pointer: &str) -> String {
        let json = self.json();
        json.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no {pointer} in {json}"))
            .to_owned()
    }

    /// Checks that it is a problem of this status and code.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: &str) -> &Self {
        assert_eq!(
            (self.status, self.at("/code")),
            (status, code.to_owned()),
            "{}",
            self.text
        );
        assert_eq!(self.media_type, "application/problem+json");
        self
    }

    /// The fields that must be mended.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .map(|e| e["pointer"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let pki = tokio::task::spawn_blocking(|| Arc::clone(&PKI))
            .await
            .unwrap();
        let shop = Shop::open(&pki).await;
        Self {
            authority: Authority::open(&pki).await,
            allowed: vec![shop.url.clone(), "http://127.0.0.1:9".to_owned()],
            shop,
            data: TempDir::new().unwrap(),
            more: String::new(),
            pki,
        }
    }

    /// The configuration of the wallet of this name, as a file.
    pub(crate) fn configuration(&self, name: &str) -> PathBuf {
        let root = openset_jose::sha256(self.pki.root.certificate().der());
        let toml = format!(
            r#"
            listen = "127.0.0.1:0"
            data_dir = "{data}/{name}"
            passphrase = "only for tests"
            root_sha256 = "{root}"
            ca_url = "{authority}"
            danger_backup_log_n = 4
            allowed_origins = {allowed:?}
            {more}
            [[tokens]]
            token = "{OWNER}"
            scope = "wallet-owner"
            [[tokens]]
            token = "operator-token-of-the-tests"
            scope = "operator"
            "#,
            data = self.data.path().display(),
            allowed = self.allowed,
            root = hex::encode(root),
            authority = self.authority.url,
            more = self.more,
        );
        let path = self.data.path().join(format!("{name}.toml"));
        fs::write(&path, toml).unwrap();
        path
    }

    /// Starts the wallet of this name in this process.
    pub(crate) async fn open(&self, name: &str) -> Wallet {
        let file = self.configuration(name);
        let args = [
            "openset-cardholder".into(),
            "--config".into(),
            OsString::from(file),
        ];
        let config = load_from::<Options>(Party::Cardholder, args, &BTreeMap::new()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let running = tokio::spawn(openset_cardholder::run(listener, config, stop.clone()));
        wait_until_ready(&url).await;
        Wallet {
            url,
            running: Running::Here(stop, running),
        }
    }

    /// Starts the wallet of this name as the real program.
    pub(crate) async fn spawn(&self, name: &str) -> Wallet {
        let mut child = Command::new(env!("CARGO_BIN_EXE_openset-cardholder"))
            .arg("--config")
            .arg(self.configuration(name))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let at = line.find("address=")?;
            Some(line[at + 8..].split_whitespace().next()?.to_owned())
        });
        let log = self.log_file(name);
        let reading = std::thread::spawn(move || {
            use std::io::Write as _;
            let mut file = fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(log)
                .unwrap();
            for line in lines.map_while(Result::ok) {
                writeln!(file, "{line}").unwrap();
            }
        });
        let url = format!("http://{}", address.unwrap());
        wait_until_ready(&url).await;
        Wallet {
            url,
            running: Running::Process(child, Some(reading)),
        }
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.data.path().join(format!("{name}.log"))
    }

    /// What the wallet of this name has logged as a program.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_file(name)).unwrap_or_default()
    }

    /// All bytes of a wallet's database.
    pub(crate) fn database_bytes(&self, name: &str) -> Vec<u8> {
        let mut all = Vec::new();
        for file in ["cardholder.db", "cardholder.db-wal"] {
            all.extend(fs::read(self.folder(name).join(file)).unwrap_or_default());
        }
        assert!(all.len() > 10_000, "the database is where it is looked for");
        all
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }
}

async fn wait_until_ready(url: &str) {
    for _ in 0..1200 {
        if let Ok(response) = reqwest::get(format!("{url}/readyz")).await
            && response.status().is_success()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the wallet does not open");
}

impl Wallet {
    pub(crate) async fn close(mut self) {
        match &mut self.running {
            Running::Here(stop, running) => {
                stop.cancel();
                running.await.unwrap().unwrap();
            }
            Running::Process(..) => self.kill(),
        }
    }

    /// Ends the program at once (SIGKILL).
    pub(crate) fn kill(mut self) {
        if let Running::Process(child, reading) = &mut self.running {
            child.kill().unwrap();
            child.wait().unwrap();
            // Its log is whole then.
            if let Some(reading) = reading.take() {
                reading.join().unwrap();
            }
        }
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Option<Answer> {
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let media_type = response.headers().get("content-type");
        let media_type = media_type.map_or("", |v| v.to_str().unwrap()).to_owned();
        let text = response.text().await.ok()?;
        Some(Answer {
            status,
            media_type,
            text,
        })
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        reqwest::Client::new()
            .request(method, format!("{}{path}", self.url))
            .header("content-type", "application/json")
    }

    pub(crate) async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Answer {
        self.try_post(path, key, body).await.unwrap()
    }

    /// Nothing when the wallet ends meanwhile.
    pub(crate) async fn try_post(
        &self,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Option<Answer> {
        let request = self.request("POST", path).bearer_auth(OWNER);
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        self.send(request.body(body.to_string())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).bearer_auth(OWNER))
            .await
            .unwrap()
    }

    /// Registers a card; gives its id.
    pub(crate) async fn register(&self) -> String {
        let answer = self.post("/cards", None, &card()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(answer.at("/state"), "registered");
        answer.at("/card_id")
    }

    /// Buys for 15 euros; gives the answer.
    pub(crate) async fn buy(&self, world: &World, card_id: &str, key: Option<&str>) -> Answer {
        self.post("/purchases", key, &world.shop.basket(card_id))
            .await
    }

    /// The card of this id as the wallet lists it.
    pub(crate) async fn card(&self, card_id: &str) -> Value {
        let list = self.get("/cards").await.json();
        let cards = list["cards"].as_array().unwrap();
        cards
            .iter()
            .find(|c| c["card_id"] == card_id)
            .cloned()
            .unwrap_or_default()
    }

    /// Waits until a card is in this state.
    pub(crate) async fn card_in(&self, card_id: &str, state: &str) -> Value {
        for _ in 0..2400 {
            let card = self.card(card_id).await;
            if card["state"] == state {
                return card;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!(
            "the card does not become {state}: {}",
            self.card(card_id).await
        );
    }

    /// Waits until a purchase has this status.
    pub(crate) async fn purchase_is(&self, purchase_id: &str, status: &str) -> Value {
        let path = format!("/purchases/{purchase_id}");
        for _ in 0..2400 {
            let purchase = self.get(&path).await.json();
            if purchase["status"] == status {
                return purchase;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!(
            "the purchase does not become {status}: {}",
            self.get(&path).await.text
        );
    }
}

impl Drop for Wallet {
    fn drop(&mut self) {
        if let Running::Process(child, _) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A card that the fake issuer approves.
pub(crate) fn card() -> Value {
    json!({
        "pan": PAN, "expiry": "209912", "brand": "Visa",
        "answers": {"holder": "Grace Hopper", "activation_code": CODE}, "accept_policy": true,
    })
}
