//! What stands in each service's configuration file.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{PARTIES, Plan};

/// The demo's brand.
const BRAND: &str = "Visa";
/// The acquirer's BIN.
const ACQUIRER_BIN: &str = "454545";
/// The merchant's name at its acquirer.
const MERCHANT_ID: &str = "shop-0001";
/// The gateway's name at the acquirer.
const GATEWAY_ID: &str = "gateway-1";

/// Fresh tokens, codes and passphrases.
pub(super) struct Secrets {
    passphrases: [String; 5],
    operators: [String; 5],
    wallet_owner: String,
    gateway_at_issuer: String,
    ca_at_issuer: String,
    ca_at_acquirer: String,
    merchant_code: String,
    gateway_code: String,
}

fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    Ok(hex::encode(bytes))
}

impl Secrets {
    pub(super) fn fresh() -> anyhow::Result<Self> {
        let five = || -> anyhow::Result<[String; 5]> {
            Ok([random()?, random()?, random()?, random()?, random()?])
        };
        Ok(Self {
            passphrases: five()?,
            operators: five()?,
            wallet_owner: random()?,
            gateway_at_issuer: random()?,
            ca_at_issuer: random()?,
            ca_at_acquirer: random()?,
            merchant_code: random()?,
            gateway_code: random()?,
        })
    }
}

/// What the demo needs to talk to the five services.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoFile {
    /// The brand that everybody serves.
    pub brand: String,
    /// Where the services answer.
    pub urls: Urls,
    /// With what the demo asks them.
    pub tokens: DemoTokens,
    /// The CA of their TLS certificates.
    pub client_ca: Option<std::path::PathBuf>,
    /// Whether all of them take purchases without the cardholder's certificate.
    #[serde(default)]
    pub unsigned: bool,
}

/// Where the services answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Urls {
    /// The certificate authority.
    pub ca: String,
    /// The issuer.
    pub issuer: String,
    /// The gateway.
    pub gateway: String,
    /// The merchant.
    pub merchant: String,
    /// The wallet.
    pub cardholder: String,
}

/// With what the demo asks them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoTokens {
    /// The certificate authority.
    pub ca: String,
    /// The issuer.
    pub issuer: String,
    /// The gateway.
    pub gateway: String,
    /// The merchant.
    pub merchant: String,
    /// The wallet.
    pub cardholder: String,
}

fn place(party: &str) -> usize {
    PARTIES.iter().position(|name| *name == party).unwrap_or(0)
}

fn token(secret: &str, scope: &str, name: &str) -> Value {
    Value::Table(table(&[
        ("token", secret.into()),
        ("scope", scope.into()),
        ("name", name.into()),
    ]))
}

fn table(entries: &[(&str, Value)]) -> Table {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect()
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect())
}

/// The configuration of one service.
pub(super) fn service(plan: &Plan, secrets: &Secrets, party: &str) -> Table {
    let mut entries = common(plan, secrets, party);
    let operator = secrets
        .operators
        .get(place(party))
        .map(String::as_str)
        .unwrap_or_default();
    let operator = token(operator, "operator", "operator");
    let own = match party {
        "ca" => ca(plan, secrets, operator),
        "issuer" => vec![(
            "tokens",
            list([
                operator,
                token(&secrets.gateway_at_issuer, "gateway", "gateway"),
                token(&secrets.ca_at_issuer, "ca", "ca"),
            ]),
        )],
        "gateway" => gateway(plan, secrets, operator),
        "merchant" => merchant(plan, secrets, operator),
        _ => vec![
            ("allowed_origins", list([plan.url_of("merchant").into()])),
            (
                "tokens",
                list([token(&secrets.wallet_owner, "wallet-owner", "owner")]),
            ),
        ],
    };
    entries.extend(table(&own));
    if plan.unsigned {
        entries.extend(takes_unsigned(party));
    }
    entries
}

/// What a party is told so that cards without a certificate pay: SET's PReqUnsigned.
fn takes_unsigned(party: &str) -> Table {
    match party {
        "ca" => table(&[("unsigned_brands", list([BRAND.into()]))]),
        "gateway" | "merchant" => table(&[("accept_unsigned", true.into())]),
        "cardholder" => table(&[("allow_unsigned", true.into())]),
        _ => Table::new(),
    }
}

fn common(plan: &Plan, secrets: &Secrets, party: &str) -> Table {
    let config = plan.config_dir.of(party);
    let shown = |path: std::path::PathBuf| Value::String(path.display().to_string());
    let passphrase = secrets
        .passphrases
        .get(place(party))
        .cloned()
        .unwrap_or_default();
    let mut entries = table(&[
        (
            "listen",
            format!("{}:{}", plan.listen, plan.port(party)).into(),
        ),
        ("public_url", plan.url_of(party).into()),
        ("data_dir", shown(plan.data_dir.of(party))),
        ("passphrase", passphrase.into()),
    ]);
    if party != "issuer" {
        entries.insert(
            "root_sha256_file".to_owned(),
            shown(plan.root_sha256_file.clone()),
        );
    }
    if party != "ca" && party != "issuer" {
        entries.insert("ca_url".to_owned(), plan.url_of("ca").into());
    }
    if plan.tls() {
        let files = [
            ("tls_certificate", "tls.pem"),
            ("tls_key", "tls.key"),
            ("client_ca", "tls-ca.pem"),
        ];
        entries.extend(files.map(|(key, file)| (key.to_owned(), shown(config.join(file)))));
    }
    entries
}

fn ca(plan: &Plan, secrets: &Secrets, operator: Value) -> Vec<(&'static str, Value)> {
    let gateway = table(&[
        ("gateway_id", GATEWAY_ID.into()),
        ("acquirer_bin", ACQUIRER_BIN.into()),
        ("brand", BRAND.into()),
        ("organization", "Demo Acquirer".into()),
        ("activation_code", secrets.gateway_code.clone().into()),
    ]);
    vec![
        ("brands", list([BRAND.into()])),
        ("region", "Europe".into()),
        ("issuer_url", plan.url_of("issuer").into()),
        ("issuer_token", secrets.ca_at_issuer.clone().into()),
        ("acquirer_url", plan.url_of("gateway").into()),
        ("acquirer_token", secrets.ca_at_acquirer.clone().into()),
        ("gateways", list([Value::Table(gateway)])),
        ("tokens", list([operator])),
    ]
}

fn gateway(plan: &Plan, secrets: &Secrets, operator: Value) -> Vec<(&'static str, Value)> {
    let merchant = table(&[
        ("merchant_id", MERCHANT_ID.into()),
        ("name", "Corner Books and Coffee".into()),
        ("country", "276".into()),
        ("merch_cat_code", "5942".into()),
        ("brands", list([BRAND.into()])),
        ("activation_code", secrets.merchant_code.clone().into()),
        // The tour collects for tomorrow, too: nobody waits a day for it.
        ("recurring_early_days", 1.into()),
    ]);
    vec![
        ("brands", list([BRAND.into()])),
        ("acquirer_name", "Demo Acquirer".into()),
        ("acquirer_bin", ACQUIRER_BIN.into()),
        ("gateway_id", GATEWAY_ID.into()),
        ("activation_code", secrets.gateway_code.clone().into()),
        ("issuer_url", plan.url_of("issuer").into()),
        ("issuer_token", secrets.gateway_at_issuer.clone().into()),
        ("message_of_day", "Your bank wishes you a good read.".into()),
        ("merchants", list([Value::Table(merchant)])),
        (
            "tokens",
            list([operator, token(&secrets.ca_at_acquirer, "ca", "ca")]),
        ),
    ]
}

fn merchant(plan: &Plan, secrets: &Secrets, operator: Value) -> Vec<(&'static str, Value)> {
    vec![
        ("brands", list([BRAND.into()])),
        ("merchant_id", MERCHANT_ID.into()),
        ("merchant_bin", ACQUIRER_BIN.into()),
        ("name", "Corner Books and Coffee".into()),
        ("merch_cat_code", "5942".into()),
        ("activation_code", secrets.merchant_code.clone().into()),
        ("gateway_url", plan.url_of("gateway").into()),
        (
            "spool",
            plan.data_dir
                .of("merchant")
                .join("spool")
                .display()
                .to_string()
                .into(),
        ),
        ("tokens", list([operator])),
    ]
}

/// The demo's own file.
pub(super) fn demo(plan: &Plan, secrets: &Secrets) -> Table {
    let each = |of: &dyn Fn(&str) -> String| -> Value {
        let entries = PARTIES
            .iter()
            .map(|party| ((*party).to_owned(), of(party).into()));
        Value::Table(entries.collect())
    };
    let token_of = |party: &str| demo_token(secrets, party);
    let mut entries = table(&[
        ("brand", BRAND.into()),
        ("unsigned", plan.unsigned.into()),
        ("urls", each(&|party| plan.url_of(party))),
        ("tokens", each(&token_of)),
    ]);
    if plan.tls() {
        let ca = plan.config_dir.of("demo").join("tls-ca.pem");
        entries.insert("client_ca".to_owned(), ca.display().to_string().into());
    }
    entries
}

/// The token with which the demo, and a person with curl, asks a party.
fn demo_token(secrets: &Secrets, party: &str) -> String {
    if party == "cardholder" {
        return secrets.wallet_owner.clone();
    }
    secrets
        .operators
        .get(place(party))
        .cloned()
        .unwrap_or_default()
}

/// Addresses and tokens as shell variables: `$MERCHANT`, `$MERCHANT_TOKEN` and so on.
pub(super) fn shell_variables(plan: &Plan, secrets: &Secrets) -> String {
    let lines = PARTIES.iter().map(|party| {
        let name = party.to_uppercase();
        // From outside the containers their ports are on localhost.
        let url = plan
            .url_of(party)
            .replace(&format!("//{party}:"), "//localhost:");
        format!(
            "{name}={url}\n{name}_TOKEN={}\n",
            demo_token(secrets, party)
        )
    });
    lines.collect()
}
