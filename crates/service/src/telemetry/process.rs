//! What a process costs: processor time, memory, bytes, commits, RSA operations. All of it is counted where it happens and
//! read when somebody asks.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use openset_jose::{KeySize, Operation};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{InspectReader, InspectWriter};

static RECEIVED: AtomicU64 = AtomicU64::new(0);
static SENT: AtomicU64 = AtomicU64::new(0);

/// Counts what goes through connections that others made to this process.
pub(crate) struct Counted;

impl Counted {
    /// The same stream, its bytes counted both ways.
    pub(crate) fn wrap<S: AsyncRead + AsyncWrite + Unpin>(
        stream: S,
    ) -> impl AsyncRead + AsyncWrite + Unpin {
        let reader = InspectReader::new(stream, |bytes: &[u8]| add(&RECEIVED, bytes.len()));
        InspectWriter::new(reader, |bytes: &[u8]| add(&SENT, bytes.len()))
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or_default(), Ordering::Relaxed);
}

/// `openset_process_*`, `openset_connection_*`, `openset_store_*`, `openset_rsa_operations`.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        counter(
            &mut encoder,
            "process_cpu",
            "Processor time of this process, all threads",
            Some(&Unit::Seconds),
            cpu_seconds(),
        )?;
        if let Some(bytes) = resident_bytes() {
            let gauge = ConstGauge::new(bytes);
            let text = "Memory of this process that is resident";
            let unit = Unit::Bytes;
            let family = encoder.encode_descriptor(
                "process_resident_memory",
                text,
                Some(&unit),
                gauge.metric_type(),
            )?;
            gauge.encode(family)?;
        }
        let bytes = Some(&Unit::Bytes);
        let received = RECEIVED.load(Ordering::Relaxed);
        let text = "Read from connections that others made, TLS apart";
        counter(&mut encoder, "connection_received", text, bytes, received)?;
        let sent = SENT.load(Ordering::Relaxed);
        let text = "Written to connections that others made, TLS apart";
        counter(&mut encoder, "connection_sent", text, bytes, sent)?;
        let text = "Transactions kept";
        let transactions = openset_store::transactions();
        counter(&mut encoder, "store_transactions", text, None, transactions)?;
        let text =
            "Commits of the database, each a wait for its disk; several transactions may share one";
        let commits = openset_store::commits();
        counter(&mut encoder, "store_commits", text, None, commits)?;
        operations(&mut encoder)
    }
}

fn counter<N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: N,
) -> Result<(), fmt::Error>
where
    ConstCounter<N>: prometheus_client::encoding::EncodeMetric,
{
    let counter = ConstCounter::new(value);
    let family = encoder.encode_descriptor(name, help, unit, counter.metric_type())?;
    counter.encode(family)
}

fn operations(encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let name = "rsa_operations";
    let help = "RSA operations run, by the largest modulus of their class in bits";
    let kind = ConstCounter::new(0_u64).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for operation in Operation::ALL {
        for size in KeySize::ALL {
            let labels = [
                ("operation", operation.name().to_owned()),
                ("bits", size.bits().to_string()),
            ];
            let run = ConstCounter::new(operation.run(size));
            run.encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn cpu_seconds() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    // A second is 10^9 nanoseconds; both numbers are small enough to be exact.
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "no process runs for 2^53 seconds"
    )]
    let seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9;
    seconds
}

/// Where the system tells, which is on Linux.
fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = i64::try_from(rustix::param::page_size()).ok()?;
    pages.checked_mul(page)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn a_process_tells_what_it_costs() {
        let text = Metrics::new().encode().unwrap();
        for name in [
            "openset_process_cpu_seconds_total ",
            "openset_process_resident_memory_bytes ",
            "openset_connection_received_bytes_total ",
            "openset_connection_sent_bytes_total ",
            "openset_store_transactions_total ",
            "openset_store_commits_total ",
            "openset_rsa_operations_total{operation=\"sign_pss\",bits=\"2048\"} ",
            "openset_rsa_operations_total{operation=\"encrypt_oaep\",bits=\"4096\"} ",
        ] {
            assert!(text.contains(name), "{name} in {text}");
        }
        assert!(cpu_seconds() > 0.0);
        assert!(resident_bytes().unwrap() > 1024 * 1024);
    }

    #[tokio::test]
    async fn bytes_are_counted_both_ways() {
        const MANY: usize = 10_000_000;
        let (ours, mut theirs) = duplex(1 << 16);
        let (received, sent) = (
            RECEIVED.load(Ordering::Relaxed),
            SENT.load(Ordering::Relaxed),
        );
        let mut ours = Counted::wrap(ours);
        let talk = async {
            theirs.write_all(&vec![1; MANY]).await.unwrap();
            theirs.read_exact(&mut vec![0; MANY]).await.unwrap();
        };
        let answer = async {
            ours.read_exact(&mut vec![0; MANY]).await.unwrap();
            ours.write_all(&vec![2; MANY]).await.unwrap();
        };
        tokio::join!(talk, answer);
        // Other tests of this process have connections, too, but not with so much.
        let many = u64::try_from(MANY).unwrap();
        let all = |now: u64, then: u64| (many..many + 5_000_000).contains(&(now - then));
        assert!(all(RECEIVED.load(Ordering::Relaxed), received));
        assert!(all(SENT.load(Ordering::Relaxed), sent));
    }
}
