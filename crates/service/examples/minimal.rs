//! The smallest service: one option, one route, and all that the shell gives.

use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use openset_service::CancellationToken;
use openset_service::config::{Config, Party};
use openset_service::shell::{self, Shell};
use openset_store::Db;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[derive(Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// What to say.
    #[arg(long)]
    greeting: Option<String>,
}

async fn run(
    listener: TcpListener,
    config: Config<Options>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let shell = Shell::new(&config.common)?;
    let db = Db::open(&config.common.database_url, &[]).await?;
    let greeting = config.own.greeting.unwrap_or_default();
    let router = Router::new().route("/greeting", get(|| async { greeting }));
    let api = utoipa::openapi::OpenApi::default();
    shell.serve(listener, router, &db, &api, shutdown).await
}

fn main() -> ExitCode {
    shell::main(Party::Merchant, run)
}
