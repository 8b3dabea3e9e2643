//! A purchase by mail, from the catalogue on, and what time does to it.

use crate::layers::KeyRing;
use crate::run::{End, Outcome, Run, as_sent, at, genuine};
use crate::world::{BRAND, OTHER_BRAND, STAPLE, amount, opening_key, signing_key, world};
use openset_jose::{ContentKey, default_provider};
use openset_pki::{Chain, PathError, PathVerifier, Purpose, Role, TrustAnchor};
use openset_protocol::Rejection::{
    self, AnotherParty, ChallengeMismatch, Disagreement, HeaderMismatch, OutOfOrder, TooNew, TooOld,
};
use openset_protocol::cardholder::mail_order::{Catalogue, Ordering};
use openset_protocol::cardholder::purchase::{AwaitingPRes, Step};
use openset_protocol::identity::Credentials;
use openset_protocol::ids::Language;
use openset_protocol::merchant;
use openset_protocol::merchant::mail_order::{Contents, Issued, OrderedBy};
use openset_protocol::merchant::p::{OwnOrder, VerifiedPReq};
use openset_protocol::merchant::p_init::OpenedPurchase;
use openset_protocol::messages::initiation::Money;
use openset_protocol::messages::mail_order::{
    CATALOGUE_BYTES_MAX, MAIL_ORDER_AGE_SECONDS_MAX, OrderedItem, Product, price,
};
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::MessageWrapper;
use openset_protocol::{BrandId, Timestamp};
use openset_testkit::pki::{key_exchange, signature, validity};
use std::sync::LazyLock;

const DAY: i64 = 86_400;
const SET_URL: &str = "https://shop.example/set";

/// A catalogue and an order by it.
pub struct Mail {
    pub issued: Issued,
    pub wrapped_catalogue: Vec<u8>,
    pub awaiting_p_res: AwaitingPRes,
    pub p_req: Vec<u8>,
}

static MAIL: LazyLock<Mail> = LazyLock::new(Mail::new);

pub fn mail() -> &'static Mail {
    &MAIL
}

fn brand() -> BrandId {
    BRAND.parse().unwrap()
}

fn products() -> Vec<Product> {
    let product = |id: &str| Product {
        product_id: id.to_owned(),
        name: format!("A {id}"),
        description: format!("As good as a {id} can be."),
        price: Money {
            currency: Currency::from_alpha("EUR").unwrap(),
            amount_minor: 2100,
        },
    };
    vec![product("book"), product("pen")]
}

fn items() -> Vec<OrderedItem> {
    vec![OrderedItem {
        product_id: "book".to_owned(),
        quantity: 2,
    }]
}

pub fn amount_of_order() -> CurrencyAmount {
    amount(4200)
}

/// A catalogue in the form of a message, which the matrix takes apart.
pub fn wrapped(jws: &str) -> Vec<u8> {
    let wrapper = serde_json::json!({"message_header": {}, "message": {"Catalogue": jws}});
    serde_json::to_vec(&wrapper).unwrap()
}

pub fn catalogue_in(wrapped: &[u8]) -> String {
    let wrapper: serde_json::Value = serde_json::from_slice(wrapped).unwrap();
    wrapper["message"]["Catalogue"].as_str().unwrap().to_owned()
}

fn sign(ours: &Credentials, gateway: &Chain) -> Result<Issued, Rejection> {
    sign_products(ours, gateway, products())
}

fn sign_products(
    ours: &Credentials,
    gateway: &Chain,
    products: Vec<Product>,
) -> Result<Issued, Rejection> {
    let contents = Contents {
        products,
        set_url: SET_URL,
    };
    let state = world().state();
    world().with(|ctx| merchant::mail_order::catalogue(ctx, ours, gateway, &state, contents))
}

fn read(jws: &str, verifier: &PathVerifier, now: Timestamp) -> Result<Catalogue, Rejection> {
    Catalogue::read(jws, &brand(), verifier, now)
}

/// The wallet's order by a catalogue.
pub fn ordered(
    verifier: &PathVerifier,
    jws: &str,
    purch_amt: CurrencyAmount,
) -> Result<Step<AwaitingPRes>, End> {
    let w = world();
    let catalogue = at("Catalogue", read(jws, verifier, w.now))?;
    let ordering = Ordering {
        items: items(),
        purch_amt,
        language: Language::english(),
    };
    let staple = Some(STAPLE.to_vec());
    let step = w.with(|ctx| catalogue.order(ctx, &w.card(), ordering, staple));
    at("Catalogue", step)
}

/// What the shop remembers of its one catalogue.
fn ordered_by(brand_id: &BrandId) -> OrderedBy<'_> {
    let w = world();
    OrderedBy {
        brand_id,
        merchant: w.shop.signature.thumbprint(),
        gateway: w.gateway.key_exchange.thumbprint(),
        valid_until: mail().issued.valid_until,
        age_seconds_max: MAIL_ORDER_AGE_SECONDS_MAX,
    }
}

fn open(wire: &[u8], now: Timestamp) -> Result<OpenedPurchase, Rejection> {
    let wrapper = MessageWrapper::decode(wire)?;
    let p_req = merchant::p::open(&wrapper, &[&world().shop])?;
    p_req.opened_by_mail(&wrapper, &ordered_by(&brand()), now)
}

fn verify(verifier: &PathVerifier, wire: &[u8]) -> Result<VerifiedPReq, Rejection> {
    let w = world();
    let wrapper = MessageWrapper::decode(wire)?;
    let p_req = merchant::p::open(&wrapper, &[&w.shop])?;
    let order = p_req.mail_order().ok_or(Disagreement("order"))?.clone();
    if order.catalogue != mail().issued.digest {
        return Err(Disagreement("catalogue"));
    }
    let opened = p_req.opened_by_mail(&wrapper, &ordered_by(&brand()), w.now)?;
    let purch_amt = price(&products(), &order.items).map_err(|_| Disagreement("order"))?;
    let description = order.description(&opened.trans_ids.lid_m);
    let own = OwnOrder {
        order_description: description.as_bytes(),
        purch_amt,
        install_recur_data: None,
    };
    p_req.verify(&wrapper, &opened, own, verifier, w.now)
}

/// How the purchase goes on when this PReq comes by mail.
pub fn mailed(verifier: &PathVerifier, wire: &[u8]) -> Outcome {
    Mail::go_on(verifier, &as_sent(&mail().awaiting_p_res, wire), wire)
}

impl Mail {
    fn new() -> Self {
        let w = world();
        let issued = sign(&w.shop, w.gateway.key_exchange.chain()).unwrap();
        let Step { state, wire } = ordered(w.verifier(), &issued.jws.0, amount(4200)).unwrap();
        Self {
            wrapped_catalogue: wrapped(&issued.jws.0),
            issued,
            awaiting_p_res: state,
            p_req: wire,
        }
    }

    /// All keys with which its messages were signed and sealed.
    pub fn ring(&self) -> KeyRing {
        let purchase = serde_json::to_value(self.awaiting_p_res.purchase()).unwrap();
        let key = purchase["acq_back_key_data"].clone();
        let key: ContentKey = serde_json::from_value(key).unwrap();
        world().ring(key)
    }

    pub fn go_on(verifier: &PathVerifier, wallet: &AwaitingPRes, wire: &[u8]) -> Outcome {
        let run = Run {
            world: world(),
            verifier,
        };
        let verified = at("PReq", verify(verifier, wire))?;
        if !verified.order_agrees {
            return Err(End::OrderRejected);
        }
        let (shop, auth_req) = run.ask(&verified);
        let auth_res = run.authorize(&auth_req)?;
        run.go_on_from_auth_res(&shop, &auth_res, &verified, (wallet, wire))
    }
}

#[test]
fn order_by_mail_is_paid_and_captured() {
    assert_eq!(mailed(world().verifier(), &mail().p_req), Ok(()));
}

#[test]
fn order_by_mail_is_taken_for_thirty_days_and_no_second_more() {
    let (now, wire) = (world().now, &mail().p_req);
    let latest = now.plus(30 * DAY);
    assert_eq!(open(wire, latest).map(drop), Ok(()));
    assert_eq!(open(wire, latest.plus(1)).map(drop), Err(TooOld));
    assert_eq!(open(wire, now.plus(31 * DAY)).map(drop), Err(TooOld));
    assert_eq!(open(wire, now.plus(-121)).map(drop), Err(TooNew));
    // A shop may take them for less.
    let wrapper = MessageWrapper::decode(wire).unwrap();
    let p_req = merchant::p::open(&wrapper, &[&world().shop]).unwrap();
    let of = brand();
    let impatient = OrderedBy {
        age_seconds_max: DAY,
        ..ordered_by(&of)
    };
    let opened = p_req.opened_by_mail(&wrapper, &impatient, now.plus(DAY + 1));
    assert_eq!(opened.map(drop), Err(TooOld));
}

#[test]
fn old_order_by_mail_gets_no_younger_by_a_new_date_in_its_header() {
    let mut wrapper = MessageWrapper::decode(&mail().p_req).unwrap();
    let now = world().now.plus(31 * DAY);
    wrapper.message_header.date = now;
    let opened = open(&wrapper.encode(), now);
    assert_eq!(opened.map(drop), Err(HeaderMismatch("date")));
}

#[test]
fn order_that_was_made_after_its_catalogue_had_run_out_is_refused() {
    let wrapper = MessageWrapper::decode(&mail().p_req).unwrap();
    let p_req = merchant::p::open(&wrapper, &[&world().shop]).unwrap();
    let of = brand();
    let ended = OrderedBy {
        valid_until: world().now.plus(-1),
        ..ordered_by(&of)
    };
    let opened = p_req.opened_by_mail(&wrapper, &ended, world().now);
    let why = OutOfOrder("ordered by a catalogue that had run out");
    assert_eq!(opened.map(drop), Err(why));
}

#[test]
fn what_came_by_mail_and_what_did_not_are_not_taken_for_each_other() {
    let w = world();
    // One that PInit came before, from the folder.
    let opened = open(&genuine().p_req, w.now);
    assert_eq!(opened.map(drop), Err(ChallengeMismatch("chall_m")));
    // One without PInit, where PInit came before.
    let wrapper = MessageWrapper::decode(&mail().p_req).unwrap();
    let p_req = merchant::p::open(&wrapper, &[&w.shop]).unwrap();
    let mut opened = open(&mail().p_req, w.now).unwrap();
    opened.chall_m = genuine().opened.chall_m;
    let verified = p_req.verify(&wrapper, &opened, w.order(), w.verifier(), w.now);
    assert_eq!(verified.map(drop), Err(ChallengeMismatch("chall_m")));
}

#[test]
fn wallet_orders_nothing_at_another_price_or_with_another_brand() {
    let w = world();
    let jws = &mail().issued.jws.0;
    let outcome = ordered(w.verifier(), jws, amount(4199)).map(drop);
    let differs = Disagreement("the order's amount");
    assert_eq!(outcome, Err(End::Refused("Catalogue", differs)));
    let other: BrandId = OTHER_BRAND.parse().unwrap();
    let read = Catalogue::read(jws, &other, w.verifier(), w.now);
    let wrong = Rejection::Certificate(PathError::WrongBrand);
    assert_eq!(read.map(drop), Err(wrong));
}

#[test]
fn catalogue_with_names_that_would_repaint_a_terminal_is_refused() {
    let w = world();
    let gateway = w.gateway.key_exchange.chain();
    for odd in [
        "\u{1b}[2JA book",
        "A\nbook",
        "A book \u{202e}00.1 RUE",
        "A \u{200b}book",
    ] {
        let mut products = products();
        products[1].name = odd.to_owned();
        let issued = sign_products(&w.shop, gateway, products).unwrap();
        let read = read(&issued.jws.0, w.verifier(), w.now);
        assert_eq!(read.map(drop), Err(Disagreement("name")), "{odd:?}");
    }
}

#[test]
fn catalogue_that_no_wallet_would_read_is_not_signed() {
    let w = world();
    let mut products = products();
    products[0].description = "x".repeat(CATALOGUE_BYTES_MAX * 3 / 4);
    let issued = sign_products(&w.shop, w.gateway.key_exchange.chain(), products);
    let limit_bytes = CATALOGUE_BYTES_MAX;
    assert_eq!(issued.map(drop), Err(Rejection::TooBig { limit_bytes }));
}

#[test]
fn catalogue_of_two_merchants_is_refused() {
    let w = world();
    let mixed = Credentials {
        signature: w.shop.signature.clone(),
        key_exchange: w.other_shop.key_exchange.clone(),
    };
    let issued = sign(&mixed, w.gateway.key_exchange.chain()).unwrap();
    let read = read(&issued.jws.0, w.verifier(), w.now);
    assert_eq!(read.map(drop), Err(AnotherParty("merchant")));
}

#[test]
fn other_merchants_order_is_not_sealed_for_this_one() {
    let w = world();
    let issued = sign(&w.other_shop, w.gateway.key_exchange.chain()).unwrap();
    let step = ordered(w.verifier(), &issued.jws.0, amount(4200)).unwrap();
    assert_eq!(
        open(&step.wire, w.now).map(drop),
        Err(Rejection::NotSealedForUs)
    );
}

/// The shop with certificates that end after so many days.
fn shop_for(days: i64) -> Credentials {
    let w = world();
    let chain = |purpose, key: &openset_jose::PrivateKey| {
        let mut leaf = w.pki.leaf(Role::Merchant, purpose, "shop-1");
        leaf.validity = validity(w.now, days);
        w.pki.issue(BRAND, &leaf, key.public_key())
    };
    let (signs, opens) = (
        signing_key(Role::Merchant, "shop-1"),
        opening_key(Role::Merchant, "shop-1"),
    );
    Credentials {
        signature: signature(chain(Purpose::Signature, &signs), signs),
        key_exchange: key_exchange(chain(Purpose::KeyExchange, &opens), opens),
    }
}

#[test]
fn catalogue_ends_thirty_days_before_the_first_of_its_certificates() {
    let w = world();
    let issued = sign(&shop_for(35), w.gateway.key_exchange.chain()).unwrap();
    assert_eq!(issued.valid_until, w.now.plus(5 * DAY));
    let good = read(&issued.jws.0, w.verifier(), w.now.plus(5 * DAY));
    assert_eq!(good.map(drop), Ok(()));
    let ended = read(&issued.jws.0, w.verifier(), w.now.plus(5 * DAY + 1));
    let why = OutOfOrder("the catalogue has run out; ask the shop for a newer one");
    assert_eq!(ended.map(drop), Err(why));
    let early = read(&issued.jws.0, w.verifier(), w.now.plus(-121));
    assert_eq!(early.map(drop), Err(TooNew));
    let too_soon = sign(&shop_for(30), w.gateway.key_exchange.chain());
    let why = OutOfOrder("the certificates end too soon for mail orders; renew them");
    assert_eq!(too_soon.map(drop), Err(why));
    // However long its certificates are.
    assert_eq!(mail().issued.valid_until, w.now.plus(90 * DAY));
}

#[test]
fn catalogue_brings_its_revocations_and_they_must_be_fresh() {
    let w = world();
    let root = w.pki.root.certificate().der();
    let knows_the_root = || {
        let anchor = TrustAnchor::pinned(root, &openset_jose::sha256(root)).unwrap();
        PathVerifier::new(anchor, default_provider())
    };
    let jws = &mail().issued.jws.0;
    assert_eq!(read(jws, &knows_the_root(), w.now).map(drop), Ok(()));
    // Its lists have run out, and the wallet has no newer ones.
    let stale = read(jws, &knows_the_root(), w.now.plus(31 * DAY));
    let missing =
        |error: &PathError| matches!(error, PathError::CrlMissing(_) | PathError::CrlStale(_));
    let is_stale = |outcome: &Result<Catalogue, Rejection>| matches!(outcome, Err(Rejection::Certificate(error)) if missing(error));
    assert!(is_stale(&stale), "{stale:?}");
    let stale = read(jws, &w.pki.fresh_verifier(), w.now.plus(31 * DAY));
    assert!(is_stale(&stale), "{stale:?}");
    // Without any, somebody who knows the root alone takes nothing.
    let contents = Contents {
        products: products(),
        set_url: SET_URL,
    };
    let none = RevocationState::default();
    let gateway = w.gateway.key_exchange.chain();
    let bare =
        w.with(|ctx| merchant::mail_order::catalogue(ctx, &w.shop, gateway, &none, contents));
    let refused = read(&bare.unwrap().jws.0, &knows_the_root(), w.now);
    assert!(is_stale(&refused), "{refused:?}");
}
