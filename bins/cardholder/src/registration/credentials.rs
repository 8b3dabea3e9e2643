//! A card's keys with their certificates: the current one, and earlier ones for purchases begun under them.

use openset_jose::{Thumbprint, default_provider};
use openset_pki::{Certificate, Chain};
use openset_protocol::card::{CardExpiry, CardSecret, Pan, PanSecret};
use openset_protocol::cardholder::Card;
use openset_protocol::identity::SigningIdentity;
use openset_protocol::ids::ExactBytes;
use openset_service::clock;
use openset_service::problem::Problem;
use serde::{Deserialize, Serialize};

use super::Kept;
use crate::corrupt;

/// A key with its certificate, and the secrets of its account name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    pub(crate) chain: Vec<ExactBytes>,
    pub(crate) key: ExactBytes,
    pub(crate) card_secret: CardSecret,
    pub(crate) pan_secret: PanSecret,
    /// The card's expiry, which is in its account name; the card's present one if absent.
    #[serde(default)]
    pub(crate) expiry: Option<CardExpiry>,
}

/// A certificate's chain as it is kept.
pub(crate) fn parsed(x5c: &[ExactBytes]) -> Result<Chain, Problem> {
    let x5c: Vec<Vec<u8>> = x5c.iter().map(|der| der.0.clone()).collect();
    Chain::from_x5c(&x5c).map_err(|_| corrupt("cards.chain"))
}

impl Credential {
    /// With its keys parsed, for this card.
    fn card(&self, pan: &Pan, card_expiry: CardExpiry) -> Result<Card, Problem> {
        let key = default_provider()
            .private_key_from_pkcs8(&self.key.0)
            .map_err(|_| corrupt("cards.key"))?;
        Ok(Card {
            pan: pan.clone(),
            card_expiry: self.expiry.unwrap_or(card_expiry),
            card_secret: self.card_secret.clone(),
            pan_secret: self.pan_secret.clone(),
            signature: SigningIdentity::new(parsed(&self.chain)?, key)
                .map_err(|_| corrupt("cards.key"))?,
        })
    }

    /// When its certificate ends.
    pub(super) fn not_after(&self) -> Option<i64> {
        self.certificate().map(|held| held.not_after())
    }

    fn thumbprint(&self) -> Option<Thumbprint> {
        self.chain.first().map(|leaf| Thumbprint::of(&leaf.0))
    }

    fn certificate(&self) -> Option<Certificate> {
        self.chain
            .first()
            .and_then(|leaf| Certificate::from_der(&leaf.0).ok())
    }
}

impl Kept {
    /// A registered card with its keys parsed: those of the certificate of this thumbprint, while that is valid
    /// and the wallet has them, else the current ones.
    pub(crate) fn card(&self, certificate: Option<&str>) -> Result<Card, Problem> {
        let (
            Some(current),
            Self::Registered {
                pan,
                expiry,
                earlier,
                ..
            },
        ) = (self.current(), self)
        else {
            return Err(corrupt("cards.state"));
        };
        let now = clock::now_seconds();
        let fits = |credential: &&Credential| {
            credential.certificate().is_some_and(|held| {
                now <= held.not_after()
                    && Some(held.thumbprint().to_string().as_str()) == certificate
            })
        };
        let old = earlier.iter().find(fits);
        old.unwrap_or(&current).card(pan, *expiry)
    }

    /// Whether all credentials can be used that a registered card has.
    pub(crate) fn is_whole(&self) -> bool {
        let (
            Some(current),
            Self::Registered {
                pan,
                expiry,
                earlier,
                ..
            },
        ) = (self.current(), self)
        else {
            return false;
        };
        let mut all = earlier.iter().chain([&current]);
        all.all(|credential| credential.card(pan, *expiry).is_ok())
    }

    fn current(&self) -> Option<Credential> {
        let Self::Registered {
            chain,
            key,
            card_secret,
            pan_secret,
            expiry,
            ..
        } = self
        else {
            return None;
        };
        Some(Credential {
            chain: chain.clone(),
            key: key.clone(),
            card_secret: card_secret.clone(),
            pan_secret: pan_secret.clone(),
            expiry: Some(*expiry),
        })
    }

    /// Takes a credential, unless it is there: of all the one that ends last is the current one.
    pub(super) fn take(&mut self, taken: Credential) -> bool {
        let Some(current) = self.current() else {
            return false;
        };
        let Self::Registered {
            chain,
            key,
            card_secret,
            pan_secret,
            expiry,
            new_expiry,
            earlier,
            ..
        } = self
        else {
            return false;
        };
        let thumbprint = taken.thumbprint();
        let mut held = earlier.iter().map(Credential::thumbprint);
        if current.thumbprint() == thumbprint || held.any(|held| held == thumbprint) {
            return false;
        }
        if taken.not_after() < current.not_after() {
            earlier.push(taken);
            return true;
        }
        // What was kept without an expiry has the one that the card had until now.
        for held in earlier.iter_mut() {
            held.expiry.get_or_insert(*expiry);
        }
        earlier.push(current);
        *chain = taken.chain;
        *key = taken.key;
        *card_secret = taken.card_secret;
        *pan_secret = taken.pan_secret;
        *expiry = taken.expiry.unwrap_or(*expiry);
        *new_expiry = new_expiry.filter(|new| new != expiry);
        true
    }

    /// Takes what another copy of the card has and this one has not: credentials, and renewals under way.
    pub(crate) fn adopt(&mut self, other: &Self) -> bool {
        let (
            Some(current),
            Self::Registered {
                earlier: theirs,
                renewals,
                ..
            },
        ) = (other.current(), other)
        else {
            return false;
        };
        let mut adopted = false;
        for credential in theirs.iter().cloned().chain([current]) {
            adopted |= self.take(credential);
        }
        let Self::Registered {
            key,
            earlier,
            renewals: ours,
            ..
        } = self
        else {
            return false;
        };
        for renewal in renewals {
            let certified = earlier.iter().map(|held| &held.key).chain([&*key]);
            let mut known = certified.chain(ours.iter().map(|held| &held.key));
            let is_known = known.any(|held| *held == renewal.key);
            drop(known);
            if !is_known {
                ours.push(renewal.clone());
                adopted = true;
            }
        }
        adopted
    }
}
