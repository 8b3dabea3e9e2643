//! What was measured, as a table and as JSON.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use openset_jose::default_provider;
use serde::Serialize;

use super::chart;
use super::drive::Outcome;
use super::floor::Floor;
use super::scrape::{Moment, Samples};

const MIB: f64 = 1024.0 * 1024.0;
/// Who works on a purchase, in the order of its messages; the CA at last, for OCSP.
const SHOWN: [&str; 5] = ["cardholder", "merchant", "gateway", "issuer", "ca"];

/// Milliseconds from a purchase's request to its answer.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

/// All that `openset bench` reports. Each "per purchase" is the difference of two readings over what was bought between.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    provider: &'static str,
    concurrency: u32,
    seconds: f64,
    purchases: u64,
    purchases_per_second: f64,
    latency_ms: Latency,
    /// Purchases that were not paid, from the first to the last.
    pub(super) errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    /// The floor's time over the measured processor time, all services together.
    efficiency: f64,
    efficiency_by_service: BTreeMap<&'static str, f64>,
    floor_ms_per_purchase: BTreeMap<&'static str, f64>,
    cpu_ms_per_purchase: BTreeMap<&'static str, f64>,
    /// The load generator's own, which is in none of the others.
    generator_cpu_ms_per_purchase: f64,
    rss_mib: BTreeMap<&'static str, f64>,
    private_ops_per_purchase: f64,
    public_ops_per_purchase: f64,
    /// By service: the operation with the bits of its key, how often.
    operations_per_purchase: BTreeMap<&'static str, BTreeMap<String, f64>>,
    /// Transactions that were kept; under load several share a commit.
    transactions_per_purchase: f64,
    commits_per_purchase: f64,
    commits_by_service: BTreeMap<&'static str, f64>,
    /// Both ways through every connection between the parties, HTTP headers included.
    wire_bytes_per_purchase: f64,
    wire_bytes_by_service: BTreeMap<&'static str, f64>,
    /// Microseconds of one core for one operation, every core at work.
    operation_us: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    openssl_rsa2048_us: Option<OpenSsl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fsyncs_per_second: Option<f64>,
    /// What `openset audit` found afterwards, where the stores are at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit_findings: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cores: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    processor: Option<String>,
}

#[derive(Debug, Serialize)]
struct OpenSsl {
    sign: f64,
    verify: f64,
}

/// One service between two moments, per purchase.
struct Share {
    cpu_ms: f64,
    floor_ms: f64,
    private: f64,
    public: f64,
    transactions: f64,
    commits: f64,
    wire_bytes: f64,
    rss_mib: f64,
    operations: BTreeMap<String, f64>,
}

impl Share {
    fn of(
        before: &Samples,
        after: &Samples,
        purchases: f64,
        floor: &Floor,
    ) -> anyhow::Result<Self> {
        let each = |name: &str| -> anyhow::Result<f64> {
            Ok((after.value(name)? - before.value(name)?) / purchases)
        };
        let mut share = Self {
            cpu_ms: each("openset_process_cpu_seconds_total")? * 1e3,
            floor_ms: 0.0,
            private: 0.0,
            public: 0.0,
            transactions: each("openset_store_transactions_total")?,
            commits: each("openset_store_commits_total")?,
            wire_bytes: each("openset_connection_received_bytes_total")?
                + each("openset_connection_sent_bytes_total")?,
            rss_mib: after.value("openset_process_resident_memory_bytes")? / MIB,
            operations: BTreeMap::new(),
        };
        for ((operation, bits, then), (_, _, now)) in
            before.operations()?.into_iter().zip(after.operations()?)
        {
            let times = (now - then) / purchases;
            if times <= 0.0 {
                continue;
            }
            share.floor_ms += times * floor.micros(operation, bits) / 1e3;
            if operation.is_private() {
                share.private += times;
            } else {
                share.public += times;
            }
            share
                .operations
                .insert(format!("{}_{bits}", operation.name()), times);
        }
        Ok(share)
    }
}

impl Report {
    pub(super) fn new(
        concurrency: u32,
        before: &Moment,
        after: &Moment,
        outcome: &Outcome,
        floor: &Floor,
    ) -> anyhow::Result<Self> {
        let window = before.at..after.at;
        let mut millis: Vec<f64> = outcome
            .bought
            .iter()
            .filter(|bought| window.contains(&bought.at))
            .map(|bought| bought.took.as_secs_f64() * 1e3)
            .collect();
        millis.sort_by(f64::total_cmp);
        let purchases = after.done.saturating_sub(before.done);
        let shown = outcome.first_error.as_deref().unwrap_or_default();
        ensure!(
            purchases > 0 && !millis.is_empty(),
            "nothing was bought while it was measured; {shown}"
        );
        let each = purchases as f64;
        let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
        let mut shares = BTreeMap::new();
        for party in SHOWN {
            let (then, now) = (before.services.get(party), after.services.get(party));
            let (then, now) = then.zip(now).context("a service without metrics")?;
            shares.insert(party, Share::of(then, now, each, floor)?);
        }
        let by = |value: fn(&Share) -> f64| -> BTreeMap<&'static str, f64> {
            shares
                .iter()
                .map(|(party, share)| (*party, value(share)))
                .collect()
        };
        let sum = |value: fn(&Share) -> f64| shares.values().map(value).sum::<f64>();
        Ok(Self {
            machine: Machine {
                cores: floor.cores,
                processor: processor(),
            },
            provider: default_provider().name(),
            concurrency,
            seconds,
            purchases,
            purchases_per_second: each / seconds,
            latency_ms: Latency {
                p50: quantile(&millis, 50),
                p90: quantile(&millis, 90),
                p99: quantile(&millis, 99),
                max: quantile(&millis, 100),
            },
            errors: outcome.errors,
            first_error: outcome.first_error.clone(),
            efficiency: sum(|s| s.floor_ms) / sum(|s| s.cpu_ms),
            efficiency_by_service: by(|s| s.floor_ms / s.cpu_ms),
            floor_ms_per_purchase: by(|s| s.floor_ms),
            cpu_ms_per_purchase: by(|s| s.cpu_ms),
            generator_cpu_ms_per_purchase: (after.own_cpu_s - before.own_cpu_s) * 1e3 / each,
            rss_mib: by(|s| s.rss_mib),
            private_ops_per_purchase: sum(|s| s.private),
            public_ops_per_purchase: sum(|s| s.public),
            transactions_per_purchase: sum(|s| s.transactions),
            commits_per_purchase: sum(|s| s.commits),
            commits_by_service: by(|s| s.commits),
            wire_bytes_per_purchase: sum(|s| s.wire_bytes),
            wire_bytes_by_service: by(|s| s.wire_bytes),
            operations_per_purchase: shares
                .into_iter()
                .map(|(party, share)| (party, share.operations))
                .collect(),
            operation_us: floor.all(),
            openssl_rsa2048_us: floor
                .openssl_micros
                .map(|[sign, verify]| OpenSsl { sign, verify }),
            fsyncs_per_second: floor.fsyncs_per_second,
            audit_findings: None,
        })
    }

    /// The table, or one JSON document.
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
        } else {
            println!("{}", self.table());
        }
        Ok(())
    }

    /// A bar for each service.
    pub(super) fn chart(&self) -> String {
        let title = format!(
            "Processor time of a purchase: {:.1} a second, {:.0}% of it RSA",
            self.purchases_per_second,
            self.efficiency * 100.0
        );
        let parties: Vec<_> = SHOWN.into_iter().filter(|party| *party != "ca").collect();
        let (floor, cpu) = (&self.floor_ms_per_purchase, &self.cpu_ms_per_purchase);
        chart::svg(&title, &parties, floor, cpu)
    }

    fn table(&self) -> String {
        let machine = self.machine.processor.as_deref();
        let machine = machine.unwrap_or("an unnamed processor");
        let mut lines = vec![
            String::new(),
            format!(
                "{} cores of {machine}, {}",
                self.machine.cores, self.provider
            ),
            format!(
                "{} cardholders for {:.0} s: {} purchases, {} errors",
                self.concurrency, self.seconds, self.purchases, self.errors
            ),
            format!("{:.1} purchases a second", self.purchases_per_second),
            format!(
                "latency in ms: median {:.1}, 90% within {:.1}, 99% within {:.1}, maximum {:.1}",
                self.latency_ms.p50, self.latency_ms.p90, self.latency_ms.p99, self.latency_ms.max
            ),
            String::new(),
            format!(
                "{:<12}{:>10}{:>10}{:>12}{:>9}{:>9}{:>9}{:>11}{:>12}",
                "of each",
                "cpu ms",
                "floor ms",
                "efficiency",
                "private",
                "public",
                "commits",
                "wire bytes",
                "memory MiB"
            ),
        ];
        let of = |map: &BTreeMap<&'static str, f64>, party: &str| {
            map.get(party).copied().unwrap_or_default()
        };
        for party in SHOWN {
            let (private, public) = self.operations_of(party);
            lines.push(format!(
                "{party:<12}{:>10.2}{:>10.2}{:>11.0}%{private:>9.2}{public:>9.2}{:>9.2}{:>11.0}{:>12.1}",
                of(&self.cpu_ms_per_purchase, party),
                of(&self.floor_ms_per_purchase, party),
                of(&self.efficiency_by_service, party) * 100.0,
                of(&self.commits_by_service, party),
                of(&self.wire_bytes_by_service, party),
                of(&self.rss_mib, party),
            ));
        }
        lines.push(format!(
            "{:<12}{:>10.2}{:>10.2}{:>11.0}%{:>9.2}{:>9.2}{:>9.2}{:>11.0}{:>12.1}",
            "all",
            self.cpu_ms_per_purchase.values().sum::<f64>(),
            self.floor_ms_per_purchase.values().sum::<f64>(),
            self.efficiency * 100.0,
            self.private_ops_per_purchase,
            self.public_ops_per_purchase,
            self.commits_per_purchase,
            self.wire_bytes_per_purchase,
            self.rss_mib.values().sum::<f64>(),
        ));
        lines.push(format!(
            "({:.2} transactions share these {:.2} commits; the load generator: {:.2} ms of processor a purchase)",
            self.transactions_per_purchase,
            self.commits_per_purchase,
            self.generator_cpu_ms_per_purchase
        ));
        lines.push(String::new());
        lines.extend(self.prices());
        lines.extend(
            self.first_error
                .iter()
                .map(|e| format!("first error: {}", openset_protocol::plain::plain(e))),
        );
        lines.join("\n")
    }

    fn operations_of(&self, party: &str) -> (f64, f64) {
        let run = self
            .operations_per_purchase
            .get(party)
            .into_iter()
            .flatten();
        let (private, public): (Vec<_>, Vec<_>) =
            run.partition(|(name, _)| name.starts_with("sign") || name.starts_with("decrypt"));
        // An empty sum of these numbers would be shown as -0.
        let sum =
            |of: Vec<(&String, &f64)>| of.into_iter().fold(0.0, |sum, (_, times)| sum + times);
        (sum(private), sum(public))
    }

    /// What the machine asks for an operation.
    fn prices(&self) -> Vec<String> {
        let us = |name: &str| self.operation_us.get(name).copied().unwrap_or_default();
        let mut lines = vec![format!(
            "RSA-2048 in microseconds: sign {:.0}, decrypt {:.0}, verify {:.1}, encrypt {:.1}",
            us("sign_pss_2048"),
            us("decrypt_oaep_2048"),
            us("verify_pss_2048"),
            us("encrypt_oaep_2048")
        )];
        if let Some(openssl) = &self.openssl_rsa2048_us {
            lines.push(format!(
                "the same by `openssl speed`: sign {:.0}, verify {:.1}",
                openssl.sign, openssl.verify
            ));
        }
        if let Some(rate) = self.fsyncs_per_second {
            lines.push(format!(
                "the disk keeps {rate:.0} writes a second, one after another"
            ));
        }
        match self.audit_findings {
            Some(0) => lines.push("the audit finds that all stores agree".to_owned()),
            Some(found) => lines.push(format!("the audit finds {found} discrepancies")),
            None => {}
        }
        lines
    }
}

/// The value that `percent` of all do not exceed (nearest rank).
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// Its name, where the system tells.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        for (percent, expected) in [(50, 50.0), (90, 90.0), (99, 99.0), (100, 100.0)] {
            assert!((quantile(&hundred, percent) - expected).abs() < f64::EPSILON);
        }
        assert!((quantile(&[7.0], 50) - 7.0).abs() < f64::EPSILON);
        assert!((quantile(&[1.0, 2.0, 3.0], 50) - 2.0).abs() < f64::EPSILON);
    }
}
