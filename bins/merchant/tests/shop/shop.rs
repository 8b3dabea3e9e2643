//! The merchant under test: started, asked, killed, started again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use openset_merchant::{MIGRATIONS, Options};
use openset_pki::{Purpose, Role};
use openset_protocol::messages::initiation::PaymentInitiation;
use openset_service::CancellationToken;
use openset_service::clock;
use openset_service::config::{Party, load_from};
use openset_service::enrolment::{self, Certified, Generation};
use openset_store::packed::unpack;
use openset_store::{Db, SecretString, Tx, Vault, sqlite_url};
use openset_testkit::keys::key;
use openset_testkit::pki::TestPki;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::authority::Authority;
use crate::bank::Bank;

const PASSPHRASE: &str = "only for tests";
const DAY: i64 = 86_400;
pub(crate) const OPERATOR: &str = "operator-token-of-the-tests";

/// Made once for all tests: keys take their time.
static PKI: LazyLock<Arc<TestPki>> = LazyLock::new(|| {
    let pki = TestPki::new(&["Visa"], openset_service::clock::now());
    drop(pki.merchant("Visa", "shop-1"));
    Arc::new(pki)
});

/// A merchant with all that it needs around it.
pub(crate) struct World {
    pub(crate) pki: Arc<TestPki>,
    pub(crate) bank: Bank,
    pub(crate) authority: Authority,
    pub(crate) ocsp_policy: &'static str,
    data: TempDir,
    database_url: String,
}

/// A running merchant.
pub(crate) struct Shop {
    pub(crate) url: String,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let data = TempDir::new().unwrap();
        let database_url = sqlite_url(&data.path().join("merchant.db"));
        Self::with(database_url, data, 365 * DAY).await
    }

    /// A world whose merchant has certificates for so many seconds.
    pub(crate) async fn enrolled_for(lifetime_s: i64) -> Self {
        let data = TempDir::new().unwrap();
        let database_url = sqlite_url(&data.path().join("merchant.db"));
        Self::with(database_url, data, lifetime_s).await
    }

    /// A world whose merchant has this database.
    pub(crate) async fn on(database_url: String, data: TempDir) -> Self {
        Self::with(database_url, data, 365 * DAY).await
    }

    async fn with(database_url: String, data: TempDir, lifetime_s: i64) -> Self {
        let pki = tokio::task::spawn_blocking(|| Arc::clone(&PKI))
            .await
            .unwrap();
        let world = Self {
            bank: Bank::open(&pki).await,
            authority: Authority::open(&pki).await,
            ocsp_policy: "closed",
            data,
            database_url,
            pki,
        };
        world.store(Generation::FIRST, lifetime_s).await;
        world
    }

    /// Puts the next generation where a renewal puts it, perhaps another replica's.
    pub(crate) async fn renew(&self) {
        self.store(Generation::FIRST.next(), 365 * DAY).await;
    }

    /// Puts a generation of the merchant's keys and certificates where enrolment puts them.
    pub(crate) async fn store(&self, generation: Generation, lifetime_s: i64) {
        let db = Db::open(&self.database_url, MIGRATIONS).await.unwrap();
        let vault = Vault::unlock(&db, &SecretString::from(PASSPHRASE))
            .await
            .unwrap();
        let certified = |purpose| {
            let key = key(&format!("shop-1/{}/{purpose}", generation.number()));
            let mut leaf = self.pki.leaf(Role::Merchant, purpose, "shop-1");
            leaf.validity.not_after = clock::now_seconds() + lifetime_s;
            let chain = self.pki.issue("Visa", &leaf, key.public_key());
            Certified { chain, key }
        };
        let signature = certified(Purpose::Signature);
        let key_exchange = certified(Purpose::KeyExchange);
        let brand = &self.pki.brand("Visa").id;
        let mut tx = db.begin().await.unwrap();
        enrolment::store(
            &mut tx,
            &vault,
            brand,
            generation,
            &signature,
            &key_exchange,
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        db.close().await;
    }

    /// The merchant's configuration, as a file.
    pub(crate) fn configuration(&self, wait_ms: u64, replica: &str) -> PathBuf {
        let root = openset_jose::sha256(self.pki.root.certificate().der());
        let toml = format!(
            r#"
            listen = "127.0.0.1:0"
            data_dir = "{data}/{replica}"
            database_url = "{database}"
            passphrase = "{PASSPHRASE}"
            root_sha256 = "{root}"
            ca_url = "{authority}"
            ocsp_policy = "{policy}"
            gateway_url = "{gateway}"
            merchant_id = "shop-1"
            merchant_bin = "411111"
            brands = ["Visa"]
            authorization_wait_ms = {wait_ms}
            spool = "{data}/spool"
            [[tokens]]
            token = "{OPERATOR}"
            scope = "operator"
            "#,
            data = self.data.path().display(),
            database = self.database_url,
            root = hex::encode(root),
            authority = self.authority.url,
            policy = self.ocsp_policy,
            gateway = self.bank.url,
        );
        let path = self.data.path().join(format!("{replica}.toml"));
        fs::write(&path, toml).unwrap();
        path
    }

    pub(crate) async fn open_shop(&self) -> Shop {
        self.open_shop_waiting(5_000).await
    }

    /// A shop that waits so long for the bank.
    pub(crate) async fn open_shop_waiting(&self, wait_ms: u64) -> Shop {
        self.open_replica(wait_ms, "one").await
    }

    /// One of several shops on the same database.
    pub(crate) async fn open_replica(&self, wait_ms: u64, replica: &str) -> Shop {
        let file = self.configuration(wait_ms, replica);
        let args = [
            "openset-merchant".into(),
            "--config".into(),
            OsString::from(file),
        ];
        let config = load_from::<Options>(Party::Merchant, args, &BTreeMap::new()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let running = tokio::spawn(openset_merchant::run(listener, config, stop.clone()));
        wait_until_ready(&url).await;
        Shop { url, stop, running }
    }

    /// The database, and the vault that is in it.
    pub(crate) async fn open_database(&self) -> (Db, Vault) {
        let db = Db::open(&self.database_url, MIGRATIONS).await.unwrap();
        let passphrase = SecretString::from(PASSPHRASE);
        let vault = Vault::unlock(&db, &passphrase).await.unwrap();
        (db, vault)
    }

    /// Changes the database of a shop that is closed.
    pub(crate) async fn alter(&self, statement: &'static str) {
        let (db, _) = self.open_database().await;
        let mut tx = db.begin().await.unwrap();
        sqlx::query(statement).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        db.close().await;
    }

    /// Puts what movements wait with into the column that had it as text before.
    pub(crate) async fn unpack_movements(&self) {
        let (db, _) = self.open_database().await;
        let mut tx = db.begin().await.unwrap();
        unpacked_movements(&mut tx).await;
        tx.commit().await.unwrap();
        db.close().await;
    }

    /// As [`Self::alter`], of tables that are not the newest: they stay as they are.
    pub(crate) async fn alter_before(&self, statement: &'static str) {
        openset_store::install_database_drivers();
        let mut connection = sqlx::AnyConnection::connect(&self.database_url).await;
        let connection = connection.as_mut().unwrap();
        sqlx::query(statement).execute(connection).await.unwrap();
    }

    /// All bytes of the database's files.
    pub(crate) fn database_bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for file in ["merchant.db", "merchant.db-wal"] {
            all.extend(fs::read(self.data.path().join(file)).unwrap_or_default());
        }
        assert!(all.len() > 10_000, "the database is where it is looked for");
        all
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }
}

pub(crate) async fn wait_until_ready(url: &str) {
    for _ in 0..1200 {
        if let Ok(response) = reqwest::get(format!("{url}/readyz")).await
            && response.status().is_success()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let why = reqwest::get(format!("{url}/readyz"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    panic!("the shop does not open: {why}");
}

impl Shop {
    /// A shop that runs elsewhere, at this URL.
    pub(crate) fn elsewhere(url: String) -> Self {
        let running = tokio::spawn(async { Ok(()) });
        Self {
            url,
            stop: CancellationToken::new(),
            running,
        }
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }

    /// Orders two bags of espresso.
    pub(crate) async fn order(&self) -> PaymentInitiation {
        self.order_of(&[("espresso-250", 2)]).await
    }

    /// Orders so many of each product.
    pub(crate) async fn order_of(&self, items: &[(&str, u64)]) -> PaymentInitiation {
        let item = |(id, quantity): &(&str, u64)| json!({"product_id": id, "quantity": quantity});
        let items: Vec<Value> = items.iter().map(item).collect();
        let items = json!({ "items": items });
        let (status, answer) = self.post("/orders", None, &items.to_string()).await;
        assert_eq!(status, 201, "{answer}");
        serde_json::from_value(answer["payment_initiation"].clone()).unwrap()
    }

    pub(crate) async fn post(&self, path: &str, key: Option<&str>, body: &str) -> (u16, Value) {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url));
        let request = request
            .bearer_auth(OPERATOR)
            .header("content-type", "application/json");
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let response = request.body(body.to_owned()).send().await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_slice(&response.bytes().await.unwrap()).unwrap(),
        )
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_slice(&response.bytes().await.unwrap()).unwrap(),
        )
    }

    /// Whether the shop has the order still.
    pub(crate) async fn knows(&self, order_id: &str) -> bool {
        let path = format!("/orders/{order_id}");
        self.get(&path, Some(OPERATOR)).await.0 == 200
    }

    /// The order as the shop's staff see it.
    pub(crate) async fn show(&self, order: &PaymentInitiation) -> Value {
        let (status, view) = self
            .get(&format!("/orders/{}", order.lid_m), Some(OPERATOR))
            .await;
        assert_eq!(status, 200, "{view}");
        view
    }

    pub(crate) async fn wait_for_state(&self, order: &PaymentInitiation, state: &str) -> Value {
        for _ in 0..1200 {
            let view = self.show(order).await;
            if view["state"] == state {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "the order does not become {state}: {}",
            self.show(order).await
        );
    }

    pub(crate) async fn reverse(
        &self,
        order: &PaymentInitiation,
        key: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        let body = body.map_or_else(String::new, |body| body.to_string());
        self.post(&format!("/orders/{}/reverse", order.lid_m), key, &body)
            .await
    }

    /// POSTs the same until the gateway has answered: a slow machine takes longer than the shop waits.
    pub(crate) async fn answered(&self, path: &str, key: &str, body: &str) -> (u16, Value) {
        for _ in 0..1200 {
            let answer = self.post(path, Some(key), body).await;
            if ![202, 503].contains(&answer.0) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{path} is not answered");
    }

    /// POSTs to the order, for what moves money.
    pub(crate) async fn ask(
        &self,
        order: &PaymentInitiation,
        what: &str,
        key: &str,
        body: Value,
    ) -> (u16, Value) {
        let path = format!("/orders/{}/{what}", order.lid_m);
        self.post(&path, Some(key), &body.to_string()).await
    }

    pub(crate) async fn capture_of(
        &self,
        order: &PaymentInitiation,
        key: &str,
        minor: u64,
    ) -> (u16, Value) {
        let body = json!({"amount": {"currency": "EUR", "amount_minor": minor}}).to_string();
        self.post(
            &format!("/orders/{}/capture", order.lid_m),
            Some(key),
            &body,
        )
        .await
    }

    pub(crate) async fn capture(
        &self,
        order: &PaymentInitiation,
        key: Option<&str>,
    ) -> (u16, Value) {
        self.post(&format!("/orders/{}/capture", order.lid_m), key, "")
            .await
    }
}

pub(crate) async fn unpacked_movements(tx: &mut Tx) {
    let select = "SELECT id, awaiting_packed FROM movements WHERE awaiting_packed IS NOT NULL";
    for row in sqlx::query(select).fetch_all(&mut **tx).await.unwrap() {
        let text = unpack(tx, row.get(1)).await.unwrap();
        let set = "UPDATE movements SET awaiting = $1, awaiting_packed = NULL WHERE id = $2";
        let set = sqlx::query(set)
            .bind(String::from_utf8(text).unwrap())
            .bind(row.get::<String, _>(0));
        set.execute(&mut **tx).await.unwrap();
    }
}
