//! What the gateway in memory signs for cardholders.

use std::collections::HashMap;

use openset_protocol::gateway::auth_rev::{ReceiptFacts, ReceiptFor};
use openset_protocol::gateway::receipt::NewReceipt;
use openset_protocol::ids::Rrpid;
use openset_protocol::messages::p::Credited;
use openset_protocol::money::CurrencyAmount;
use openset_service::clock;

/// What stands of an authorization.
struct Stands {
    receipt: NewReceipt,
    /// The refunds that make up its credits, by the first requests for them.
    refunds: Vec<(Rrpid, Credited)>,
}

/// By authorization.
#[derive(Default)]
pub(crate) struct Receipts(HashMap<Rrpid, Stands>);

impl Receipts {
    pub(crate) fn authorized(&mut self, rrpid: Rrpid, of: ReceiptFor, auth_amt: CurrencyAmount) {
        let facts = ReceiptFacts {
            receipt_for: of,
            approval_code: "A1B2C3".to_owned(),
            sequence: 1,
        };
        let receipt = NewReceipt {
            facts,
            auth_amt,
            credits: Vec::new(),
        };
        let refunds = Vec::new();
        self.0.insert(rrpid, Stands { receipt, refunds });
    }

    /// So much stands now, authorized or captured. None for an authorization that never came, or if the first receipt
    /// says so already.
    pub(crate) fn stands(&mut self, rrpid: Rrpid, amount: CurrencyAmount) -> Option<NewReceipt> {
        let one = self.0.get_mut(&rrpid)?;
        if one.receipt.auth_amt != amount {
            one.receipt.auth_amt = amount;
            one.receipt.facts.sequence += 1;
        }
        (one.receipt.facts.sequence > 1).then(|| one.receipt.clone())
    }

    /// So much went back.
    pub(crate) fn refunded(
        &mut self,
        rrpid: Rrpid,
        first: Rrpid,
        amount: CurrencyAmount,
    ) -> Option<NewReceipt> {
        let one = self.0.get_mut(&rrpid)?;
        if !one.refunds.iter().any(|(of, _)| *of == first) {
            let credit = Credited {
                cred_date: clock::now(),
                cred_amt: amount,
            };
            one.refunds.push((first, credit));
            one.sign_anew();
        }
        Some(one.receipt.clone())
    }

    /// A refund of so much is as if it had not been.
    pub(crate) fn cancelled(&mut self, rrpid: Rrpid, amount: CurrencyAmount) -> Option<NewReceipt> {
        let one = self.0.get_mut(&rrpid)?;
        let of = |(_, credit): &(Rrpid, Credited)| credit.cred_amt == amount;
        if let Some(place) = one.refunds.iter().position(of) {
            one.refunds.remove(place);
            one.sign_anew();
        }
        Some(one.receipt.clone())
    }
}

impl Stands {
    fn sign_anew(&mut self) {
        self.receipt.facts.sequence += 1;
        let credits = self.refunds.iter().map(|(_, credit)| credit.clone());
        self.receipt.credits = credits.collect();
    }
}
