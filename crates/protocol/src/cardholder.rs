//! The cardholder's wallet: registers cards and buys with them.

pub mod inquiry;
pub mod mail_order;
pub mod purchase;
pub mod registration;

use crate::card::{CardExpiry, CardSecret, Pan, PanSecret};
use crate::identity::SigningIdentity;
use crate::{BrandId, Rejection};

/// A registered card: its number, its secrets and its certificate. Never printed.
pub struct Card {
    /// The card number.
    pub pan: Pan,
    /// Its expiry.
    pub card_expiry: CardExpiry,
    /// The cardholder's half of PANSecret.
    pub card_secret: CardSecret,
    /// The key of the certificate's account name.
    pub pan_secret: PanSecret,
    /// The signature key and certificate.
    pub signature: SigningIdentity,
}

impl Card {
    /// The brand that certified the card.
    ///
    /// # Errors
    /// The certificate has none.
    pub fn brand(&self) -> Result<&BrandId, Rejection> {
        self.signature.brand().ok_or(Rejection::MissingCertificate(
            "the card's certificate has no brand",
        ))
    }
}

/// A card that no certificate vouches for. Never printed.
pub struct BareCard {
    /// The card number.
    pub pan: Pan,
    /// Its expiry.
    pub card_expiry: CardExpiry,
    /// Its brand, as its owner says.
    pub brand_id: BrandId,
}

impl std::fmt::Debug for BareCard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BareCard([redacted])")
    }
}

/// What is paid with.
#[derive(Clone, Copy, Debug)]
pub enum PayingCard<'a> {
    /// A card with a certificate: the purchase is signed.
    Certified(&'a Card),
    /// A card without: the purchase is not signed (SET's PReqUnsigned).
    Bare(&'a BareCard),
}

impl<'a> From<&'a Card> for PayingCard<'a> {
    fn from(card: &'a Card) -> Self {
        Self::Certified(card)
    }
}

impl<'a> From<&'a BareCard> for PayingCard<'a> {
    fn from(card: &'a BareCard) -> Self {
        Self::Bare(card)
    }
}

impl PayingCard<'_> {
    /// The card's brand: as certified, or as its owner says.
    ///
    /// # Errors
    /// The certificate has none.
    pub fn brand(&self) -> Result<&BrandId, Rejection> {
        match self {
            Self::Certified(card) => card.brand(),
            Self::Bare(card) => Ok(&card.brand_id),
        }
    }

    pub(crate) fn pan(&self) -> &Pan {
        match self {
            Self::Certified(card) => &card.pan,
            Self::Bare(card) => &card.pan,
        }
    }
}

impl std::fmt::Debug for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Card([redacted])")
    }
}
