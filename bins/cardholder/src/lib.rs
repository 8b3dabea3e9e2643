//! The cardholder's wallet: registers cards (step 2), buys with them (steps 4 to 10) and asks what became of a
//! purchase. Card numbers, keys and orders are encrypted at rest.
//!
//! | module | what it holds |
//! |---|---|
//! | [`options`] | configuration, and which addresses the wallet calls |
//! | `cards` | POST /cards, GET /cards, GET /cards/{id}, POST /cards/{id}/form |
//! | `registration` | CardCInit, RegForm and Cert with the CA |
//! | `purchases` | POST /purchases, GET /purchases/{id}, POST /purchases/{id}/inquiry |
//! | `mail_orders` | POST /mail-orders, GET /mail-orders/{id}, POST /mail-orders/{id}/answer |
//! | `statement` | GET /statement |
//! | `payment` | PInit, P and Inq with the merchant |
//! | `backup` | POST /backup, POST /restore |
//! | `metrics` | what `/metrics` shows of the certificates |
//! | `staples` | OCSP responses about the cards' certificates, fetched on a timer |
//! | `store` | the wallet's tables |

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use openset_protocol::cardholder::Card;
use openset_protocol::{Context, Timestamp};
use openset_service::auth::{Scope, Tokens};
use openset_service::client::{CallError, HttpClient};
use openset_service::config::{Common, Config};
use openset_service::outbox_worker::OutboxWorker;
use openset_service::problem::Problem;
use openset_service::server::BODY_LIMIT_BYTES;
use openset_service::shell::Shell;
use openset_service::trust::Trust;
use openset_service::{CancellationToken, clock, random};
use openset_store::vault::Vault;
use openset_store::{Db, Migration, StoreError};
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use utoipa::OpenApi as _;

mod api;
mod backup;
mod cards;
mod mail_orders;
mod metrics;
pub mod options;
mod payment;
mod purchases;
mod registration;
mod staples;
mod statement;
mod store;

use metrics::WalletMetrics;
use options::{Options, UrlPolicy};

/// The wallet's tables.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 100,
        name: "wallet",
        sql: include_str!("../migrations/100_wallet.sql"),
    },
    Migration {
        version: 101,
        name: "revisions",
        sql: include_str!("../migrations/101_revisions.sql"),
    },
    Migration {
        version: 102,
        name: "staples",
        sql: include_str!("../migrations/102_staples.sql"),
    },
    Migration {
        version: 110,
        name: "mail orders",
        sql: include_str!("../migrations/110_mail_orders.sql"),
    },
    Migration {
        version: 195,
        name: "statement",
        sql: include_str!("../migrations/195_statement.sql"),
    },
];

/// Cards with their keys parsed and the revisions that these are of, by card id and certificate.
type ParsedCards = HashMap<(String, Option<String>), (i64, Arc<Card>)>;

/// The wallet: what its handlers share.
struct Wallet {
    db: Db,
    vault: Vault,
    trust: Arc<Trust>,
    client: HttpClient,
    tokens: Tokens,
    policy: UrlPolicy,
    registration_url: Url,
    /// Whether cards without a certificate are held and paid with.
    allow_unsigned: bool,
    /// Cards with their keys parsed.
    cards: RwLock<ParsedCards>,
    /// Certificates are renewed when fewer days are left, if not when a third of their time is.
    renewal_days: Option<u32>,
    metrics: WalletMetrics,
    /// One back-up at a time.
    backups: Semaphore,
    /// scrypt's cost of back-ups in tests.
    danger_backup_log_n: Option<u8>,
    /// Wakes the task that goes on with registrations.
    work: Notify,
    /// Under which name this process leases what it sends itself.
    replica: String,
}

/// Runs the wallet until `shutdown`.
///
/// # Errors
/// When the configuration lacks something, or database, vault or trust cannot be opened.
pub async fn run(
    listener: TcpListener,
    config: Config<Options>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Config { common, own } = config;
    let mut shell = Shell::new(&common)?;
    let db = open_database(&common).await?;
    let vault = Vault::unlock(&db, common.require_passphrase()?).await?;
    let trust = Trust::bootstrap(&common, &shell.client, &db, &shutdown).await?;
    let wallet = Arc::new(Wallet {
        policy: UrlPolicy::new(&own.allowed_origins)?,
        registration_url: common.require_registration_url()?,
        tokens: own.tokens,
        allow_unsigned: own.allow_unsigned.unwrap_or_default(),
        cards: RwLock::default(),
        renewal_days: own.renewal_days,
        metrics: WalletMetrics::register(&shell.metrics),
        backups: Semaphore::new(1),
        danger_backup_log_n: own.danger_backup_log_n,
        work: Notify::new(),
        db: db.clone(),
        vault,
        trust: Arc::clone(&trust),
        client: shell.client.clone(),
        replica: common.replica.clone(),
    });
    let worker = OutboxWorker::new(
        db.clone(),
        shell.client.clone(),
        Arc::clone(&wallet),
        &common.replica,
    );
    tokio::spawn(worker.run(shutdown.clone()));
    let database = db.clone();
    shell.health.add("database", move || {
        let database = database.clone();
        async move {
            database
                .read()
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        }
    });
    trust.register(&shell.metrics);
    tokio::spawn(trust.keep_fresh(shutdown.clone()));
    tokio::spawn(registration::go_on(Arc::clone(&wallet), shutdown.clone()));
    let look = own.staple_seconds.unwrap_or(staples::LOOK_SECONDS);
    let look = Duration::from_secs(u64::from(look));
    tokio::spawn(staples::keep_fresh(
        Arc::clone(&wallet),
        look,
        shutdown.clone(),
    ));
    let routes = Router::new()
        .merge(cards::router(&wallet))
        .merge(purchases::router(&wallet))
        .merge(mail_orders::router(&wallet))
        .merge(statement::router(&wallet))
        .merge(backup::router(&wallet));
    shell
        .serve(listener, routes, &db, &api::Api::openapi(), shutdown)
        .await?;
    db.close().await;
    Ok(())
}

async fn open_database(common: &Common) -> anyhow::Result<Db> {
    Db::open(&common.database_url, MIGRATIONS)
        .await
        .context("cannot open the wallet's database")
}

impl Wallet {
    fn require_owner(&self, headers: &axum::http::HeaderMap) -> Result<(), Problem> {
        self.tokens
            .require(headers, &[Scope::WalletOwner])
            .map(drop)
    }
}

/// Calls a function of the protocol with the system's time and randomness.
fn with_context<T>(call: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut rng = random::system();
    let now: Timestamp = clock::now();
    call(&mut Context { now, rng: &mut rng })
}

/// The body of a request, whole.
fn taken(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    taken_up_to(BODY_LIMIT_BYTES, body)
}

/// The body of a request that may be larger than others.
fn taken_up_to(limit_bytes: usize, body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return body_too_large(limit_bytes);
        }
        let detail = "the body did not arrive whole and in time; send it again";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "body-incomplete", detail)
    })
}

fn body_too_large(limit_bytes: usize) -> Problem {
    let detail = format!("send at most {limit_bytes} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
}

/// A call to another party failed: 502 or 503 for the wallet's owner.
fn call_problem(code: &'static str, error: &CallError) -> Problem {
    match error {
        CallError::Unreachable(..) | CallError::NoAnswer(..) => {
            Problem::unavailable(code, error.to_string())
        }
        _ => Problem::bad_gateway(code, error.to_string()),
    }
}

/// What was stored cannot be read back.
fn corrupt(what: &'static str) -> Problem {
    Problem::from(StoreError::Corrupt(what))
}
