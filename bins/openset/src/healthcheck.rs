//! `openset healthcheck`: for containers that have no curl.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use openset_service::client::HttpClient;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Fails unless `url` answers with a status of success.
pub(crate) async fn run(url: &str, ca: Option<&Path>) -> anyhow::Result<()> {
    let url = openset_service::config::url(url, "URL")?;
    let client = HttpClient::new(ca)?;
    tokio::time::timeout(PATIENCE, client.get_bytes(&url))
        .await
        .context("no answer in time")??;
    Ok(())
}
