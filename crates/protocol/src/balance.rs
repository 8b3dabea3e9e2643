//! What may be done with a payment, by what was done so far: SET's state rules (reference 3.11) as pure functions.
//!
//! A payment is what one payment instruction began: its authorizations, and the movements of each. Nothing is
//! counted here that is not written there, so that the gateway, which decides by it, and the audit, which judges by
//! it, cannot disagree. What takes money counts from the moment it is asked for; what gives money back counts once it
//! is done.
//!
//! ```text
//! Asked ──approved──> Authorized ──capture──> Captured ──credit──> Captured, credited
//!   └──declined──> Refused   │  ^                │  ^──credit reversal──┘
//!                            │  └─capture reversal┘
//!                            ├──reversal to 0──> Reversed
//!                            └──hold runs out──> Expired
//! ```

mod names;
mod rules;

pub use rules::{AskedAuthorization, DAY_SECONDS, Instrument, No, Original};

use crate::ids::Rrpid;
use crate::messages::install_recur::InstallRecurData;
use crate::money::{AMOUNT_MINOR_MAX, Currency};
use serde::{Deserialize, Serialize};

/// For so long after the purchase was opened a payment instruction is taken, in days. Later authorizations show a
/// token.
pub const PI_AGE_DAYS_MAX: i64 = 30;
/// The largest tolerance above the purchase amount, in percent.
pub const TOLERANCE_PERCENT_MAX: u8 = 100;
/// How early a recurring payment may come at most, in days.
pub const EARLY_DAYS_MAX: u16 = 366;

/// What one payment instruction began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Of every amount of it.
    pub currency: Currency,
    /// The most that may stand authorized, in minor units: the amount signed and the acquirer's tolerance.
    pub limit_minor: u64,
    /// In parts, again and again, or (without) once.
    pub plan: Option<InstallRecurData>,
    /// When the purchase was opened, in seconds since 1970.
    pub opened_at_s: i64,
    /// In the order in which they were asked for.
    pub authorizations: Vec<Authorization>,
}

/// One authorization of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Its name: the request's RRPID.
    pub auth_rrpid: Rrpid,
    /// How much was asked for, in minor units.
    pub amount_minor: u64,
    /// What was answered.
    pub answer: AuthAnswer,
    /// What was done with it, in the order in which it was asked for.
    pub movements: Vec<Movement>,
}

/// What the issuer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthAnswer {
    /// Nothing yet: it may hold the amount.
    Asked,
    /// It holds the amount.
    Approved {
        /// Since when, in seconds since 1970.
        at_s: i64,
        /// Until when, in seconds since 1970.
        expires_at_s: i64,
    },
    /// It does not, or was never asked.
    Refused,
}

/// Something that was done with an authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Its name: the idempotency key at the issuer and the reference in the books.
    pub id: String,
    /// What.
    pub kind: Kind,
    /// How much, in minor units.
    pub amount_minor: u64,
    /// How far it came.
    pub progress: Progress,
    /// Undone by a purge of its batch, not by a request of its own.
    pub purged: bool,
}

/// What a movement does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// So much less is authorized.
    Reversal,
    /// So much is owed; the hold ends.
    Capture,
    /// The capture of this name is as if it had not been; the hold is back for its amount.
    CaptureReversal(String),
    /// So much of the capture goes back.
    Credit,
    /// The credit of this name is as if it had not been.
    CreditReversal(String),
}

/// How far a movement came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The issuer was asked; what it did is not known yet.
    Asked,
    /// The issuer did it.
    Done,
    /// The issuer did not.
    Refused,
}

/// Where an authorization stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The issuer was asked for it, or for a movement of it.
    AtWork,
    /// Nothing was ever held.
    Refused,
    /// So much is held.
    Authorized {
        /// In minor units.
        amount_minor: u64,
    },
    /// Given back, all of it.
    Reversed,
    /// The hold ran out.
    Expired,
    /// So much is owed, so much of it went back.
    Captured {
        /// In minor units.
        amount_minor: u64,
        /// In minor units, refunds asked for included.
        credited_minor: u64,
    },
}

/// The most that may stand authorized of a purchase, in minor units, with the acquirer's tolerance in percent.
#[must_use]
pub fn limit_minor(purch_amt_minor: u64, tolerance_percent: u8) -> u64 {
    let percent = u128::from(tolerance_percent.min(TOLERANCE_PERCENT_MAX)).saturating_add(100);
    let limit = u128::from(purch_amt_minor)
        .saturating_mul(percent)
        .saturating_div(100);
    u64::try_from(limit).map_or(AMOUNT_MINOR_MAX, |limit| limit.min(AMOUNT_MINOR_MAX))
}

impl Authorization {
    /// Where it stands at a moment in seconds since 1970.
    #[must_use]
    pub fn standing(&self, now_s: i64) -> Standing {
        let AuthAnswer::Approved { expires_at_s, .. } = self.answer else {
            return match self.answer {
                AuthAnswer::Asked => Standing::AtWork,
                _ => Standing::Refused,
            };
        };
        // Refunds beside each other are decided by their sum; all else waits for what was asked.
        let waits = |movement: &&Movement| {
            movement.progress == Progress::Asked && movement.kind != Kind::Credit
        };
        if self.movements.iter().any(|movement| waits(&movement)) {
            return Standing::AtWork;
        }
        if let Some(capture) = self.capture() {
            return Standing::Captured {
                amount_minor: capture.amount_minor,
                credited_minor: self.credited_minor(),
            };
        }
        match self.remaining_minor() {
            0 => Standing::Reversed,
            _ if now_s >= expires_at_s => Standing::Expired,
            amount_minor => Standing::Authorized { amount_minor },
        }
    }

    /// What was approved less what was given back, in minor units; of a captured authorization what was captured.
    #[must_use]
    pub fn remaining_minor(&self) -> u64 {
        match self.answer {
            AuthAnswer::Approved { .. } => {
                let reversed =
                    self.sum(|m| m.kind == Kind::Reversal && m.progress == Progress::Done);
                self.amount_minor.saturating_sub(reversed)
            }
            AuthAnswer::Asked | AuthAnswer::Refused => 0,
        }
    }

    /// What counts against the payment's limit, in minor units: asked for, held or captured.
    #[must_use]
    pub fn counts_minor(&self, now_s: i64) -> u64 {
        match (self.answer, self.standing(now_s)) {
            (AuthAnswer::Asked, _) => self.amount_minor,
            (_, Standing::Refused | Standing::Reversed | Standing::Expired) => 0,
            (_, Standing::AtWork | Standing::Authorized { .. } | Standing::Captured { .. }) => {
                self.remaining_minor()
            }
        }
    }

    /// The capture that stands.
    #[must_use]
    pub fn capture(&self) -> Option<&Movement> {
        let taken = |m: &&Movement| m.kind == Kind::Capture && m.progress == Progress::Done;
        self.movements
            .iter()
            .filter(taken)
            .find(|capture| !self.is_undone(&capture.id))
    }

    /// The refunds that stand, or may: those asked for included.
    pub fn credits(&self) -> impl Iterator<Item = &Movement> {
        self.movements.iter().filter(|movement| {
            movement.kind == Kind::Credit
                && movement.progress != Progress::Refused
                && !self.is_undone(&movement.id)
        })
    }

    /// Their sum, in minor units.
    #[must_use]
    pub fn credited_minor(&self) -> u64 {
        self.credits()
            .fold(0, |sum, credit| sum.saturating_add(credit.amount_minor))
    }

    /// Whether a movement was undone.
    #[must_use]
    pub fn is_undone(&self, id: &str) -> bool {
        self.movements.iter().any(|movement| {
            movement.progress == Progress::Done
                && matches!(&movement.kind, Kind::CaptureReversal(undone) | Kind::CreditReversal(undone) if undone == id)
        })
    }

    fn sum(&self, which: impl Fn(&Movement) -> bool) -> u64 {
        self.movements
            .iter()
            .filter(|movement| which(movement))
            .fold(0, |sum, movement| sum.saturating_add(movement.amount_minor))
    }
}

impl Payment {
    /// What stands authorized or captured of it, in minor units.
    #[must_use]
    pub fn counts_minor(&self, now_s: i64) -> u64 {
        self.authorizations
            .iter()
            .fold(0, |sum, one| sum.saturating_add(one.counts_minor(now_s)))
    }

    /// How many authorizations were approved, ever: what an AuthToken is bound to.
    #[must_use]
    pub fn approvals(&self) -> usize {
        self.approved().count()
    }

    /// Those that were approved, whatever became of them.
    fn approved(&self) -> impl Iterator<Item = &Authorization> {
        let approved = |one: &&Authorization| matches!(one.answer, AuthAnswer::Approved { .. });
        self.authorizations.iter().filter(approved)
    }

    /// The authorization of this name.
    #[must_use]
    pub fn find(&self, auth_rrpid: &Rrpid) -> Option<&Authorization> {
        self.authorizations
            .iter()
            .find(|one| one.auth_rrpid == *auth_rrpid)
    }
}
