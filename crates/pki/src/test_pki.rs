//! A root for the unit tests; the tests that need a whole hierarchy stand in `tests/`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::OnceLock;

use openset_jose::{PrivateKey, RsaBits, default_provider};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::Certificate;
use crate::authority::{Authority, Serial, Subject, Validity};

fn key() -> PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    let generate = || {
        default_provider()
            .generate_rsa(&mut ChaCha20Rng::seed_from_u64(1), RsaBits::B2048)
            .unwrap()
    };
    KEY.get_or_init(generate).clone()
}

/// A root that is good for all of time.
pub(crate) fn root(number: u8) -> Authority {
    let subject = Subject {
        common_name: "root".into(),
        ..Subject::default()
    };
    let validity = Validity {
        not_before: 0,
        not_after: 250_000_000_000,
    };
    Authority::root(
        key(),
        &subject,
        validity,
        Serial::from_bytes([number; 16]),
        key().public_key(),
    )
    .unwrap()
}

/// Some certificate, a different one for each number.
pub(crate) fn certificate(number: u8) -> Certificate {
    root(number).certificate().clone()
}
