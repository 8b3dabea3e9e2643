//! `openset demo`: a purchase through all ten steps by five real services, and what each of them knows after it.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use openset_service::step_report::StepReport;
use tokio::signal::unix::{SignalKind, signal};

use crate::setup::DemoFile;

mod bench;
pub(crate) mod calls;
mod go_on;
mod knows;
pub(crate) mod processes;
pub(crate) mod screen;
mod tour;

use calls::Calls;
use screen::Screen;

/// Flags of `openset demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Folder for configuration and data; a second run goes on with it.
    #[arg(long, default_value = ".openset")]
    data: PathBuf,
    /// End after the purchase, with status 0 only if every step was verified.
    #[arg(long)]
    exit: bool,
    /// Go on with what may happen to a payment after its purchase, and audit all stores at the end.
    #[arg(long)]
    tour: bool,
    /// Make this many further purchases and report how long they took.
    #[arg(long, default_value_t = 0)]
    purchases: u32,
    /// The first of the five ports.
    #[arg(long, default_value_t = crate::setup::FIRST_PORT)]
    port: u16,
    /// Let cards pay that have no certificate, too; of a folder that is there already, only if it was made so.
    #[arg(long)]
    unsigned: bool,
    /// Use services that run already; the file that `openset setup` wrote for the demo.
    #[arg(long, conflicts_with_all = ["data", "port", "unsigned"])]
    connect: Option<PathBuf>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let screen = Screen::new();
    let started = Instant::now();
    let (services, file) = match &options.connect {
        Some(path) => (None, read(path)?),
        None => {
            let wanted = processes::Wanted {
                data: &options.data,
                port: options.port,
                unsigned: options.unsigned,
                databases: None,
            };
            let (services, file) = processes::start(&wanted, &screen).await?;
            (Some(services), file)
        }
    };
    let calls = Calls::new(file)?;
    calls.wait_until_ready(&screen, services.as_ref()).await?;
    let outcome = tokio::select! {
        outcome = Box::pin(show(&options, &calls, &screen, services.as_ref(), started)) => outcome,
        stopped = asked_to_stop() => stopped.and(Err(anyhow::anyhow!("interrupted"))),
    };
    if outcome.is_ok() && !options.exit && services.is_some() {
        screen.line("\nThe services stay up until Ctrl-C.");
        asked_to_stop().await?;
    }
    if let Some(services) = services {
        services.stop().await;
    }
    outcome
}

/// Waits for Ctrl-C, or for a request to end.
pub(crate) async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped.context("cannot wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

/// The file that `openset setup` wrote for the demo.
pub(crate) fn read(path: &std::path::Path) -> anyhow::Result<DemoFile> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text)
        .with_context(|| format!("{} is not what `openset setup` wrote", path.display()))
}

async fn show(
    options: &Options,
    calls: &Calls,
    screen: &Screen,
    services: Option<&processes::Services>,
    started: Instant,
) -> anyhow::Result<()> {
    screen.heading("The ten steps");
    screen.step_titles();
    let story = Box::pin(tell(calls, screen)).await?;
    let took = started.elapsed();
    screen.heading("Who knows what");
    let table = knows::ask(calls, &story, services).await?;
    table.show(screen);
    table.check()?;
    if options.purchases > 0 {
        screen.heading("Warm purchases");
        bench::run(calls, &story, options.purchases, services, screen).await?;
    }
    if options.tour {
        let data = services.is_some().then_some(options.data.as_path());
        Box::pin(tour::run(calls, &story, screen, data)).await?;
    }
    screen.heading("Go on with curl");
    go_on::show(calls, &story, screen);
    let since = if services.is_some() {
        "from the start of the services"
    } else {
        "with services that were up"
    };
    let seconds = took.as_secs_f64();
    screen.line(&format!(
        "\nTen steps verified, and the capture: {seconds:.1} s {since}."
    ));
    Ok(())
}

/// What the demo did, for what comes after it.
pub(crate) struct Story {
    pub(crate) account_id: String,
    pub(crate) pan: String,
    pub(crate) expiry: String,
    pub(crate) holder: &'static str,
    pub(crate) card_id: String,
    pub(crate) product_id: String,
    pub(crate) purchase: serde_json::Value,
}

impl Story {
    pub(crate) fn of_purchase(&self, field: &str) -> &str {
        self.purchase
            .get(field)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    }
}

/// The name on the demo's card.
const HOLDER: &str = "Ada Lovelace";

async fn tell(calls: &Calls, screen: &Screen) -> anyhow::Result<Story> {
    let (account, step) = calls.open_account(HOLDER).await?;
    screen.step(&step)?;
    let (card_id, policy, step) = calls.register_card(&account, HOLDER).await?;
    screen.step(&step)?;
    screen.accepted(&policy);
    screen.step(&calls.certificates().await?)?;
    let product_id = calls.first_product().await?;
    let purchase = calls.purchase(&card_id, &product_id, 2).await?;
    let story = Story {
        account_id: account.account_id,
        pan: account.card.pan,
        expiry: account.card.expiry,
        holder: HOLDER,
        card_id,
        product_id,
        purchase,
    };
    let mut steps = calls.steps_of(&story).await?;
    // The wallet is the last to act in a step that others share with it.
    steps.sort_by_key(|step| (step.step, step.to == "cardholder"));
    for step in &steps {
        screen.step(step)?;
    }
    let missing: Vec<String> = (4..=10u8)
        .filter(|n| !steps.iter().any(|s| s.step == *n))
        .map(|n| n.to_string())
        .collect();
    ensure!(
        missing.is_empty(),
        "nobody reports step {}",
        missing.join(", ")
    );
    let status = story.of_purchase("status");
    if status != "paid" {
        bail!("the purchase is {status}, not paid; see the log files in the data folder");
    }
    screen.step(&calls.capture(&story).await?)?;
    Ok(story)
}

/// Whether a step shows that something was verified.
fn is_verified(step: &StepReport) -> bool {
    !step.verified.is_empty()
}
