//! What the wallet shows at `/metrics`: how its certificates stand, never whose they are.

use openset_service::telemetry::Metrics;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// The wallet's own metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct WalletMetrics {
    certificates: Family<Vec<(&'static str, &'static str)>, Gauge>,
    seconds_left: Gauge,
    ocsp_responses: Gauge,
}

impl WalletMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register(
                "wallet_certificates",
                "Cards with a certificate, by its status",
                own.certificates.clone(),
            );
            registry.register(
                "wallet_certificate_seconds_left",
                "Seconds until the first certificate of a card that is still good ends; negative when it has",
                own.seconds_left.clone(),
            );
            registry.register(
                "wallet_ocsp_responses",
                "Certificates with an OCSP response that goes along with purchases",
                own.ocsp_responses.clone(),
            );
        });
        own
    }

    /// Shows how many certificates have each status, and how long the first of them has left.
    pub(crate) fn show_certificates(&self, statuses: &[&'static str], seconds_left: i64) {
        self.certificates.clear();
        for status in statuses {
            self.certificates
                .get_or_create(&vec![("status", *status)])
                .inc();
        }
        self.seconds_left.set(seconds_left);
    }

    /// Shows how many certificates have a fresh OCSP response.
    pub(crate) fn show_ocsp_responses(&self, fresh: i64) {
        self.ocsp_responses.set(fresh);
    }
}
