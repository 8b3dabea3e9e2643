//! What the people who run a party see of its own certificates: a list, a gauge, and warnings.

use openset_jose::Thumbprint;
use openset_pki::{Certificate, Chain, Expect, PathError, PathVerifier, Purpose};
use openset_protocol::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use utoipa::ToSchema;

use super::keyring::{HeldPair, Keyring};
use crate::clock;
use crate::telemetry::Metrics;

const DAY_S: i64 = 86_400;

/// A party's own certificates, and what it lacks.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnCertificates {
    /// By brand, the newest last.
    certificates: Vec<OwnCertificate>,
    /// Brands without certificates.
    missing: Vec<Missing>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
struct OwnCertificate {
    #[schema(examples("Visa"))]
    brand: String,
    /// What its key is for.
    #[schema(value_type = String, examples("signature"))]
    purpose: Purpose,
    /// 1 is what the enrolment brought, and each renewal brings the next.
    generation: u32,
    status: Status,
    /// Whole days until it ends; negative when it has.
    days_left: i64,
    #[schema(value_type = String)]
    not_before: Timestamp,
    #[schema(value_type = String)]
    not_after: Timestamp,
    common_name: String,
    /// Its serial number, hexadecimal.
    serial: String,
    /// SHA-256 of the certificate, base64url.
    #[schema(value_type = String)]
    thumbprint: Thumbprint,
    /// Why others refuse it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// Why it is not renewed though it is time.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_renewed: Option<String>,
}

/// What a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// In use.
    Good,
    /// Renewed since, and kept for what began with it.
    Retired,
    /// Ended.
    Expired,
    /// Revoked by the CA.
    Revoked,
    /// Refused for another reason, which `refused` tells.
    Refused,
}

/// A brand without certificates.
#[derive(Debug, Serialize, ToSchema)]
struct Missing {
    brand: String,
    why: String,
}

impl OwnCertificates {
    /// What is held, as `verifier` judges it; without one, as it was when it came.
    #[must_use]
    pub fn of(keyring: &Keyring, verifier: Option<&PathVerifier>) -> Self {
        let now_s = clock::now_seconds();
        let pairs = keyring.pairs();
        let certificates = pairs.iter().flat_map(|pair| {
            chains(pair).map(|chain| OwnCertificate::of(pair, chain, keyring, verifier, now_s))
        });
        let missing = keyring.missing().into_iter();
        Self {
            certificates: certificates.collect(),
            missing: missing
                .map(|(brand, why)| Missing {
                    brand: brand.to_string(),
                    why,
                })
                .collect(),
        }
    }
}

impl OwnCertificate {
    fn of(
        pair: &HeldPair,
        chain: &Chain,
        keyring: &Keyring,
        verifier: Option<&PathVerifier>,
        now_s: i64,
    ) -> Self {
        let leaf = chain.leaf();
        let refusal = verifier.and_then(|verifier| {
            let expect = Expect {
                role: leaf.role(),
                purpose: leaf.purpose(),
                brand: Some(&pair.brand),
            };
            verifier.verify(chain, &expect, now_s).err()
        });
        Self {
            brand: pair.brand.to_string(),
            purpose: leaf.purpose(),
            generation: pair.generation.number(),
            status: status(leaf, refusal.as_ref(), pair.current, now_s),
            days_left: days_left(leaf, now_s),
            not_before: Timestamp::from_seconds(leaf.not_before()),
            not_after: Timestamp::from_seconds(leaf.not_after()),
            common_name: leaf.common_name().to_owned(),
            serial: hex::encode(leaf.serial()),
            thumbprint: leaf.thumbprint(),
            refused: refusal.map(|refusal| refusal.to_string()),
            not_renewed: keyring.unrenewed(&pair.brand).filter(|_| pair.current),
        }
    }
}

fn status(leaf: &Certificate, refusal: Option<&PathError>, current: bool, now_s: i64) -> Status {
    match refusal {
        Some(PathError::Revoked(_)) => Status::Revoked,
        _ if leaf.not_after() < now_s => Status::Expired,
        Some(_) => Status::Refused,
        None if current => Status::Good,
        None => Status::Retired,
    }
}

/// Whole days until a certificate ends; negative when it has.
#[must_use]
pub fn days_left(leaf: &Certificate, now_s: i64) -> i64 {
    leaf.not_after().saturating_sub(now_s).div_euclid(DAY_S)
}

fn chains(pair: &HeldPair) -> impl Iterator<Item = &Chain> {
    let held = &pair.credentials;
    [held.signature.chain(), held.key_exchange.chain()].into_iter()
}

/// `openset_certificate_seconds_left`: read from the keyring each time that it is asked for.
#[derive(Debug)]
struct SecondsLeft(Keyring);

impl Keyring {
    /// Shows in the metrics how long the certificates in use have left.
    pub fn register(&self, metrics: &Metrics) {
        let collector = Box::new(SecondsLeft(self.clone()));
        metrics.register(|registry| registry.register_collector(collector));
    }
}

impl Collector for SecondsLeft {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now_s = clock::now_seconds();
        let family: Family<Vec<(&'static str, String)>, Gauge> = Family::default();
        let pairs = self.0.pairs();
        for pair in pairs.iter().filter(|pair| pair.current) {
            for chain in chains(pair) {
                let leaf = chain.leaf();
                let labels = vec![
                    ("brand", pair.brand.to_string()),
                    ("purpose", leaf.purpose().name().replace(' ', "_")),
                ];
                let left_s = leaf.not_after().saturating_sub(now_s);
                family.get_or_create(&labels).set(left_s);
            }
        }
        let metric = encoder.encode_descriptor(
            "certificate_seconds_left",
            "Seconds until a certificate in use ends; negative when it has",
            None,
            MetricType::Gauge,
        )?;
        family.encode(metric)
    }
}

/// A warning is logged when so many days are left; the latest stands first.
const WARN_DAYS: [i64; 3] = [1, 7, 30];
/// Certificates are renewed when a third of their lifetime is left: with a quarter left something keeps it from
/// coming about.
const WARN_SHARE: i64 = 4;

/// At how many days the last warning of a brand's certificates was.
#[derive(Debug, Default)]
pub(super) struct Warned(Option<i64>);

impl Warned {
    /// At how many days a warning is due, if one is that was not given before; of a pair, the one that ends first
    /// counts.
    pub(super) fn due(&mut self, left_s: i64, lifetime_s: i64) -> Option<i64> {
        let reached = |days: &i64| left_s <= days.saturating_mul(DAY_S);
        let late = left_s < lifetime_s / WARN_SHARE;
        let Some(days) = WARN_DAYS.into_iter().find(reached).filter(|_| late) else {
            self.0 = None;
            return None;
        };
        let before = self.0.replace(days);
        before.is_none_or(|before| days < before).then_some(days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_warns_once_and_again_after_a_renewal() {
        let mut warned = Warned::default();
        let mut due = |days: i64| warned.due(days * DAY_S, 365 * DAY_S);
        assert_eq!((due(31), due(30), due(20)), (None, Some(30), None));
        assert_eq!((due(7), due(6), due(-1)), (Some(7), None, Some(1)));
        assert_eq!((due(364), due(30)), (None, Some(30)));
    }

    #[test]
    fn short_lived_certificates_warn_only_when_they_were_not_renewed_in_time() {
        let mut warned = Warned::default();
        let mut due = |left_s| warned.due(left_s, 3600);
        assert_eq!((due(3600), due(900), due(899)), (None, None, Some(1)));
    }
}
