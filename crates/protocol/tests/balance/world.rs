//! Payments in every state, made by hand.

use openset_protocol::balance::{
    AuthAnswer, Authorization, Kind, Movement, Payment, Progress, limit_minor,
};
use openset_protocol::ids::Rrpid;
use openset_protocol::money::{Currency, CurrencyAmount};

pub const OPENED_S: i64 = 1_800_000_000;
pub const NOW_S: i64 = OPENED_S + 60;
pub const HOLD_S: i64 = 7 * 86_400;

pub fn eur(minor: u64) -> CurrencyAmount {
    CurrencyAmount::new(Currency::from_alpha("EUR").unwrap(), minor).unwrap()
}

pub fn usd(minor: u64) -> CurrencyAmount {
    CurrencyAmount::new(Currency::from_alpha("USD").unwrap(), minor).unwrap()
}

pub fn name(number: u8) -> Rrpid {
    Rrpid::from_bytes([number; 32])
}

pub fn movement(id: &str, kind: Kind, amount_minor: u64, progress: Progress) -> Movement {
    Movement {
        id: id.to_owned(),
        kind,
        amount_minor,
        progress,
        purged: false,
    }
}

pub fn authorization(answer: AuthAnswer, movements: Vec<Movement>) -> Authorization {
    Authorization {
        auth_rrpid: name(1),
        amount_minor: 1000,
        answer,
        movements,
    }
}

pub const APPROVED: AuthAnswer = AuthAnswer::Approved {
    at_s: NOW_S,
    expires_at_s: NOW_S + HOLD_S,
};

/// A purchase of EUR 10.00 without tolerance, with these authorizations.
pub fn payment(authorizations: Vec<Authorization>) -> Payment {
    Payment {
        currency: Currency::from_alpha("EUR").unwrap(),
        limit_minor: limit_minor(1000, 0),
        plan: None,
        opened_at_s: OPENED_S,
        authorizations,
    }
}
