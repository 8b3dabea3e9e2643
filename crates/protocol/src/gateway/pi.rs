//! The payment instruction: opened by the gateway that it was sealed for, and by nobody else.

use crate::Rejection;
use crate::card::{CardExpiry, Pan, PanData, PanToken};
use crate::content_type::ContentType;
use crate::digest::{Digest, digest};
use crate::identity::Credentials;
use crate::merchant::auth::sealed_as;
use crate::messages::p::{PiData, PiDataUnsigned, PiHead, PiTbe, UnsignedFor};
use crate::sealed::open;
use crate::signed::decode;
use crate::wrapper::Jwe;
use openset_jose::Thumbprint;

/// A payment instruction that could be opened.
pub(super) struct OpenedPi {
    pub(super) head: PiHead,
    pub(super) card: Shown,
    pub(super) hpi: Digest,
    pub(super) hoi: Digest,
    /// The key-exchange certificate that it was sealed for.
    pub(super) gateway: Thumbprint,
}

/// The card in it.
pub(super) enum Shown {
    /// With the secret that the cardholder's certificate was made with.
    Certified(PanData),
    /// With the names of those whom the payment is for.
    Bare(PanToken, UnsignedFor),
}

impl Shown {
    pub(super) fn pan(&self) -> &Pan {
        match self {
            Self::Certified(card) => &card.pan,
            Self::Bare(card, _) => &card.pan,
        }
    }

    pub(super) fn expiry(&self) -> CardExpiry {
        match self {
            Self::Certified(card) => card.card_expiry,
            Self::Bare(card, _) => card.card_expiry,
        }
    }
}

impl OpenedPi {
    /// Opens one that must be signed, or one that must not be: which of both stands in the sealed object's header, too.
    pub(super) fn open(pi: &Jwe, signed: bool, ours: &[&Credentials]) -> Result<Self, Rejection> {
        let keys: Vec<_> = ours.iter().map(|c| &c.key_exchange).collect();
        let PiTbe { pi_data, hoi } = open(pi, &keys, sealed_as(signed))?;
        let gateway = openset_jose::jwe::Sealed::parse(&pi.0)?
            .header()
            .x5t_s256
            .ok_or(Rejection::NotSealedForUs)?;
        let (head, card, hashed) = if signed {
            let PiData { pi_head, pan_data } = decode(&pi_data.0)?;
            (pi_head, Shown::Certified(pan_data), ContentType::PiData)
        } else {
            let PiDataUnsigned {
                pi_head,
                pan_token,
                unsigned_for,
            } = decode(&pi_data.0)?;
            let card = Shown::Bare(pan_token, unsigned_for);
            (pi_head, card, ContentType::PiDataUnsigned)
        };
        // It is made with a secret that only a certified card has.
        if head.trans_stain.is_some() != signed {
            return Err(Rejection::Malformed("trans_stain".to_owned()));
        }
        Ok(Self {
            head,
            card,
            hpi: digest(hashed, &pi_data.0),
            hoi,
            gateway,
        })
    }
}
