//! Real purchases up to AuthReq, and from AuthRes on: wallet and shop by the protocol crate.

use std::sync::{Arc, LazyLock};

use openset_pki::{PathVerifier, Purpose, Role};
use openset_protocol::card::{CardExpiry, CardSecret, NonceCca, Pan};
use openset_protocol::cardholder::Card;
use openset_protocol::cardholder::purchase::{self, Order};
use openset_protocol::identity::Credentials;
use openset_protocol::ids::Language;
use openset_protocol::merchant::auth::{self, Asking, AuthAnswer, AwaitingAuthRes, Instrument};
use openset_protocol::merchant::auth_rev::{self, AwaitingAuthRevRes, ReversalAnswer, Reverse};
use openset_protocol::merchant::batch_admin::{self, AwaitingBatchAdminRes};
use openset_protocol::merchant::cap::{self, AwaitingCapRes, Capture};
use openset_protocol::merchant::cap_rev_or_cred::{self, AwaitingCapRevOrCredRes, Item};
use openset_protocol::merchant::p::{self, OwnOrder, VerifiedPReq};
use openset_protocol::merchant::p_init;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::batch_admin::BatchAdminResData;
use openset_protocol::messages::cap::{CapCode, CapResItem};
use openset_protocol::messages::cap_rev_or_cred::{
    CapRevOrCred, CapRevOrCredCode, CapRevOrCredResItem,
};
use openset_protocol::messages::error;
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::{Jwe, Message, MessageWrapper};
use openset_protocol::{Context, Timestamp};
use openset_service::{clock, random};
use openset_testkit::keys::{self, key};
use openset_testkit::pki::{self, TestPki};

/// What no database and no log may hold.
pub(crate) const ORDER_DESCRIPTION: &str = "2 x Faust, der Tragoedie erster Teil";
pub(crate) const PAN: &str = "4000001234567899";

/// One hierarchy for all tests: making its keys is most of their time.
pub(crate) static PKI: LazyLock<TestPki> = LazyLock::new(|| TestPki::new(&["Visa"], clock::now()));
pub(crate) static GATEWAY: LazyLock<Credentials> =
    LazyLock::new(|| PKI.gateway("Visa", "gateway-1"));
pub(crate) static SHOP: LazyLock<Credentials> = LazyLock::new(|| PKI.merchant("Visa", "shop-1"));
pub(crate) static OTHER_SHOP: LazyLock<Credentials> =
    LazyLock::new(|| PKI.merchant("Visa", "shop-2"));
/// What gateway and shop have after a renewal.
pub(crate) static GATEWAY_RENEWED: LazyLock<Credentials> =
    LazyLock::new(|| renewed(Role::Gateway, "gateway-1"));
pub(crate) static SHOP_RENEWED: LazyLock<Credentials> =
    LazyLock::new(|| renewed(Role::Merchant, "shop-1"));
pub(crate) static CARD: LazyLock<Card> = LazyLock::new(|| card("203012"));

pub(crate) fn verifier() -> Arc<PathVerifier> {
    Arc::new(PKI.fresh_verifier())
}

/// A card with this expiry, and a certificate that hides it.
pub(crate) fn card(expiry: &str) -> Card {
    let pan: Pan = PAN.parse().unwrap();
    let card_expiry: CardExpiry = expiry.parse().unwrap();
    let card_secret = CardSecret::from_bytes([7; 32]);
    let pan_secret = card_secret.pan_secret(&NonceCca::from_bytes([8; 32]));
    let name = pan_secret.account_name(&pan, card_expiry);
    Card {
        pan,
        card_expiry,
        card_secret,
        pan_secret,
        signature: PKI.cardholder("Visa", &name),
    }
}

fn renewed(role: Role, name: &str) -> Credentials {
    let certified = |purpose| {
        let key = key(&format!("{name}/2/{purpose}"));
        let leaf = PKI.leaf(role, purpose, name);
        (PKI.issue("Visa", &leaf, key.public_key()), key)
    };
    let (chain, key) = certified(Purpose::Signature);
    let signature = pki::signature(chain, key);
    let (chain, key) = certified(Purpose::KeyExchange);
    Credentials {
        signature,
        key_exchange: pki::key_exchange(chain, key),
    }
}

pub(crate) fn euros(minor: u64) -> CurrencyAmount {
    CurrencyAmount::new(Currency::from_alpha("EUR").unwrap(), minor).unwrap()
}

/// A purchase that has come as far as the merchant's verified PReq.
pub(crate) struct Bought {
    pub(crate) shop: &'static Credentials,
    pub(crate) p_req: VerifiedPReq,
    pub(crate) amount: CurrencyAmount,
    pub(crate) plan: Option<InstallRecurData>,
}

/// An AuthReq on its way.
pub(crate) struct Asked {
    shop: &'static Credentials,
    awaiting: AwaitingAuthRes,
    pub(crate) xid: String,
    pub(crate) wire: Vec<u8>,
}

/// A CapReq on its way.
pub(crate) struct Claimed {
    shop: &'static Credentials,
    awaiting: AwaitingCapRes,
    pub(crate) wire: Vec<u8>,
}

/// Buys at the shop with the card that is good.
pub(crate) fn buy(shop: &'static Credentials, minor: u64) -> Bought {
    buy_with(&CARD, shop, minor)
}

pub(crate) fn buy_with(card: &Card, shop: &'static Credentials, minor: u64) -> Bought {
    buy_by(card, shop, minor, None)
}

/// Buys something that is paid in parts, or again and again.
pub(crate) fn buy_by(
    card: &Card,
    shop: &'static Credentials,
    minor: u64,
    plan: Option<InstallRecurData>,
) -> Bought {
    let mut rng = random::system();
    let now = clock::now();
    let ctx = &mut Context { now, rng: &mut rng };
    let amount = euros(minor);
    let order = Order {
        lid_m: "order-1".parse().unwrap(),
        order_description: ORDER_DESCRIPTION.as_bytes().to_vec(),
        purch_amt: amount,
        install_recur_data: plan,
        language: Language::english(),
        thumbs: None,
    };
    let init = purchase::start(ctx, card, order).unwrap();
    let wrapper = MessageWrapper::decode(&init.wire).unwrap();
    let request = p_init::open(ctx, &wrapper).unwrap();
    let (opened, answer) = p_init::answer(
        ctx,
        &init.wire,
        request,
        shop,
        GATEWAY.key_exchange.chain(),
        &RevocationState::default(),
    )
    .unwrap();
    let step = init
        .state
        .handle(ctx, card, &answer, PKI.verifier(), None)
        .unwrap();
    let wrapper = MessageWrapper::decode(&step.wire).unwrap();
    let p_req = p::open(&wrapper, &[shop]).unwrap();
    let own = OwnOrder {
        order_description: ORDER_DESCRIPTION.as_bytes(),
        purch_amt: amount,
        install_recur_data: plan.as_ref(),
    };
    let p_req = p_req
        .verify(&wrapper, &opened, own, PKI.verifier(), now)
        .unwrap();
    assert!(p_req.order_agrees);
    Bought {
        shop,
        p_req,
        amount,
        plan,
    }
}

impl Bought {
    /// AuthReq for all of it.
    pub(crate) fn ask(&self) -> Asked {
        self.ask_with(clock::now(), &mut random::system())
    }

    /// AuthReq made at another time, or with another's randomness: the same seed gives the same RRPID.
    pub(crate) fn ask_with(&self, now: Timestamp, rng: openset_protocol::Random<'_>) -> Asked {
        self.ask_as(self.shop, &GATEWAY, now, rng)
    }

    /// AuthReq signed with these keys of the shop and sealed for these of the gateway.
    pub(crate) fn ask_as(
        &self,
        shop: &'static Credentials,
        gateway: &Credentials,
        now: Timestamp,
        rng: openset_protocol::Random<'_>,
    ) -> Asked {
        let ctx = &mut Context { now, rng };
        let asking = self.asking(self.p_req.payment_instruction(), self.amount);
        self.send(ctx, shop, gateway, &asking)
    }

    /// AuthReq for all of it, to be captured at once.
    pub(crate) fn ask_sale(&self) -> Asked {
        let asking = self.asking(self.p_req.payment_instruction(), self.amount);
        self.ask_sale_of(asking)
    }

    /// The same with a token, for so much.
    pub(crate) fn ask_next_sale(&self, token: &Jwe, minor: u64) -> Asked {
        self.ask_sale_of(self.asking(Instrument::Token(token), euros(minor)))
    }

    fn ask_sale_of(&self, asking: Asking<'_>) -> Asked {
        let asking = Asking {
            capture_now: true,
            ..asking
        };
        self.ask_for(self.shop, &asking, false)
    }

    /// AuthReq for a part, which more are to follow.
    pub(crate) fn ask_part(&self, minor: u64) -> Asked {
        let asking = self.asking(self.p_req.payment_instruction(), euros(minor));
        self.ask_for(self.shop, &asking, true)
    }

    /// AuthReq for the next part.
    pub(crate) fn ask_next(&self, token: &Jwe, minor: u64) -> Asked {
        self.ask_next_as(self.shop, token, euros(minor))
    }

    pub(crate) fn ask_next_as(
        &self,
        shop: &'static Credentials,
        token: &Jwe,
        amount: CurrencyAmount,
    ) -> Asked {
        self.ask_for(shop, &self.asking(Instrument::Token(token), amount), true)
    }

    /// AuthReq for 10.00, which more are to follow; the same seed gives the same RRPID.
    pub(crate) fn ask_seeded(
        &self,
        shop: &'static Credentials,
        token: Option<&Jwe>,
        (now, seed): (Timestamp, u64),
    ) -> Asked {
        let mut rng = keys::rng(seed);
        let ctx = &mut Context { now, rng: &mut rng };
        let pi = self.p_req.payment_instruction();
        let instrument = token.map_or(pi, Instrument::Token);
        let asking = Asking {
            subsequent_auth_ind: true,
            ..self.asking(instrument, euros(1000))
        };
        self.send(ctx, shop, &GATEWAY, &asking)
    }

    /// AuthReq for the last part.
    pub(crate) fn ask_last(&self, token: &Jwe, minor: u64) -> Asked {
        let asking = self.asking(Instrument::Token(token), euros(minor));
        self.ask_for(self.shop, &asking, false)
    }

    fn ask_for(&self, shop: &'static Credentials, asking: &Asking<'_>, more: bool) -> Asked {
        let mut rng = random::system();
        let ctx = &mut Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let asking = Asking {
            subsequent_auth_ind: more,
            ..*asking
        };
        self.send(ctx, shop, &GATEWAY, &asking)
    }

    fn asking<'a>(&'a self, instrument: Instrument<'a>, amount: CurrencyAmount) -> Asking<'a> {
        Asking {
            trans_ids: &self.p_req.trans_ids,
            instrument,
            hod2: self.p_req.hod,
            amount,
            merch_cat_code: "5942",
            subsequent_auth_ind: false,
            capture_now: false,
            install_recur_data: self.plan,
        }
    }

    fn send(
        &self,
        ctx: &mut Context<'_>,
        shop: &'static Credentials,
        gateway: &Credentials,
        asking: &Asking<'_>,
    ) -> Asked {
        let gateway = gateway.key_exchange.certificate();
        let (awaiting, wire) = auth::request(ctx, shop, gateway, asking, PKI.verifier()).unwrap();
        Asked {
            shop,
            awaiting,
            xid: self.p_req.trans_ids.xid.to_string(),
            wire,
        }
    }
}

impl Asked {
    /// What the merchant makes of the answer.
    pub(crate) fn read(&self, answer: &[u8]) -> AuthAnswer {
        self.awaiting
            .handle(answer, &[self.shop], PKI.verifier(), clock::now())
            .unwrap()
    }

    /// Whether this Error is signed by the gateway, about this request.
    pub(crate) fn refused_for_good(&self, answer: &[u8]) -> bool {
        let wrapper = MessageWrapper::decode(answer).unwrap();
        let Message::Error(error) = wrapper.message else {
            panic!("not SET's Error")
        };
        let asked = error::Asked {
            party: GATEWAY.key_exchange.certificate(),
            role: Role::Gateway,
            brand: GATEWAY.signature.brand().unwrap(),
        };
        let shop = self.shop.signature.thumbprint();
        let request = (self.wire.as_slice(), self.awaiting.rrpid(), shop);
        let verified = error.verify(request, &asked, PKI.verifier(), clock::now());
        verified.is_ok()
    }

    pub(crate) fn auth_code(&self, answer: &[u8]) -> String {
        let code = self.read(answer).payload.auth_code;
        serde_json::to_value(code)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// What to capture, out of the answer.
    pub(crate) fn capture(&self, bought: &Bought, answer: &[u8], minor: u64) -> Capture {
        Capture {
            trans_ids: bought.p_req.trans_ids.clone(),
            auth_rrpid: self.awaiting.rrpid(),
            hod: bought.p_req.hod,
            amount: euros(minor),
            batch_id: None,
            cap_token: self.token(answer),
        }
    }

    /// The authorization's name.
    pub(crate) fn rrpid(&self) -> String {
        self.awaiting.rrpid().to_string()
    }

    pub(crate) fn token(&self, answer: &[u8]) -> Jwe {
        self.read(answer).baggage.cap_token.unwrap()
    }

    /// What the next authorization is asked for with.
    pub(crate) fn auth_token(&self, answer: &[u8]) -> Jwe {
        self.read(answer).baggage.auth_token.unwrap()
    }

    /// AuthRevReq for so much to stay authorized.
    pub(crate) fn take_back(
        &self,
        bought: &Bought,
        cap_token: Option<Jwe>,
        minor: u64,
    ) -> TakenBack {
        let mut rng = random::system();
        let ctx = &mut Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let reverse = Reverse {
            trans_ids: bought.p_req.trans_ids.clone(),
            auth_rrpid: self.awaiting.rrpid(),
            hod: bought.p_req.hod,
            new_amount: euros(minor),
            cap_token,
        };
        let gateway = GATEWAY.key_exchange.certificate();
        let (awaiting, wire) =
            auth_rev::request(ctx, self.shop, gateway, reverse, PKI.verifier()).unwrap();
        TakenBack {
            shop: self.shop,
            awaiting,
            wire,
        }
    }
}

/// An AuthRevReq on its way.
pub(crate) struct TakenBack {
    shop: &'static Credentials,
    awaiting: AwaitingAuthRevRes,
    pub(crate) wire: Vec<u8>,
}

impl TakenBack {
    pub(crate) fn read(&self, answer: &[u8]) -> ReversalAnswer {
        self.awaiting
            .handle(answer, &[self.shop], PKI.verifier(), clock::now())
            .unwrap()
    }
}

/// CapReq of these captures.
pub(crate) fn claim(shop: &'static Credentials, captures: Vec<Capture>) -> Claimed {
    let mut rng = random::system();
    let ctx = &mut Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let gateway = GATEWAY.key_exchange.certificate();
    let (awaiting, wire) = cap::request(ctx, shop, gateway, captures, PKI.verifier()).unwrap();
    Claimed {
        shop,
        awaiting,
        wire,
    }
}

impl Claimed {
    pub(crate) fn read(&self, answer: &[u8]) -> Vec<CapResItem> {
        self.awaiting
            .handle(answer, &[self.shop], PKI.verifier(), clock::now())
            .unwrap()
    }

    pub(crate) fn codes(&self, answer: &[u8]) -> Vec<CapCode> {
        self.read(answer).iter().map(|item| item.cap_code).collect()
    }
}

impl Asked {
    /// One item of CapRevReq, CredReq or CredRevReq.
    pub(crate) fn item(
        &self,
        bought: &Bought,
        answer: &[u8],
        minor: u64,
        original: Option<BatchPlace>,
    ) -> Item {
        Item {
            trans_ids: bought.p_req.trans_ids.clone(),
            auth_rrpid: self.awaiting.rrpid(),
            hod: bought.p_req.hod,
            original,
            amount: euros(minor),
            new_batch_id: None,
            cap_token: self.token(answer),
        }
    }
}

/// CapRevReq, CredReq or CredRevReq of these items.
pub(crate) fn undo(shop: &'static Credentials, which: CapRevOrCred, items: Vec<Item>) -> Undoing {
    undo_anew(shop, which, items, None)
}

/// The same that an earlier request asked for.
pub(crate) fn undo_anew(
    shop: &'static Credentials,
    which: CapRevOrCred,
    items: Vec<Item>,
    earlier: Option<&Undoing>,
) -> Undoing {
    let mut rng = random::system();
    let ctx = &mut Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let gateway = GATEWAY.key_exchange.certificate();
    let asked = cap_rev_or_cred::Asked {
        which,
        items,
        earlier: earlier.map(|earlier| earlier.awaiting.rrpid()),
    };
    let (awaiting, wire) =
        cap_rev_or_cred::request(ctx, shop, gateway, asked, PKI.verifier()).unwrap();
    Undoing {
        shop,
        awaiting,
        wire,
    }
}

/// One of the three on its way.
pub(crate) struct Undoing {
    shop: &'static Credentials,
    awaiting: AwaitingCapRevOrCredRes,
    pub(crate) wire: Vec<u8>,
}

impl Undoing {
    pub(crate) fn read(&self, answer: &[u8]) -> Vec<CapRevOrCredResItem> {
        self.awaiting
            .handle(answer, &[self.shop], PKI.verifier(), clock::now())
            .unwrap()
    }

    pub(crate) fn codes(&self, answer: &[u8]) -> Vec<CapRevOrCredCode> {
        let items = self.read(answer);
        items.iter().map(|item| item.cap_rev_or_cred_code).collect()
    }
}

/// BatchAdminReq.
pub(crate) fn administer(shop: &'static Credentials, asked: batch_admin::Asked) -> Administered {
    let mut rng = random::system();
    let ctx = &mut Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let gateway = GATEWAY.key_exchange.certificate();
    let (awaiting, wire) = batch_admin::request(ctx, shop, gateway, asked, PKI.verifier()).unwrap();
    Administered {
        shop,
        awaiting,
        wire,
    }
}

/// A BatchAdminReq on its way.
pub(crate) struct Administered {
    shop: &'static Credentials,
    awaiting: AwaitingBatchAdminRes,
    pub(crate) wire: Vec<u8>,
}

impl Administered {
    pub(crate) fn read(&self, answer: &[u8]) -> BatchAdminResData {
        self.awaiting
            .handle(answer, &[self.shop], PKI.verifier(), clock::now())
            .unwrap()
    }
}
