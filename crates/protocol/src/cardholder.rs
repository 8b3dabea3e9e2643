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

impl std::fmt::Debug for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Card([redacted])")
    }
}
