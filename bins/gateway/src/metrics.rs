//! What the gateway counts.

use openset_protocol::messages::auth::AuthCode;
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_service::telemetry::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::store::authorizations::name_of;

/// Labels are code names, so their number is bounded.
type Counted = Family<Vec<(&'static str, String)>, Counter>;

/// The gateway's own metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct GatewayMetrics {
    authorizations: Counted,
    reversals: Counted,
    items: Counted,
}

impl GatewayMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            let text = "AuthReq answered, by AuthCode";
            registry.register("gateway_authorizations", text, own.authorizations.clone());
            let text = "AuthRevReq answered, by AuthRevCode";
            registry.register("gateway_reversals", text, own.reversals.clone());
            let text =
                "Items of CapReq, CapRevReq, CredReq and CredRevReq answered, by message and code";
            registry.register("gateway_items", text, own.items.clone());
        });
        own
    }

    pub(crate) fn count_authorization(&self, code: AuthCode) {
        let label = ("auth_code", name_of(code).unwrap_or_default());
        self.authorizations.get_or_create(&vec![label]).inc();
    }

    pub(crate) fn count_reversal(&self, code: AuthRevCode) {
        let label = ("auth_rev_code", name_of(code).unwrap_or_default());
        self.reversals.get_or_create(&vec![label]).inc();
    }

    pub(crate) fn count_item(&self, message: &str, code: &str) {
        let labels = vec![("message", message.to_owned()), ("code", code.to_owned())];
        self.items.get_or_create(&labels).inc();
    }
}
