//! The decisions: each request of a merchant against what was done so far.

use super::{
    AuthAnswer, Authorization, Kind, Movement, PI_AGE_DAYS_MAX, Payment, Progress, Standing,
};
use crate::messages::auth::AuthCode;
use crate::messages::auth_rev::AuthRevCode;
use crate::messages::cap::CapCode;
use crate::messages::cap_rev_or_cred::CapRevOrCredCode;
use crate::messages::install_recur::InstallRecurData;
use crate::money::CurrencyAmount;

/// The seconds of a day.
pub const DAY_SECONDS: i64 = 86_400;

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No<C> {
    /// Something of it is at work at the issuer: nothing is recorded, the same bytes may be sent again. A code
    /// here would make the loser of a race a final refusal.
    Busy,
    /// For this reason.
    Code(C),
}

/// What an authorization is asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instrument {
    /// The payment instruction itself.
    Pi,
    /// An AuthToken, and how many authorizations were approved when it was given.
    Token {
        /// Approved authorizations of the payment, the one that it came with included.
        approvals: usize,
    },
}

/// An authorization that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct AskedAuthorization<'a> {
    /// With what.
    pub instrument: Instrument,
    /// How much.
    pub amount: CurrencyAmount,
    /// InstallRecurData of the request.
    pub plan: Option<&'a InstallRecurData>,
    /// How many days before its time the acquirer lets a recurring payment come.
    pub early_days: u16,
}

/// The capture or refund that a reversal names, as the merchant knows it.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Its name.
    pub id: &'a str,
    /// Its amount, if the request says.
    pub amount: Option<CurrencyAmount>,
}

impl Payment {
    /// Whether an authorization may be asked of the issuer.
    ///
    /// # Errors
    /// [`No::Busy`], or the AuthCode that refuses it.
    pub fn may_authorize(
        &self,
        asked: &AskedAuthorization<'_>,
        now_s: i64,
    ) -> Result<(), No<AuthCode>> {
        let amount_minor = asked.amount.minor();
        if asked.amount.currency() != self.currency || amount_minor == 0 {
            return Err(No::Code(AuthCode::AmountError));
        }
        if asked.plan != self.plan.as_ref() {
            return Err(No::Code(AuthCode::InstallRecurMismatch));
        }
        self.may_use(asked.instrument, now_s)?;
        self.is_in_time(asked.early_days, now_s)?;
        let standing = match self.plan {
            // Each payment by itself.
            Some(InstallRecurData::Recurring { .. }) => 0,
            _ => self.counts_minor(now_s),
        };
        if standing.saturating_add(amount_minor) > self.limit_minor {
            return Err(No::Code(AuthCode::AmountError));
        }
        Ok(())
    }

    fn may_use(&self, instrument: Instrument, now_s: i64) -> Result<(), No<AuthCode>> {
        match instrument {
            Instrument::Pi => {
                if self.counts_minor(now_s) > 0 {
                    return Err(No::Code(AuthCode::PiPreviouslyUsed));
                }
                if self.is_old(now_s) {
                    return Err(No::Code(AuthCode::InvalidTransaction));
                }
            }
            Instrument::Token { approvals } => {
                // An approval that came after it and was given back took nothing: its answer may have been lost, and the
                // next token with it.
                let stands = |one: &&Authorization| one.remaining_minor() > 0;
                let is_known = (1..=self.approvals()).contains(&approvals);
                if !is_known || self.approved().skip(approvals).any(|one| stands(&one)) {
                    return Err(No::Code(AuthCode::PiPreviouslyUsed));
                }
                // A merchant that showed "cancelled" must not charge years later, by a token no more than by the PI.
                if self.plan.is_none() && self.counts_minor(now_s) == 0 && self.is_old(now_s) {
                    return Err(No::Code(AuthCode::InvalidTransaction));
                }
                // Its predecessor under the same token may still be declined, and then it is good.
                let asked = |one: &Authorization| one.answer == AuthAnswer::Asked;
                if self.authorizations.iter().any(asked) {
                    return Err(No::Busy);
                }
            }
        }
        Ok(())
    }

    fn is_old(&self, now_s: i64) -> bool {
        let age_s = now_s.saturating_sub(self.opened_at_s);
        age_s > PI_AGE_DAYS_MAX.saturating_mul(DAY_SECONDS)
    }

    /// Instalments end with the last one, recurring payments have their interval and their end.
    fn is_in_time(&self, early_days: u16, now_s: i64) -> Result<(), No<AuthCode>> {
        let charged = self
            .authorizations
            .iter()
            .filter(|one| one.remaining_minor() > 0);
        match self.plan {
            None => Ok(()),
            Some(InstallRecurData::InstallTotalTrans(total)) => {
                if charged.count() >= usize::from(total) {
                    return Err(No::Code(AuthCode::RecurringExpired));
                }
                Ok(())
            }
            Some(InstallRecurData::Recurring {
                frequency_days,
                expiry,
            }) => {
                if now_s > expiry.seconds() {
                    return Err(No::Code(AuthCode::RecurringExpired));
                }
                let approved_at = |one: &Authorization| match one.answer {
                    AuthAnswer::Approved { at_s, .. } => Some(at_s),
                    AuthAnswer::Asked | AuthAnswer::Refused => None,
                };
                let due_s = due_s(charged.filter_map(approved_at), frequency_days);
                let early_s = i64::from(early_days).saturating_mul(DAY_SECONDS);
                if due_s.is_some_and(|due_s| now_s < due_s.saturating_sub(early_s)) {
                    return Err(No::Code(AuthCode::RecurringTooSoon));
                }
                Ok(())
            }
        }
    }

    fn same_currency(&self, amount: CurrencyAmount) -> bool {
        amount.currency() == self.currency
    }

    /// How much less is to be authorized, in minor units, for `new` to stand; 0 if it stands already. Of a hold that ran
    /// out ([`Standing::Expired`]) all of it is given back already: nobody need be asked.
    ///
    /// # Errors
    /// [`No::Busy`], or the AuthRevCode that refuses it.
    pub fn may_reverse(
        &self,
        one: &Authorization,
        new: CurrencyAmount,
        now_s: i64,
    ) -> Result<u64, No<AuthRevCode>> {
        if !self.same_currency(new) {
            return Err(No::Code(AuthRevCode::AmountError));
        }
        let new_minor = new.minor();
        match one.standing(now_s) {
            Standing::AtWork => Err(No::Busy),
            Standing::Authorized { amount_minor } => amount_minor
                .checked_sub(new_minor)
                .ok_or(No::Code(AuthRevCode::InvalidAmount)),
            // Whoever wants nothing to be held has what it wants.
            Standing::Refused | Standing::Reversed if new_minor == 0 => Ok(0),
            Standing::Expired if new_minor == 0 => Ok(one.remaining_minor()),
            Standing::Reversed => Err(No::Code(AuthRevCode::InvalidAmount)),
            Standing::Refused | Standing::Expired | Standing::Captured { .. } => {
                Err(No::Code(AuthRevCode::InvalidTransaction))
            }
        }
    }

    /// How much of the hold is given back with a capture of `amount`, in minor units.
    ///
    /// # Errors
    /// [`No::Busy`], or the CapCode that refuses it.
    pub fn may_capture(
        &self,
        one: &Authorization,
        amount: CurrencyAmount,
        now_s: i64,
    ) -> Result<u64, No<CapCode>> {
        match one.standing(now_s) {
            Standing::AtWork => Err(No::Busy),
            Standing::Refused => Err(No::Code(CapCode::AuthDataMissing)),
            Standing::Expired => Err(No::Code(CapCode::AuthExpired)),
            Standing::Captured { .. } => Err(No::Code(CapCode::DuplicateRequest)),
            Standing::Reversed => Err(No::Code(CapCode::InvalidAuthData)),
            Standing::Authorized { amount_minor } => {
                let rest = amount_minor.checked_sub(amount.minor());
                let sound = self.same_currency(amount) && amount.minor() > 0;
                rest.filter(|_| sound)
                    .ok_or(No::Code(CapCode::InvalidAuthData))
            }
        }
    }

    /// The capture that may be cancelled. `original` says what the merchant takes it for, if it says.
    ///
    /// # Errors
    /// [`No::Busy`], or the code that refuses it.
    pub fn may_reverse_capture<'a>(
        &self,
        one: &'a Authorization,
        amount: Option<CurrencyAmount>,
        now_s: i64,
    ) -> Result<&'a Movement, No<CapRevOrCredCode>> {
        let capture = self.captured(one, now_s)?;
        if amount.is_some_and(|amount| !self.is_of(capture, amount)) {
            return Err(No::Code(CapRevOrCredCode::CapDataMismatch));
        }
        let mut credits = one.credits();
        match credits.next() {
            None => Ok(capture),
            Some(first) if first.progress == Progress::Asked => Err(No::Busy),
            Some(_) if credits.any(|credit| credit.progress == Progress::Asked) => Err(No::Busy),
            Some(_) => Err(No::Code(CapRevOrCredCode::OriginalProcessed)),
        }
    }

    /// Whether so much may go back.
    ///
    /// # Errors
    /// [`No::Busy`], or the code that refuses it.
    pub fn may_credit(
        &self,
        one: &Authorization,
        amount: CurrencyAmount,
        now_s: i64,
    ) -> Result<(), No<CapRevOrCredCode>> {
        let capture = self.captured(one, now_s)?;
        let left = capture.amount_minor.saturating_sub(one.credited_minor());
        if self.same_currency(amount) && (1..=left).contains(&amount.minor()) {
            return Ok(());
        }
        Err(No::Code(CapRevOrCredCode::CapDataMismatch))
    }

    /// The refund that may be cancelled.
    ///
    /// # Errors
    /// [`No::Busy`], or the code that refuses it.
    pub fn may_reverse_credit<'a>(
        &self,
        one: &'a Authorization,
        original: Original<'_>,
        now_s: i64,
    ) -> Result<&'a Movement, No<CapRevOrCredCode>> {
        if one.standing(now_s) == Standing::AtWork {
            return Err(No::Busy);
        }
        let named = |m: &&Movement| m.id == original.id && m.kind == Kind::Credit;
        let credit = one.movements.iter().find(named);
        let credit = credit.ok_or(No::Code(CapRevOrCredCode::OriginalNotFound))?;
        if original
            .amount
            .is_some_and(|amount| !self.is_of(credit, amount))
        {
            return Err(No::Code(CapRevOrCredCode::CapDataMismatch));
        }
        match credit.progress {
            Progress::Asked => Err(No::Busy),
            Progress::Refused => Err(No::Code(CapRevOrCredCode::OriginalNotFound)),
            Progress::Done if credit.purged => Err(No::Code(CapRevOrCredCode::CapPurged)),
            Progress::Done if one.is_undone(&credit.id) => {
                Err(No::Code(CapRevOrCredCode::OriginalProcessed))
            }
            Progress::Done => Ok(credit),
        }
    }

    fn is_of(&self, movement: &Movement, amount: CurrencyAmount) -> bool {
        self.same_currency(amount) && amount.minor() == movement.amount_minor
    }

    fn captured<'a>(
        &self,
        one: &'a Authorization,
        now_s: i64,
    ) -> Result<&'a Movement, No<CapRevOrCredCode>> {
        if one.standing(now_s) == Standing::AtWork {
            return Err(No::Busy);
        }
        let done = |m: &&Movement| m.kind == Kind::Capture && m.progress == Progress::Done;
        one.capture().ok_or_else(|| {
            // An earlier one may have been purged, and this one undone at the merchant's own request.
            let newest = one.movements.iter().rev().find(done);
            No::Code(if newest.is_some_and(|capture| capture.purged) {
                CapRevOrCredCode::CapPurged
            } else {
                CapRevOrCredCode::OriginalNotFound
            })
        })
    }
}

/// When the payment after these is due: an interval after the last of them, or after it was due itself, if it came early.
/// Whoever comes early once does not come earlier each time.
fn due_s(charged_at_s: impl Iterator<Item = i64>, frequency_days: u16) -> Option<i64> {
    let pause_s = i64::from(frequency_days).saturating_mul(DAY_SECONDS);
    let mut charged_at_s: Vec<i64> = charged_at_s.collect();
    charged_at_s.sort_unstable();
    let next = |due_s: Option<i64>, at_s: i64| {
        let last_s = due_s.map_or(at_s, |due_s| due_s.max(at_s));
        Some(last_s.saturating_add(pause_s))
    };
    charged_at_s.into_iter().fold(None, next)
}
