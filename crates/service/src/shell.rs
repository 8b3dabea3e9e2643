//! What a service's `main` and its tests share: open, serve, stop.

use std::ffi::OsString;
use std::future::Future;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use clap::Args;
use openset_store::Db;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::client::HttpClient;
use crate::config::{self, Common, Config, Party};
use crate::detached::Detached;
use crate::health::Health;
use crate::openapi;
use crate::problem::Problem;
use crate::server::{self, BODY_LIMIT_BYTES, DRAIN_DEADLINE, TlsSetup};
use crate::telemetry::{self, Metrics};

/// Async workers of a service: it waits more than it computes.
const WORKER_THREADS: usize = 1;
/// Threads beside those that keep the processor busy with RSA: for the disk and for name resolution.
const WAITING_THREADS: usize = 3;

/// What every service holds: its client, checks and metrics, and the way to serve.
#[derive(Debug)]
pub struct Shell {
    /// For calls to other parties.
    pub client: HttpClient,
    /// The checks of `/readyz`.
    pub health: Health,
    /// The metrics of `/metrics`.
    pub metrics: Metrics,
    tls: Option<TlsSetup>,
}

/// A service's whole `main`: configuration, log, runtime, listener, signals, `run`.
///
/// ```no_run
/// # use openset_service::{CancellationToken, config::{Config, Party}, shell};
/// # #[derive(clap::Args, serde::Serialize, serde::Deserialize)] struct Options {}
/// # async fn run(_: tokio::net::TcpListener, _: Config<Options>, _: CancellationToken) -> anyhow::Result<()> { Ok(()) }
/// fn main() -> std::process::ExitCode {
///     shell::main(Party::Gateway, run)
/// }
/// ```
pub fn main<O, F, R>(party: Party, run: F) -> ExitCode
where
    O: Args + Serialize + DeserializeOwned,
    F: FnOnce(TcpListener, Config<O>, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    main_with(party, std::env::args_os(), run)
}

/// [`main`] with other flags than the process' own, the program's name first.
pub fn main_with<O, F, R>(
    party: Party,
    args: impl IntoIterator<Item = OsString>,
    run: F,
) -> ExitCode
where
    O: Args + Serialize + DeserializeOwned,
    F: FnOnce(TcpListener, Config<O>, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let error = match start(party, args, run) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    // --help and --version come this way too, and go to standard output with status 0.
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        let _ = usage.print();
        return u8::try_from(usage.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    eprintln!("openset-{}: {error:#}", party.name());
    ExitCode::FAILURE
}

fn start<O, F, R>(
    party: Party,
    args: impl IntoIterator<Item = OsString>,
    run: F,
) -> anyhow::Result<()>
where
    O: Args + Serialize + DeserializeOwned,
    F: FnOnce(TcpListener, Config<O>, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let config = config::load_with_env::<O>(party, args)?;
    telemetry::init(party, &config.common.log, config.common.log_format)?;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(cores + WAITING_THREADS)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let outcome = runtime.block_on(async move {
        let address = config.common.listen;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}; is another service there?"))?;
        let shutdown = CancellationToken::new();
        tokio::spawn(stop_on_signal(
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            shutdown.clone(),
        ));
        tracing::info!(address = %listener.local_addr()?, "started");
        let outcome = Box::pin(run(listener, config, shutdown)).await;
        tracing::info!("stopped");
        outcome
    });
    // Blocking work that nobody waits for any more shall not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// The first signal drains, a second one ends at once.
async fn stop_on_signal(mut interrupt: Signal, mut terminate: Signal, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if shutdown.is_cancelled() {
            std::process::exit(1);
        }
        tracing::info!("stopping; requests at work are finished first");
        shutdown.cancel();
    }
}

impl Shell {
    /// The client, checks and metrics of a service with this configuration.
    ///
    /// # Errors
    /// When a file with certificates or a key cannot be used.
    pub fn new(common: &Common) -> anyhow::Result<Self> {
        let tls = common.tls.as_ref();
        Ok(Self {
            client: HttpClient::new(common.client_ca.as_deref())?,
            health: Health::new(),
            metrics: Metrics::new(),
            tls: tls
                .map(|(certificate, key)| TlsSetup::from_pem_files(certificate, key))
                .transpose()?,
        })
    }

    /// Serves `router` with health, metrics, OpenAPI and all limits until `shutdown`, then drains. No answer leaves before
    /// what its handler saw in `db` is on the disk ([`Db::settled`]).
    ///
    /// # Errors
    /// When the OpenAPI document cannot be written.
    pub async fn serve(
        self,
        listener: TcpListener,
        router: Router,
        db: &Db,
        api: &utoipa::openapi::OpenApi,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let detached = Detached::default();
        let router = router
            .layer(from_fn_with_state(db.clone(), settled))
            .merge(self.health.router())
            .merge(self.metrics.router())
            .merge(openapi::router(api)?);
        let router = self.metrics.wrap(detached.wrap(bounded(router)));
        server::serve(listener, self.tls, router, shutdown).await;
        detached.finish(DRAIN_DEADLINE).await;
        Ok(())
    }
}

/// An answer that was made of what another transaction has done waits until that is on the disk; if it never will be, so
/// was the answer made of nothing.
async fn settled(State(db): State<Db>, request: Request, next: Next) -> Response {
    let at_work = db.at_work();
    let answer = next.run(request).await;
    drop(at_work);
    match db.settled().await {
        Ok(()) => answer,
        Err(error) => Problem::from(error).into_response(),
    }
}

/// Problems for what no route takes, and a limit for bodies that are read by axum's own extractors.
fn bounded(router: Router) -> Router {
    router
        .fallback(|uri: Uri| async move {
            Problem::not_found(
                "no-such-path",
                format!("{} is not here; see /openapi.json", uri.path()),
            )
        })
        .method_not_allowed_fallback(|method: Method| async move {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                format!("{method} is not for this path; see /openapi.json"),
            )
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
}
