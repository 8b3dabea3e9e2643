//! What stands between a request and its answer: kept sealed until the issuer has spoken.

use openset_jose::{Thumbprint, sha256};
use openset_protocol::balance::Kind;
use openset_protocol::gateway::auth::{Asker, VerifiedPayment};
use openset_protocol::gateway::auth_rev::{ReceiptFacts, VerifiedAuthRevReq};
use openset_protocol::gateway::cap::VerifiedCapReq;
use openset_protocol::gateway::cap_rev_or_cred::VerifiedCapRevOrCredReq;
use openset_protocol::ids::Rrpid;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::money::CurrencyAmount;
use openset_service::step_report::StepReport;
use serde::{Deserialize, Serialize};

use crate::batch_admin::Purge;

/// Something that the issuer is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    /// To hold an amount.
    Authorize(Box<Authorize>),
    /// To pay amounts that it holds.
    Capture(Box<Items<VerifiedCapReq>>),
    /// To take back what it paid, or to pay it after all.
    CapRevOrCred(Box<Items<VerifiedCapRevOrCredReq>>),
    /// To take back what stands in a batch.
    Purge(Box<Items<Purge>>),
    /// To hold less.
    Reverse(Box<Reverse>),
}

/// [`Work`] to be written.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WorkRef<'a> {
    /// See [`Work::Authorize`].
    Authorize(&'a Authorize),
    /// See [`Work::Capture`].
    Capture(&'a Items<VerifiedCapReq>),
    /// See [`Work::CapRevOrCred`].
    CapRevOrCred(&'a Items<VerifiedCapRevOrCredReq>),
    /// See [`Work::Purge`].
    Purge(&'a Items<Purge>),
    /// See [`Work::Reverse`].
    Reverse(&'a Reverse),
}

/// An authorization that was asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Authorize {
    /// Who asked, and how to answer.
    pub(crate) asker: Asker,
    /// What the issuer is asked.
    pub(crate) payment: VerifiedPayment,
    /// The merchant's name as the issuer is told it: the configuration may have changed by the time it is asked
    /// again, and under one idempotency key it takes one request only.
    pub(crate) merchant_name: Option<String>,
    /// Authorizations of the payment that were approved before; 0 in what was stored before they were counted.
    #[serde(default)]
    pub(crate) approvals: u32,
    /// What was done so far.
    pub(crate) steps: Vec<StepReport>,
}

/// Items that were asked for in one request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Items<R> {
    /// Who asked for what, and how to answer.
    pub(crate) request: R,
    /// The request's size, for the report.
    pub(crate) bytes: usize,
    /// For each item: what to ask the issuer, or what refuses it.
    pub(crate) plan: Vec<Planned>,
}

/// What is to be done about an item.
pub(crate) type Planned = Result<Order, Refusal>;

/// An item that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Our id of the authorization.
    pub(crate) authorization: String,
    /// The issuer's id of it.
    pub(crate) issuer_authorization: String,
    /// The movement, and the idempotency key.
    #[serde(alias = "capture_id")]
    pub(crate) movement_id: String,
    /// What; absent in what was stored while there were captures alone.
    #[serde(default = "capture")]
    pub(crate) kind: Kind,
    /// How much.
    pub(crate) amount: CurrencyAmount,
    /// What a capture does not take of the hold, and so gives back; absent in what was stored before it was counted.
    #[serde(default)]
    pub(crate) released_minor: u64,
    /// Whether what it undoes counts as purged.
    #[serde(default)]
    pub(crate) purges: bool,
}

fn capture() -> Kind {
    Kind::Capture
}

/// Why an item is not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredRefusal")]
pub(crate) struct Refusal {
    /// The code, as the wire spells it.
    pub(crate) code: String,
    /// What was captured before, of a duplicate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stands: Option<(CurrencyAmount, Option<BatchPlace>)>,
}

impl From<String> for Refusal {
    fn from(code: String) -> Self {
        Self { code, stands: None }
    }
}

/// [`Refusal`], or the code alone, as it was stored before there were batches.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredRefusal {
    Code(String),
    Whole {
        code: String,
        #[serde(default)]
        stands: Option<(CurrencyAmount, Option<BatchPlace>)>,
    },
}

impl From<StoredRefusal> for Refusal {
    fn from(stored: StoredRefusal) -> Self {
        match stored {
            StoredRefusal::Code(code) => code.into(),
            StoredRefusal::Whole { code, stands } => Self { code, stands },
        }
    }
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was done, and stands there.
    Done(BatchPlace),
    /// It was not.
    Refused(Refusal),
}

/// A reversal that was asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reverse {
    /// Who asked for what, and how to answer.
    pub(crate) request: VerifiedAuthRevReq,
    /// What to ask the issuer.
    pub(crate) order: ReverseOrder,
}

/// A reversal that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReverseOrder {
    /// Our id of the authorization.
    pub(crate) authorization: String,
    /// The issuer's id of it.
    pub(crate) issuer_authorization: String,
    /// The movement, and the idempotency key.
    pub(crate) movement_id: String,
    /// How much is to stay held.
    pub(crate) new_amount: CurrencyAmount,
    /// The cardholder's new receipt; none for payments of which too little was kept.
    pub(crate) receipt: Option<ReceiptFacts>,
    /// The capture of a sale, which is taken back first; absent in what was stored before that was done.
    #[serde(default)]
    pub(crate) sale: Option<Box<Order>>,
}

/// The id of a request from this sender, and the idempotency key of its effect at the issuer: the same for the
/// same request, also in a database restored from a back-up. Letters alone, so that it cannot look like a card number.
pub(crate) fn id_of(sender: &Thumbprint, message: &str, rrpid: &Rrpid) -> String {
    let name = format!("openset/2/gateway/{message}/{sender}/{rrpid}");
    let letter = |nibble: u8| char::from(b'a' + nibble);
    sha256(name.as_bytes())
        .iter()
        .flat_map(|byte| [letter(byte >> 4), letter(byte & 15)])
        .collect()
}

/// The id of what a sale captures, or of what takes that back.
pub(crate) fn id_of_sale(request: &str) -> String {
    format!("{request}-sale")
}

/// The id of a request's item.
pub(crate) fn id_of_item(request: &str, place: usize) -> String {
    format!("{request}-{place}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// What an earlier version had stored when it was stopped is finished by this one.
    #[test]
    fn plan_that_was_stored_before_there_were_batches_is_read() {
        let stored = r#"[
            {"Ok": {"authorization": "a", "issuer_authorization": "i", "capture_id": "c",
                    "amount": {"currency": 978, "amount": 4200, "amt_exp10": -2}}},
            {"Err": "duplicateRequest"}
        ]"#;
        let plan: Vec<Planned> = serde_json::from_str(stored).unwrap();
        let Ok(order) = &plan[0] else {
            panic!("a capture was begun")
        };
        assert_eq!(
            (order.movement_id.as_str(), &order.kind),
            ("c", &Kind::Capture)
        );
        let refusal = Refusal::from("duplicateRequest".to_owned());
        assert_eq!(plan[1].as_ref().unwrap_err(), &refusal);
        let again: Vec<Planned> =
            serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(again[1].as_ref().unwrap_err(), &refusal);
    }
}
