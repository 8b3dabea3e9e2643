//! How movements are called where they are stored, booked and shown.

use super::{Kind, Progress};

impl Kind {
    /// Its name in databases, books and REST.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reversal => "reversal",
            Self::Capture => "capture",
            Self::CaptureReversal(_) => "capture_reversal",
            Self::Credit => "credit",
            Self::CreditReversal(_) => "credit_reversal",
        }
    }

    /// The movement that it undoes.
    #[must_use]
    pub fn undoes(&self) -> Option<&str> {
        match self {
            Self::CaptureReversal(id) | Self::CreditReversal(id) => Some(id),
            Self::Reversal | Self::Capture | Self::Credit => None,
        }
    }

    /// The kind of this name, which undoes this movement; none if there is no such kind.
    #[must_use]
    pub fn from_name(name: &str, undoes: Option<String>) -> Option<Self> {
        match (name, undoes) {
            ("reversal", None) => Some(Self::Reversal),
            ("capture", None) => Some(Self::Capture),
            ("credit", None) => Some(Self::Credit),
            ("capture_reversal", Some(id)) => Some(Self::CaptureReversal(id)),
            ("credit_reversal", Some(id)) => Some(Self::CreditReversal(id)),
            _ => None,
        }
    }
}

impl Progress {
    /// Its name in databases and REST.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }

    /// The progress of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "asked" => Some(Self::Asked),
            "done" => Some(Self::Done),
            "refused" => Some(Self::Refused),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_again_as_what_it_was_written_for() {
        let kinds = [
            Kind::Reversal,
            Kind::Capture,
            Kind::CaptureReversal("a".to_owned()),
            Kind::Credit,
            Kind::CreditReversal("b".to_owned()),
        ];
        for kind in kinds {
            let undoes = kind.undoes().map(ToOwned::to_owned);
            assert_eq!(Kind::from_name(kind.name(), undoes), Some(kind));
        }
        for progress in [Progress::Asked, Progress::Done, Progress::Refused] {
            assert_eq!(Progress::from_name(progress.name()), Some(progress));
        }
        assert_eq!(Kind::from_name("capture_reversal", None), None);
    }
}
