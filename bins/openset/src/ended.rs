//! How a command ended that was carried out, for scripts: what stands on the screen alone tells a program nothing.

use std::process::ExitCode;

/// The exit status of what is not known yet. 1 is a failure, and 2 a command line that cannot be read.
const PENDING: u8 = 3;

/// What became of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was done.
    Done,
    /// Nobody knows yet: the same command again will tell.
    Pending,
    /// It was refused, and will not be done.
    Refused,
}

impl Ended {
    /// By the state that a service tells: one of `done` is success, and what is at work says so by its name.
    pub(crate) fn told(state: &str, done: &[&str]) -> Self {
        let at_work = state.ends_with("ing") || matches!(state, "ordered" | "unknown");
        match (at_work, done.contains(&state)) {
            (true, _) => Self::Pending,
            (false, true) => Self::Done,
            (false, false) => Self::Refused,
        }
    }
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Done => Self::SUCCESS,
            Ended::Pending => Self::from(PENDING),
            Ended::Refused => Self::FAILURE,
        }
    }
}
