//! What the services say of themselves at `/metrics`, and what lies between two such moments.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

use super::drive::Driver;
use crate::demo::calls::Calls;
use crate::demo::processes::Services;

/// All services at one moment of the load.
pub(super) struct Moment {
    pub(super) at: Instant,
    /// Purchases answered until then.
    pub(super) done: u64,
    /// Processor time of this process, in seconds.
    pub(super) own_cpu_s: f64,
    pub(super) services: BTreeMap<&'static str, Samples>,
}

/// The samples of one service: name with labels, value.
#[derive(Debug, Default)]
pub(super) struct Samples(BTreeMap<String, f64>);

/// Asks every service.
pub(super) async fn all(calls: &Calls, driver: &Driver) -> anyhow::Result<Moment> {
    let (at, done) = (Instant::now(), driver.done());
    let mut services = BTreeMap::new();
    for party in Services::parties() {
        let text = calls.text(party, "metrics").await?;
        let samples = Samples::parse(&text)
            .with_context(|| format!("{party}'s metrics are not what they should be"))?;
        services.insert(party, samples);
    }
    let own = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Moment {
        at,
        done,
        own_cpu_s: own.tv_sec as f64 + own.tv_nsec as f64 / 1e9,
        services,
    })
}

impl Samples {
    /// Reads the OpenMetrics text format; times of samples are not used here.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').context("a sample without a value")?;
            let value = value
                .parse()
                .with_context(|| format!("{value:?} is no number"))?;
            samples.insert(name.to_owned(), value);
        }
        Ok(Self(samples))
    }

    /// One sample.
    pub(super) fn value(&self, name: &str) -> anyhow::Result<f64> {
        let value = self.0.get(name).copied();
        value.with_context(|| format!("no {name} in the metrics; is the service an older one?"))
    }

    /// The RSA operations: name, bits of the key, how often.
    pub(super) fn operations(&self) -> anyhow::Result<Vec<(openset_jose::Operation, u16, f64)>> {
        let mut found = Vec::new();
        for operation in openset_jose::Operation::ALL {
            for size in openset_jose::KeySize::ALL {
                let (name, bits) = (operation.name(), size.bits());
                let sample =
                    format!("openset_rsa_operations_total{{operation=\"{name}\",bits=\"{bits}\"}}");
                found.push((operation, bits, self.value(&sample)?));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn samples_are_read_and_what_is_missing_is_named() {
        let text = "# HELP a b\n# TYPE a counter\na_total 3\nb{x=\"y z\"} 0.5\n# EOF\n";
        let samples = Samples::parse(text).unwrap();
        assert!((samples.value("a_total").unwrap() - 3.0).abs() < f64::EPSILON);
        assert!((samples.value("b{x=\"y z\"}").unwrap() - 0.5).abs() < f64::EPSILON);
        let missing = samples.value("c").unwrap_err();
        assert!(missing.to_string().contains("no c in the metrics"));
        assert!(Samples::parse("a word").is_err());
    }
}
