//! The wallet's store, where it and the passphrase are at hand: what its owner is told was paid and refunded is what the
//! gateway's receipts say, and these say what was done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use openset_protocol::cardholder::purchase::{KeptReceipt, PurchaseOutcome};
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_store::SecretString;
use openset_store::packed::learn_sealed;
use openset_store::sqlx::Row as _;
use openset_store::vault::Vault;
use serde::Deserialize;

use super::finding::{Code, Notes, money};
use super::gateway::{Authorization, Gateway, Movement};
use super::merchant::Merchant;
use super::plans;
use super::proof::{Claim, Trust};
use super::receipts::History;
use super::source::Source;

/// A purchase.
#[derive(Debug, Clone)]
struct Purchase {
    id: String,
    xid: String,
    state: String,
    currency: String,
    amount_minor: i64,
    record: Record,
}

/// What is sealed of it; the rest of that is nobody's business.
#[derive(Debug, Clone, Deserialize)]
struct Record {
    outcome: Option<PurchaseOutcome>,
    #[serde(default)]
    plan: Option<InstallRecurData>,
}

/// The wallet's store at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Wallet {
    purchases: Vec<Purchase>,
}

/// Where the wallet is, and what opens it.
pub(super) struct Key {
    /// Its database, where that is not in the folder.
    pub(super) url: Option<String>,
    passphrase: SecretString,
}

/// The part of the wallet's configuration that is needed.
#[derive(Deserialize)]
struct Config {
    database_url: Option<String>,
    passphrase: Option<String>,
    passphrase_file: Option<PathBuf>,
}

impl Key {
    /// As the wallet's configuration has it: of this file, or of the data folder if there is one in it. None where it gives
    /// no passphrase.
    pub(super) fn read(given: Option<&Path>, data: &Path) -> anyhow::Result<Option<Self>> {
        let usual = data.join("cardholder/cardholder.toml");
        let file = match given {
            Some(file) => file,
            None if usual.exists() => &usual,
            None => return Ok(None),
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        // Without the reason: it would show a line of the file, which may be the passphrase.
        let config: Config = toml::from_str(&text)
            .map_err(|_| anyhow!("{} is not the wallet's configuration", file.display()))?;
        let passphrase = match (config.passphrase, config.passphrase_file) {
            (Some(passphrase), _) => Some(passphrase),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                text.lines().next().map(str::to_owned)
            }
            (None, None) => None,
        };
        Ok(passphrase.map(|passphrase| Self {
            url: config.database_url,
            passphrase: SecretString::from(passphrase),
        }))
    }
}

pub(super) async fn read(source: &mut Source, key: &Key) -> anyhow::Result<Wallet> {
    let vault = Vault::unlock_to_read(source.connection(), &key.passphrase).await;
    let Some(vault) = vault.context("cannot unlock the wallet's vault")? else {
        return Ok(Wallet::default());
    };
    let mut wallet = Wallet::default();
    let purchases = "SELECT purchase_id, xid, state, currency, amount_minor, record FROM purchases";
    for row in source.rows(purchases).await? {
        let id: String = row.try_get(0)?;
        let sealed: Vec<u8> = row.try_get(5)?;
        let at = || format!("cardholder purchases/{id}");
        let known = learn_sealed(source.connection(), &sealed).await;
        known.with_context(at)?;
        let record = vault.open(&format!("purchases/record/{id}"), &sealed);
        let record = record.with_context(at)?;
        // Without the reason, which might show what was bought.
        let record = serde_json::from_slice(&record)
            .map_err(|_| anyhow!("{}: its record cannot be read", at()))?;
        wallet.purchases.push(Purchase {
            xid: row.try_get(1)?,
            state: row.try_get(2)?,
            currency: row.try_get(3)?,
            amount_minor: row.try_get(4)?,
            record,
            id,
        });
    }
    Ok(wallet)
}

/// What the bank's receipts alone can make of a purchase.
const SETTLED: [&str; 4] = ["paid", "partly_refunded", "refunded", "reversed"];

/// What these receipts come to.
fn state_of(receipts: &BTreeMap<String, KeptReceipt>) -> &'static str {
    let (mut paid, mut refunded) = (0_u64, 0_u64);
    for kept in receipts.values() {
        paid = paid.saturating_add(kept.receipt.auth_amt.minor());
        for credit in &kept.receipt.credits {
            refunded = refunded.saturating_add(credit.cred_amt.minor());
        }
    }
    match (paid, refunded) {
        (0, _) => "reversed",
        (_, 0) => "paid",
        (paid, refunded) if refunded < paid => "partly_refunded",
        _ => "refunded",
    }
}

impl Wallet {
    /// Everything that its owner is told, against the receipts, the gateway and the order.
    pub(super) fn check(
        &self,
        (gateway, merchant): (&Gateway, &Merchant),
        trust: &Trust,
        notes: &mut Notes,
    ) {
        let by = gateway.by_authorization();
        let theirs: BTreeMap<(&str, &str), &Authorization> = gateway
            .authorizations
            .values()
            .filter(|one| one.state == "authorized")
            .map(|one| ((one.xid.as_str(), one.auth_rrpid.as_str()), one))
            .collect();
        for one in &self.purchases {
            let outcome = one.record.outcome.as_ref();
            let receipts = outcome.map(PurchaseOutcome::all_receipts);
            let receipts = receipts.unwrap_or_default();
            one.check_state(&receipts, notes);
            // An order that differs from what was signed is rejected, and then nobody owes anything.
            if !receipts.is_empty() {
                one.check_order(merchant, notes);
            }
            for (rrpid, kept) in &receipts {
                let at = format!("{} receipt {rrpid}", one.at());
                let Some(of) = theirs.get(&(one.xid.as_str(), rrpid.as_str())) else {
                    let expected = "an approval at the gateway";
                    notes.find(Code::ApprovalMissing, at, expected, "none");
                    continue;
                };
                let movements = by.get(of.id.as_str()).map(Vec::as_slice);
                one.check_receipt(
                    (&at, kept),
                    (of, movements.unwrap_or_default()),
                    trust,
                    notes,
                );
            }
        }
    }
}

impl Purchase {
    fn at(&self) -> String {
        format!("cardholder purchases/{}", self.id)
    }

    /// The amount and plan that its owner agreed to are the order's.
    fn check_order(&self, merchant: &Merchant, notes: &mut Notes) {
        let Some(order) = merchant.orders.get(&self.xid) else {
            return;
        };
        let ordered = (order.currency.as_str(), order.amount_minor);
        if ordered != (self.currency.as_str(), self.amount_minor) {
            let expected = money(ordered.0, ordered.1.into());
            let found = money(&self.currency, self.amount_minor.into());
            notes.find(Code::WalletDiffers, self.at(), expected, found);
        }
        if order.plan != self.record.plan {
            let expected = plans::shown(order.plan.as_ref());
            let found = plans::shown(self.record.plan.as_ref());
            notes.find(Code::PlanDiffers, self.at(), expected, found);
        }
    }

    /// What it is shown as is what its receipts come to, and nothing is shown as paid without one.
    fn check_state(&self, receipts: &BTreeMap<String, KeptReceipt>, notes: &mut Notes) {
        let at = format!("{} state", self.at());
        if receipts.is_empty() {
            if SETTLED.contains(&self.state.as_str()) {
                notes.find(
                    Code::WalletDiffers,
                    at,
                    "a receipt that says so",
                    &self.state,
                );
            }
            return;
        }
        let expected = state_of(receipts);
        if self.state != expected {
            notes.find(Code::WalletDiffers, at, expected, &self.state);
        }
    }

    /// A receipt is the gateway's, is shown as it was signed, and says what stood then.
    fn check_receipt(
        &self,
        (at, kept): (&str, &KeptReceipt),
        (of, movements): (&Authorization, &[&Movement]),
        trust: &Trust,
        notes: &mut Notes,
    ) {
        let claim = Claim {
            xid: &self.xid,
            auth_rrpid: &of.auth_rrpid,
            merchant_id: &of.merchant_id,
            brand: &of.brand,
            currency: &of.currency,
            amount_minor: of.amount_minor,
        };
        let signed = match trust.check_receipt(&kept.jws.0, &claim) {
            Ok(signed) => signed,
            Err(error) => {
                let expected = "signed by the gateway for this payment";
                notes.find(Code::ProofWrong, at, expected, error.to_string());
                return;
            }
        };
        if signed != kept.receipt {
            let expected = "what its gateway signed";
            notes.find(Code::WalletDiffers, at, expected, "something else is shown");
        }
        History::new(of, movements).check(at, &signed, notes);
    }
}
