//! The CA's own options, and what they amount to once they are checked.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use openset_pki::Role;
use openset_protocol::BrandId;
use openset_protocol::card::Bin;
use openset_service::auth::Tokens;
use openset_service::config::{Secret, url};
use openset_store::SecretString;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::forms::{FormOptions, Forms};
use crate::store::regions::Region;

/// How long a CRL is good unless told otherwise.
const CRL_LIFETIME_S: u32 = 7 * 86_400;
/// How long an OCSP response is good unless told otherwise.
const OCSP_LIFETIME_S: u32 = 600;
/// The shortest and the longest life of an OCSP response: clocks differ, and a responder's certificate lives days.
const OCSP_LIFETIME_S_RANGE: std::ops::RangeInclusive<u32> = 60..=86_400;
/// The shortest life of a CRL: the others look for a new one each half a minute.
const CRL_LIFETIME_S_MIN: u32 = 120;
/// How long certificates last unless told otherwise.
const CERTIFICATE_LIFETIME_S: u32 = 365 * 86_400;
/// The shortest life of a certificate.
const CERTIFICATE_LIFETIME_S_MIN: u32 = 60;
/// The most characters of a brand and the region together: room for the longest task and two digits of the
/// generation.
const CA_NAME_CHARS_MAX: usize = 41;
/// What applicants accept by going on.
const POLICY_TEXT: &str = "This is a test certificate authority. Its certificates are for trying OpenSET out and \
                           vouch for nobody in the real world.";

/// The CA's flags, variables and TOML keys, beside those that every service has.
#[derive(Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The region that the regional CAs are for; for several, use `[[regions]]`.
    #[arg(long)]
    pub region: Option<String>,
    /// true: the root is kept elsewhere (openset-ca root), and this service never has its key.
    #[arg(long)]
    pub offline_root: Option<bool>,
    /// The issuer, which approves cardholders.
    #[arg(long)]
    pub issuer_url: Option<String>,
    /// The token that the issuer expects.
    #[arg(long)]
    pub issuer_token: Option<Secret>,
    /// The acquirer, which approves merchants.
    #[arg(long)]
    pub acquirer_url: Option<String>,
    /// The token that the acquirer expects.
    #[arg(long)]
    pub acquirer_token: Option<Secret>,
    /// Seconds that a CRL is good; a new one comes at half of it.
    #[arg(long)]
    pub crl_lifetime_seconds: Option<u32>,
    /// Seconds that an OCSP response is good.
    #[arg(long)]
    pub ocsp_lifetime_seconds: Option<u32>,
    /// Seconds that the certificates of cardholders, merchants and gateways last at most.
    #[arg(long)]
    pub certificate_lifetime_seconds: Option<u32>,
    /// What applicants accept by going on, where no form of `[[forms]]` says.
    #[arg(long)]
    pub policy_text: Option<String>,
    /// Brands served; a new one gets its CAs at the next start.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub brands: Option<Vec<BrandId>>,
    /// Brands whose gateways may take payments of cardholders without a certificate; it stands in each gateway's
    /// certificate from its next renewal on. None unless named.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub unsigned_brands: Vec<BrandId>,
    /// Regions; the first is the default. A new one gets its CAs at the next start.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub regions: Vec<RegionOptions>,
    /// BINs of the issuer's cards; all if empty.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub served_bins: Vec<Bin>,
    /// Whose registrations wait for an operator after the bank's yes: cardholder, merchant, gateway.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub pend: Vec<Kind>,
    /// Where cardholders of other issuers may turn.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub referral_urls: Vec<String>,
    /// What applicants are asked; where none is configured, a form that is built in.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub forms: Vec<FormOptions>,
    /// Gateways that the brands have admitted.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub gateways: Vec<Gateway>,
    /// Who may call.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub tokens: Tokens,
}

/// Who applies for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Cardholders.
    Cardholder,
    /// Merchants.
    Merchant,
    /// Payment gateways.
    Gateway,
}

impl Kind {
    /// Whether those of this role are meant.
    pub(crate) fn is(self, role: Role) -> bool {
        let own = match self {
            Self::Cardholder => Role::Cardholder,
            Self::Merchant => Role::Merchant,
            Self::Gateway => Role::Gateway,
        };
        own == role
    }
}

/// `[[regions]]`: a region that the brands' CAs are for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionOptions {
    /// Its name, as it stands in certificates.
    pub name: String,
    /// The brands that have CAs there; all if absent.
    pub brands: Option<Vec<BrandId>>,
    /// BINs of the cards that it serves; all that no other region names if empty.
    #[serde(default)]
    pub bins: Vec<Bin>,
}

/// `[[gateways]]`: a gateway that a brand has admitted, and the code that it was given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// The gateway's name at the acquirer.
    pub gateway_id: String,
    /// The acquirer.
    pub acquirer_bin: Bin,
    /// The brand.
    pub brand: BrandId,
    /// The acquirer's name, for the certificate's OU.
    pub organization: String,
    /// The code that the brand gave.
    pub activation_code: Secret,
}

/// A bank that approves applications.
#[derive(Debug, Clone)]
pub(crate) struct BankAt {
    pub(crate) url: Url,
    pub(crate) token: Secret,
}

/// A region as configured.
#[derive(Debug, Clone)]
pub(crate) struct ConfiguredRegion {
    pub(crate) region: Region,
    /// The brands that have CAs there; all if none are named.
    pub(crate) brands: Option<Vec<BrandId>>,
}

/// The options with their defaults filled in.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) brands: Vec<BrandId>,
    pub(crate) regions: Vec<ConfiguredRegion>,
    pub(crate) offline_root: bool,
    pub(crate) issuer: Option<BankAt>,
    pub(crate) acquirer: Option<BankAt>,
    pub(crate) served_bins: Vec<Bin>,
    pub(crate) pend: Vec<Kind>,
    pub(crate) referral_urls: Vec<String>,
    pub(crate) forms: Forms,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) crl_lifetime: Duration,
    pub(crate) ocsp_lifetime_s: i64,
    pub(crate) certificate_seconds: i64,
    pub(crate) unsigned_brands: Vec<BrandId>,
    pub(crate) tokens: Tokens,
    /// Under which an offline root's next key is kept, beside its folder's passphrase.
    pub(crate) next_passphrase: Option<SecretString>,
}

impl Settings {
    /// Whether the brand's cardholders must have a certificate to pay.
    pub(crate) fn card_cert_required(&self, brand: Option<&BrandId>) -> bool {
        !brand.is_some_and(|brand| self.unsigned_brands.contains(brand))
    }
}

impl Options {
    pub(crate) fn check(self) -> anyhow::Result<Settings> {
        let brands = match self.brands {
            Some(brands) => brands,
            None => vec!["Visa".parse().context("the default brand")?],
        };
        check_brands(&brands)?;
        if let Some(other) = self
            .unsigned_brands
            .iter()
            .find(|one| !brands.contains(one))
        {
            anyhow::bail!("unsigned_brands names {other}, which brands does not");
        }
        let crl_lifetime_s = self.crl_lifetime_seconds.unwrap_or(CRL_LIFETIME_S);
        ensure!(
            crl_lifetime_s >= CRL_LIFETIME_S_MIN,
            "crl_lifetime_seconds = {crl_lifetime_s}: a CRL lives {CRL_LIFETIME_S_MIN} seconds at least"
        );
        let ocsp_lifetime_s = self.ocsp_lifetime_seconds.unwrap_or(OCSP_LIFETIME_S);
        ensure!(
            OCSP_LIFETIME_S_RANGE.contains(&ocsp_lifetime_s),
            "ocsp_lifetime_seconds = {ocsp_lifetime_s}: an OCSP response lives {} to {} seconds",
            OCSP_LIFETIME_S_RANGE.start(),
            OCSP_LIFETIME_S_RANGE.end()
        );
        let certificate_s = self
            .certificate_lifetime_seconds
            .unwrap_or(CERTIFICATE_LIFETIME_S);
        ensure!(
            certificate_s >= CERTIFICATE_LIFETIME_S_MIN,
            "certificate_lifetime_seconds = {certificate_s}: a certificate lasts {CERTIFICATE_LIFETIME_S_MIN} seconds at least"
        );
        let regions = regions(self.region, self.regions)?;
        for configured in &regions {
            for brand in &brands {
                check_name(brand, &configured.region.name)?;
            }
        }
        Ok(Settings {
            brands,
            regions,
            offline_root: self.offline_root.unwrap_or_default(),
            issuer: bank(self.issuer_url, self.issuer_token, "issuer")?,
            acquirer: bank(self.acquirer_url, self.acquirer_token, "acquirer")?,
            served_bins: self.served_bins,
            pend: self.pend,
            referral_urls: self.referral_urls,
            forms: Forms::new(
                &self.forms,
                self.policy_text.as_deref().unwrap_or(POLICY_TEXT),
            )
            .context("[[forms]]")?,
            gateways: self.gateways,
            certificate_seconds: i64::from(certificate_s),
            unsigned_brands: self.unsigned_brands,
            crl_lifetime: Duration::from_secs(u64::from(crl_lifetime_s)),
            ocsp_lifetime_s: i64::from(ocsp_lifetime_s),
            tokens: self.tokens,
            next_passphrase: None,
        })
    }
}

fn bank(at: Option<String>, token: Option<Secret>, name: &str) -> anyhow::Result<Option<BankAt>> {
    match (at, token) {
        (None, None) => Ok(None),
        (Some(at), Some(token)) => Ok(Some(BankAt {
            url: url(&at, &format!("{name}_url"))?,
            token,
        })),
        _ => anyhow::bail!("{name}_url and {name}_token go together; set both or none"),
    }
}

impl Settings {
    /// Whether a brand has CAs in a region. One that the configuration does not know was added otherwise, and
    /// has those that it was given.
    pub(crate) fn serves(&self, region: &str, brand: &BrandId) -> bool {
        self.regions.iter().any(|configured| {
            configured.region.slug == region
                && configured
                    .brands
                    .as_ref()
                    .is_none_or(|brands| brands.contains(brand))
        })
    }

    /// Whether an operator has to approve those of this role.
    pub(crate) fn pends(&self, role: Role) -> bool {
        self.pend.iter().any(|kind| kind.is(role))
    }

    pub(crate) fn crl_lifetime_s(&self) -> i64 {
        i64::try_from(self.crl_lifetime.as_secs()).unwrap_or(i64::MAX)
    }
}

fn regions(
    single: Option<String>,
    several: Vec<RegionOptions>,
) -> anyhow::Result<Vec<ConfiguredRegion>> {
    ensure!(
        single.is_none() || several.is_empty(),
        "region and [[regions]] are both set; leave one"
    );
    let several = if several.is_empty() {
        vec![RegionOptions {
            name: single.unwrap_or_else(|| "Europe".to_owned()),
            brands: None,
            bins: Vec::new(),
        }]
    } else {
        several
    };
    let mut regions: Vec<ConfiguredRegion> = Vec::new();
    for RegionOptions { name, brands, bins } in several {
        let region = region(&name, bins)?;
        ensure!(
            !regions.iter().any(|there| there.region.slug == region.slug),
            "two regions would have the name {} in URLs; rename one",
            region.slug
        );
        regions.push(ConfiguredRegion { region, brands });
    }
    Ok(regions)
}

/// A region of this name.
pub(crate) fn region(name: &str, bins: Vec<Bin>) -> anyhow::Result<Region> {
    let fits = !name.is_empty() && name.trim() == name && !name.chars().any(char::is_control);
    ensure!(
        fits,
        "a region's name is empty or begins or ends with a space; leave it out for Europe"
    );
    Ok(Region {
        slug: slug(name),
        name: name.to_owned(),
        bins,
    })
}

/// A brand's or region's name in URLs.
pub(crate) fn slug(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}

fn check_brands(brands: &[BrandId]) -> anyhow::Result<()> {
    ensure!(
        !brands.is_empty(),
        "brands is empty; name one at least, or leave it out for Visa"
    );
    let mut slugs: Vec<String> = brands.iter().map(|brand| slug(brand.as_str())).collect();
    slugs.sort();
    slugs.dedup();
    ensure!(
        slugs.len() == brands.len(),
        "two brands would have the same name in URLs; rename one"
    );
    Ok(())
}

/// A CA's name in its certificates is its brand, region, task and generation, in 64 characters.
pub(crate) fn check_name(brand: &BrandId, region: &str) -> anyhow::Result<()> {
    ensure!(
        brand.as_str().len() + region.chars().count() <= CA_NAME_CHARS_MAX,
        "the brand {brand} and the region {region} have more than {CA_NAME_CHARS_MAX} characters together"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn options_without_anything_serve_visa_and_ask_nobody() {
        let settings = Options::default().check().unwrap();
        assert_eq!(settings.brands, ["Visa".parse().unwrap()]);
        assert!(settings.issuer.is_none() && settings.gateways.is_empty());
    }

    #[test]
    fn options_refuse_brands_that_urls_cannot_tell_apart_and_a_bank_without_its_token() {
        let brands =
            |names: &[&str]| Some(names.iter().map(|name| name.parse().unwrap()).collect());
        assert!(
            Options {
                brands: brands(&["Visa X", "visa-x"]),
                ..Options::default()
            }
            .check()
            .is_err()
        );
        assert!(
            Options {
                brands: brands(&[]),
                ..Options::default()
            }
            .check()
            .is_err()
        );
        let half = Options {
            issuer_url: Some("http://127.0.0.1:7002".to_owned()),
            ..Options::default()
        };
        assert!(half.check().is_err());
    }

    #[test]
    fn options_refuse_certificates_that_run_out_at_once() {
        let lasting = |seconds| Options {
            certificate_lifetime_seconds: seconds,
            ..Options::default()
        };
        assert_eq!(
            lasting(None).check().unwrap().certificate_seconds,
            365 * 86_400
        );
        assert_eq!(lasting(Some(60)).check().unwrap().certificate_seconds, 60);
        assert!(lasting(Some(59)).check().is_err());
    }
}
