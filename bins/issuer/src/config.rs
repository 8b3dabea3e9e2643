//! The issuer's own options, and what they amount to once they are checked.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use openset_protocol::BrandId;
use openset_protocol::card::Bin;
use openset_service::auth::Tokens;
use serde::{Deserialize, Serialize};

/// Cards are valid for so many years unless told otherwise.
const EXPIRY_YEARS: u8 = 3;
/// What is not captured by then is free again.
const HOLD_LIFETIME_S: u32 = 7 * 24 * 60 * 60;
/// How often holds that have come of age are looked for.
const SWEEP_S: u32 = 60;
/// A pause for tests is never longer: it would outlive the service's own request timeout.
const PAUSE_MS_MAX: u64 = 25_000;

/// The issuer's flags, variables and TOML keys, beside those that every service has.
#[derive(Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The bank's name in registration approvals.
    #[arg(long)]
    pub issuer_name: Option<String>,
    /// Years that a new card is valid.
    #[arg(long)]
    pub expiry_years: Option<u8>,
    /// Seconds after which a hold that was not captured expires.
    #[arg(long)]
    pub hold_lifetime_seconds: Option<u32>,
    /// Seconds between two searches for expired holds.
    #[arg(long)]
    pub sweep_seconds: Option<u32>,
    /// For tests alone: milliseconds to wait after an authorization's commit, before its answer.
    #[arg(long)]
    pub danger_pause_after_commit_ms: Option<u64>,
    /// Brands issued here, with the BIN of each.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub brands: Vec<IssuedBrand>,
    /// Who may call.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub tokens: Tokens,
}

/// `[[brands]]`: a brand whose cards this bank issues.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedBrand {
    /// The brand's name, as in its certificates.
    pub brand: BrandId,
    /// The first six digits of its cards.
    pub bin: Bin,
}

/// The options with their defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) issuer_name: String,
    pub(crate) expiry_years: u8,
    pub(crate) hold_lifetime_s: i64,
    pub(crate) sweep_every: Duration,
    pub(crate) danger_pause_after_commit: Option<Duration>,
    pub(crate) brands: Vec<IssuedBrand>,
    pub(crate) tokens: Tokens,
}

impl Options {
    pub(crate) fn check(self) -> anyhow::Result<Settings> {
        let expiry_years = self.expiry_years.unwrap_or(EXPIRY_YEARS);
        ensure!(
            (1..=20).contains(&expiry_years),
            "expiry_years = {expiry_years}: cards are valid for 1 to 20 years"
        );
        let hold_lifetime_s = self.hold_lifetime_seconds.unwrap_or(HOLD_LIFETIME_S);
        ensure!(hold_lifetime_s > 0, "hold_lifetime_seconds must be above 0");
        let sweep_s = self.sweep_seconds.unwrap_or(SWEEP_S);
        ensure!(sweep_s > 0, "sweep_seconds must be above 0");
        let pause_ms = self.danger_pause_after_commit_ms.unwrap_or(0);
        ensure!(
            pause_ms <= PAUSE_MS_MAX,
            "danger_pause_after_commit_ms is at most {PAUSE_MS_MAX}"
        );
        let brands = if self.brands.is_empty() {
            default_brands()?
        } else {
            self.brands
        };
        if let Some(doubled) = first_doubled(&brands) {
            anyhow::bail!("[[brands]] has the brand or BIN of \"{doubled}\" twice; leave one");
        }
        Ok(Settings {
            issuer_name: self
                .issuer_name
                .unwrap_or_else(|| "OpenSET Test Bank".to_owned()),
            expiry_years,
            hold_lifetime_s: i64::from(hold_lifetime_s),
            sweep_every: Duration::from_secs(u64::from(sweep_s)),
            danger_pause_after_commit: (pause_ms > 0).then(|| Duration::from_millis(pause_ms)),
            brands,
            tokens: self.tokens,
        })
    }
}

impl Settings {
    /// The BIN of a brand that is issued here.
    pub(crate) fn bin(&self, brand: &BrandId) -> Option<&Bin> {
        let issued = self.brands.iter().find(|issued| issued.brand == *brand)?;
        Some(&issued.bin)
    }
}

/// BINs that brands publish in their examples; no real card begins so.
fn default_brands() -> anyhow::Result<Vec<IssuedBrand>> {
    [("Visa", "400000"), ("MasterCard", "555555")]
        .into_iter()
        .map(|(brand, bin)| {
            Ok(IssuedBrand {
                brand: brand.parse().context("a default brand")?,
                bin: bin.parse().context("a default BIN")?,
            })
        })
        .collect()
}

fn first_doubled(brands: &[IssuedBrand]) -> Option<&BrandId> {
    brands.iter().enumerate().find_map(|(place, issued)| {
        let before = brands.iter().take(place);
        let doubled = before
            .into_iter()
            .any(|other| other.brand == issued.brand || other.bin == issued.bin);
        doubled.then_some(&issued.brand)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn options_without_anything_have_test_bins_and_seven_days() {
        let settings = Options::default().check().unwrap();
        let bin = |brand: &str| settings.bin(&brand.parse().unwrap()).map(Bin::as_str);
        assert_eq!(bin("Visa"), Some("400000"));
        assert_eq!(bin("MasterCard"), Some("555555"));
        assert_eq!(bin("Diners"), None);
        assert_eq!(settings.hold_lifetime_s, 604_800);
        assert_eq!(settings.danger_pause_after_commit, None);
    }

    #[test]
    fn options_refuse_one_bin_for_two_brands() {
        let brand = |brand: &str| IssuedBrand {
            brand: brand.parse().unwrap(),
            bin: "400000".parse().unwrap(),
        };
        let options = Options {
            brands: vec![brand("Visa"), brand("MasterCard")],
            ..Options::default()
        };
        assert!(options.check().is_err());
    }
}
