//! The service under test, in this process, on a folder that outlives it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openset_ca::Options;
use openset_service::CancellationToken;
use openset_service::client::{HttpClient, SetAnswer};
use openset_service::config::{self, Config, Party, Secret, url};
use openset_service::set_endpoint::MediaType;
use openset_service::trust::Trust;
use openset_store::Db;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::bank::{Bank, TOKEN};

/// The operator's token.
pub(crate) const OPERATOR: &str = "operator-of-the-ca-0123456789";
pub(crate) const GATEWAY_CODE: &str = "code-of-the-gateway";
pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

/// Where a CA keeps what must survive.
pub(crate) struct Place {
    folder: TempDir,
    brands: Vec<&'static str>,
    /// More of the configuration file, before its tables.
    options: String,
    admits_gateways: bool,
    database_url: Option<String>,
    offline_root: bool,
    bank: Bank,
}

/// A CA that runs.
pub(crate) struct Running {
    pub(crate) url: String,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let bank = Bank::start().await;
        Self {
            folder: TempDir::new().unwrap(),
            brands: vec!["Visa"],
            options: String::new(),
            admits_gateways: true,
            database_url: None,
            offline_root: false,
            bank,
        }
    }

    pub(crate) async fn on(database_url: String) -> Self {
        Self {
            database_url: Some(database_url),
            ..Self::new().await
        }
    }

    pub(crate) fn with_brands(mut self, brands: &[&'static str]) -> Self {
        self.brands = brands.to_vec();
        self
    }

    /// With more options, as lines of the configuration file.
    pub(crate) fn with_options(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.options);
        self
    }

    pub(crate) fn moved_to(mut self, database_url: String) -> Self {
        self.database_url = Some(database_url);
        self
    }

    pub(crate) fn with_offline_root(mut self) -> Self {
        self.offline_root = true;
        self
    }

    /// With no gateway admitted any more.
    pub(crate) fn without_gateways(mut self) -> Self {
        self.admits_gateways = false;
        self
    }

    pub(crate) fn bank(&self) -> &Bank {
        &self.bank
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The configuration file, written anew.
    pub(crate) fn config_file(&self, passphrase: &str, listen: &str) -> PathBuf {
        let bank = self.bank.url();
        let database = self
            .database_url
            .as_ref()
            .map(|url| format!("database_url = {url:?}"))
            .unwrap_or_default();
        let gateways = format!(
            "[[gateways]]\ngateway_id = \"gateway-1\"\nacquirer_bin = \"411111\"\nbrand = \"Visa\"\n\
             organization = \"Mock Acquirer\"\nactivation_code = {GATEWAY_CODE:?}\n"
        );
        let text = format!(
            "listen = {listen:?}\ndata_dir = {data:?}\n{database}\npassphrase = {passphrase:?}\n\
             brands = {brands:?}\nissuer_url = {bank:?}\nissuer_token = {TOKEN:?}\n\
             acquirer_url = {bank:?}\nacquirer_token = {TOKEN:?}\nroot_sha256_file = {shared:?}\n\
             offline_root = {offline}\nlog = \"trace,sqlx=info,hyper=info\"\n{options}\n\
             [[tokens]]\ntoken = {OPERATOR:?}\nscope = \"operator\"\n\
             {gateways}",
            options = self.options,
            gateways = if self.admits_gateways {
                gateways
            } else {
                String::new()
            },
            data = self.data(),
            brands = self.brands,
            offline = self.offline_root,
            shared = self.folder.path().join("shared.sha256"),
        );
        let path = self.folder.path().join("ca.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn config(&self, passphrase: &str) -> Config<Options> {
        let path = self.config_file(passphrase, "127.0.0.1:0");
        let args = ["openset-ca", "--config", path.to_str().unwrap()].map(OsString::from);
        config::load_from(Party::Ca, args, &BTreeMap::new()).unwrap()
    }

    /// Starts the CA on what the folder holds.
    pub(crate) async fn start(&self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let config = self.config(PASSPHRASE);
        let task = tokio::spawn(openset_ca::run(listener, config, shutdown.clone()));
        let running = Running {
            url,
            shutdown,
            task,
        };
        running.wait_until_ready().await;
        running
    }

    /// What a start under another passphrase ends with.
    pub(crate) async fn start_with_passphrase(&self, passphrase: &str) -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        openset_ca::run(listener, self.config(passphrase), CancellationToken::new()).await
    }

    /// The root's fingerprint as the CA wrote it for the others.
    pub(crate) fn fingerprint(&self) -> String {
        let own = std::fs::read_to_string(self.data().join("root.sha256")).unwrap();
        let shared = std::fs::read_to_string(self.folder.path().join("shared.sha256")).unwrap();
        assert_eq!(own, shared);
        own.trim().to_owned()
    }

    /// The hierarchy as another party comes to trust it.
    pub(crate) async fn trust(&self, ca_url: &str) -> Arc<Trust> {
        let folder = self.folder.path().join("party");
        let args = [
            "party",
            "--data-dir",
            folder.to_str().unwrap(),
            "--ca-url",
            ca_url,
            "--root-sha256",
            &self.fingerprint(),
        ];
        let config: Config<NoOptions> =
            config::load_from(Party::Merchant, args.map(OsString::from), &BTreeMap::new()).unwrap();
        let db = Db::open(&config.common.database_url, &[]).await.unwrap();
        let client = HttpClient::new(None).unwrap();
        Trust::bootstrap(&config.common, &client, &db, &CancellationToken::new())
            .await
            .unwrap()
    }

    /// Whether any file of the CA holds these bytes.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        files(&self.data())
            .iter()
            .any(|file| file.windows(bytes.len()).any(|window| window == bytes))
    }
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

#[derive(Debug, Default, clap::Args, serde::Serialize, serde::Deserialize)]
pub(crate) struct NoOptions {}

impl Running {
    async fn wait_until_ready(&self) {
        wait_until_ready(&self.url).await;
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) async fn wait_until_ready(ca_url: &str) {
    let ready = url(&format!("{ca_url}/readyz"), "url").unwrap();
    for _ in 0..600 {
        if HttpClient::new(None)
            .unwrap()
            .get_bytes(&ready)
            .await
            .is_ok()
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the CA does not become ready");
}

/// Sends a SET message.
pub(crate) async fn post_set(
    ca_url: &str,
    wire: &[u8],
) -> Result<SetAnswer, openset_service::client::CallError> {
    // A region's address is given whole.
    let target = if ca_url.ends_with("/set") {
        ca_url.to_owned()
    } else {
        format!("{ca_url}/set")
    };
    let url = url(&target, "url").unwrap();
    HttpClient::new(None)
        .unwrap()
        .post_set(&url, MediaType::Registration, wire.to_vec())
        .await
}

/// Sends a SET message that is answered.
pub(crate) async fn ask(ca_url: &str, wire: &[u8]) -> Vec<u8> {
    let answer = post_set(ca_url, wire).await.unwrap();
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    answer.body
}

/// The code of the SET Error that a message gets.
pub(crate) async fn refused(ca_url: &str, wire: &[u8]) -> String {
    let answer = post_set(ca_url, wire).await.unwrap();
    assert_eq!(answer.status, 400);
    let error: Value = serde_json::from_slice(&answer.body).unwrap();
    error["message"]["Error"]["error_code"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// GET as the operator.
pub(crate) async fn get(ca_url: &str, path: &str) -> Value {
    let token: Secret = OPERATOR.parse().unwrap();
    let url = url(&format!("{ca_url}/{path}"), "url").unwrap();
    HttpClient::new(None)
        .unwrap()
        .get_json(&url, Some(&token.into()))
        .await
        .unwrap()
}

/// How many certificates the CA has issued to others.
pub(crate) async fn issued(ca_url: &str) -> usize {
    let listed = get(ca_url, "certificates").await;
    let all = listed["items"].as_array().unwrap();
    all.iter()
        .filter(|certificate| !certificate["role"].as_str().unwrap().ends_with("_ca"))
        .count()
}
