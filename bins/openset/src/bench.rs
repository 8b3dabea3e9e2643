//! `openset bench`: purchases driven as fast as they are answered, and how close the services come to what their
//! cryptography alone would cost on this machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::audit;
use crate::demo::calls::Calls;
use crate::demo::processes::{self, Services};
use crate::demo::screen::Screen;

mod cardholders;
mod chart;
mod drive;
mod floor;
mod growth;
mod history;
mod report;
mod scrape;

use drive::Driver;
use report::Report;

/// Flags of `openset bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Folder for configuration and data; a second run goes on with it.
    #[arg(long, default_value = ".openset-bench")]
    data: PathBuf,
    /// Cardholders that buy at once, each as soon as its last purchase is answered.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: u32,
    /// How long to measure.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How long to buy before, unmeasured: connections, caches and chains are then as they stay.
    #[arg(long, default_value_t = 5)]
    warm_up: u64,
    /// Fill stores with this many past purchases, and measure whether they make a purchase dearer: beside empty ones, in
    /// turn, for the given seconds altogether.
    #[arg(long, conflicts_with = "connect", value_parser = clap::value_parser!(u64).range(1..))]
    history: Option<u64>,
    /// Keep the stores in these databases, which must be there and empty at first, in place of SQLite files: a URL with
    /// `{party}` where the party's name belongs.
    #[arg(long, conflicts_with_all = ["connect", "history"], value_name = "URL")]
    databases: Option<String>,
    /// The first of the five ports; with a history the five after them are used, too.
    #[arg(long, default_value_t = crate::setup::FIRST_PORT)]
    port: u16,
    /// Use services that run already; the file that `openset setup` wrote for the demo.
    #[arg(long, conflicts_with_all = ["data", "port"])]
    connect: Option<PathBuf>,
    /// Draw the processor time of each service into this SVG file.
    #[arg(long, conflicts_with = "history")]
    chart: Option<PathBuf>,
    /// Print one JSON document; progress goes to standard error.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let screen = Screen::aside();
    if let Some(purchases) = options.history {
        return grow(&options, purchases, &screen).await;
    }
    let (services, file) = match &options.connect {
        Some(path) => (None, crate::demo::read(path)?),
        None => {
            let wanted = processes::Wanted {
                data: &options.data,
                port: options.port,
                unsigned: false,
                databases: options.databases.as_deref(),
            };
            let (services, file) = processes::start(&wanted, &screen).await?;
            (Some(services), file)
        }
    };
    let calls = Arc::new(Calls::new(file)?);
    let outcome = tokio::select! {
        outcome = Box::pin(measure(&options, &calls, services.as_ref(), &screen)) => outcome,
        stopped = crate::demo::asked_to_stop() => stopped.and(Err(anyhow::anyhow!("interrupted"))),
    };
    let here = services.is_some();
    if let Some(services) = services {
        services.stop().await;
    }
    let mut report = outcome?;
    if here {
        screen.line("the audit reads all stores");
        report.audit_findings = Some(audited(&options).await?.findings.len());
    }
    report.print(options.json)?;
    if let Some(path) = &options.chart {
        std::fs::write(path, report.chart())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(report.errors == 0, "{} purchases failed", report.errors);
    ensure!(
        report.audit_findings.unwrap_or_default() == 0,
        "the stores do not agree; see `openset audit`"
    );
    Ok(())
}

async fn audited(options: &Options) -> anyhow::Result<audit::Report> {
    let mut stores = audit::Options::of_folder(&options.data);
    if let Some(databases) = &options.databases {
        let url = |party| Some(processes::database_url(databases, party));
        stores.issuer_url = url("issuer");
        stores.gateway_url = url("gateway");
        stores.merchant_url = url("merchant");
        stores.ca_url = url("ca");
    }
    audit::audit(&stores).await
}

async fn grow(options: &Options, purchases: u64, screen: &Screen) -> anyhow::Result<()> {
    let growth = tokio::select! {
        outcome = Box::pin(growth::run(options, purchases, screen)) => outcome?,
        stopped = crate::demo::asked_to_stop() => return stopped.and(Err(anyhow::anyhow!("interrupted"))),
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&growth)?);
    } else {
        println!("{}", growth.table());
    }
    ensure!(growth.errors == 0, "{} purchases failed", growth.errors);
    Ok(())
}

async fn measure(
    options: &Options,
    calls: &Arc<Calls>,
    services: Option<&Services>,
    screen: &Screen,
) -> anyhow::Result<Report> {
    calls.wait_until_ready(screen, services).await?;
    let cards = cardholders::prepare(calls, options.concurrency, screen).await?;
    let driver = Driver::start(Arc::clone(calls), cards).await?;
    driver
        .progress("warming up", Duration::from_secs(options.warm_up))
        .await;
    let before = scrape::all(calls, &driver).await?;
    driver
        .progress("measuring", Duration::from_secs(options.seconds))
        .await;
    let after = scrape::all(calls, &driver).await?;
    let bought = driver.stop().await?;
    screen.line("timing the cryptography with every core at work");
    let folder = services.map(|_| options.data.as_path());
    let floor = floor::measure(folder)?;
    Report::new(options.concurrency, &before, &after, &bought, &floor)
}
