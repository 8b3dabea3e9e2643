//! The one place where the services read the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use openset_protocol::Timestamp;

/// Now, as the protocol takes it.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_seconds(now_seconds())
}

/// Seconds since the Unix epoch.
#[must_use]
pub fn now_seconds() -> i64 {
    now_ms() / 1000
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
