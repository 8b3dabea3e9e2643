//! A shop with its gateway in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use openset_jose::ContentKey;
use openset_protocol::Rejection;
use openset_protocol::gateway;
use openset_protocol::gateway::auth::{Answering, Approval, Decision, Shown, TokenKey};
use openset_protocol::gateway::auth_rev::{ReceiptFacts, ReceiptFor};
use openset_protocol::gateway::cap_rev_or_cred::Outcome;
use openset_protocol::gateway::receipt::NewReceipt;
use openset_protocol::identity::Credentials;
use openset_protocol::ids::Rrpid;
use openset_protocol::merchant::auth::{self as asking, Asking};
use openset_protocol::merchant::cap_rev_or_cred::{self, Item};
use openset_protocol::merchant::p::{self, Asked, Authorized, OwnOrder};
use openset_protocol::merchant::p_init::OpenedPurchase;
use openset_protocol::merchant::{inq, kept_receipt, p_init};
use openset_protocol::messages::auth::{AuthCode, RespReason};
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCred;
use openset_protocol::messages::error::ErrorMessage;
use openset_protocol::messages::p::{CompletionCode, Credited, PResPayload};
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_protocol::signed::request_digest;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::{Jwe, Jws, Message, MessageWrapper};
use openset_service::set_endpoint::SET_PAYMENT;
use openset_service::{clock, random};
use openset_testkit::pki::TestPki;
use serde_json::{Value, json};

use crate::authority::{serve, with_context};

const DESCRIPTION: &str = "2 x Espresso beans";
pub(crate) const AMOUNT_MINOR: u64 = 1500;

/// What a terminal would obey.
pub(crate) const REPAINTS: &str = "\u{1b}[2J\u{202e}this";

/// How the shop treats what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Sells; the bank approves.
    Sells,
    /// The bank declines.
    Declines,
    /// Rejects the order.
    Rejects,
    /// Has taken the order; the bank does not answer.
    Waits,
    /// 503 to SET messages.
    Down,
    /// Takes the message of this name, acts, and answers 503: the answer is lost.
    LosesAnswersTo(&'static str),
    /// Answers the message of this name after a long time.
    SlowTo(&'static str),
    /// SET's Error to everything.
    Errors,
    /// SET's Error to the message of this name, with [`REPAINTS`] in its text.
    ErrorsTo(&'static str),
    /// Shows another party's certificate.
    Forges,
    /// Does not know the order any more.
    Forgets,
    /// Captures so much, and of that so much goes back, before anybody inquires.
    Refunds(u64, u64),
}

pub(crate) struct Shop {
    pub(crate) url: String,
    state: Arc<ShopState>,
}

struct ShopState {
    pki: Arc<TestPki>,
    ours: Credentials,
    gateway: Credentials,
    tokens: TokenKey,
    mood: Mutex<Mood>,
    url: Mutex<String>,
    orders: Mutex<HashMap<String, Value>>,
    opened: Mutex<HashMap<String, OpenedPurchase>>,
    told: Mutex<HashMap<String, Told>>,
    received: Mutex<Vec<(String, Vec<u8>)>>,
    /// How many PReq had an OCSP response that shows the cardholder's certificate to be good.
    stapled: AtomicUsize,
    answers: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

/// What became of an order.
#[derive(Clone)]
struct Told {
    payer: p::PayerName,
    payload: PResPayload,
}

/// An authorization that was captured.
struct Sold<'a> {
    p_req: &'a p::VerifiedPReq,
    auth_rrpid: Rrpid,
    cap_token: Jwe,
    receipt_for: ReceiptFor,
}

impl Shop {
    pub(crate) async fn open(pki: &Arc<TestPki>) -> Self {
        let state = Arc::new(ShopState {
            pki: Arc::clone(pki),
            ours: pki.merchant("Visa", "shop-1"),
            gateway: pki.gateway("Visa", "gateway-1"),
            tokens: TokenKey::new(ContentKey::from_bytes([7; 32])),
            mood: Mutex::new(Mood::Sells),
            url: Mutex::default(),
            orders: Mutex::default(),
            opened: Mutex::default(),
            told: Mutex::default(),
            received: Mutex::default(),
            stapled: AtomicUsize::new(0),
            answers: Mutex::default(),
        });
        let router = Router::new()
            .route("/orders", post(order))
            .route("/set", post(set))
            .with_state(Arc::clone(&state));
        let url = serve(router).await;
        state.url.lock().unwrap().clone_from(&url);
        Self { url, state }
    }

    /// How many PReq had an OCSP response that shows the cardholder's certificate to be good.
    pub(crate) fn stapled(&self) -> usize {
        self.state.stapled.load(Ordering::Relaxed)
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// The keys under which orders were placed.
    pub(crate) fn order_keys(&self) -> Vec<String> {
        self.state.orders.lock().unwrap().keys().cloned().collect()
    }

    /// What to buy here for 15 euros.
    pub(crate) fn basket(&self, card_id: &str) -> Value {
        json!({
            "merchant_url": self.url, "card_id": card_id, "items": [{"product_id": "espresso", "quantity": 2}],
            "amount": {"currency": "EUR", "amount_minor": AMOUNT_MINOR},
        })
    }

    /// A payment initiation as a shop's page gives it.
    pub(crate) fn initiation(&self) -> Value {
        let key = random::hex_id::<8>();
        self.state.order(&key)
    }

    /// The different requests of this name that came, and how many came in all.
    pub(crate) fn received(&self, message: &str) -> (usize, usize) {
        let received = self.state.received.lock().unwrap();
        let of: Vec<_> = received
            .iter()
            .filter(|(name, _)| name == message)
            .collect();
        let distinct: std::collections::BTreeSet<_> = of.iter().map(|(_, wire)| wire).collect();
        (distinct.len(), of.len())
    }

    pub(crate) async fn wait_for(&self, message: &str) {
        for _ in 0..6000 {
            if self.received(message).1 > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {message} comes");
    }
}

async fn order(State(shop): State<Arc<ShopState>>, headers: HeaderMap) -> Response {
    let key = headers["idempotency-key"].to_str().unwrap();
    let answer = json!({"order_id": "not looked at", "payment_initiation": shop.order(key)});
    (StatusCode::CREATED, Json(answer)).into_response()
}

impl ShopState {
    fn order(&self, key: &str) -> Value {
        let url = self.url.lock().unwrap().clone();
        let mut orders = self.orders.lock().unwrap();
        let order = orders.entry(key.to_owned()).or_insert_with(|| {
            json!({
                "set_initiation_type": "payment", "set_version": "2.0", "set_url": format!("{url}/set"),
                "brands": ["Visa"], "amount": {"currency": "EUR", "amount_minor": AMOUNT_MINOR},
                "order_description": DESCRIPTION, "lid_m": random::hex_id::<16>(),
            })
        });
        order.clone()
    }
}

async fn set(State(shop): State<Arc<ShopState>>, body: Bytes) -> Response {
    let mood = *shop.mood.lock().unwrap();
    let wire = body.to_vec();
    let wrapper = MessageWrapper::decode(&wire).unwrap();
    let name = wrapper.message.name();
    shop.received
        .lock()
        .unwrap()
        .push((name.to_owned(), wire.clone()));
    if matches!(wrapper.message, Message::Error(_)) {
        return StatusCode::NO_CONTENT.into_response();
    }
    match mood {
        Mood::Down => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Errors => return error(&wrapper, &Rejection::Unauthentic),
        Mood::ErrorsTo(message) if message == name => {
            return error(&wrapper, &Rejection::NotServed(REPAINTS));
        }
        Mood::SlowTo(message) if message == name => {
            tokio::time::sleep(Duration::from_secs(60)).await
        }
        _ => {}
    }
    let known = shop.answers.lock().unwrap().get(&wire).cloned();
    let answer = match known {
        Some(answer) => answer,
        None => match shop.answer(&wire, &wrapper, mood) {
            Ok(answer) => answer,
            Err(rejection) => return error(&wrapper, &rejection),
        },
    };
    shop.answers.lock().unwrap().insert(wire, answer.clone());
    if mood == Mood::LosesAnswersTo(name) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    ([(header::CONTENT_TYPE, SET_PAYMENT)], answer).into_response()
}

fn error(wrapper: &MessageWrapper, rejection: &Rejection) -> Response {
    let error = with_context(|ctx| ErrorMessage::answer(ctx, rejection, Some(wrapper)));
    let media_type = [(header::CONTENT_TYPE, SET_PAYMENT)];
    (StatusCode::BAD_REQUEST, media_type, error.encode()).into_response()
}

fn amount() -> CurrencyAmount {
    CurrencyAmount::new(Currency::from_alpha("EUR").unwrap(), AMOUNT_MINOR).unwrap()
}

impl ShopState {
    fn answer(
        &self,
        wire: &[u8],
        wrapper: &MessageWrapper,
        mood: Mood,
    ) -> Result<Vec<u8>, Rejection> {
        match &wrapper.message {
            Message::PInitReq(_) => self.p_init(wire, wrapper, mood),
            Message::PReq(_) => self.p_req(wire, wrapper, mood),
            Message::InqReq(_) => self.inq_req(wire, wrapper, mood),
            other => panic!("a wallet does not send {}", other.name()),
        }
    }

    fn p_init(
        &self,
        wire: &[u8],
        wrapper: &MessageWrapper,
        mood: Mood,
    ) -> Result<Vec<u8>, Rejection> {
        with_context(|ctx| {
            let request = p_init::open(ctx, wrapper)?;
            let mut ours = self.ours.clone();
            if mood == Mood::Forges {
                ours.signature = self.gateway.signature.clone();
            }
            let gateway = self.gateway.key_exchange.chain();
            let state = RevocationState::default();
            let (opened, answer) = p_init::answer(ctx, wire, request, &ours, gateway, &state)?;
            let xid = opened.trans_ids.xid.to_string();
            self.opened.lock().unwrap().insert(xid, opened);
            Ok(answer)
        })
    }

    fn p_req(
        &self,
        wire: &[u8],
        wrapper: &MessageWrapper,
        mood: Mood,
    ) -> Result<Vec<u8>, Rejection> {
        let p_req = p::open(wrapper, &[&self.ours])?;
        let xid = p_req.trans_ids().xid.to_string();
        let opened = self
            .opened
            .lock()
            .unwrap()
            .get(&xid)
            .cloned()
            .ok_or(Rejection::UnknownXid)?;
        let own = OwnOrder {
            order_description: DESCRIPTION.as_bytes(),
            purch_amt: amount(),
            install_recur_data: None,
        };
        let verified = p_req.verify(wrapper, &opened, own, self.pki.verifier(), clock::now())?;
        if let Some(ocsp) = &verified.ocsp {
            let response = openset_pki::ocsp::Response::from_der(&ocsp.0).unwrap();
            let now = clock::now_seconds();
            self.pki
                .verifier()
                .check_ocsp(&response, verified.payer.certificate().unwrap(), None, now)
                .unwrap();
            self.stapled.fetch_add(1, Ordering::Relaxed);
        }
        let twice = |payload: PResPayload| (payload.clone(), payload);
        let (payload, later) = match mood {
            Mood::Rejects => twice(p::without_results(CompletionCode::OrderRejected)),
            // Until it is asked again the bank has answered.
            Mood::Waits => (
                p::without_results(CompletionCode::OrderReceived),
                self.authorize(&verified, Mood::Sells)?.1,
            ),
            _ if !verified.order_agrees => twice(p::without_results(CompletionCode::OrderRejected)),
            _ => self.authorize(&verified, mood)?,
        };
        let told = Told {
            payer: verified.payer.name(),
            payload: later,
        };
        self.told.lock().unwrap().insert(xid, told);
        let asked = Asked {
            trans_ids: &verified.trans_ids,
            rrpid: verified.rrpid,
            chall_c: verified.chall_c,
            request: request_digest(wire),
            inquiry: false,
        };
        with_context(|ctx| p::p_res(ctx, &self.ours, &asked, payload))
    }

    /// The gateway's side: what is told now, and what to whoever inquires.
    fn authorize(
        &self,
        p_req: &p::VerifiedPReq,
        mood: Mood,
    ) -> Result<(PResPayload, PResPayload), Rejection> {
        let (verifier, gateway) = (self.pki.verifier(), &self.gateway);
        let asking = Asking {
            trans_ids: &p_req.trans_ids,
            instrument: p_req.payment_instruction(),
            hod2: p_req.hod,
            amount: amount(),
            merch_cat_code: "5942",
            subsequent_auth_ind: false,
            capture_now: false,
            install_recur_data: None,
        };
        let certificate = gateway.key_exchange.certificate();
        let (awaiting, wire) =
            with_context(|ctx| asking::request(ctx, &self.ours, certificate, &asking, verifier))?;
        let wrapper = MessageWrapper::decode(&wire)?;
        let opened = gateway::auth::open(&wire, &wrapper, &[gateway], verifier, clock::now())?;
        let asker = opened.asker.clone();
        let shown = opened.verify((&[gateway], true), &self.tokens, verifier, clock::now())?;
        let Ok(Shown::Pi(payment)) = shown else {
            panic!("{shown:?}")
        };
        let decision = match mood {
            Mood::Declines => Decision::Refused {
                code: AuthCode::Declined,
                reason: Some(RespReason::InsufficientFunds),
            },
            _ => Decision::Approved(Approval {
                payment: &payment,
                approval_code: "A1B2C3".to_owned(),
                message: Some("Thank you.".to_owned()),
                approvals: 1,
                captured: None,
            }),
        };
        let answering = Answering {
            ours: gateway,
            tokens: &self.tokens,
            state: &RevocationState::default(),
        };
        let answer = with_context(|ctx| gateway::auth::answer(ctx, answering, &asker, &decision))?;
        let answer = awaiting.handle(&answer.wire, &[&self.ours], verifier, clock::now())?;
        let mut authorized = Authorized {
            payload: answer.payload,
            acq_card_msg: answer.baggage.acq_card_msg,
            receipt: answer.baggage.receipt,
            captured: None,
        };
        let now = p::with_results(amount(), &authorized);
        if let Mood::Refunds(captured, refunded) = mood {
            let sold = Sold {
                p_req,
                auth_rrpid: awaiting.rrpid(),
                cap_token: answer.baggage.cap_token.unwrap(),
                receipt_for: payment.receipt_for(),
            };
            let receipt = self.refund(sold, captured, refunded)?;
            let signed = kept_receipt(&receipt)?;
            authorized.payload.auth_amt = signed.auth_amt;
            authorized.payload.auth_date = signed.auth_date;
            authorized.captured = Some((signed.auth_date, signed.auth_amt));
            authorized.receipt = Some(receipt);
        }
        Ok((now, p::with_results(amount(), &authorized)))
    }

    /// The receipt that comes with a refund.
    fn refund(&self, sold: Sold<'_>, captured: u64, refunded: u64) -> Result<Jws, Rejection> {
        let (verifier, gateway) = (self.pki.verifier(), &self.gateway);
        let euros = |minor| CurrencyAmount::new(amount().currency(), minor).unwrap();
        let item = Item {
            trans_ids: sold.p_req.trans_ids.clone(),
            auth_rrpid: sold.auth_rrpid,
            hod: sold.p_req.hod,
            original: None,
            amount: euros(refunded),
            new_batch_id: None,
            cap_token: sold.cap_token,
        };
        let asked = cap_rev_or_cred::Asked {
            which: CapRevOrCred::Cred,
            items: vec![item],
            earlier: None,
        };
        let certificate = gateway.key_exchange.certificate();
        let ours = &self.ours;
        let (awaiting, wire) =
            with_context(|ctx| cap_rev_or_cred::request(ctx, ours, certificate, asked, verifier))?;
        let wrapper = MessageWrapper::decode(&wire)?;
        let now = clock::now();
        let keys = (&[gateway], &self.tokens);
        let request =
            gateway::cap_rev_or_cred::open(&wire, &wrapper, keys.0, keys.1, verifier, now)?;
        let receipt = NewReceipt {
            facts: ReceiptFacts {
                receipt_for: sold.receipt_for,
                approval_code: "A1B2C3".to_owned(),
                sequence: 3,
            },
            auth_amt: euros(captured),
            credits: vec![Credited {
                cred_date: now,
                cred_amt: euros(refunded),
            }],
        };
        let place = BatchPlace {
            batch_id: "batch-1".parse().unwrap(),
            batch_sequence_num: 2,
        };
        let done = [(Outcome::Done(place), Some(receipt))];
        let state = RevocationState::default();
        let answer = with_context(|ctx| {
            gateway::cap_rev_or_cred::answer(ctx, gateway, &request, &done, &state)
        })?;
        let mut items = awaiting.handle(&answer.wire, &[ours], verifier, now)?;
        Ok(items.remove(0).receipt.unwrap())
    }

    fn inq_req(
        &self,
        wire: &[u8],
        wrapper: &MessageWrapper,
        mood: Mood,
    ) -> Result<Vec<u8>, Rejection> {
        let inquiry = inq::open(wrapper, &[&self.ours], self.pki.verifier(), clock::now())?;
        let xid = inquiry.trans_ids.xid.to_string();
        let told = self.told.lock().unwrap().get(&xid).cloned();
        let payload = match told.filter(|_| mood != Mood::Forgets) {
            Some(told) => {
                let opened = self.opened.lock().unwrap()[&xid].clone();
                inquiry.check_owner(&told.payer, &opened.trans_ids)?;
                told.payload
            }
            None => p::without_results(CompletionCode::OrderNotReceived),
        };
        let asked = Asked {
            trans_ids: &inquiry.trans_ids,
            rrpid: inquiry.rrpid,
            chall_c: inquiry.chall_c2,
            request: request_digest(wire),
            inquiry: true,
        };
        with_context(|ctx| p::p_res(ctx, &self.ours, &asked, payload))
    }
}
