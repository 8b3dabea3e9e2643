//! The gateway's own options, and what they amount to once they are checked.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use openset_jose::Thumbprint;
use openset_protocol::BrandId;
use openset_protocol::balance::{EARLY_DAYS_MAX, TOLERANCE_PERCENT_MAX};
use openset_protocol::card::Bin;
use openset_service::auth::Tokens;
use openset_service::config::{Secret, sha256, url};
use openset_store::SecretString;
use reqwest::Url;
use serde::{Deserialize, Serialize};

/// The most characters of a text for cardholders.
const MESSAGE_CHARS_MAX: usize = 200;
/// A pause for tests is never longer: it would outlive the service's own request timeout.
const PAUSE_MS_MAX: u64 = 25_000;

/// The gateway's flags, variables and TOML keys, beside those that every service has.
#[derive(Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The acquirer's name in registration approvals.
    #[arg(long)]
    pub acquirer_name: Option<String>,
    /// The acquirer's BIN, six digits.
    #[arg(long)]
    pub acquirer_bin: Option<String>,
    /// The gateway's name at the acquirer.
    #[arg(long)]
    pub gateway_id: Option<String>,
    /// The code that the brand gave, for enrolment.
    #[arg(long)]
    pub activation_code: Option<Secret>,
    /// SHA-256 (hexadecimal) of the CA's policy that is accepted; whichever it shows if absent.
    #[arg(long)]
    pub policy_sha256: Option<String>,
    /// Where the issuer answers.
    #[arg(long)]
    pub issuer_url: Option<String>,
    /// The token that the issuer expects.
    #[arg(long)]
    pub issuer_token: Option<Secret>,
    /// A text for the cardholder, sent with each approval.
    #[arg(long)]
    pub message_of_day: Option<String>,
    /// Take payments of cardholders without a certificate, where the gateway's own certificate allows them. Off unless set.
    #[arg(long)]
    pub accept_unsigned: Option<bool>,
    /// For tests alone: milliseconds to wait after a request was stored, before the issuer is asked.
    #[arg(long)]
    pub danger_pause_before_issuer_ms: Option<u64>,
    /// The brands that are served.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub brands: Vec<BrandId>,
    /// The acquirer's merchants.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub merchants: Vec<Merchant>,
    /// Who may call.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub tokens: Tokens,
}

/// `[[merchants]]`: a merchant with whom the acquirer has a contract.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merchant {
    /// Its name at the acquirer.
    pub merchant_id: String,
    /// Its name for cardholders.
    pub name: String,
    /// Its country, ISO 3166 numeric.
    pub country: String,
    /// Its merchant category code, ISO 18245.
    pub merch_cat_code: String,
    /// The brands that it may take.
    pub brands: Vec<BrandId>,
    /// The code that the acquirer gave it, for enrolment.
    pub activation_code: Secret,
    /// By so many percent the authorizations of a purchase may come to more than its amount; 0 if absent.
    #[serde(default)]
    pub tolerance_percent: u8,
    /// So many days before its time a recurring payment of it may come; 0 if absent.
    #[serde(default)]
    pub recurring_early_days: u16,
    /// Whether it may have an authorization captured in the same request, as a sale; it may if absent.
    #[serde(default = "yes")]
    pub capture_now: bool,
}

fn yes() -> bool {
    true
}

/// The options with their defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) acquirer_name: String,
    pub(crate) acquirer_bin: Bin,
    pub(crate) gateway_id: String,
    pub(crate) activation_code: Option<SecretString>,
    pub(crate) policy_accepted: Option<Thumbprint>,
    pub(crate) issuer_url: Url,
    pub(crate) issuer_token: SecretString,
    pub(crate) message_of_day: Option<String>,
    pub(crate) accept_unsigned: bool,
    pub(crate) danger_pause_before_issuer: Option<Duration>,
    pub(crate) brands: Vec<BrandId>,
    pub(crate) merchants: Vec<Merchant>,
    pub(crate) tokens: Tokens,
}

impl Options {
    pub(crate) fn check(self) -> anyhow::Result<Settings> {
        let acquirer_bin = self
            .acquirer_bin
            .context("set acquirer_bin: the acquirer's six digits")?;
        let acquirer_bin = acquirer_bin.parse().context("acquirer_bin")?;
        let issuer_url = self
            .issuer_url
            .context("set issuer_url: where the issuer answers")?;
        let issuer_token = self
            .issuer_token
            .context("set issuer_token: a token of scope gateway in the issuer's configuration")?;
        ensure!(
            !self.brands.is_empty(),
            "set brands = [\"Visa\"] or more: what the gateway serves"
        );
        let pause_ms = self.danger_pause_before_issuer_ms.unwrap_or(0);
        ensure!(
            pause_ms <= PAUSE_MS_MAX,
            "danger_pause_before_issuer_ms is at most {PAUSE_MS_MAX}"
        );
        if let Some(text) = &self.message_of_day {
            let fits =
                text.chars().count() <= MESSAGE_CHARS_MAX && !text.contains(char::is_control);
            ensure!(
                fits,
                "message_of_day has at most {MESSAGE_CHARS_MAX} characters, no control characters"
            );
        }
        for merchant in &self.merchants {
            merchant.check(&self.brands)?;
        }
        if let Some(doubled) = first_doubled(&self.merchants) {
            anyhow::bail!("[[merchants]] has merchant_id = \"{doubled}\" twice; leave one");
        }
        Ok(Settings {
            acquirer_name: self
                .acquirer_name
                .unwrap_or_else(|| "OpenSET Test Acquirer".to_owned()),
            acquirer_bin,
            gateway_id: self.gateway_id.unwrap_or_else(|| "gateway-1".to_owned()),
            activation_code: self.activation_code.map(SecretString::from),
            policy_accepted: policy_accepted(self.policy_sha256.as_deref())?,
            issuer_url: url(&issuer_url, "issuer_url")?,
            issuer_token: issuer_token.into(),
            message_of_day: self.message_of_day,
            accept_unsigned: self.accept_unsigned.unwrap_or_default(),
            danger_pause_before_issuer: (pause_ms > 0).then(|| Duration::from_millis(pause_ms)),
            brands: self.brands,
            merchants: self.merchants,
            tokens: self.tokens,
        })
    }
}

fn policy_accepted(text: Option<&str>) -> anyhow::Result<Option<Thumbprint>> {
    let digest = text.map(|text| sha256(text, "policy_sha256")).transpose()?;
    Ok(digest.map(Thumbprint::from_bytes))
}

impl Merchant {
    fn check(&self, served: &[BrandId]) -> anyhow::Result<()> {
        let id = &self.merchant_id;
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        let named = (1..=30).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        ensure!(
            named,
            "[[merchants]] merchant_id = \"{id}\": 1 to 30 visible ASCII characters"
        );
        ensure!(
            digits(&self.country, 3),
            "[[merchants]] {id}: country is three digits (ISO 3166), such as \"276\""
        );
        ensure!(
            digits(&self.merch_cat_code, 4),
            "[[merchants]] {id}: merch_cat_code is four digits, such as \"5942\""
        );
        ensure!(
            !self.activation_code.expose().is_empty(),
            "[[merchants]] {id}: set activation_code"
        );
        ensure!(
            self.tolerance_percent <= TOLERANCE_PERCENT_MAX,
            "[[merchants]] {id}: tolerance_percent is at most {TOLERANCE_PERCENT_MAX}"
        );
        ensure!(
            self.recurring_early_days <= EARLY_DAYS_MAX,
            "[[merchants]] {id}: recurring_early_days is at most {EARLY_DAYS_MAX}"
        );
        match self.brands.iter().find(|brand| !served.contains(brand)) {
            Some(brand) => anyhow::bail!(
                "[[merchants]] {id}: the brand \"{brand}\" is not among this gateway's brands"
            ),
            None => Ok(()),
        }
    }
}

impl Settings {
    /// The merchant of this name, if it may take the brand.
    pub(crate) fn merchant(&self, merchant_id: &str, brand: &BrandId) -> Option<&Merchant> {
        let named = self
            .merchants
            .iter()
            .find(|merchant| merchant.merchant_id == merchant_id)?;
        named.brands.contains(brand).then_some(named)
    }
}

fn first_doubled(merchants: &[Merchant]) -> Option<&str> {
    merchants.iter().enumerate().find_map(|(place, merchant)| {
        let mut before = merchants.iter().take(place);
        before
            .any(|other| other.merchant_id == merchant.merchant_id)
            .then_some(merchant.merchant_id.as_str())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const WHOLE: &str = r#"
        acquirer_bin = "411111"
        issuer_url = "http://127.0.0.1:7002"
        issuer_token = "a-token-of-the-issuer"
        brands = ["Visa"]
        [[merchants]]
        merchant_id = "shop-1"
        name = "Shop"
        country = "276"
        merch_cat_code = "5942"
        brands = ["Visa"]
        activation_code = "ABC"
    "#;

    fn refusal(altered: &str, by: &str) -> String {
        let options: Options = toml::from_str(&WHOLE.replace(altered, by)).unwrap();
        options.check().unwrap_err().to_string()
    }

    #[test]
    fn options_that_are_whole_are_taken() {
        let settings = toml::from_str::<Options>(WHOLE).unwrap().check().unwrap();
        let merchant = |id, brand: &str| settings.merchant(id, &brand.parse().unwrap()).is_some();
        assert!(merchant("shop-1", "Visa"));
        assert!(!merchant("shop-1", "MasterCard"));
        assert!(!merchant("shop-2", "Visa"));
    }

    #[test]
    fn options_name_what_is_wrong() {
        assert!(refusal(r#"country = "276""#, r#"country = "DE""#).contains("country"));
        assert!(refusal(r#"acquirer_bin = "411111""#, "").contains("acquirer_bin"));
        assert!(refusal(r#"brands = ["Visa"]"#, "brands = []").contains("brands"));
        let tolerant = "country = \"276\"\ntolerance_percent = 101";
        assert!(refusal(r#"country = "276""#, tolerant).contains("tolerance_percent"));
        let early = "country = \"276\"\nrecurring_early_days = 367";
        assert!(refusal(r#"country = "276""#, early).contains("recurring_early_days"));
        assert!(refusal("issuer_token = \"a-token-of-the-issuer\"", "").contains("issuer_token"));
    }
}
