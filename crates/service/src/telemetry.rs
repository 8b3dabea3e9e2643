//! Logs with an allow-list of fields, and metrics for Prometheus.

mod log;
mod metrics;
mod process;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;

pub use log::{ALLOWED_FIELDS, LogLayer};
pub use metrics::Metrics;
pub(crate) use process::Counted;

use crate::config::Party;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error; a panic is logged with its place, without its words, which
/// could hold data. The first call in a process wins.
///
/// # Errors
/// When `filter` cannot be read.
pub fn init(party: Party, filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!("log = \"{filter}\" is not a filter such as info or openset_gateway=debug,warn")
    })?;
    let layer = LogLayer::new(party, format, std::io::stderr);
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            tracing::error!(error = place.unwrap_or_default(), "panic");
        }));
    }
    Ok(())
}
