//! The one place where the services read the clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use openset_protocol::Timestamp;

/// How far the clock was moved, in milliseconds.
static ADVANCED_MS: AtomicI64 = AtomicI64::new(0);

/// Moves the clock of this whole process forward, for tests of what ends by itself. Timers go on as they were.
pub fn danger_advance(seconds: i64) {
    ADVANCED_MS.fetch_add(seconds.saturating_mul(1000), Ordering::Relaxed);
}

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
    i64::try_from(since.as_millis())
        .unwrap_or(i64::MAX)
        .saturating_add(ADVANCED_MS.load(Ordering::Relaxed))
}
