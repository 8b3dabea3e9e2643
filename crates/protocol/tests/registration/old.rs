//! Certificates that applicants have already.

use crate::world::{BRAND, PAN, pki};
use openset_jose::PrivateKey;
use openset_pki::Role;
use openset_protocol::card::{CardSecret, PanSecret};
use openset_protocol::cardholder::Card;
use openset_protocol::identity::{Credentials, SigningIdentity};
use openset_testkit::keys::key;
use std::sync::LazyLock;

pub(crate) const EXPIRY: &str = "202712";

fn pan_secret() -> PanSecret {
    PanSecret::from_bytes([9; 32])
}

static CARDHOLDER: LazyLock<SigningIdentity> = LazyLock::new(|| {
    let name = pan_secret().account_name(&PAN.parse().unwrap(), EXPIRY.parse().unwrap());
    pki().cardholder(BRAND, &name)
});
static SHOP: LazyLock<Credentials> = LazyLock::new(|| pki().merchant(BRAND, "shop-1"));
static GATEWAY: LazyLock<Credentials> = LazyLock::new(|| pki().gateway(BRAND, "411111:gateway-1"));

/// The card as it is registered.
pub(crate) fn card() -> Card {
    Card {
        pan: PAN.parse().unwrap(),
        card_expiry: EXPIRY.parse().unwrap(),
        card_secret: CardSecret::from_bytes([8; 32]),
        pan_secret: pan_secret(),
        signature: CARDHOLDER.clone(),
    }
}

/// The key with which the card's owner signs so far.
pub(crate) fn card_signs() -> PrivateKey {
    let name = CARDHOLDER.certificate().common_name();
    key(&format!("{BRAND}/{}/{name}/sign", Role::Cardholder))
}

pub(crate) fn shop() -> Credentials {
    SHOP.clone()
}

#[allow(dead_code, reason = "the matrix alone signs with it")]
pub(crate) fn shop_signs() -> PrivateKey {
    key(&format!("{BRAND}/{}/shop-1/sign", Role::Merchant))
}

#[allow(dead_code, reason = "the matrix has merchants alone")]
pub(crate) fn gateway() -> Credentials {
    GATEWAY.clone()
}
