//! Cards without a certificate: held and paid with only where the wallet's owner has said so.

use std::sync::Arc;

use openset_protocol::cardholder::{BareCard, Card, PayingCard};
use openset_service::clock;
use openset_service::problem::Problem;
use openset_service::random;

use super::form::NewCard;
use super::{Kept, UNSIGNED, card_of, last_parsed};
use crate::store::{self, CardRow, Staple};
use crate::{Wallet, corrupt};

/// What is paid with.
#[derive(Clone)]
pub(crate) enum Paying {
    Certified(Arc<Card>),
    Bare(Arc<BareCard>),
}

impl Paying {
    pub(crate) fn card(&self) -> PayingCard<'_> {
        match self {
            Self::Certified(card) => PayingCard::Certified(card),
            Self::Bare(card) => PayingCard::Bare(card),
        }
    }

    /// The thumbprint of its certificate, if it has one.
    pub(crate) fn certificate(&self) -> Option<String> {
        match self {
            Self::Certified(card) => Some(thumbprint(card)),
            Self::Bare(_) => None,
        }
    }
}

fn not_allowed() -> Problem {
    Problem::conflict(
        "unsigned-not-allowed",
        "this wallet pays with registered cards alone; allow_unsigned in its configuration changes that",
    )
}

/// The card, with the keys of the `certificate` that a purchase was begun with, if it has any.
pub(crate) async fn paying(
    wallet: &Wallet,
    card_id: &str,
    certificate: Option<&str>,
) -> Result<Paying, Problem> {
    let row = store::card_by_id(&mut *wallet.db.read().await?, card_id).await?;
    paying_with(wallet, row, certificate)
}

/// The same, of what the database holds of it.
fn paying_with(
    wallet: &Wallet,
    row: Option<CardRow>,
    certificate: Option<&str>,
) -> Result<Paying, Problem> {
    let row = match row {
        Some(row) if row.state == UNSIGNED => row,
        row => return Ok(Paying::Certified(card_of(wallet, row, certificate)?)),
    };
    let Kept::Bare { pan, expiry } = wallet.open_card(&row)? else {
        return Err(corrupt("cards.state"));
    };
    let brand_id = row.brand.parse().map_err(|_| corrupt("cards.brand"))?;
    Ok(Paying::Bare(Arc::new(BareCard {
        pan,
        card_expiry: expiry,
        brand_id,
    })))
}

/// The same, to buy with; and the OCSP response that is held of its certificate. Asked for when something is being bought, the
/// CA would learn of it.
pub(crate) async fn buying(
    wallet: &Wallet,
    card_id: &str,
) -> Result<(Paying, Option<Staple>), Problem> {
    // Most likely it is the certificate that was bought with last.
    let likely = last_parsed(wallet, card_id, None).map(|(_, card)| thumbprint(&card));
    let mut reader = wallet.db.read().await?;
    let (row, staple) = store::card_and_staple(&mut reader, card_id, likely.as_deref()).await?;
    let paying = paying_with(wallet, row, None)?;
    let staple = match paying.certificate() {
        None if !wallet.allow_unsigned => return Err(not_allowed()),
        None => None,
        Some(certificate) if likely.as_ref() == Some(&certificate) => staple,
        Some(certificate) => store::staple_of(&mut reader, &certificate).await?,
    };
    Ok((paying, staple))
}

fn thumbprint(card: &Card) -> String {
    card.signature.thumbprint().to_string()
}

/// Takes a card in without asking a CA.
pub(crate) async fn hold(
    wallet: &Wallet,
    new: NewCard,
    body_digest: [u8; 32],
    key_name: Option<&str>,
) -> Result<CardRow, Problem> {
    if !wallet.allow_unsigned {
        return Err(not_allowed());
    }
    let card_id = random::hex_id::<12>();
    let last_four = new.pan.last_four();
    let kept = Kept::Bare {
        pan: new.pan,
        expiry: new.expiry,
    };
    let row = CardRow {
        sealed: wallet.seal_card(&card_id, &kept)?,
        card_id,
        body_digest: body_digest.to_vec(),
        brand: new.brand.to_string(),
        last_four,
        state: UNSIGNED.to_owned(),
        wire: None,
        reason: None,
        idempotency_key: key_name.map(str::to_owned),
        registration_url: None,
        revision: 0,
        created_at_s: clock::now_seconds(),
    };
    super::form::insert(wallet, &row).await?;
    Ok(row)
}
