//! Dates of messages.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A moment in seconds since 1970-01-01T00:00:00Z. On the wire an RFC 3339 string in UTC with
/// whole seconds (`2026-01-31T12:00:00Z`); any other spelling of the same moment is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From seconds since 1970. Seconds beyond year 9999 or before year 0 are clamped to 1970.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        if OffsetDateTime::from_unix_timestamp(seconds).is_ok() {
            Self(seconds)
        } else {
            Self(0)
        }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// This moment moved by a number of seconds.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self::from_seconds(self.0.saturating_add(seconds))
    }

    /// The UTC year and month, as card expiries need them.
    #[must_use]
    pub fn year_month(self) -> (i32, u8) {
        let date = self.date_time();
        (date.year(), u8::from(date.month()))
    }

    fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self
            .date_time()
            .format(&Rfc3339)
            .map_err(|_| std::fmt::Error)?;
        f.write_str(&text)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NotATimestamp)?;
        let stamp = Self(parsed.unix_timestamp());
        let canonical = parsed.offset() == UtcOffset::UTC && stamp.to_string() == text;
        canonical.then_some(stamp).ok_or(NotATimestamp)
    }
}

/// The text is not an RFC 3339 date in UTC with whole seconds.
#[derive(Debug, thiserror::Error)]
#[error("not a date like 2026-01-31T12:00:00Z (RFC 3339, UTC, whole seconds)")]
pub struct NotATimestamp;

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::read(deserializer, str::parse)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::Timestamp;

    #[test]
    fn timestamp_reads_what_it_writes() {
        let stamp = Timestamp::from_seconds(1_795_000_000);
        assert_eq!(stamp.to_string().parse::<Timestamp>().unwrap(), stamp);
    }

    #[test]
    fn timestamp_refuses_other_spellings() {
        for text in [
            "2026-01-31T12:00:00+01:00",
            "2026-01-31T12:00:00.5Z",
            "2026-01-31",
            "2026-01-31t12:00:00z",
            "0",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
