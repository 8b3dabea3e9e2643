//! How long the lists that are held are still good: a gauge, and a warning before one runs out.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use openset_jose::Thumbprint;
use openset_pki::Certificate;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Trust;
use crate::clock;
use crate::telemetry::Metrics;

/// CAs issue the next list when half of the life of one has passed: with a quarter left, something keeps it away.
const WARN_SHARE: i64 = 4;

/// A CRL or BrandCRLIdentifier that is held.
#[derive(Debug)]
struct List {
    kind: &'static str,
    /// The brand; none for a root's CRL.
    brand: String,
    /// The CN of the CA that issued it.
    issuer: String,
    begins_s: i64,
    ends_s: i64,
    /// When the certificate of its CA ends: after that there is no newer one.
    issuer_ends_s: i64,
    thumbprint: Thumbprint,
}

impl List {
    fn left_s(&self, now_s: i64) -> i64 {
        self.ends_s.saturating_sub(now_s)
    }

    /// Whether a newer one ought to have come.
    fn runs_out(&self, now_s: i64) -> bool {
        let life_s = self.ends_s.saturating_sub(self.begins_s);
        self.left_s(now_s) < life_s / WARN_SHARE && self.ends_s < self.issuer_ends_s
    }
}

/// `openset_list_seconds_left`: read from what is held each time that it is asked for.
#[derive(Debug)]
struct SecondsLeft(Arc<Trust>);

impl Trust {
    /// Shows in the metrics how long each list has left.
    pub fn register(self: &Arc<Self>, metrics: &Metrics) {
        let collector = Box::new(SecondsLeft(Arc::clone(self)));
        metrics.register(|registry| registry.register_collector(collector));
    }

    /// When each CRL and BrandCRLIdentifier runs out that is held.
    pub(super) fn freshness(&self) -> Vec<i64> {
        self.lists().iter().map(|list| list.ends_s).collect()
    }

    /// The newest list of each CA that has not ended.
    fn lists(&self) -> Vec<List> {
        let mut lists = Vec::new();
        let mut seen = HashSet::new();
        for brand in self.brands() {
            for crl in self.verifier.crls_held(&brand) {
                // A root's is held once, for all brands.
                if !seen.insert(crl.thumbprint()) {
                    continue;
                }
                let issuer = self.named(crl.issuer_der());
                let of_brand = issuer.as_ref().and_then(Certificate::brand);
                lists.push(List {
                    kind: "crl",
                    brand: of_brand.map(ToString::to_string).unwrap_or_default(),
                    issuer: common_name(issuer.as_ref()),
                    begins_s: crl.this_update(),
                    ends_s: crl.next_update(),
                    issuer_ends_s: ending(issuer.as_ref()),
                    thumbprint: crl.thumbprint(),
                });
            }
            for bci in self.bcis_in_effect(&brand) {
                let issuer = self.named(bci.issuer_der());
                lists.push(List {
                    kind: "brand_crl_identifier",
                    brand: brand.to_string(),
                    issuer: common_name(issuer.as_ref()),
                    begins_s: bci.not_before(),
                    ends_s: bci.not_after(),
                    issuer_ends_s: ending(issuer.as_ref()),
                    thumbprint: bci.thumbprint(),
                });
            }
        }
        let now_s = clock::now_seconds();
        lists.retain(|list| list.issuer_ends_s > now_s);
        lists
    }

    /// The CA or root of this name.
    fn named(&self, name_der: &[u8]) -> Option<Certificate> {
        let chain = self.verifier.authority_chain(name_der, None);
        chain.map(|chain| chain.leaf().clone()).or_else(|| {
            let roots = self.verifier.roots();
            roots
                .into_iter()
                .find(|root| root.subject_der() == name_der)
        })
    }

    /// Says once of each list that it runs out and no newer one has come.
    pub(super) fn warn_of_lists(&self) {
        let now_s = clock::now_seconds();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        for list in newly_due(self.lists(), &mut warned, now_s) {
            tracing::warn!(
                kind = list.kind,
                issuer = list.issuer,
                seconds_left = list.left_s(now_s),
                "a revocation list runs out and the certificate authority offers no newer one; below it nobody is \
                 trusted then"
            );
        }
    }
}

/// The lists that run out and of which that was not said before; what was said is noted.
fn newly_due(lists: Vec<List>, warned: &mut HashSet<Thumbprint>, now_s: i64) -> Vec<List> {
    let due = lists.into_iter().filter(|list| list.runs_out(now_s));
    let (before, newly): (Vec<_>, Vec<_>) = due.partition(|list| warned.contains(&list.thumbprint));
    *warned = before
        .iter()
        .chain(&newly)
        .map(|list| list.thumbprint)
        .collect();
    newly
}

fn ending(issuer: Option<&Certificate>) -> i64 {
    issuer.map_or(i64::MAX, Certificate::not_after)
}

fn common_name(issuer: Option<&Certificate>) -> String {
    issuer.map_or_else(|| "unknown".to_owned(), |ca| ca.common_name().to_owned())
}

impl Collector for SecondsLeft {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now_s = clock::now_seconds();
        let family: Family<Vec<(&'static str, String)>, Gauge> = Family::default();
        for list in self.0.lists() {
            let labels = vec![
                ("kind", list.kind.to_owned()),
                ("brand", list.brand.clone()),
                ("issuer", list.issuer.clone()),
            ];
            family.get_or_create(&labels).set(list.left_s(now_s));
        }
        let metric = encoder.encode_descriptor(
            "list_seconds_left",
            "Seconds until a CRL or BrandCRLIdentifier that is held runs out; negative when it has",
            None,
            MetricType::Gauge,
        )?;
        family.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list that is good from 0 to 1000, of a CA that ends then.
    fn list(name: &str, issuer_ends_s: i64) -> List {
        List {
            kind: "crl",
            brand: "Visa".to_owned(),
            issuer: name.to_owned(),
            begins_s: 0,
            ends_s: 1000,
            issuer_ends_s,
            thumbprint: Thumbprint::of(name.as_bytes()),
        }
    }

    #[test]
    fn a_list_is_warned_of_once_in_the_last_quarter_of_its_life() {
        let mut warned = HashSet::new();
        let mut due = |lists, now_s| {
            let newly = newly_due(lists, &mut warned, now_s);
            newly
                .into_iter()
                .map(|list| list.issuer)
                .collect::<Vec<_>>()
        };
        let one = || list("one", 5000);
        assert!(due(vec![one()], 750).is_empty());
        assert_eq!(due(vec![one()], 751), ["one"]);
        assert_eq!(due(vec![one(), list("other", 5000)], 752), ["other"]);
        assert!(due(vec![one(), list("other", 5000)], 2000).is_empty());
        // A newer list has taken its place, and ran out in its turn.
        assert_eq!(due(vec![list("newer", 5000)], 2000), ["newer"]);
    }

    #[test]
    fn the_last_list_of_a_ca_that_ends_with_it_is_not_warned_of() {
        let mut warned = HashSet::new();
        assert!(newly_due(vec![list("last", 1000)], &mut warned, 990).is_empty());
        assert!(warned.is_empty());
    }
}
