//! What the audit may find: a closed list of names, each with where it was, what should be and what is there.

use openset_protocol::money::Currency;
use serde::Serialize;

/// The name of a discrepancy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The postings of an entry do not sum to zero, or there are fewer than two.
    EntryUnbalanced,
    /// A ledger account's balance is not the sum of its postings.
    BalanceWrong,
    /// An account's lines have a gap, or a line's running balance or currency is wrong.
    LineWrong,
    /// A posting belongs to no entry or to no account.
    PostingStray,
    /// A movement that was done stands in no entry of the books.
    MovementNotBooked,
    /// A movement stands in the books with other accounts or amounts.
    MovementBookedWrong,
    /// An entry of the books belongs to nothing that was done.
    EntryWithoutMovement,
    /// More stands authorized of a payment than its limit.
    LimitExceeded,
    /// More was captured, or given back, than was authorized.
    CapturedAboveAuthorized,
    /// More was credited than captured.
    CreditedAboveCaptured,
    /// A reversal names nothing that it could undo, or not for its amount, or something undone before.
    ReversalWrong,
    /// The places of a batch are not 1, 2, 3... up to its count.
    BatchGap,
    /// A batch has a member that is not its own, or none where one should be.
    BatchMember,
    /// A closed batch's totals are not those of its members.
    BatchTotals,
    /// A closed batch is not settled or paid out as it says.
    SettlementWrong,
    /// What a merchant is owed by its books is not what the acquirer owes it.
    ReceivableDiffers,
    /// What an account holds is not the sum of its authorizations.
    HeldWrong,
    /// What an account owes is not the sum of its postings, or of its authorizations.
    OwedWrong,
    /// An account holds and owes more than its limit, or less than nothing.
    CreditLimitExceeded,
    /// The amounts of an authorization at the issuer contradict each other or its movements.
    AuthorizationWrong,
    /// The gateway has an approval of which the issuer has no hold.
    HoldMissing,
    /// Hold and approval are not for the same.
    HoldDiffers,
    /// The issuer has a hold for the gateway of which it has no approval.
    HoldUnknown,
    /// A movement that one side has done the other does not have.
    MovementMissing,
    /// Two sides have the same movement with different kinds, amounts or places.
    MovementDiffers,
    /// A merchant's order is paid, and no answer of the gateway proves it.
    ProofMissing,
    /// What should prove a payment is not signed by the gateway, or not for this payment.
    ProofWrong,
    /// A merchant's order is paid, and the gateway has no such approval.
    ApprovalMissing,
    /// Merchant and gateway do not have the same approval.
    ApprovalDiffers,
    /// A merchant's order is not what the cardholder signed.
    OrderNotSigned,
    /// Merchant and gateway have one purchase as paid in different parts, or at different intervals.
    PlanDiffers,
    /// More payments of a purchase stand than the cardholder signed instalments.
    InstalmentsExceeded,
    /// A recurring payment came before its time.
    PaymentTooSoon,
    /// A recurring payment was asked for after the last day that was signed.
    PaymentAfterEnd,
    /// The cardholder has no receipt of an approval.
    ReceiptMissing,
    /// A receipt does not say what stood when it was signed.
    ReceiptDiffers,
    /// A receipt of before a change that its holder knows of.
    ReceiptOld,
    /// A wallet shows its owner something else than its receipts say, or than was ordered.
    WalletDiffers,
}

/// A discrepancy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Its name.
    pub code: Code,
    /// Service, table and row.
    pub at: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Something that was not judged, because it was under way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct InFlight {
    /// Service, table and row.
    pub at: String,
    /// What is under way.
    pub what: String,
}

/// What was found in one reading.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    pub(super) findings: Vec<Finding>,
    pub(super) in_flight: Vec<InFlight>,
}

impl Notes {
    pub(super) fn find(
        &mut self,
        code: Code,
        at: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.findings.push(Finding {
            code,
            at: at.into(),
            expected: expected.into(),
            found: found.into(),
        });
    }

    pub(super) fn wait(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.in_flight.push(InFlight {
            at: at.into(),
            what: what.into(),
        });
    }

    /// Two amounts of one currency must be the same.
    pub(super) fn same(
        &mut self,
        code: Code,
        at: impl Into<String>,
        currency: &str,
        (expected, found): (i128, i128),
    ) {
        if expected != found {
            self.find(code, at, money(currency, expected), money(currency, found));
        }
    }

    /// One amount must not be above another.
    pub(super) fn at_most(
        &mut self,
        code: Code,
        at: impl Into<String>,
        currency: &str,
        (most, found): (i128, i128),
    ) {
        if found > most {
            let most = format!("at most {}", money(currency, most));
            self.find(code, at, most, money(currency, found));
        }
    }
}

impl Code {
    /// As people and programs read it.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

/// An amount as people write it, also below zero.
pub(super) fn money(currency: &str, minor: i128) -> String {
    Currency::from_alpha(currency).map_or_else(
        |_| format!("{currency:?} {minor} minor"),
        |known| known.written(minor),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_people_write_them() {
        assert_eq!(money("USD", 1990), "USD 19.90");
        assert_eq!(money("USD", -5), "USD -0.05");
        assert_eq!(money("JPY", 1990), "JPY 1990");
        assert_eq!(money("KWD", 1), "KWD 0.001");
        assert_eq!(money("?", 1), "\"?\" 1 minor");
    }

    #[test]
    fn names_are_words() {
        assert_eq!(
            Code::CapturedAboveAuthorized.name(),
            "captured-above-authorized"
        );
    }
}
