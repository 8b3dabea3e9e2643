//! The databases of an acquirer and of a bank from before there were movements, taken over together: what was captured then
//! stands in a batch, is settled and is paid out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use openset_protocol::Context;
use openset_protocol::identity::Credentials;
use openset_protocol::ids::{Rrpid, Xid};
use openset_protocol::merchant::batch_admin::{self, Asked};
use openset_protocol::messages::batch_admin::{
    BaStatus, BatchAdminResData, BatchOperation, BatchTotals, TransmissionStatus,
};
use openset_protocol::money::Currency;
use openset_service::config::{self, Config, Party};
use openset_service::enrolment::Keyring;
use openset_service::{CancellationToken, clock, random};
use openset_store::ledger::{self, Entry, Posting};
use openset_store::sqlx::{self, AssertSqlSafe};
use openset_store::{Db, Migration, Tx, sqlite_url};
use openset_testkit::pki::{ACQUIRER_BIN, TestPki};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

/// The last versions without movements.
const GATEWAY_BEFORE: i64 = 140;
const ISSUER_BEFORE: i64 = 150;
/// What was captured: the gateway's name for it, the issuer's, and how much of 10.00.
const CAPTURED: [(&str, &str, i64); 2] = [
    ("whole", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1000),
    ("part", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", 600),
];
const NET: i64 = 1600;

async fn before(folder: &Path, party: &str, migrations: &[Migration], version: i64) -> Db {
    std::fs::create_dir_all(folder.join(party)).unwrap();
    let old = migrations.iter().copied();
    let old: Vec<_> = old.filter(|one| one.version <= version).collect();
    let file = folder.join(party).join(format!("{party}.db"));
    Db::open(&sqlite_url(&file), &old).await.unwrap()
}

async fn execute(tx: &mut Tx, sql: String) {
    let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await;
    done.unwrap();
}

/// So much went from the second account to the first.
async fn book(tx: &mut Tx, reference: &str, (to, from): (&str, &str), amount_minor: i64) {
    for account in [to, from] {
        let kind = account.split('/').next().unwrap();
        let opened = ledger::open_account(tx, account, kind, "EUR").await;
        opened.unwrap();
    }
    let posting = |account, amount_minor| Posting {
        account,
        currency: "EUR",
        amount_minor,
    };
    let entry = Entry {
        kind: "capture",
        reference,
        at: 1,
        memo: "shop-1",
        postings: &[posting(to, amount_minor), posting(from, -amount_minor)],
    };
    ledger::post(tx, &entry).await.unwrap();
}

async fn fill_gateway(folder: &Path, now_s: i64) {
    let db = before(
        folder,
        "gateway",
        openset_gateway::MIGRATIONS,
        GATEWAY_BEFORE,
    )
    .await;
    let mut tx = db.begin().await.unwrap();
    for (number, (id, hold, captured)) in (1..).zip(CAPTURED) {
        let xid = Xid::from_bytes([number; 32]);
        let rrpid = Rrpid::from_bytes([number; 32]);
        let hpi = hex::encode([number; 32]);
        execute(
            &mut tx,
            format!(
                "INSERT INTO authorizations (id, xid, auth_rrpid, merchant_id, brand, state, hpi, currency, \
                 amount_minor, auth_code, issuer_authorization, received_at_s, decided_at_s, capture_id, \
                 captured_minor, captured_at_s, steps) VALUES ('{id}', '{xid}', '{rrpid}', 'shop-1', 'Visa', \
                 'captured', x'{hpi}', 'EUR', 1000, 'approved', '{hold}', {now_s}, {now_s}, 'c-{id}', {captured}, \
                 {now_s}, '[]')"
            ),
        )
        .await;
        let accounts = ("receivable/issuer/EUR", "payable/shop-1/EUR");
        book(&mut tx, id, accounts, captured).await;
    }
    tx.commit().await.unwrap();
    db.close().await;
}

async fn fill_issuer(folder: &Path, now_s: i64) {
    let db = before(folder, "issuer", openset_issuer::MIGRATIONS, ISSUER_BEFORE).await;
    let mut tx = db.begin().await.unwrap();
    execute(
        &mut tx,
        format!(
            "INSERT INTO accounts (id, holder, brand, currency, credit_limit_minor, held_minor, owed_minor, blocked, \
             opened_at_s) VALUES ('alice', 'Alice', 'Visa', 'EUR', 3000, 0, {NET}, 0, 1)"
        ),
    )
    .await;
    for (_, hold, captured) in CAPTURED {
        execute(
            &mut tx,
            format!(
                "INSERT INTO authorizations (id, gateway, account_id, state, currency, amount_minor, captured_minor, \
                 credited_minor, credits, merchant_id, merchant_name, reference, created_at_s, expires_at_s, \
                 reversed_minor) VALUES ('{hold}', 'gateway', 'alice', 'captured', 'EUR', 1000, {captured}, 0, 0, \
                 'shop-1', 'shop', 'xid', {now_s}, {now_s} + 604800, 0)"
            ),
        )
        .await;
        let accounts = ("cardholder/alice", "settlement/EUR");
        book(&mut tx, hold, accounts, captured).await;
    }
    tx.commit().await.unwrap();
    db.close().await;
}

async fn configured<O>(folder: &Path, party: Party, toml: &str) -> (TcpListener, String, Config<O>)
where
    O: Args + Serialize + DeserializeOwned + Send + 'static,
{
    let data = folder.join(party.name());
    let toml = format!(
        "listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\npassphrase = \"correct horse battery staple\"\n{toml}",
        data.display()
    );
    let file = data.join("config.toml");
    std::fs::write(&file, toml).unwrap();
    let args = [OsString::from(party.name()), "--config".into(), file.into()];
    let config: Config<O> = config::load_from(party, args, &BTreeMap::new()).unwrap();
    let listener = TcpListener::bind(config.common.listen).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url, config)
}

/// The shop.
struct Shop {
    pki: TestPki,
    keys: Credentials,
    gateway: Credentials,
    url: String,
}

impl Shop {
    async fn ask(
        &self,
        operation: Option<BatchOperation>,
        close: Option<BatchTotals>,
    ) -> BatchAdminResData {
        let mut rng = random::system();
        let ctx = &mut Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let asked = Asked {
            batch_id: None,
            currency: Currency::from_alpha("EUR").unwrap(),
            operation,
            summary: true,
            details: None,
            totals: close,
        };
        let gateway = self.gateway.key_exchange.certificate();
        let (awaiting, wire) =
            batch_admin::request(ctx, &self.keys, gateway, asked, self.pki.verifier()).unwrap();
        let answer = self.answer(wire).await;
        let keys = [&self.keys];
        awaiting
            .handle(&answer, &keys, self.pki.verifier(), clock::now())
            .unwrap()
    }

    async fn answer(&self, wire: Vec<u8>) -> Vec<u8> {
        let client = reqwest::Client::new();
        for _ in 0..600 {
            let sent = client.post(format!("{}/set", self.url));
            let sent = sent.header("content-type", "application/set-payment+json");
            if let Ok(answer) = sent.body(wire.clone()).send().await
                && answer.status() == 200
            {
                return answer.bytes().await.unwrap().to_vec();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the gateway does not answer");
    }
}

async fn balance(folder: &Path, party: &str, migrations: &[Migration], account: &str) -> i64 {
    let file = folder.join(party).join(format!("{party}.db"));
    let db = Db::open(&sqlite_url(&file), migrations).await.unwrap();
    let balance = ledger::balance(&mut db.read().await.unwrap(), account).await;
    db.close().await;
    balance.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_captured_before_there_were_movements_is_settled_and_paid_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let now_s = clock::now_seconds();
    fill_gateway(folder, now_s).await;
    fill_issuer(folder, now_s).await;

    let shutdown = CancellationToken::new();
    let token = "a-token-of-the-gateway-0123456789";
    let toml =
        format!("[[tokens]]\nname = \"gateway\"\nscope = \"gateway\"\ntoken = \"{token}\"\n");
    let (listener, issuer_url, config) = configured(folder, Party::Issuer, &toml).await;
    let issuer = tokio::spawn(openset_issuer::run(listener, config, shutdown.clone()));
    let toml = format!(
        "acquirer_bin = \"{ACQUIRER_BIN}\"\nissuer_url = \"{issuer_url}\"\nissuer_token = \"{token}\"\n\
         brands = [\"Visa\"]\n[[merchants]]\nmerchant_id = \"shop-1\"\nname = \"Shop\"\ncountry = \"276\"\n\
         merch_cat_code = \"5942\"\nbrands = [\"Visa\"]\nactivation_code = \"SHOP1-CODE\"\n"
    );
    let (listener, url, config) = configured(folder, Party::Gateway, &toml).await;
    let pki = TestPki::new(&["Visa"], clock::now());
    let shop = Shop {
        keys: pki.merchant("Visa", "shop-1"),
        gateway: pki.gateway("Visa", "gateway-1"),
        url,
        pki,
    };
    let keyring = Keyring::holding(vec![shop.gateway.clone()]);
    let verifier = Arc::new(shop.pki.fresh_verifier());
    let gateway = tokio::spawn(openset_gateway::run_as(
        keyring,
        verifier,
        listener,
        config,
        shutdown.clone(),
    ));

    let totals = BatchTotals {
        transaction_count_credit: 2,
        transaction_total_credit_minor: u64::try_from(NET).unwrap(),
        transaction_count_debit: 0,
        transaction_total_debit_minor: 0,
    };
    let closed = shop.ask(Some(BatchOperation::Close), Some(totals)).await;
    assert_eq!(closed.ba_status, BaStatus::Success);
    let batch_id = closed.batch_id.unwrap();
    let file = folder.join("gateway/gateway.db");
    let db = Db::open(&sqlite_url(&file), openset_gateway::MIGRATIONS)
        .await
        .unwrap();
    let mut status = None;
    for _ in 0..600 {
        let found: Option<String> =
            sqlx::query_scalar("SELECT transmission FROM batches WHERE id = $1")
                .bind(batch_id.as_str())
                .fetch_one(&mut *db.read().await.unwrap())
                .await
                .unwrap();
        status = found.map(|name| serde_json::from_value(name.into()).unwrap());
        if !matches!(
            status,
            Some(TransmissionStatus::Pending | TransmissionStatus::InProgress)
        ) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status, Some(TransmissionStatus::CompletedSuccessfully));
    db.close().await;
    shutdown.cancel();
    gateway.await.unwrap().unwrap();
    issuer.await.unwrap().unwrap();

    for (account, minor) in [
        ("receivable/issuer/EUR", 0),
        ("payable/shop-1/EUR", 0),
        ("in_transit/issuer/EUR", 0),
        ("in_transit/merchant/shop-1/EUR", 0),
        ("cash/EUR", 0),
    ] {
        let found = balance(folder, "gateway", openset_gateway::MIGRATIONS, account).await;
        assert_eq!(found, minor, "{account}");
    }
    for (account, minor) in [
        ("cardholder/alice", NET),
        ("settlement/EUR", 0),
        ("settlement/gateway/EUR", 0),
        ("cash/EUR", -NET),
    ] {
        let found = balance(folder, "issuer", openset_issuer::MIGRATIONS, account).await;
        assert_eq!(found, minor, "{account}");
    }
}
