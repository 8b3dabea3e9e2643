//! Whether a purchase costs more the more of them are stored: two sets of services, one with nothing behind it and one
//! with a long past, bought from in turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use openset_service::clock;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::Options;
use super::drive::Driver;
use super::history::Copies;
use super::scrape::{self, Moment};
use super::{cardholders, history};
use crate::demo::calls::Calls;
use crate::demo::processes::{self, Services};
use crate::demo::screen::Screen;

/// Purchases that are made and captured for the past to be copied from.
const TEMPLATES: u64 = 256;
/// Purchases before that: by then the stores have found the samples that long values are packed against, as all but the
/// first have them.
const SETTLING: u64 = 4_096;
/// How many of them are under way at once.
const AT_ONCE: u64 = 16;
/// Pairs of windows: empty and full.
const PAIRS: u32 = 6;
/// Student's t for 95 % and [`PAIRS`] less one degrees of freedom.
const T_95: f64 = 2.571;
/// Buying before each window that is not measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// The stores whose size counts: all of them.
const STORES: [&str; 5] = ["ca", "issuer", "gateway", "merchant", "cardholder"];

/// What a past does to a purchase.
#[derive(Debug, Serialize)]
pub(super) struct Growth {
    /// Purchases in the full stores.
    history: u64,
    concurrency: u32,
    /// Seconds of one window.
    window_seconds: f64,
    /// Time per purchase with the past, over the time without: the middle, and 95 % of the confidence.
    ratio: f64,
    ratio_interval: [f64; 2],
    /// The same for the services' processor time.
    cpu_ratio: f64,
    cpu_ratio_interval: [f64; 2],
    /// Milliseconds per purchase in each pair of windows: empty, full.
    ms_per_purchase: Vec<[f64; 2]>,
    /// What a stored, captured purchase takes on the disk, indexes included.
    disk_bytes_per_purchase: f64,
    disk_bytes_by_service: BTreeMap<&'static str, f64>,
    rss_mib: BTreeMap<&'static str, f64>,
    pub(super) errors: u64,
}

/// One set of services with its cardholders.
struct World {
    folder: PathBuf,
    port: u16,
    services: Option<Services>,
    calls: Arc<Calls>,
    cards: Vec<String>,
}

impl World {
    async fn start(folder: PathBuf, port: u16, screen: &Screen) -> anyhow::Result<Self> {
        let wanted = processes::Wanted {
            data: &folder,
            port,
            unsigned: false,
            databases: None,
        };
        let (services, file) = processes::start(&wanted, screen).await?;
        let calls = Arc::new(Calls::new(file)?);
        calls.wait_until_ready(screen, Some(&services)).await?;
        Ok(Self {
            folder,
            port,
            services: Some(services),
            calls,
            cards: Vec::new(),
        })
    }

    async fn stop(&mut self) {
        if let Some(services) = self.services.take() {
            services.stop().await;
        }
    }

    /// Starts what was stopped.
    async fn go_on(&mut self, screen: &Screen) -> anyhow::Result<()> {
        let again = Self::start(self.folder.clone(), self.port, screen).await?;
        let cards = std::mem::take(&mut self.cards);
        *self = Self { cards, ..again };
        Ok(())
    }

    /// Makes purchases and captures them.
    async fn buy_and_capture(&self, count: u64) -> anyhow::Result<()> {
        let product = self.calls.first_product().await?;
        let amount = self.calls.price(&product).await?;
        let mut under_way = JoinSet::new();
        for (number, card) in (0..count).zip(self.cards.iter().cycle()) {
            if number >= AT_ONCE
                && let Some(ended) = under_way.join_next().await
            {
                ended??;
            }
            let (calls, card) = (Arc::clone(&self.calls), card.clone());
            let (product, amount) = (product.clone(), amount.clone());
            under_way.spawn(async move {
                let bought = calls.purchase_for(&card, &product, 1, &amount).await?;
                let order = bought.get("order_id").and_then(serde_json::Value::as_str);
                let order = order.with_context(|| format!("no order: {bought}"))?;
                let path = format!("orders/{order}/capture");
                calls
                    .post_until_done("merchant", &path, &json!({}))
                    .await
                    .map(drop)
            });
        }
        while let Some(ended) = under_way.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Buys for one window.
    async fn window(&self, period: Duration) -> anyhow::Result<Window> {
        let driver = Driver::start(Arc::clone(&self.calls), self.cards.clone()).await?;
        tokio::time::sleep(WARM_UP).await;
        let before = scrape::all(&self.calls, &driver).await?;
        tokio::time::sleep(period).await;
        let after = scrape::all(&self.calls, &driver).await?;
        let outcome = driver.stop().await?;
        let done = after.done.saturating_sub(before.done);
        ensure!(
            done > 0,
            "nothing was bought; {}",
            outcome.first_error.unwrap_or_default()
        );
        let wall = after.at.saturating_duration_since(before.at).as_secs_f64();
        Ok(Window {
            ms: wall * 1e3 / done as f64,
            cpu_ms: (cpu_s(&after)? - cpu_s(&before)?) * 1e3 / done as f64,
            errors: outcome.errors,
            after,
        })
    }
}

struct Window {
    ms: f64,
    cpu_ms: f64,
    errors: u64,
    after: Moment,
}

fn cpu_s(moment: &Moment) -> anyhow::Result<f64> {
    let services = moment.services.values();
    services
        .map(|samples| samples.value("openset_process_cpu_seconds_total"))
        .sum()
}

/// Fills one set of stores, and measures both in turn.
pub(super) async fn run(
    options: &Options,
    purchases: u64,
    screen: &Screen,
) -> anyhow::Result<Growth> {
    let [empty_folder, full_folder] = ["empty", "full"].map(|name| options.data.join(name));
    ensure!(
        !full_folder.exists(),
        "{} is there already: a past is filled into fresh stores; take another --data",
        full_folder.display()
    );
    let full_port = options.port.saturating_add(5);
    let mut full = World::start(full_folder.clone(), full_port, screen).await?;
    full.cards = cardholders::prepare(&full.calls, options.concurrency, screen).await?;
    // What is there once: the open batch, the accounts of the ledgers.
    full.buy_and_capture(SETTLING).await?;
    full.stop().await;
    let files = STORES.map(|party| (party, full_folder.join(party).join(format!("{party}.db"))));
    let mut before = Vec::new();
    for (_, file) in &files {
        before.push(history::before(file).await?);
    }
    full.go_on(screen).await?;
    let began_s = clock::now_seconds();
    full.buy_and_capture(TEMPLATES).await?;
    full.stop().await;
    let until_s = clock::now_seconds();
    let copies = Copies {
        lasted_s: u64::try_from(until_s - began_s + 1)?,
        until_s: u64::try_from(until_s)?,
        times: purchases.div_ceil(TEMPLATES),
    };
    let sizes = sizes(&files)?;
    screen.line(&format!("filling the stores with {purchases} purchases"));
    let mut fillings = JoinSet::new();
    for ((_, file), before) in files.iter().cloned().zip(before) {
        fillings.spawn(async move { history::fill(&file, &before, copies).await });
    }
    while let Some(filled) = fillings.join_next().await {
        filled??;
    }
    let disk = per_purchase(&sizes, &self::sizes(&files)?, purchases);
    full.go_on(screen).await?;
    let mut empty = World::start(empty_folder, options.port, screen).await?;
    empty.cards = cardholders::prepare(&empty.calls, options.concurrency, screen).await?;
    empty.buy_and_capture(SETTLING).await?;

    let window = Duration::from_secs(options.seconds) / PAIRS / 2;
    let (mut pairs, mut errors, mut last) = (Vec::new(), 0, None);
    for pair in 0..PAIRS {
        screen.line(&format!("measuring: pair {} of {PAIRS}", pair + 1));
        // Whatever drifts meets both alike.
        let (of_empty, of_full) = if pair.is_multiple_of(2) {
            let of_empty = empty.window(window).await?;
            (of_empty, full.window(window).await?)
        } else {
            let of_full = full.window(window).await?;
            (empty.window(window).await?, of_full)
        };
        errors += of_empty.errors + of_full.errors;
        pairs.push([of_empty.ms, of_full.ms, of_empty.cpu_ms, of_full.cpu_ms]);
        last = Some(of_full.after);
    }
    empty.stop().await;
    full.stop().await;
    let (ratio, ratio_interval) = interval(pairs.iter().map(|[a, b, ..]| b / a));
    let (cpu_ratio, cpu_ratio_interval) = interval(pairs.iter().map(|[.., a, b]| b / a));
    let mut rss_mib = BTreeMap::new();
    for (party, samples) in last.context("no window")?.services {
        let bytes = samples.value("openset_process_resident_memory_bytes")?;
        rss_mib.insert(party, bytes / 1024.0 / 1024.0);
    }
    Ok(Growth {
        history: purchases,
        concurrency: options.concurrency,
        window_seconds: window.as_secs_f64(),
        ratio,
        ratio_interval,
        cpu_ratio,
        cpu_ratio_interval,
        ms_per_purchase: pairs.iter().map(|[a, b, ..]| [*a, *b]).collect(),
        disk_bytes_per_purchase: disk.values().sum(),
        disk_bytes_by_service: disk,
        rss_mib,
        errors,
    })
}

type Files = [(&'static str, PathBuf); 5];

fn sizes(files: &Files) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let size = |file: &Path| -> anyhow::Result<u64> {
        let meta = std::fs::metadata(file);
        Ok(meta
            .with_context(|| format!("cannot find {}", file.display()))?
            .len())
    };
    files
        .iter()
        .map(|(party, file)| Ok((*party, size(file)?)))
        .collect()
}

fn per_purchase(
    before: &BTreeMap<&'static str, u64>,
    after: &BTreeMap<&'static str, u64>,
    purchases: u64,
) -> BTreeMap<&'static str, f64> {
    let grown = after.iter().map(|(party, after)| {
        let before = before.get(party).copied().unwrap_or_default();
        (
            *party,
            after.saturating_sub(before) as f64 / purchases as f64,
        )
    });
    grown.collect()
}

/// The geometric mean of ratios, and where the true one is with 95 % confidence.
fn interval(ratios: impl Iterator<Item = f64>) -> (f64, [f64; 2]) {
    let logs: Vec<f64> = ratios.map(f64::ln).collect();
    let count = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let spread: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    let error = T_95 * (spread / (count - 1.0) / count).sqrt();
    (mean.exp(), [(mean - error).exp(), (mean + error).exp()])
}

impl Growth {
    pub(super) fn table(&self) -> String {
        let [low, high] = self.ratio_interval;
        let [cpu_low, cpu_high] = self.cpu_ratio_interval;
        let mut lines = vec![
            String::new(),
            format!(
                "{} purchases stored, {} cardholders, {} pairs of {:.0} s windows, {} errors",
                self.history, self.concurrency, PAIRS, self.window_seconds, self.errors
            ),
            format!(
                "time per purchase, full over empty: {:.3} (95%: {low:.3} to {high:.3})",
                self.ratio
            ),
            format!(
                "processor time per purchase, full over empty: {:.3} (95%: {cpu_low:.3} to {cpu_high:.3})",
                self.cpu_ratio
            ),
            String::new(),
            format!("{:<12}{:>18}{:>14}", "", "disk bytes each", "memory MiB"),
        ];
        for (party, bytes) in &self.disk_bytes_by_service {
            let rss = self.rss_mib.get(party).copied().unwrap_or_default();
            lines.push(format!("{party:<12}{bytes:>18.0}{rss:>14.1}"));
        }
        lines.push(format!(
            "{:<12}{:>18.0}{:>14.1}",
            "all",
            self.disk_bytes_per_purchase,
            self.rss_mib.values().sum::<f64>()
        ));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_around_the_mean_and_narrow_where_all_agree() {
        let (ratio, [low, high]) = interval([1.1; 6].into_iter());
        assert!(
            (ratio - 1.1).abs() < 1e-9 && (low - 1.1).abs() < 1e-9 && (high - 1.1).abs() < 1e-9
        );
        let (ratio, [low, high]) =
            interval([0.9, 1.0 / 0.9, 0.9, 1.0 / 0.9, 0.9, 1.0 / 0.9].into_iter());
        assert!((ratio - 1.0).abs() < 1e-9 && low < 0.95 && high > 1.05);
    }
}
