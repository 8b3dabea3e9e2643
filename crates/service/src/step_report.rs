//! What a party tells of a step of a purchase: for people who watch, never for decisions.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One of the ten steps, or of the capture after them, as the party that acted saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepReport {
    /// The step's number, 1 to 10; 11 is the capture.
    pub step: u8,
    /// What happened.
    pub what: String,
    /// Who sent.
    pub from: String,
    /// Who received.
    pub to: String,
    /// The message, or the REST call.
    pub message: String,
    /// Its size on the wire, in bytes.
    pub bytes: usize,
    /// How long it took at the party that reports, in microseconds.
    pub micros: u64,
    /// The checks that held, as the code names them.
    pub verified: Vec<String>,
}

impl StepReport {
    /// A step that took from `started` until now.
    #[must_use]
    pub fn since(
        started: Instant,
        step: u8,
        what: &str,
        way: [&str; 2],
        message: &str,
        bytes: usize,
        verified: &[&str],
    ) -> Self {
        Self::lasting(started.elapsed(), step, what, way, message, bytes, verified)
    }

    /// A step that took `lasted`; `way` is from whom to whom.
    #[must_use]
    pub fn lasting(
        lasted: Duration,
        step: u8,
        what: &str,
        way: [&str; 2],
        message: &str,
        bytes: usize,
        verified: &[&str],
    ) -> Self {
        let [from, to] = way.map(str::to_owned);
        Self {
            step,
            what: what.to_owned(),
            from,
            to,
            message: message.to_owned(),
            bytes,
            micros: u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX),
            verified: verified.iter().map(|check| (*check).to_owned()).collect(),
        }
    }
}
