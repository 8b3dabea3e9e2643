//! `openset merchant catalogue`: a shop's signed catalogue in a file, for orders by mail.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use openset_protocol::messages::mail_order::CATALOGUE_BYTES_MAX;
use openset_service::client::join;
use openset_service::problem::Problem;

use super::{MERCHANT_URL, PATIENCE};
use crate::wallet::{client, write};

/// Which catalogue, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the shop answers.
    #[arg(long, default_value = MERCHANT_URL)]
    url: String,
    /// The card's brand; may be left out where the shop takes one alone.
    #[arg(long)]
    brand: Option<String>,
    /// The file to write; one that exists stays as it is.
    #[arg(long)]
    out: PathBuf,
    /// PEM file with the CA that the shop's TLS certificate comes from.
    #[arg(long)]
    ca: Option<PathBuf>,
}

pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let Options {
        url,
        brand,
        out,
        ca,
    } = options;
    ensure!(
        !out.exists(),
        "{} is there already; choose another name",
        out.display()
    );
    let mut url = join(&openset_service::config::url(&url, "--url")?, "catalogue");
    if let Some(brand) = &brand {
        url.query_pairs_mut().append_pair("brand", brand);
    }
    let response = client(ca.as_deref(), PATIENCE)?
        .get(url.clone())
        .send()
        .await
        .map_err(reqwest::Error::without_url);
    let response = response.with_context(|| format!("the shop at {url} does not answer"))?;
    let status = response.status();
    let answer = response
        .bytes()
        .await
        .context("the shop's answer breaks off")?;
    if !status.is_success() {
        match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) => bail!("{} ({})", problem.detail, problem.code),
            Err(_) => bail!("the shop at {url} answered with status {status}"),
        }
    }
    ensure!(
        answer.len() <= CATALOGUE_BYTES_MAX,
        "the catalogue is larger than {CATALOGUE_BYTES_MAX} bytes"
    );
    write(&out, &answer)?;
    println!(
        "catalogue written to {}: {} bytes",
        out.display(),
        answer.len()
    );
    Ok(())
}
