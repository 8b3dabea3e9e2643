//! What the bank counts.

use openset_service::telemetry::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::decision::Decline;

type Counted = Family<Vec<(&'static str, &'static str)>, Counter>;

/// The issuer's own metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct IssuerMetrics {
    authorizations: Counted,
    movements: Counted,
}

impl IssuerMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register(
                "issuer_authorizations",
                "Authorizations asked for, by outcome",
                own.authorizations.clone(),
            );
            registry.register(
                "issuer_movements",
                "Captures, reversals and credits made",
                own.movements.clone(),
            );
        });
        own
    }

    pub(crate) fn count_authorization(&self, decline: Option<Decline>) {
        let outcome = decline.map_or("approved", Decline::name);
        self.authorizations
            .get_or_create(&vec![("outcome", outcome)])
            .inc();
    }

    pub(crate) fn count_movement(&self, operation: &'static str) {
        self.movements
            .get_or_create(&vec![("operation", operation)])
            .inc();
    }
}
