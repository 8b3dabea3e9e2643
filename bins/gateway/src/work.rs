//! What stands between a request and its answer: kept sealed until the issuer has spoken.

use openset_jose::{Thumbprint, sha256};
use openset_protocol::gateway::auth::{Asker, VerifiedPayment};
use openset_protocol::gateway::auth_rev::{ReceiptFacts, VerifiedAuthRevReq};
use openset_protocol::gateway::cap::VerifiedCapReq;
use openset_protocol::ids::Rrpid;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::money::CurrencyAmount;
use openset_service::step_report::StepReport;
use serde::{Deserialize, Serialize};

/// Something that the issuer is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    /// To hold an amount.
    Authorize(Box<Authorize>),
    /// To pay amounts that it holds.
    Capture(Box<Capture>),
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
    Capture(&'a Capture),
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

/// Captures that were asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Capture {
    /// Who asked for what, and how to answer.
    pub(crate) request: VerifiedCapReq,
    /// The request's size, for the report.
    pub(crate) bytes: usize,
    /// For each item: what to ask the issuer, or the code that refuses it.
    pub(crate) plan: Vec<Result<CaptureOrder, CapCode>>,
}

/// A capture that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaptureOrder {
    /// Our id of the authorization.
    pub(crate) authorization: String,
    /// The issuer's id of it.
    pub(crate) issuer_authorization: String,
    /// The idempotency key.
    pub(crate) capture_id: String,
    /// How much.
    pub(crate) amount: CurrencyAmount,
    /// What the capture does not take of the hold, and so gives back; absent in what was stored before it was counted.
    #[serde(default)]
    pub(crate) released_minor: u64,
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

/// The id of a request's item.
pub(crate) fn id_of_item(request: &str, place: usize) -> String {
    format!("{request}-{place}")
}
