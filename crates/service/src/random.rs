//! The operating system's randomness, in the shape that the sans-IO crates ask for.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

use crate::clock;

/// The operating system's random source; implements `rand_core::CryptoRng`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

/// The operating system's random source.
#[must_use]
pub fn system() -> SystemRandom {
    SystemRandom
}

/// `N` random bytes.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

/// `N` random bytes in lowercase hexadecimal: ids, not secrets.
#[must_use]
pub fn hex_id<const N: usize>() -> String {
    hex::encode(bytes::<N>())
}

/// `N` bytes in lowercase hexadecimal, which begin with the time, to the millisecond, and go on randomly: ids of what is stored in
/// great numbers, so that an index has recent ones together and a list by id shows what one process made in the order in which it did.
#[must_use]
pub fn dated_hex_id<const N: usize>() -> String {
    let mut id = bytes::<N>();
    // Seconds since 1970, of which no date has more than five bytes, and two bytes of their fraction.
    let date = clock::now_ms().saturating_mul(1 << 16) / 1000;
    for (byte, of_date) in id.iter_mut().zip(&date.to_be_bytes()[1..]) {
        *byte = *of_date;
    }
    hex::encode(id)
}

/// Going on without randomness would be worse than ending.
#[expect(
    clippy::expect_used,
    reason = "Linux's getrandom does not fail once it has answered"
)]
fn fill(out: &mut [u8]) {
    getrandom::fill(out).expect("the operating system gives random bytes");
}

impl TryRng for SystemRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(bytes()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        fill(out);
        Ok(())
    }
}

impl TryCryptoRng for SystemRandom {}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes_crypto_rng(rng: &mut dyn rand_core::CryptoRng) -> u64 {
        rng.next_u64()
    }

    #[test]
    fn system_random_is_a_crypto_rng_that_does_not_repeat() {
        assert_ne!(
            takes_crypto_rng(&mut system()),
            takes_crypto_rng(&mut system())
        );
        assert_ne!(hex_id::<16>(), hex_id::<16>());
    }

    #[test]
    fn dated_ids_begin_with_the_time_and_do_not_repeat() {
        let before = clock::now_seconds();
        let (one, other) = (dated_hex_id::<16>(), dated_hex_id::<16>());
        let made = i64::from_str_radix(&one[..10], 16).expect("hexadecimal");
        assert!((before..=clock::now_seconds()).contains(&made), "{one}");
        assert_ne!(one[14..], other[14..]);
        assert_eq!(one.len(), 32);
        for _ in 0..8 {
            let earlier = dated_hex_id::<16>();
            std::thread::sleep(std::time::Duration::from_millis(2));
            assert!(earlier < dated_hex_id::<16>(), "{earlier}");
        }
    }
}
