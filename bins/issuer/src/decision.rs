//! What the bank says to a request for authorization, as a pure function.

use openset_protocol::card::CardExpiry;
use openset_protocol::money::Currency;
use openset_protocol::{BrandId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// Why an authorization is declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Decline {
    /// The amount is above what the account may still spend.
    InsufficientFunds,
    /// No card has this number, brand and expiry.
    UnknownCard,
    /// The card is past its last month.
    ExpiredCard,
    /// The account is blocked.
    BlockedCard,
    /// The account is kept in another currency.
    WrongCurrency,
}

/// What is known of the card that a request names.
#[derive(Debug, Clone)]
pub(crate) struct CardFacts {
    pub(crate) account_id: String,
    pub(crate) brand: BrandId,
    pub(crate) expiry: CardExpiry,
    pub(crate) currency: Currency,
    pub(crate) blocked: bool,
    /// What may still be spent.
    pub(crate) available_minor: i64,
}

/// The card as a request names it, and what it asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented<'a> {
    pub(crate) brand: &'a BrandId,
    pub(crate) expiry: CardExpiry,
    pub(crate) currency: Currency,
    pub(crate) amount_minor: i64,
}

/// Decides by what is known; the account's own row decides once more when the hold is taken.
pub(crate) fn decide<'a>(
    card: Option<&'a CardFacts>,
    presented: &Presented<'_>,
    now: Timestamp,
) -> Result<&'a CardFacts, Decline> {
    // A number with another brand or expiry is a guess: it learns no more than an unknown number.
    let named =
        card.filter(|card| card.brand == *presented.brand && card.expiry == presented.expiry);
    let card = named.ok_or(Decline::UnknownCard)?;
    if card.blocked {
        return Err(Decline::BlockedCard);
    }
    if card.expiry.is_past(now) {
        return Err(Decline::ExpiredCard);
    }
    if card.currency != presented.currency {
        return Err(Decline::WrongCurrency);
    }
    if card.available_minor < presented.amount_minor {
        return Err(Decline::InsufficientFunds);
    }
    Ok(card)
}

impl Decline {
    const ALL: [Self; 5] = [
        Self::InsufficientFunds,
        Self::UnknownCard,
        Self::ExpiredCard,
        Self::BlockedCard,
        Self::WrongCurrency,
    ];

    /// As answers, metrics and the database spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InsufficientFunds => "insufficientFunds",
            Self::UnknownCard => "unknownCard",
            Self::ExpiredCard => "expiredCard",
            Self::BlockedCard => "blockedCard",
            Self::WrongCurrency => "wrongCurrency",
        }
    }

    /// The one with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|decline| decline.name() == name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn card() -> CardFacts {
        CardFacts {
            account_id: "a".to_owned(),
            brand: "Visa".parse().unwrap(),
            expiry: "202912".parse().unwrap(),
            currency: Currency::from_alpha("EUR").unwrap(),
            blocked: false,
            available_minor: 100,
        }
    }

    fn decided(card: Option<&CardFacts>, brand: &str, expiry: &str, now: &str) -> Option<Decline> {
        let presented = Presented {
            brand: &brand.parse().unwrap(),
            expiry: expiry.parse().unwrap(),
            currency: Currency::from_alpha("EUR").unwrap(),
            amount_minor: 100,
        };
        decide(card, &presented, now.parse().unwrap()).err()
    }

    #[test]
    fn decision_names_what_is_wrong_with_the_card() {
        let (last, after) = ("2029-12-31T23:59:59Z", "2030-01-01T00:00:00Z");
        let good = card();
        let blocked = CardFacts {
            blocked: true,
            ..card()
        };
        let dollars = CardFacts {
            currency: Currency::from_alpha("USD").unwrap(),
            ..card()
        };
        assert_eq!(decided(Some(&good), "Visa", "202912", last), None);
        assert_eq!(
            decided(None, "Visa", "202912", last),
            Some(Decline::UnknownCard)
        );
        assert_eq!(
            decided(Some(&good), "MasterCard", "202912", last),
            Some(Decline::UnknownCard)
        );
        assert_eq!(
            decided(Some(&good), "Visa", "203012", last),
            Some(Decline::UnknownCard)
        );
        assert_eq!(
            decided(Some(&good), "Visa", "202912", after),
            Some(Decline::ExpiredCard)
        );
        assert_eq!(
            decided(Some(&blocked), "Visa", "202912", last),
            Some(Decline::BlockedCard)
        );
        assert_eq!(
            decided(Some(&dollars), "Visa", "202912", last),
            Some(Decline::WrongCurrency)
        );
        let poor = CardFacts {
            available_minor: 99,
            ..card()
        };
        assert_eq!(
            decided(Some(&poor), "Visa", "202912", last),
            Some(Decline::InsufficientFunds)
        );
    }

    #[test]
    fn decline_reads_the_names_that_it_writes() {
        for decline in Decline::ALL {
            assert_eq!(Decline::from_name(decline.name()), Some(decline));
            assert_eq!(serde_json::to_value(decline).unwrap(), decline.name());
        }
    }
}
