//! The merchant's orders against what the cardholder signed: HOD, the digest over description, amount and plan, which the
//! gateway's receipt repeats; and against what the gateway keeps of the same payment.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use openset_protocol::balance;
use openset_protocol::ids::Nonce;
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::messages::p::{HodInput, Receipt};
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_store::sqlx::Row as _;

use super::contracts::Contracts;
use super::finding::{Code, Notes, money};
use super::gateway::Gateway;
use super::merchant::Merchant;
use super::plans;
use super::proof::Said;
use super::source::Source;

/// What was ordered.
#[derive(Debug, Clone)]
pub(super) struct Order {
    id: String,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    description: String,
    /// None in payments of before it was kept.
    od_salt: Option<String>,
    pub(super) plan: Option<InstallRecurData>,
}

/// By the XID of who pays for it.
pub(super) async fn read(source: &mut Source) -> anyhow::Result<BTreeMap<String, Order>> {
    let orders = match (source.has(170), source.has(201)) {
        (_, true) => {
            "SELECT p.xid, o.id, o.currency, o.amount_minor, o.description, p.od_salt, o.plan \
             FROM payments p JOIN orders o ON o.id = p.order_id"
        }
        (true, false) => {
            "SELECT p.xid, o.id, o.currency, o.amount_minor, o.description, p.od_salt, NULL \
             FROM payments p JOIN orders o ON o.id = p.order_id"
        }
        (false, false) => {
            "SELECT p.xid, o.id, o.currency, o.amount_minor, o.description, NULL, NULL \
             FROM payments p JOIN orders o ON o.id = p.order_id"
        }
    };
    let mut found = BTreeMap::new();
    for row in source.rows(orders).await? {
        let order = Order {
            id: row.try_get(1)?,
            currency: row.try_get(2)?,
            amount_minor: row.try_get(3)?,
            description: row.try_get(4)?,
            od_salt: row.try_get(5)?,
            plan: plans::read(row.try_get(6)?).context("merchant orders.plan")?,
        };
        found.insert(row.try_get(0)?, order);
    }
    Ok(found)
}

impl Order {
    /// Whether it is what was signed; None where too little was kept to say.
    fn is_signed(&self, receipt: &Receipt) -> Option<bool> {
        let salt: Nonce = self.od_salt.as_ref()?.parse().ok()?;
        let currency = Currency::from_alpha(&self.currency).ok();
        let minor = u64::try_from(self.amount_minor).ok();
        let amount = currency.zip(minor);
        let amount = amount.and_then(|(currency, minor)| CurrencyAmount::new(currency, minor).ok());
        let Some(purch_amt) = amount else {
            return Some(false);
        };
        let input = HodInput {
            od: self.description.as_bytes(),
            purch_amt,
            od_salt: &salt,
            install_recur_data: self.plan.as_ref(),
        };
        Some(input.hod() == receipt.hod)
    }
}

impl Merchant {
    /// What was paid for is what was signed, and the gateway keeps the same of it.
    pub(super) fn check_orders(
        &self,
        gateway: &Gateway,
        (said, contracts): (&BTreeMap<(&str, i64), Said>, &Contracts),
        notes: &mut Notes,
    ) {
        let mut paid: BTreeSet<&str> = BTreeSet::new();
        for ((xid, _), said) in said {
            let (Some(order), Some(receipt)) = (self.orders.get(*xid), &said.receipt) else {
                continue;
            };
            paid.insert(xid);
            if order.is_signed(receipt) == Some(false) {
                notes.find(
                    Code::OrderNotSigned,
                    format!("merchant orders/{}", order.id),
                    "the description, amount and plan whose digest cardholder and gateway signed",
                    "others",
                );
            }
        }
        for (id, theirs) in &gateway.payments {
            let xid = theirs.xid.as_str();
            let order = self.orders.get(xid).filter(|_| paid.contains(xid));
            let Some(order) = order else { continue };
            let at = format!("gateway payments/{id}");
            if theirs.plan != order.plan {
                let expected = plans::shown(order.plan.as_ref());
                let found = plans::shown(theirs.plan.as_ref());
                notes.find(Code::PlanDiffers, &at, expected, found);
            }
            let leeway = contracts.or_most(&theirs.merchant_id);
            let ordered = u64::try_from(order.amount_minor).unwrap_or(0);
            let most = balance::limit_minor(ordered, leeway.tolerance_percent);
            if theirs.currency != order.currency || i128::from(theirs.limit_minor) > most.into() {
                notes.find(
                    Code::LimitExceeded,
                    at,
                    format!(
                        "a limit of at most {}, as was ordered",
                        money(&order.currency, most.into())
                    ),
                    money(&theirs.currency, theirs.limit_minor.into()),
                );
            }
        }
    }
}
