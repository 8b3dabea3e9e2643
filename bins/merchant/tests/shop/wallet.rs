//! A cardholder's wallet, driven by hand.

use std::sync::Arc;

use openset_pki::Certificate;
use openset_protocol::card::{CardExpiry, CardSecret, NonceCca, Pan};
use openset_protocol::cardholder::Card;
use openset_protocol::cardholder::inquiry;
use openset_protocol::cardholder::mail_order::{Catalogue, Ordering};
use openset_protocol::cardholder::purchase::{self, AwaitingPRes, Order, PurchaseOutcome, Step};
use openset_protocol::ids::Language;
use openset_protocol::messages::initiation::PaymentInitiation;
use openset_protocol::messages::mail_order::OrderedItem;
use openset_protocol::{Context, Timestamp};
use openset_service::set_endpoint::SET_PAYMENT;
use openset_service::{clock, random};
use openset_testkit::pki::TestPki;

use crate::shop::Shop;

pub(crate) const PAN: &str = "4111111111111111";

pub(crate) struct Wallet {
    pki: Arc<TestPki>,
    card: Card,
}

/// A SET answer: its status and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The `error_code` and text of SET's Error.
    pub(crate) fn error(&self) -> (String, String) {
        assert_eq!(self.status, 400, "{}", String::from_utf8_lossy(&self.body));
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        let error = &json["message"]["Error"];
        let text = |field: &str| error[field].as_str().unwrap().to_owned();
        (text("error_code"), text("error_text"))
    }
}

pub(crate) async fn post(base: &str, wire: &[u8]) -> Reply {
    let request = reqwest::Client::new().post(format!("{base}/set"));
    let request = request
        .header("content-type", SET_PAYMENT)
        .body(wire.to_vec());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    Reply {
        status,
        body: response.bytes().await.unwrap().to_vec(),
    }
}

impl Wallet {
    pub(crate) fn new(pki: &Arc<TestPki>, secret: u8) -> Self {
        let pan: Pan = PAN.parse().unwrap();
        let card_expiry: CardExpiry = "209912".parse().unwrap();
        let card_secret = CardSecret::from_bytes([secret; 32]);
        let pan_secret = card_secret.pan_secret(&NonceCca::from_bytes([9; 32]));
        let name = pan_secret.account_name(&pan, card_expiry);
        let signature = pki.cardholder("Visa", &name);
        let card = Card {
            pan,
            card_expiry,
            card_secret,
            pan_secret,
            signature,
        };
        Self {
            pki: Arc::clone(pki),
            card,
        }
    }

    /// The cardholder's certificate.
    pub(crate) fn certificate(&self) -> &Certificate {
        self.card.signature.certificate()
    }

    /// PInitReq and its answer; gives PReq, not yet sent.
    pub(crate) async fn begin(&self, shop: &Shop, order: &PaymentInitiation) -> Step<AwaitingPRes> {
        self.begin_stapled(shop, order, None).await
    }

    /// [`Self::begin`], with an OCSP response about the own certificate.
    pub(crate) async fn begin_stapled(
        &self,
        shop: &Shop,
        order: &PaymentInitiation,
        staple: Option<Vec<u8>>,
    ) -> Step<AwaitingPRes> {
        let description = order.order_description.as_bytes();
        self.begin_as(shop, order, description, staple).await
    }

    /// [`Self::begin`] of a wallet that was shown another order description.
    pub(crate) async fn begin_with(
        &self,
        shop: &Shop,
        order: &PaymentInitiation,
        description: &[u8],
    ) -> Step<AwaitingPRes> {
        self.begin_as(shop, order, description, None).await
    }

    async fn begin_as(
        &self,
        shop: &Shop,
        order: &PaymentInitiation,
        description: &[u8],
        staple: Option<Vec<u8>>,
    ) -> Step<AwaitingPRes> {
        let mut rng = random::system();
        let mut ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let order = Order {
            lid_m: order.lid_m.clone(),
            order_description: description.to_vec(),
            purch_amt: order.amount.try_into().unwrap(),
            install_recur_data: order.plan,
            language: Language::english(),
            thumbs: None,
        };
        let step = purchase::start(&mut ctx, &self.card, order).unwrap();
        let reply = post(&shop.url, &step.wire).await;
        assert_eq!(
            reply.status,
            200,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
        let again = post(&shop.url, &step.wire).await;
        assert_eq!(again, reply, "the same PInitReq gets the same PInitRes");
        let verifier = self.pki.verifier();
        step.state
            .handle(&mut ctx, &self.card, &reply.body, verifier, staple)
            .unwrap()
    }

    /// PInitReq as it is sent.
    pub(crate) fn p_init_req(&self, order: &PaymentInitiation) -> Vec<u8> {
        let mut rng = random::system();
        let mut ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let order = Order {
            lid_m: order.lid_m.clone(),
            order_description: order.order_description.clone().into_bytes(),
            purch_amt: order.amount.try_into().unwrap(),
            install_recur_data: order.plan,
            language: Language::english(),
            thumbs: None,
        };
        purchase::start(&mut ctx, &self.card, order).unwrap().wire
    }

    /// PReq by a catalogue, for so many bags of espresso; all its names are drawn from `seed`.
    pub(crate) fn order_by_mail(
        &self,
        catalogue: &str,
        quantity: u64,
        seed: u64,
    ) -> Step<AwaitingPRes> {
        self.order_by_mail_at(catalogue, quantity, seed, clock::now())
    }

    /// [`Self::order_by_mail`] by a wallet whose clock says so.
    pub(crate) fn order_by_mail_at(
        &self,
        catalogue: &str,
        quantity: u64,
        seed: u64,
        now: Timestamp,
    ) -> Step<AwaitingPRes> {
        let brand = self.card.brand().unwrap();
        let verifier = self.pki.verifier();
        let read = Catalogue::read(catalogue, brand, verifier, clock::now()).unwrap();
        let items = vec![OrderedItem {
            product_id: "espresso-250".to_owned(),
            quantity,
        }];
        let ordering = Ordering {
            purch_amt: read.price(&items).unwrap(),
            items,
            language: Language::english(),
        };
        let mut rng = openset_testkit::keys::rng(seed);
        let mut ctx = Context { now, rng: &mut rng };
        read.order(&mut ctx, &self.card, ordering, None).unwrap()
    }

    pub(crate) fn read(&self, state: &AwaitingPRes, reply: &Reply) -> PurchaseOutcome {
        assert_eq!(
            reply.status,
            200,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
        let mut rng = random::system();
        let ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        state
            .handle(&ctx, &reply.body, self.pki.verifier())
            .unwrap()
    }

    /// Buys; gives what the wallet knows afterwards.
    pub(crate) async fn buy(
        &self,
        shop: &Shop,
        order: &PaymentInitiation,
    ) -> (Step<AwaitingPRes>, PurchaseOutcome) {
        let step = self.begin(shop, order).await;
        let reply = post(&shop.url, &step.wire).await;
        let outcome = self.read(&step.state, &reply);
        (step, outcome)
    }

    /// Inquires about a purchase, which may be another wallet's.
    pub(crate) async fn inquire(
        &self,
        shop: &Shop,
        state: &AwaitingPRes,
    ) -> Result<PurchaseOutcome, Reply> {
        let mut rng = random::system();
        let mut ctx = Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let step =
            inquiry::start(&mut ctx, &self.card, state.purchase(), self.pki.verifier()).unwrap();
        let reply = post(&shop.url, &step.wire).await;
        if reply.status != 200 {
            return Err(reply);
        }
        let read = step
            .state
            .handle(&ctx, state.purchase(), &reply.body, self.pki.verifier());
        Ok(read.unwrap())
    }
}
