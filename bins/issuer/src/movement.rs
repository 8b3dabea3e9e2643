//! What may be done with an authorization once it was given, as pure functions.

use axum::http::StatusCode;
use openset_protocol::money::Currency;
use openset_service::problem::Problem;

use crate::money::{RequestedAmount, StandingAmount};
use crate::store::authorizations::{Authorization, State};
use crate::store::movements::{Credit, Kind, Made};

/// Something that a gateway does with an authorization.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Movement {
    /// Takes all of the hold or a part of it; the rest is free again.
    Capture(RequestedAmount),
    /// Makes a capture as if it had not been: what it took is held again.
    ReverseCapture,
    /// Lowers the hold to this amount, before it is captured; to 0, and nothing is held.
    Reverse(StandingAmount),
    /// Gives back all or a part of what was captured.
    Credit(RequestedAmount),
    /// Makes a credit as if it had not been, if there is such a credit.
    ReverseCredit(Option<Credit>),
}

/// What a movement that is allowed makes of the authorization. The account follows by the difference.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub(crate) after: Authorization,
    /// What is booked, and the how manieth of its kind it is.
    pub(crate) booked: Option<(Kind, i64)>,
}

/// Why a movement is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    #[error("nothing is held: the authorization is {}; authorize anew", .0.name())]
    NotHeld(State),
    #[error("nothing is captured: the authorization is {}; reverse a hold, credit a capture", .0.name())]
    NotCaptured(State),
    #[error("the amount was captured; give it back with a credit, or reverse the capture")]
    AlreadyCaptured,
    #[error("a credit of the capture stands; reverse the credits first")]
    Credited,
    #[error(
        "the authorization has no credit of this id; use the credit_id that POST .../credit answered"
    )]
    NoSuchCredit,
    #[error("the credit was reversed before; make a new one to give the money back again")]
    CreditReversed,
    #[error(
        "the account has no room under its limit for what would be owed again; the credit stands"
    )]
    InsufficientFunds,
    #[error("use the authorization's currency, {0}")]
    WrongCurrency(&'static str),
    #[error("name at most {}: no more is held", .0.written((*.1).into()))]
    AboveHold(Currency, i64),
    #[error("credit at most {}: no more was captured and not yet credited", .0.written((*.1).into()))]
    AboveCapture(Currency, i64),
}

/// Decides over a movement, but for the room under the credit limit, which the account's own row decides.
pub(crate) fn decide(
    before: &Authorization,
    movement: Movement,
    now_s: i64,
) -> Result<Effect, Refusal> {
    let state = before.state_at(now_s);
    match movement {
        Movement::Capture(amount) => capture(before, state, amount),
        Movement::ReverseCapture => reverse_capture(before, state, now_s),
        Movement::Credit(amount) => credit(before, state, amount),
        Movement::ReverseCredit(credit) => reverse_credit(before, credit),
        Movement::Reverse(amount) => reverse(before, state, amount),
    }
}

fn reverse(
    before: &Authorization,
    state: State,
    amount: StandingAmount,
) -> Result<Effect, Refusal> {
    if before.currency != amount.currency {
        return Err(Refusal::WrongCurrency(before.currency.alpha()));
    }
    let by_minor = before.held_minor - amount.amount_minor;
    match (state, amount.amount_minor) {
        (State::Captured, _) => Err(Refusal::AlreadyCaptured),
        (State::Held, 0) => Ok(before.ended(State::Released).into()),
        (State::Held, _) if by_minor < 0 => {
            Err(Refusal::AboveHold(before.currency, before.held_minor))
        }
        (State::Held, _) => Ok(Authorization {
            held_minor: amount.amount_minor,
            reversed_minor: before.reversed_minor + by_minor,
            ..before.clone()
        }
        .into()),
        // Whoever wants nothing to be held has what it wants.
        (State::Released | State::Expired | State::Declined, 0) => Ok(before.clone().into()),
        (State::Released | State::Expired | State::Declined, _) => Err(Refusal::NotHeld(state)),
    }
}

fn capture(
    before: &Authorization,
    state: State,
    amount: RequestedAmount,
) -> Result<Effect, Refusal> {
    match state {
        State::Held => {}
        // Not the same as a hold that is over: the cardholder owes it.
        State::Captured => return Err(Refusal::AlreadyCaptured),
        _ => return Err(Refusal::NotHeld(state)),
    }
    same_currency(before, amount)?;
    let captured_minor = amount.amount_minor.get();
    if captured_minor > before.held_minor {
        return Err(Refusal::AboveHold(before.currency, before.held_minor));
    }
    let captures = before.captures + 1;
    Ok(Effect {
        after: Authorization {
            state: State::Captured,
            held_minor: 0,
            reversed_minor: before.reversed_minor + before.held_minor - captured_minor,
            captured_minor,
            captures,
            ..before.clone()
        },
        booked: Some((Kind::Capture, captures)),
    })
}

fn reverse_capture(before: &Authorization, state: State, now_s: i64) -> Result<Effect, Refusal> {
    if state != State::Captured {
        return Err(Refusal::NotCaptured(state));
    }
    if before.credited_minor > 0 {
        return Err(Refusal::Credited);
    }
    let held_again = Authorization {
        state: State::Held,
        held_minor: before.captured_minor,
        captured_minor: 0,
        ..before.clone()
    };
    let after = match held_again.state_at(now_s) {
        State::Held => held_again,
        _ => held_again.ended(State::Expired),
    };
    Ok(Effect {
        after,
        booked: Some((Kind::CaptureReversal, before.captures)),
    })
}

fn credit(
    before: &Authorization,
    state: State,
    amount: RequestedAmount,
) -> Result<Effect, Refusal> {
    if state != State::Captured {
        return Err(Refusal::NotCaptured(state));
    }
    same_currency(before, amount)?;
    let amount_minor = amount.amount_minor.get();
    let left_minor = before.owed_minor();
    if amount_minor > left_minor {
        return Err(Refusal::AboveCapture(before.currency, left_minor));
    }
    let credits = before.credits + 1;
    Ok(Effect {
        after: Authorization {
            credited_minor: before.credited_minor + amount_minor,
            credits,
            ..before.clone()
        },
        booked: Some((Kind::Credit, credits)),
    })
}

fn reverse_credit(before: &Authorization, credit: Option<Credit>) -> Result<Effect, Refusal> {
    let credit = credit.ok_or(Refusal::NoSuchCredit)?;
    if !credit.stands {
        return Err(Refusal::CreditReversed);
    }
    Ok(Effect {
        after: Authorization {
            credited_minor: before.credited_minor - credit.amount_minor,
            ..before.clone()
        },
        booked: Some((Kind::CreditReversal, credit.n)),
    })
}

fn same_currency(before: &Authorization, amount: RequestedAmount) -> Result<(), Refusal> {
    if amount.currency == before.currency {
        Ok(())
    } else {
        Err(Refusal::WrongCurrency(before.currency.alpha()))
    }
}

impl Movement {
    /// Keeps the keys of one operation apart from those of another.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Capture(_) => "capture",
            Self::ReverseCapture => "reverse-capture",
            Self::Reverse(_) => "reverse",
            Self::Credit(_) => "credit",
            Self::ReverseCredit(_) => "reverse-credit",
        }
    }

    /// Whether it is this one, which was made before.
    pub(crate) fn is(self, made: &Made) -> bool {
        let of = |amount: RequestedAmount| amount.amount_minor.get();
        match (self, made.kind) {
            (Self::Capture(amount), Kind::Capture) => made.amount_minor == of(amount),
            (Self::Credit(amount), Kind::Credit) => made.amount_minor == -of(amount),
            (Self::ReverseCapture, Kind::CaptureReversal) => true,
            (Self::ReverseCredit(credit), Kind::CreditReversal) => {
                credit.is_some_and(|credit| credit.n == made.n)
            }
            _ => false,
        }
    }
}

/// Nothing is booked.
impl From<Authorization> for Effect {
    fn from(after: Authorization) -> Self {
        Self {
            after,
            booked: None,
        }
    }
}

impl Authorization {
    /// Without its hold.
    pub(crate) fn ended(&self, state: State) -> Self {
        Self {
            state,
            held_minor: 0,
            ..self.clone()
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
            Refusal::Credited => (StatusCode::CONFLICT, "credited", None),
            Refusal::NoSuchCredit => (StatusCode::NOT_FOUND, "no-such-credit", None),
            Refusal::CreditReversed => (StatusCode::CONFLICT, "credit-reversed", None),
            Refusal::InsufficientFunds => (StatusCode::CONFLICT, "insufficient-funds", None),
            Refusal::WrongCurrency(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "wrong-currency",
                Some("/amount/currency"),
            ),
            Refusal::AboveHold(..) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "above-hold",
                Some("/amount/amount_minor"),
            ),
            Refusal::AboveCapture(..) => (
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
            held_minor: 1000,
            credited_minor: 0,
            credits: 0,
            captures: 0,
            merchant_id: "m".to_owned(),
            merchant_name: String::new(),
            reference: "r".to_owned(),
            created_at_s: 0,
            expires_at_s: 100,
        }
    }

    /// 1000 were held, 800 captured, of which 300 were credited by the second credit.
    fn captured() -> Authorization {
        Authorization {
            state: State::Captured,
            held_minor: 0,
            captured_minor: 800,
            reversed_minor: 200,
            credited_minor: 300,
            credits: 2,
            captures: 1,
            ..held()
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

    /// State, held, reversed, captured, credited; and what is booked.
    type Told = (State, [i64; 4], Option<(Kind, i64)>);

    fn told(before: &Authorization, movement: Movement, now_s: i64) -> Result<Told, Refusal> {
        let Effect { after, booked } = decide(before, movement, now_s)?;
        let sums = [
            after.held_minor,
            after.reversed_minor,
            after.captured_minor,
            after.credited_minor,
        ];
        Ok((after.state, sums, booked))
    }

    #[test]
    fn reversal_lowers_the_hold_and_bounds_what_may_be_captured() {
        let lowered = |minor| told(&held(), to("EUR", minor), 99);
        assert_eq!(lowered(1), Ok((State::Held, [1, 999, 0, 0], None)));
        assert_eq!(lowered(1000), Ok((State::Held, [1000, 0, 0, 0], None)));
        assert_eq!(
            lowered(1001),
            Err(Refusal::AboveHold(held().currency, 1000))
        );
        assert_eq!(lowered(0), Ok((State::Released, [0, 0, 0, 0], None)));
        let dollars = told(&held(), to("USD", 0), 99);
        assert_eq!(dollars, Err(Refusal::WrongCurrency("EUR")));
        let part = decide(&held(), to("EUR", 600), 99).unwrap().after;
        let capture = |minor| told(&part, Movement::Capture(amount("EUR", minor)), 99);
        assert!(capture(600).is_ok());
        assert_eq!(capture(601), Err(Refusal::AboveHold(held().currency, 600)));
        let again = told(&part, to("EUR", 601), 99);
        assert_eq!(again, Err(Refusal::AboveHold(held().currency, 600)));
    }

    #[test]
    fn capture_takes_at_most_the_hold_and_in_its_currency() {
        let capture = |minor| told(&held(), Movement::Capture(amount("EUR", minor)), 99);
        let first = Some((Kind::Capture, 1));
        let whole = (State::Captured, [0, 0, 1000, 0], first);
        assert_eq!(capture(1000), Ok(whole));
        assert_eq!(capture(1), Ok((State::Captured, [0, 999, 1, 0], first)));
        assert_eq!(
            capture(1001),
            Err(Refusal::AboveHold(held().currency, 1000))
        );
        let dollars = told(&held(), Movement::Capture(amount("USD", 1)), 99);
        assert_eq!(dollars, Err(Refusal::WrongCurrency("EUR")));
    }

    #[test]
    fn hold_cannot_be_captured_once_its_time_is_over() {
        let late = told(&held(), Movement::Capture(amount("EUR", 1)), 100);
        assert_eq!(late, Err(Refusal::NotHeld(State::Expired)));
        let nothing = (State::Held, [1000, 0, 0, 0], None);
        assert_eq!(told(&held(), to("EUR", 0), 100), Ok(nothing));
        let expired = Err(Refusal::NotHeld(State::Expired));
        assert_eq!(told(&held(), to("EUR", 1), 100), expired);
    }

    #[test]
    fn capture_that_is_reversed_is_held_again_for_what_it_took_until_its_time_is_over() {
        let uncredited = Authorization {
            credited_minor: 0,
            ..captured()
        };
        let reversed = |now_s| told(&uncredited, Movement::ReverseCapture, now_s);
        let first = Some((Kind::CaptureReversal, 1));
        assert_eq!(reversed(99), Ok((State::Held, [800, 200, 0, 0], first)));
        assert_eq!(reversed(100), Ok((State::Expired, [0, 200, 0, 0], first)));
        let stands = told(&captured(), Movement::ReverseCapture, 99);
        assert_eq!(stands, Err(Refusal::Credited));
        let not = told(&held(), Movement::ReverseCapture, 99);
        assert_eq!(not, Err(Refusal::NotCaptured(State::Held)));
        let again = decide(&uncredited, Movement::ReverseCapture, 99).unwrap();
        let again = told(&again.after, Movement::Capture(amount("EUR", 700)), 99);
        let second = Some((Kind::Capture, 2));
        assert_eq!(again, Ok((State::Captured, [0, 300, 700, 0], second)));
    }

    #[test]
    fn credit_gives_back_at_most_what_is_left_of_the_capture() {
        let credit = |minor| told(&captured(), Movement::Credit(amount("EUR", minor)), 1000);
        let third = Some((Kind::Credit, 3));
        let all = (State::Captured, [0, 200, 800, 800], third);
        assert_eq!(credit(500), Ok(all));
        assert_eq!(
            credit(501),
            Err(Refusal::AboveCapture(held().currency, 500))
        );
        let late = told(&captured(), to("EUR", 0), 0);
        assert_eq!(late, Err(Refusal::AlreadyCaptured));
        let early = told(&held(), Movement::Credit(amount("EUR", 1)), 0);
        assert_eq!(early, Err(Refusal::NotCaptured(State::Held)));
    }

    #[test]
    fn credit_is_reversed_once() {
        let credit = |stands| {
            let credit = Credit {
                n: 2,
                amount_minor: 300,
                stands,
            };
            told(&captured(), Movement::ReverseCredit(Some(credit)), 1000)
        };
        let second = Some((Kind::CreditReversal, 2));
        let owed_again = (State::Captured, [0, 200, 800, 0], second);
        assert_eq!(credit(true), Ok(owed_again));
        assert_eq!(credit(false), Err(Refusal::CreditReversed));
        let none = told(&captured(), Movement::ReverseCredit(None), 1000);
        assert_eq!(none, Err(Refusal::NoSuchCredit));
    }
}
