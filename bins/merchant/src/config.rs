//! The merchant's own options, and what they amount to once they are checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use openset_jose::Thumbprint;
use openset_protocol::BrandId;
use openset_protocol::card::Bin;
use openset_protocol::messages::mail_order::MAIL_ORDER_AGE_DAYS_MAX;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_service::auth::Tokens;
use openset_service::client::join;
use openset_service::config::{Common, Secret, sha256, url};
use openset_service::enrolment::Application;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
use crate::mail_order::Folder;

/// How long PReq waits for the bank before PRes says that the order was received.
const AUTHORIZATION_WAIT_MS: u64 = 8_000;
/// Below the service's own request timeout, or nobody would hear the answer.
const AUTHORIZATION_WAIT_MS_MAX: u64 = 25_000;
/// Grocery stores (ISO 18245).
const MERCH_CAT_CODE: &str = "5411";

/// The merchant's flags, variables and TOML keys, beside those that every service has.
#[derive(Debug, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The merchant's number at its acquirer.
    #[arg(long)]
    pub merchant_id: Option<String>,
    /// The acquirer's BIN, six digits.
    #[arg(long)]
    pub merchant_bin: Option<String>,
    /// The shop's name, for people.
    #[arg(long)]
    pub name: Option<String>,
    /// The code that the acquirer gave for the registration.
    #[arg(long)]
    pub activation_code: Option<Secret>,
    /// SHA-256 (hexadecimal) of the CA's policy that is accepted; whichever it shows if absent.
    #[arg(long)]
    pub policy_sha256: Option<String>,
    /// Where the acquirer's payment gateway answers.
    #[arg(long)]
    pub gateway_url: Option<String>,
    /// JSON file with the products; a coffee shop's unless given.
    #[arg(long)]
    pub catalogue: Option<PathBuf>,
    /// What the shop sells: four digits of ISO 18245.
    #[arg(long)]
    pub merch_cat_code: Option<String>,
    /// Milliseconds that a purchase waits for the bank before it is answered with "received".
    #[arg(long)]
    pub authorization_wait_ms: Option<u64>,
    /// What to do when nobody says whether a cardholder's certificate is revoked: closed (refuse, the default) or open.
    #[arg(long)]
    pub ocsp_policy: Option<OcspPolicy>,
    /// Folder through which mail orders come (in/) and are answered (out/); without it none are taken.
    #[arg(long)]
    pub spool: Option<PathBuf>,
    /// How many days a mail order may be on its way: 1 to 30, 30 unless given.
    #[arg(long)]
    pub mail_order_age_days: Option<u32>,
    /// Take purchases of cardholders without a certificate, where the gateway's certificate allows them: nobody then vouches
    /// for who pays. Off unless set.
    #[arg(long)]
    pub accept_unsigned: Option<bool>,
    /// The brands that the shop takes.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub brands: Vec<BrandId>,
    /// Who may look at orders and capture.
    #[arg(skip)]
    #[serde(skip_serializing)]
    pub tokens: Tokens,
}

/// What happens when the OCSP responder does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OcspPolicy {
    /// The purchase waits until somebody says that the certificate is good.
    #[default]
    Closed,
    /// The CRL's word is enough.
    Open,
}

/// The options with their defaults filled in.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) brands: Vec<BrandId>,
    pub(crate) set_url: Url,
    pub(crate) gateway_set_url: Url,
    pub(crate) catalogue: Catalogue,
    pub(crate) merch_cat_code: String,
    pub(crate) authorization_wait: Duration,
    pub(crate) ocsp_policy: OcspPolicy,
    pub(crate) spool: Option<Folder>,
    pub(crate) mail_order_age_s: i64,
    pub(crate) accept_unsigned: bool,
    pub(crate) tokens: Tokens,
    /// What to apply for.
    pub(crate) applications: Vec<Application>,
}

impl Options {
    pub(crate) fn check(self, common: &Common) -> anyhow::Result<Settings> {
        let merchant_id = self
            .merchant_id
            .context("set merchant_id: the merchant's number at its acquirer")?;
        let bin = self
            .merchant_bin
            .context("set merchant_bin: the acquirer's BIN, six digits")?;
        let merchant_bin: Bin = bin
            .parse()
            .with_context(|| format!("merchant_bin = \"{bin}\""))?;
        check_brands(&self.brands)?;
        let gateway_url = self
            .gateway_url
            .context("set gateway_url: where the payment gateway answers")?;
        let gateway_url = url(&gateway_url, "gateway_url")?;
        let wait_ms = self.authorization_wait_ms.unwrap_or(AUTHORIZATION_WAIT_MS);
        ensure!(
            (1..=AUTHORIZATION_WAIT_MS_MAX).contains(&wait_ms),
            "authorization_wait_ms = {wait_ms}: 1 to {AUTHORIZATION_WAIT_MS_MAX}"
        );
        let merch_cat_code = self.merch_cat_code.unwrap_or_else(|| MERCH_CAT_CODE.into());
        ensure!(
            merch_cat_code.len() == 4 && merch_cat_code.bytes().all(|b| b.is_ascii_digit()),
            "merch_cat_code = \"{merch_cat_code}\": four digits of ISO 18245, such as 5411"
        );
        let age_days = self.mail_order_age_days.unwrap_or(MAIL_ORDER_AGE_DAYS_MAX);
        ensure!(
            (1..=MAIL_ORDER_AGE_DAYS_MAX).contains(&age_days),
            "mail_order_age_days = {age_days}: 1 to {MAIL_ORDER_AGE_DAYS_MAX}"
        );
        let policy = self.policy_sha256.as_deref();
        let policy = policy
            .map(|text| sha256(text, "policy_sha256"))
            .transpose()?;
        let id_data = IdData::Merchant {
            merchant_bin,
            merchant_id,
        };
        Ok(Settings {
            name: self.name.unwrap_or_else(|| "OpenSET Coffee".to_owned()),
            set_url: join(&common.public_url, "set"),
            gateway_set_url: join(&gateway_url, "set"),
            catalogue: Catalogue::load(self.catalogue.as_deref())?,
            merch_cat_code,
            authorization_wait: Duration::from_millis(wait_ms),
            ocsp_policy: self.ocsp_policy.unwrap_or_default(),
            spool: self.spool.as_deref().map(open_spool).transpose()?,
            mail_order_age_s: i64::from(age_days).saturating_mul(24 * 60 * 60),
            accept_unsigned: self.accept_unsigned.unwrap_or_default(),
            tokens: self.tokens,
            applications: applications(
                &self.brands,
                &id_data,
                self.activation_code.as_ref(),
                policy.map(Thumbprint::from_bytes),
            ),
            brands: self.brands,
        })
    }
}

fn open_spool(path: &Path) -> anyhow::Result<Folder> {
    Folder::open(path).with_context(|| format!("cannot use the spool folder {}", path.display()))
}

fn check_brands(brands: &[BrandId]) -> anyhow::Result<()> {
    ensure!(
        !brands.is_empty(),
        "set brands: the brands that the shop takes, for example brands = [\"Visa\"]"
    );
    for (place, brand) in brands.iter().enumerate() {
        if brands.iter().take(place).any(|other| other == brand) {
            bail!("brands has \"{brand}\" twice; leave one");
        }
    }
    Ok(())
}

fn applications(
    brands: &[BrandId],
    id_data: &IdData,
    code: Option<&Secret>,
    policy_accepted: Option<Thumbprint>,
) -> Vec<Application> {
    let application = |brand: &BrandId| Application {
        brand: brand.clone(),
        id_data: id_data.clone(),
        activation_code: code.cloned().map(Into::into),
        policy_accepted,
    };
    brands.iter().map(application).collect()
}
