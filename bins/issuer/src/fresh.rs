//! What the bank makes at random: card numbers, activation codes, approval codes.

use openset_protocol::card::{Bin, NotAPan, Pan};
use openset_service::random;

/// Without I, O, 0 and 1, which people mistake for each other. 32 letters: five bits each.
const UNAMBIGUOUS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Letters of an activation code: 50 bits, far beyond what a handful of attempts can find.
const CODE_CHARS: usize = 10;
/// SET's AuthCode has six characters at most.
const APPROVAL_CHARS: usize = 6;
/// Card numbers have 16 digits: BIN, nine of the account, check digit.
const ACCOUNT_DIGITS_MAX: u64 = 1_000_000_000;

/// A new card number of a brand.
pub(crate) fn pan(bin: &Bin) -> Result<Pan, NotAPan> {
    let account = u64::from_le_bytes(random::bytes()) % ACCOUNT_DIGITS_MAX;
    Pan::with_check_digit(&format!("{bin}{account:09}"))
}

/// A new activation code, in two groups for the reader: `K7QWE-2MX9A`.
pub(crate) fn activation_code() -> String {
    let mut code = letters::<CODE_CHARS>();
    code.insert(CODE_CHARS / 2, '-');
    code
}

/// An activation code as it is compared: however its reader typed it.
pub(crate) fn normal_code(typed: &str) -> String {
    let kept = typed.chars().filter(|c| *c != '-' && !c.is_whitespace());
    kept.flat_map(char::to_uppercase).collect()
}

/// A new approval code.
pub(crate) fn approval_code() -> String {
    letters::<APPROVAL_CHARS>()
}

fn letters<const N: usize>() -> String {
    let letter = |byte: u8| char::from(UNAMBIGUOUS[usize::from(byte) % UNAMBIGUOUS.len()]);
    random::bytes::<N>().into_iter().map(letter).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn pan_lies_in_its_bin_and_has_its_check_digit() {
        let bin: Bin = "400000".parse().unwrap();
        let pan = pan(&bin).unwrap();
        assert_eq!(pan.bin(), bin);
        assert_eq!(pan.danger_digits().len(), 16);
        assert!(pan.danger_digits().parse::<Pan>().is_ok());
    }

    #[test]
    fn activation_code_is_read_however_it_is_typed() {
        let code = activation_code();
        assert_eq!(code.len(), 11);
        let typed = format!(" {} ", code.to_lowercase().replace('-', " "));
        assert_eq!(normal_code(&typed), normal_code(&code));
        assert_eq!(normal_code(&code).len(), CODE_CHARS);
        assert_ne!(activation_code(), code);
    }
}
