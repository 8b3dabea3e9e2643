//! Who takes part: one hierarchy with two brands, a card, two shops, two gateways.

use crate::layers::{KeyRing, fresh_rng};
use openset_jose::{ContentKey, PrivateKey};
use openset_pki::{PathVerifier, Role};
use openset_protocol::card::{CardExpiry, CardSecret, NonceCca, Pan, PanSecret};
use openset_protocol::cardholder::Card;
use openset_protocol::content_type::ContentType;
use openset_protocol::gateway::auth::{Answering, Asker, Decision, TokenKey};
use openset_protocol::gateway::auth_rev::{Reversal, VerifiedAuthRevReq};
use openset_protocol::identity::{Credentials, SigningIdentity};
use openset_protocol::merchant::p::OwnOrder;
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_protocol::thumbs::{RevocationState, Thumbs};
use openset_protocol::{Context, Rejection, Thumbprint, Timestamp, gateway};
use openset_testkit::keys::key;
use openset_testkit::pki::TestPki;
use std::sync::LazyLock;

pub const BRAND: &str = "Visa";
pub const OTHER_BRAND: &str = "MasterCard";
pub const PAN: &str = "4111111111111111";
pub const EXPIRY: &str = "203012";
pub const ORDER: &[u8] = b"1 x The Rust Programming Language";
pub const MESSAGE: &str = "Thank you for banking with us";
/// What the wallet staples: whether it is a good answer is not for the messages to judge.
pub const STAPLE: &[u8] = b"an OCSP response";
pub const APPROVAL: &str = "A1B2C3";
/// It is paid every month.
pub static PLAN: LazyLock<InstallRecurData> = LazyLock::new(|| InstallRecurData::Recurring {
    frequency_days: 28,
    expiry: Timestamp::from_seconds(4_000_000_000),
});

/// Everybody, with all private keys.
pub struct World {
    pub pki: TestPki,
    pub now: Timestamp,
    wallet: SigningIdentity,
    pub shop: Credentials,
    pub other_shop: Credentials,
    pub gateway: Credentials,
    pub other_gateway: Credentials,
    pub token_key: ContentKey,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// One for all tests of the process: its keys take seconds to make.
pub fn world() -> &'static World {
    &WORLD
}

fn secrets() -> (CardSecret, PanSecret) {
    let card_secret = CardSecret::from_bytes([7; 32]);
    let pan_secret = card_secret.pan_secret(&NonceCca::from_bytes([8; 32]));
    (card_secret, pan_secret)
}

fn account_name(pan: &str, expiry: &str) -> String {
    secrets()
        .1
        .account_name(&pan.parse().unwrap(), expiry.parse().unwrap())
}

impl World {
    fn new() -> Self {
        let pki = TestPki::new(
            &[BRAND, OTHER_BRAND],
            Timestamp::from_seconds(1_800_000_000),
        );
        Self {
            now: pki.now,
            wallet: pki.cardholder(BRAND, &account_name(PAN, EXPIRY)),
            shop: pki.merchant(BRAND, "shop-1"),
            other_shop: pki.merchant(BRAND, "shop-2"),
            gateway: pki.gateway(BRAND, "gateway-1"),
            other_gateway: pki.gateway(BRAND, "gateway-2"),
            token_key: ContentKey::from_bytes([9; 32]),
            pki,
        }
    }

    /// A context at the world's moment, with fresh randomness.
    pub fn with<T>(&self, work: impl FnOnce(&mut Context<'_>) -> T) -> T {
        work(&mut Context {
            now: self.now,
            rng: &mut fresh_rng(),
        })
    }

    /// The card of the purchase.
    pub fn card(&self) -> Card {
        self.card_with(PAN, EXPIRY, self.wallet.clone())
    }

    /// Another person's card.
    pub fn other_card(&self) -> Card {
        let (pan, expiry) = ("4000000000000002", EXPIRY);
        let identity = self.pki.cardholder(BRAND, &account_name(pan, expiry));
        self.card_with(pan, expiry, identity)
    }

    /// A card with this number and expiry under this certificate.
    pub fn card_with(&self, pan: &str, expiry: &str, signature: SigningIdentity) -> Card {
        let (card_secret, pan_secret) = secrets();
        let pan: Pan = pan.parse().unwrap();
        let card_expiry: CardExpiry = expiry.parse().unwrap();
        Card {
            pan,
            card_expiry,
            card_secret,
            pan_secret,
            signature,
        }
    }

    /// A card past its expiry.
    pub fn expired_card(&self) -> Card {
        let expiry = "202012";
        let identity = self.pki.cardholder(BRAND, &account_name(PAN, expiry));
        self.card_with(PAN, expiry, identity)
    }

    pub fn verifier(&self) -> &PathVerifier {
        self.pki.verifier()
    }

    /// The newest of the brand.
    pub fn state(&self) -> RevocationState {
        RevocationState::of(self.verifier(), &BRAND.parse().unwrap())
    }

    /// All that a wallet can hold of the brand, but an older BrandCRLIdentifier and one CRL less.
    pub fn thumbs(&self) -> Thumbs {
        let mut thumbs = Thumbs::of(self.verifier(), &BRAND.parse().unwrap());
        thumbs.bcis = vec![Thumbprint::of(b"an older one")];
        thumbs.crls.pop();
        thumbs
    }

    /// What the shop holds: all that is known of its brand.
    pub fn m_thumbs(&self) -> Thumbs {
        Thumbs::of(self.verifier(), &BRAND.parse().unwrap())
    }

    /// AuthRes of the gateway.
    pub fn gateway_answers(
        &self,
        ctx: &mut Context<'_>,
        asker: &Asker,
        decision: &Decision<'_>,
    ) -> Result<Vec<u8>, Rejection> {
        let with = Answering {
            ours: &self.gateway,
            tokens: &self.tokens(),
            state: &self.state(),
        };
        gateway::auth::answer(ctx, with, asker, decision).map(|answer| answer.wire)
    }

    pub fn gateway_reverses(
        &self,
        ctx: &mut Context<'_>,
        request: &VerifiedAuthRevReq,
        reversal: &Reversal,
    ) -> Result<Vec<u8>, Rejection> {
        let with = Answering {
            ours: &self.gateway,
            tokens: &self.tokens(),
            state: &self.state(),
        };
        gateway::auth_rev::answer(ctx, with, request, reversal).map(|answer| answer.wire)
    }

    pub fn tokens(&self) -> TokenKey {
        TokenKey::new(self.token_key.clone())
    }

    pub fn order(&self) -> OwnOrder<'static> {
        OwnOrder {
            order_description: ORDER,
            purch_amt: amount(4200),
            install_recur_data: Some(&*PLAN),
        }
    }

    /// The keys of the genuine parties.
    pub fn ring(&self, back_key: ContentKey) -> KeyRing {
        let mut ring = KeyRing::default();
        let wallet = signing_key(Role::Cardholder, &account_name(PAN, EXPIRY));
        ring.add(self.wallet.thumbprint(), wallet);
        let parties = [
            (&self.shop, Role::Merchant, "shop-1"),
            (&self.other_shop, Role::Merchant, "shop-2"),
            (&self.gateway, Role::Gateway, "gateway-1"),
            (&self.other_gateway, Role::Gateway, "gateway-2"),
        ];
        for (party, role, name) in parties {
            ring.add(party.signature.thumbprint(), signing_key(role, name));
            ring.add(party.key_exchange.thumbprint(), opening_key(role, name));
        }
        ring.add_symmetric(ContentType::CapToken, self.token_key.clone());
        ring.add_symmetric(ContentType::AuthToken, self.token_key.clone());
        ring.add_symmetric(ContentType::AcqCardCodeMsg, back_key);
        ring
    }
}

/// The key under which the fixture's party signs.
pub fn signing_key(role: Role, name: &str) -> PrivateKey {
    key(&format!("{BRAND}/{role}/{name}/sign"))
}

/// The key with which the fixture's party opens.
pub fn opening_key(role: Role, name: &str) -> PrivateKey {
    key(&format!("{BRAND}/{role}/{name}/open"))
}

/// Euros, in cents.
pub fn amount(minor: u64) -> CurrencyAmount {
    CurrencyAmount::new(Currency::from_alpha("EUR").unwrap(), minor).unwrap()
}
