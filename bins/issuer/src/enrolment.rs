//! Whether a key may be certified for a card, as a pure function.

use openset_protocol::card::CardExpiry;
use openset_protocol::{BrandId, Timestamp};
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use crate::store::accounts::Account;
use crate::store::codes::{StoredCode, WRONG_ATTEMPTS_MAX};

/// Why a registration is not approved. Names of holders and expiries are compared only once the
/// activation code was right, so that nobody learns them by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Disapproval {
    /// No card has this number.
    UnknownCard,
    /// The activation code is another one. The attempt was counted if holder, brand and expiry are the card's.
    WrongCode,
    /// Too many wrong attempts within an hour.
    CodeLocked,
    /// The code was used for another key.
    CodeUsed,
    /// Holder, expiry or brand are not those of the card.
    DetailsDiffer,
    /// The account is blocked.
    BlockedCard,
    /// The card is past its last month.
    ExpiredCard,
}

/// What an enrolment claims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimed<'a> {
    pub(crate) holder: &'a str,
    pub(crate) brand: &'a BrandId,
    pub(crate) expiry: CardExpiry,
    pub(crate) code_hash: &'a [u8; 32],
    pub(crate) key_thumbprint: &'a str,
}

/// What an approval does to the activation code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Approval {
    /// It is used up for the key.
    UseCode,
    /// It was used up for this very key before: the approval is repeated.
    Again,
}

impl Claimed<'_> {
    /// Whether holder, brand and expiry are those of the card. Whoever does not know them cannot register it with
    /// any code, so that its guesses need not be counted, and lock nobody out.
    pub(crate) fn fits(&self, account: &Account) -> bool {
        *self.brand == account.brand
            && self.expiry == account.card.expiry
            && same_name(self.holder, &account.holder)
    }
}

/// Decides over an enrolment.
pub(crate) fn decide(
    account: &Account,
    code: &StoredCode,
    claimed: &Claimed<'_>,
    now: Timestamp,
) -> Result<Approval, Disapproval> {
    let approval = match &code.key_thumbprint {
        Some(bound) if bound == claimed.key_thumbprint => Approval::Again,
        Some(_) => return Err(Disapproval::CodeUsed),
        None if code.wrong_attempts >= WRONG_ATTEMPTS_MAX => return Err(Disapproval::CodeLocked),
        None => Approval::UseCode,
    };
    if !bool::from(code.hash.as_slice().ct_eq(claimed.code_hash)) {
        return Err(Disapproval::WrongCode);
    }
    if !claimed.fits(account) {
        return Err(Disapproval::DetailsDiffer);
    }
    standing(account, claimed.brand, claimed.expiry, now)?;
    Ok(approval)
}

/// Whether the account of a card that was registered before is still good.
pub(crate) fn standing(
    account: &Account,
    brand: &BrandId,
    expiry: CardExpiry,
    now: Timestamp,
) -> Result<(), Disapproval> {
    if *brand != account.brand || expiry != account.card.expiry {
        return Err(Disapproval::DetailsDiffer);
    }
    if account.blocked {
        return Err(Disapproval::BlockedCard);
    }
    if account.card.expiry.is_past(now) {
        return Err(Disapproval::ExpiredCard);
    }
    Ok(())
}

/// However it is capitalised and spaced.
fn same_name(left: &str, right: &str) -> bool {
    let normal = |name: &str| {
        let words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
        words.join(" ")
    };
    normal(left) == normal(right)
}

#[cfg(test)]
mod tests {
    use super::same_name;

    #[test]
    fn names_are_compared_without_case_and_outer_space() {
        assert!(same_name("  alice   EXAMPLE ", "Alice Example"));
        assert!(same_name("ÉMILIE", "émilie"));
        assert!(!same_name("Alice Example", "AliceExample"));
    }
}
