//! The wallet's own options.

use anyhow::ensure;
use openset_service::auth::Tokens;
use reqwest::Url;
use serde::{Deserialize, Serialize};

/// Options of the wallet; see [`openset_service::config`].
#[derive(Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// A merchant's address that the wallet may call, for example `https://shop.example`; may be repeated. No
    /// other is called, not even on the wallet's own machine: what serves there need not expect strangers.
    #[arg(long)]
    pub allowed_origins: Vec<String>,
    /// Renew a card's certificate when fewer days are left; when a third of its time is left unless given.
    #[arg(long)]
    pub renewal_days: Option<u32>,
    /// Seconds between two looks for OCSP responses about the cards' certificates, which go along with purchases: 60
    /// unless given, 0 for none. Each pause is shorter by chance, by half of it at most.
    #[arg(long)]
    pub staple_seconds: Option<u32>,
    /// Hold cards that no CA has certified, and pay with them unsigned where merchant and gateway take that. The shop sees no
    /// card number all the same, but nobody can show who paid. Off unless set.
    #[arg(long)]
    pub allow_unsigned: Option<bool>,
    /// DANGER, for tests alone: scrypt's cost (log2) of back-ups instead of about a second's work.
    #[arg(long)]
    pub danger_backup_log_n: Option<u8>,
    /// Who may use the wallet; in the TOML file alone.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub tokens: Tokens,
}

/// Which addresses the wallet calls on behalf of a payment initiation, which anybody may have written.
#[derive(Debug, Clone)]
pub struct UrlPolicy(Vec<Url>);

impl UrlPolicy {
    /// Reads the allowed origins.
    ///
    /// # Errors
    /// One of them is not an address.
    pub fn new(origins: &[String]) -> anyhow::Result<Self> {
        let parsed = origins
            .iter()
            .map(|text| openset_service::config::url(text, "allowed_origins"));
        let urls: Vec<Url> = parsed.collect::<anyhow::Result<_>>()?;
        for url in &urls {
            ensure!(
                url.path() == "/",
                "allowed_origins: {url} has a path; give scheme, host and port alone"
            );
        }
        Ok(Self(urls))
    }

    /// Whether the wallet may call `url`: it is of an allowed origin.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        let plain = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none();
        plain
            && self
                .0
                .iter()
                .any(|allowed| allowed.origin() == url.origin())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::UrlPolicy;

    #[test]
    fn wallet_calls_allowed_origins_alone() {
        let origins = ["https://shop.example:7004", "http://127.0.0.1:7004"];
        let policy = UrlPolicy::new(&origins.map(str::to_owned)).unwrap();
        let allows = |url: &str| policy.allows(&url.parse().unwrap());
        for url in ["http://127.0.0.1:7004/set", "https://shop.example:7004/set"] {
            assert!(allows(url), "{url}");
        }
        for url in [
            "http://shop.example:7004/set",
            "https://shop.example/set",
            "https://shop.example:7004@evil.example/set",
            "http://10.0.0.1/set",
            "http://127.0.0.1:7001/set",
            "http://127.0.0.1/set",
            "http://localhost:7004/set",
            "http://[::1]:7004/set",
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
            "http://user@127.0.0.1:7004/set",
            "http://localhost.evil.example/",
        ] {
            assert!(!allows(url), "{url}");
        }
    }
}
