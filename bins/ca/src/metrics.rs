//! What the CA counts.

use openset_pki::Certificate;
use openset_service::telemetry::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// The reasons that are counted apart.
const REASONS: [&str; 10] = [
    "unknownCard",
    "unknownMerchant",
    "unknownGateway",
    "wrongCode",
    "codeUsed",
    "codeLocked",
    "detailsDiffer",
    "blockedCard",
    "expiredCard",
    "rejected",
];

/// The CA's own metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct CaMetrics {
    certificates: Family<Vec<(&'static str, String)>, Counter>,
    refusals: Family<Vec<(&'static str, &'static str)>, Counter>,
    ocsp: Family<Vec<(&'static str, &'static str)>, Counter>,
    ends: Family<Vec<(&'static str, String)>, Gauge>,
}

impl CaMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register(
                "ca_certificates",
                "Certificates issued, by the owner's role",
                own.certificates.clone(),
            );
            registry.register(
                "ca_refusals",
                "Registrations that ended without certificates, by who refused and why",
                own.refusals.clone(),
            );
            registry.register(
                "ca_ocsp_answers",
                "OCSP requests answered, by what was said",
                own.ocsp.clone(),
            );
            registry.register(
                "ca_seconds_left",
                "Seconds until a certificate of the CA's own or a CRL runs out; negative when it has",
                own.ends.clone(),
            );
        });
        own
    }

    pub(crate) fn count_certificate(&self, certificate: &Certificate) {
        self.certificates
            .get_or_create(&vec![("role", certificate.role().name().to_owned())])
            .inc();
    }

    /// Shows how long all that runs out has left, and nothing else.
    pub(crate) fn show_ends<'a>(&self, ends: impl Iterator<Item = (&'static str, &'a str, i64)>) {
        self.ends.clear();
        for (what, id, left_s) in ends {
            let labels = vec![("what", what.to_owned()), ("ca", id.to_owned())];
            self.ends.get_or_create(&labels).set(left_s);
        }
    }

    pub(crate) fn count_ocsp(&self, outcome: &'static str) {
        self.ocsp.get_or_create(&vec![("outcome", outcome)]).inc();
    }

    /// `reason` is as the bank says it, which is in another party's hands.
    pub(crate) fn count_refusal(&self, by: &'static str, reason: &str) {
        let known = REASONS.iter().find(|known| **known == reason);
        let reason = known.copied().unwrap_or("other");
        let labels = vec![("by", by), ("reason", reason)];
        self.refusals.get_or_create(&labels).inc();
    }
}
