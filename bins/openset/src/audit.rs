//! `openset audit`: reads the stores of issuer, gateway, merchant and wallet by itself, trusts none of them, changes nothing, and
//! says where they contradict themselves or each other.
//!
//! The stores are databases that go on while they are read, so there is no one moment to compare them at. The wallet and the
//! merchant are read first and the issuer last, against the direction in which a payment travels; what is asked for and not
//! answered is not judged; and what does not agree is read once more: only what is wrong in both readings is a finding.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

mod between;
mod books;
mod contracts;
mod finding;
mod gateway;
mod issuer;
mod merchant;
mod merchant_books;
mod merchant_texts;
mod orders;
mod plans;
mod proof;
mod receipts;
mod settlement;
mod show;
mod source;
mod wallet;

pub use finding::{Code, Finding, InFlight};
pub use show::{Report, Summary, SummaryRow};

use contracts::Contracts;
use finding::Notes;
use gateway::Gateway;
use issuer::Issuer;
use merchant::Merchant;
use proof::Trust;
use source::{Service, Source};
use wallet::Wallet;

/// Between two readings: what one service has done meanwhile the others have heard of.
const PAUSE: Duration = Duration::from_secs(2);

/// What the issuer calls the gateway unless told otherwise.
const GATEWAY_NAME: &str = "gateway";

/// Flags of `openset audit`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The folder of `openset demo`, with a folder for each service.
    #[arg(long, default_value = ".openset")]
    pub data: PathBuf,
    /// The issuer's database, in place of the one in the folder.
    #[arg(long)]
    pub issuer_url: Option<String>,
    /// The gateway's database, in place of the one in the folder.
    #[arg(long)]
    pub gateway_url: Option<String>,
    /// The merchant's database, in place of the one in the folder.
    #[arg(long)]
    pub merchant_url: Option<String>,
    /// The certificate authority's database, in place of the one in the folder.
    #[arg(long)]
    pub ca_url: Option<String>,
    /// The file with the root's SHA-256, in place of the one in the folder.
    #[arg(long)]
    pub root_sha256: Option<PathBuf>,
    /// The gateway's configuration, in place of the one in the folder: how far the acquirer lets each merchant go.
    #[arg(long)]
    pub gateway_config: Option<PathBuf>,
    /// The wallet's configuration, in place of the one in the folder: where its database is, and the passphrase. Without
    /// either the wallet is not read.
    #[arg(long)]
    pub wallet_config: Option<PathBuf>,
    /// What the issuer calls the gateway: the name of its token.
    #[arg(long, default_value = GATEWAY_NAME)]
    pub gateway_name: String,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
    /// Between the first reading and the second.
    #[arg(skip = PAUSE)]
    pub pause: Duration,
    /// How far the services' clock is ahead of this one, in seconds: in tests that move it.
    #[arg(skip)]
    pub ahead_s: i64,
}

/// The program's status when there is something that does not agree.
const FOUND: u8 = 1;
/// The program's status when it could not read.
const UNREADABLE: u8 = 2;

pub(crate) async fn run(options: &Options) -> ExitCode {
    match audit(options).await {
        Ok(report) => {
            report.print(options.json);
            if report.findings.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(FOUND)
            }
        }
        Err(error) => {
            eprintln!("openset audit: {error:#}");
            ExitCode::from(UNREADABLE)
        }
    }
}

impl Options {
    /// The stores of `openset demo` below this folder.
    #[must_use]
    pub fn of_folder(data: &std::path::Path) -> Self {
        Self {
            data: data.to_owned(),
            issuer_url: None,
            gateway_url: None,
            merchant_url: None,
            ca_url: None,
            root_sha256: None,
            gateway_config: None,
            wallet_config: None,
            gateway_name: GATEWAY_NAME.to_owned(),
            json: false,
            pause: PAUSE,
            ahead_s: 0,
        }
    }
}

/// Reads all stores and compares them.
///
/// # Errors
/// A database cannot be read, or is of a version that is not known.
pub async fn audit(options: &Options) -> anyhow::Result<Report> {
    let trust = trust(options).await?;
    let (first, stores) = judge(options, &trust).await?;
    if first.findings.is_empty() {
        let summaries = stores.summaries();
        return Ok(Report::new(summaries, Vec::new(), first.in_flight));
    }
    tokio::time::sleep(options.pause).await;
    let (second, stores) = judge(options, &trust).await?;
    let seen: BTreeSet<(Code, &str)> = first.findings.iter().map(name).collect();
    let (findings, new): (Vec<_>, Vec<_>) = second
        .findings
        .into_iter()
        .partition(|one| seen.contains(&name(one)));
    let mut in_flight = second.in_flight;
    in_flight.extend(new.into_iter().map(|one| InFlight {
        what: format!("{}, not yet in the first reading", one.code.name()),
        at: one.at,
    }));
    Ok(Report::new(stores.summaries(), findings, in_flight))
}

fn name(finding: &Finding) -> (Code, &str) {
    (finding.code, finding.at.as_str())
}

/// All stores, one after the other.
struct Stores {
    merchant: Merchant,
    gateway: Gateway,
    issuer: Issuer,
}

async fn judge(options: &Options, trust: &Trust) -> anyhow::Result<(Notes, Stores)> {
    let wallet = wallet(options).await?;
    let mut source = open(options, Service::Merchant).await?;
    let merchant = merchant::read(&mut source).await?;
    source.close().await;
    let mut source = open(options, Service::Gateway).await?;
    let gateway = gateway::read(&mut source).await?;
    source.close().await;
    let mut source = open(options, Service::Issuer).await?;
    let issuer = issuer::read(&mut source).await?;
    source.close().await;
    let now_s = now_s()?.saturating_add(options.ahead_s);
    let contracts = Contracts::read(options.gateway_config.as_deref(), &options.data)?;
    let mut notes = Notes::default();
    merchant.check(&gateway, (trust, &contracts), &mut notes);
    gateway.check(now_s, &mut notes);
    gateway.check_plans(&contracts, &mut notes);
    gateway.check_settlements(&mut notes);
    issuer.check(&mut notes);
    wallet.check((&gateway, &merchant), trust, &mut notes);
    let name = options.gateway_name.as_str();
    between::compare(&gateway, &issuer, name, now_s, &mut notes);
    let stores = Stores {
        merchant,
        gateway,
        issuer,
    };
    Ok((notes, stores))
}

/// The wallet's store, if it may be read.
async fn wallet(options: &Options) -> anyhow::Result<Wallet> {
    let key = wallet::Key::read(options.wallet_config.as_deref(), &options.data)?;
    let Some(key) = key else {
        return Ok(Wallet::default());
    };
    let url = match &key.url {
        Some(url) => url.clone(),
        None => source::url_in(&options.data, Service::Cardholder)?,
    };
    let mut source = Source::open(Service::Cardholder, &url).await?;
    let wallet = wallet::read(&mut source, &key).await?;
    source.close().await;
    Ok(wallet)
}

/// The root that proofs must lead to.
async fn trust(options: &Options) -> anyhow::Result<Trust> {
    let file = match &options.root_sha256 {
        Some(file) => file.clone(),
        None => options.data.join("ca/root.sha256"),
    };
    let pinned = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "cannot read {}; name the folder of `openset demo`, or the root's SHA-256 by --root-sha256",
            file.display()
        )
    })?;
    let mut source = open(options, Service::Ca).await?;
    let trust = Trust::read(&mut source, &pinned).await?;
    source.close().await;
    Ok(trust)
}

async fn open(options: &Options, service: Service) -> anyhow::Result<Source> {
    let given = match service {
        Service::Issuer => &options.issuer_url,
        Service::Gateway => &options.gateway_url,
        Service::Merchant => &options.merchant_url,
        Service::Ca => &options.ca_url,
        // Its configuration says where it is.
        Service::Cardholder => &None,
    };
    let url = match given {
        Some(url) => url.clone(),
        None => source::url_in(&options.data, service)?,
    };
    Source::open(service, &url).await
}

fn now_s() -> anyhow::Result<i64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("this machine's clock is before 1970")?;
    Ok(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

impl Stores {
    fn summaries(&self) -> Vec<Summary> {
        vec![
            self.issuer.summary(),
            self.gateway.summary(),
            self.merchant.summary(),
        ]
    }
}
