//! What may be done with an authorization once it was given, as pure functions.

use axum::http::StatusCode;
use openset_service::problem::Problem;

use crate::money::{Money, RequestedAmount, StandingAmount};
use crate::store::authorizations::{Authorization, State};

/// Something that a gateway does with an authorization.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Movement {
    /// Takes all of the hold or a part of it; the rest is free again.
    Capture(RequestedAmount),
    /// Lowers the hold to this amount, before it is captured; to 0, and nothing is held.
    Reverse(StandingAmount),
    /// Gives back all or a part of what was captured.
    Credit(RequestedAmount),
}

/// What a movement that is allowed does to the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ends the hold; so much of it is owed from now on.
    EndHold { state: State, captured_minor: i64 },
    /// So much less is held from now on.
    LowerHold { by_minor: i64 },
    /// So much less is owed from now on.
    Credit { amount_minor: i64 },
    /// There is nothing to give back.
    None,
}

/// Why a movement is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    #[error("nothing is held: the authorization is {}; authorize anew", .0.name())]
    NotHeld(State),
    #[error("nothing is captured: the authorization is {}; reverse a hold, credit a capture", .0.name())]
    NotCaptured(State),
    #[error("the amount was captured; give it back with a credit")]
    AlreadyCaptured,
    #[error("use the authorization's currency, {0}")]
    WrongCurrency(&'static str),
    #[error("name at most {0} minor units: no more is held")]
    AboveHold(i64),
    #[error("credit at most {0} minor units: no more was captured and not yet credited")]
    AboveCapture(i64),
}

/// Decides over a movement.
pub(crate) fn decide(
    held: &Authorization,
    movement: Movement,
    now_s: i64,
) -> Result<Effect, Refusal> {
    let state = held.state_at(now_s);
    match movement {
        Movement::Capture(amount) => capture(held, state, amount),
        Movement::Credit(amount) => credit(held, state, amount),
        Movement::Reverse(amount) => reverse(held, state, amount),
    }
}

fn reverse(held: &Authorization, state: State, amount: StandingAmount) -> Result<Effect, Refusal> {
    if held.currency != amount.currency {
        return Err(Refusal::WrongCurrency(held.currency.alpha()));
    }
    let by_minor = held.held_minor() - amount.amount_minor;
    match (state, amount.amount_minor) {
        (State::Captured, _) => Err(Refusal::AlreadyCaptured),
        (State::Held, 0) => Ok(Effect::EndHold {
            state: State::Released,
            captured_minor: 0,
        }),
        (State::Held, _) if by_minor < 0 => Err(Refusal::AboveHold(held.held_minor())),
        (State::Held, _) if by_minor == 0 => Ok(Effect::None),
        (State::Held, _) => Ok(Effect::LowerHold { by_minor }),
        // Whoever wants nothing to be held has what it wants.
        (State::Released | State::Expired | State::Declined, 0) => Ok(Effect::None),
        (State::Released | State::Expired | State::Declined, _) => Err(Refusal::NotHeld(state)),
    }
}

fn capture(held: &Authorization, state: State, amount: RequestedAmount) -> Result<Effect, Refusal> {
    if state != State::Held {
        return Err(Refusal::NotHeld(state));
    }
    same_currency(held, amount)?;
    let captured_minor = amount.amount_minor.get();
    if captured_minor > held.held_minor() {
        return Err(Refusal::AboveHold(held.held_minor()));
    }
    Ok(Effect::EndHold {
        state: State::Captured,
        captured_minor,
    })
}

fn credit(held: &Authorization, state: State, amount: RequestedAmount) -> Result<Effect, Refusal> {
    if state != State::Captured {
        return Err(Refusal::NotCaptured(state));
    }
    same_currency(held, amount)?;
    let amount_minor = amount.amount_minor.get();
    let left_minor = held.captured_minor - held.credited_minor;
    if amount_minor > left_minor {
        return Err(Refusal::AboveCapture(left_minor));
    }
    Ok(Effect::Credit { amount_minor })
}

fn same_currency(held: &Authorization, amount: RequestedAmount) -> Result<(), Refusal> {
    if amount.currency == held.currency {
        Ok(())
    } else {
        Err(Refusal::WrongCurrency(held.currency.alpha()))
    }
}

impl Movement {
    /// Keeps the keys of one operation apart from those of another.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Capture(_) => "capture",
            Self::Reverse(_) => "reverse",
            Self::Credit(_) => "credit",
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let (status, code, pointer) = match refusal {
            Refusal::NotHeld(_) => (StatusCode::CONFLICT, "not-held", None),
            Refusal::NotCaptured(_) => (StatusCode::CONFLICT, "not-captured", None),
            Refusal::AlreadyCaptured => (StatusCode::CONFLICT, "already-captured", None),
            Refusal::WrongCurrency(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "wrong-currency",
                Some("/amount/currency"),
            ),
            Refusal::AboveHold(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "above-hold",
                Some("/amount/amount_minor"),
            ),
            Refusal::AboveCapture(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "above-capture",
                Some("/amount/amount_minor"),
            ),
        };
        let problem = Self::new(status, code, detail.clone());
        match pointer {
            Some(pointer) => problem.with_field(pointer, detail),
            None => problem,
        }
    }
}

impl Authorization {
    /// What is held while it is held: what was asked for, less what was given back.
    pub(crate) fn held_minor(&self) -> i64 {
        self.amount_minor - self.reversed_minor
    }

    /// An amount in the authorization's currency.
    pub(crate) fn money(&self, amount_minor: i64) -> Money {
        Money {
            currency: self.currency,
            amount_minor,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn held() -> Authorization {
        Authorization {
            id: "h".to_owned(),
            gateway: "gateway".to_owned(),
            account_id: Some("a".to_owned()),
            state: State::Held,
            reason: None,
            approval_code: None,
            currency: openset_protocol::money::Currency::from_alpha("EUR").unwrap(),
            amount_minor: 1000,
            captured_minor: 0,
            reversed_minor: 0,
            credited_minor: 0,
            credits: 0,
            merchant_id: "m".to_owned(),
            merchant_name: String::new(),
            reference: "r".to_owned(),
            created_at_s: 0,
            expires_at_s: 100,
        }
    }

    fn amount(currency: &str, minor: i64) -> RequestedAmount {
        let json = format!(r#"{{"currency":"{currency}","amount_minor":{minor}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn to(currency: &str, minor: i64) -> Movement {
        let json = format!(r#"{{"currency":"{currency}","amount_minor":{minor}}}"#);
        Movement::Reverse(serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn reversal_lowers_the_hold_and_bounds_what_may_be_captured() {
        let lowered = |minor| decide(&held(), to("EUR", minor), 99);
        assert_eq!(lowered(1), Ok(Effect::LowerHold { by_minor: 999 }));
        assert_eq!(lowered(1000), Ok(Effect::None));
        assert_eq!(lowered(1001), Err(Refusal::AboveHold(1000)));
        let ended = Effect::EndHold {
            state: State::Released,
            captured_minor: 0,
        };
        assert_eq!(lowered(0), Ok(ended));
        let dollars = decide(&held(), to("USD", 0), 99);
        assert_eq!(dollars, Err(Refusal::WrongCurrency("EUR")));
        let part = Authorization {
            reversed_minor: 400,
            ..held()
        };
        let capture = |minor| decide(&part, Movement::Capture(amount("EUR", minor)), 99);
        assert!(capture(600).is_ok());
        assert_eq!(capture(601), Err(Refusal::AboveHold(600)));
        let again = decide(&part, to("EUR", 601), 99);
        assert_eq!(again, Err(Refusal::AboveHold(600)));
    }

    #[test]
    fn capture_takes_at_most_the_hold_and_in_its_currency() {
        let capture = |minor| decide(&held(), Movement::Capture(amount("EUR", minor)), 99);
        let captured = |captured_minor| {
            Ok(Effect::EndHold {
                state: State::Captured,
                captured_minor,
            })
        };
        assert_eq!(capture(1000), captured(1000));
        assert_eq!(capture(1), captured(1));
        assert_eq!(capture(1001), Err(Refusal::AboveHold(1000)));
        let dollars = decide(&held(), Movement::Capture(amount("USD", 1)), 99);
        assert_eq!(dollars, Err(Refusal::WrongCurrency("EUR")));
    }

    #[test]
    fn hold_cannot_be_captured_once_its_time_is_over() {
        let late = decide(&held(), Movement::Capture(amount("EUR", 1)), 100);
        assert_eq!(late, Err(Refusal::NotHeld(State::Expired)));
        assert_eq!(decide(&held(), to("EUR", 0), 100), Ok(Effect::None));
        let expired = Err(Refusal::NotHeld(State::Expired));
        assert_eq!(decide(&held(), to("EUR", 1), 100), expired);
    }

    #[test]
    fn credit_gives_back_at_most_what_is_left_of_the_capture() {
        let captured = Authorization {
            state: State::Captured,
            captured_minor: 800,
            credited_minor: 300,
            ..held()
        };
        let credit = |minor| decide(&captured, Movement::Credit(amount("EUR", minor)), 1000);
        assert_eq!(credit(500), Ok(Effect::Credit { amount_minor: 500 }));
        assert_eq!(credit(501), Err(Refusal::AboveCapture(500)));
        assert_eq!(
            decide(&captured, to("EUR", 0), 0),
            Err(Refusal::AlreadyCaptured)
        );
        assert_eq!(
            decide(&held(), Movement::Credit(amount("EUR", 1)), 0),
            Err(Refusal::NotCaptured(State::Held))
        );
    }
}
