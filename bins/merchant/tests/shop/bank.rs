//! A payment gateway and a certificate authority in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use openset_jose::{ContentKey, Thumbprint};
use openset_pki::{Purpose, Role};
use openset_protocol::gateway::auth::{self, Answering, Approval, Decision, Shown, TokenKey};
use openset_protocol::gateway::auth_rev::{self, Reversal};
use openset_protocol::gateway::cap::{self, Outcome};
use openset_protocol::gateway::{cap_rev_or_cred, p_cert};
use openset_protocol::identity::Credentials;
use openset_protocol::ids::Rrpid;
use openset_protocol::messages::auth::{AuthCode, RespReason};
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::batch_admin::AmountType;
use openset_protocol::messages::cap::{CapCode, CapItem};
use openset_protocol::messages::cap_rev_or_cred::{
    CapRevOrCred, CapRevOrCredCode, CapRevOrCredReqItem,
};
use openset_protocol::messages::error::{ErrorMessage, Refused};
use openset_protocol::money::CurrencyAmount;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::{Message, MessageWrapper};
use openset_protocol::{Context, Rejection};
use openset_service::set_endpoint::SET_PAYMENT;
use openset_service::{clock, random};
use openset_testkit::keys::key;
use openset_testkit::pki::{self, TestPki};
use tokio::net::TcpListener;

use crate::bank_batches::{self, Batches, Done};
use crate::bank_receipts::Receipts;

/// How the gateway treats what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Approves and captures.
    Approves,
    /// Declines: not enough credit left.
    Declines,
    /// 503 to everything.
    Down,
    /// Takes the request, approves, and answers 503: the answer is lost.
    LosesAnswers,
    /// Approves after a while.
    Slow(Duration),
    /// SET's Error to everything.
    Errors,
    /// SET's Error to everything, signed for good.
    RefusesForGood,
    /// The same, but about other bytes.
    RefusesOthersForGood,
    /// Approves, but does not capture.
    RefusesCaptures,
    /// Approves, but holds nothing any more when it is to capture.
    HoldRanOut,
    /// Says that so many minor units were captured before.
    CapturedBefore(u64),
    /// Captures, but gives nothing back and cancels nothing.
    RefusesRefunds,
    /// Approves, but does not reverse.
    RefusesReversals,
    /// Approves and reverses, but kept too little for another receipt.
    GivesNoReceipts,
    /// Has no certificate of the BIN that it is asked for.
    IsOfAnotherBin,
    /// Answers with the answer to another request.
    Confuses,
}

pub(crate) struct Bank {
    pub(crate) url: String,
    pub(crate) state: Arc<BankState>,
}

pub(crate) struct BankState {
    pki: Arc<TestPki>,
    /// The current pair, and those before it.
    ours: Mutex<Vec<Credentials>>,
    /// Who signed what, in order.
    signers: Mutex<Vec<(String, Thumbprint)>>,
    tokens: TokenKey,
    mood: Mutex<Mood>,
    /// Every message as it came, with its name.
    received: Mutex<Vec<(String, Vec<u8>)>>,
    /// The same request, the same answer.
    answers: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    /// What cardholders are told.
    receipts: Mutex<Receipts>,
    pub(crate) batches: Mutex<Batches>,
    /// Where a refund or cancellation stands, by the first request for it.
    undone: Mutex<HashMap<Rrpid, BatchPlace>>,
}

impl Bank {
    pub(crate) async fn open(pki: &Arc<TestPki>) -> Self {
        let state = Arc::new(BankState {
            pki: Arc::clone(pki),
            ours: Mutex::new(vec![pki.gateway("Visa", "gateway-1")]),
            signers: Mutex::default(),
            tokens: TokenKey::new(ContentKey::from_bytes([7; 32])),
            mood: Mutex::new(Mood::Approves),
            received: Mutex::default(),
            answers: Mutex::default(),
            receipts: Mutex::default(),
            batches: Mutex::default(),
            undone: Mutex::default(),
        });
        let router = Router::new()
            .route("/set", post(set))
            .with_state(Arc::clone(&state));
        Self {
            url: serve(router).await,
            state,
        }
    }

    /// Gets new keys; the old ones still open.
    pub(crate) fn renew(&self) {
        let pki = &self.state.pki;
        let certified = |purpose| {
            let key = key(&format!("gateway-1/2/{purpose}"));
            let leaf = pki.leaf(Role::Gateway, purpose, "gateway-1");
            (pki.issue("Visa", &leaf, key.public_key()), key)
        };
        let (chain, key) = certified(Purpose::Signature);
        let signature = pki::signature(chain, key);
        let (chain, key) = certified(Purpose::KeyExchange);
        let key_exchange = pki::key_exchange(chain, key);
        let renewed = Credentials {
            signature,
            key_exchange,
        };
        self.state.ours.lock().unwrap().insert(0, renewed);
    }

    /// Who signed the messages of this name, each request once.
    pub(crate) fn signers(&self, message: &str) -> Vec<Thumbprint> {
        let signers = self.state.signers.lock().unwrap();
        let of = |(name, signer): &(String, Thumbprint)| (name == message).then_some(*signer);
        signers.iter().filter_map(of).collect()
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// How many refunds and cancellations were done.
    pub(crate) fn undone(&self) -> usize {
        self.state.undone.lock().unwrap().len()
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

    /// Waits until so much stands in its batches.
    pub(crate) async fn wait_for_items(&self, count: usize) {
        for _ in 0..6000 {
            if self.state.batches.lock().unwrap().count() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("fewer than {count} items stand in the batches");
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
}

impl BankState {
    /// Answers nothing as it did before.
    pub(crate) fn forget(&self) {
        self.answers.lock().unwrap().clear();
    }

    fn current(&self) -> Credentials {
        self.ours.lock().unwrap()[0].clone()
    }
}

pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn set(State(bank): State<Arc<BankState>>, body: Bytes) -> Response {
    let mood = *bank.mood.lock().unwrap();
    let wire = body.to_vec();
    let wrapper = MessageWrapper::decode(&wire).unwrap();
    let name = wrapper.message.name().to_owned();
    bank.received.lock().unwrap().push((name, wire.clone()));
    if matches!(wrapper.message, Message::PCertReq(_)) && mood != Mood::Down {
        let media_type = [(header::CONTENT_TYPE, SET_PAYMENT)];
        return match certificate(&bank, &wire, &wrapper, mood) {
            Ok(answer) => (media_type, answer).into_response(),
            Err(error) => (StatusCode::BAD_REQUEST, media_type, error).into_response(),
        };
    }
    if matches!(wrapper.message, Message::Error(_)) {
        return StatusCode::NO_CONTENT.into_response();
    }
    let known = bank.answers.lock().unwrap().get(&wire).cloned();
    match mood {
        Mood::Down => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Slow(pause) => tokio::time::sleep(pause).await,
        Mood::RefusesForGood => return refused_for_good(&bank, &wire, &wrapper),
        Mood::RefusesOthersForGood => {
            let others = [wire.as_slice(), b" "].concat();
            return refused_for_good(&bank, &others, &wrapper);
        }
        Mood::Errors => {
            let mut rng = random::system();
            let mut ctx = Context {
                now: clock::now(),
                rng: &mut rng,
            };
            let error = ErrorMessage::answer(&mut ctx, &Rejection::Unauthentic, Some(&wrapper));
            let media_type = [(header::CONTENT_TYPE, SET_PAYMENT)];
            return (StatusCode::BAD_REQUEST, media_type, error.encode()).into_response();
        }
        _ => {}
    }
    let answer = match known {
        Some(answer) => answer,
        None => {
            let answer = match &wrapper.message {
                Message::AuthReq(_) => authorize(&bank, &wire, &wrapper, mood),
                Message::AuthRevReq(_) => reverse(&bank, &wire, &wrapper, mood),
                Message::CapReq(_) => capture(&bank, &wire, &wrapper, mood),
                Message::CapRevReq(_) | Message::CredReq(_) | Message::CredRevReq(_) => {
                    refund(&bank, &wire, &wrapper, mood)
                }
                Message::BatchAdminReq(_) => {
                    let held = bank.ours.lock().unwrap().clone();
                    let ours: Vec<_> = held.iter().collect();
                    let mut batches = bank.batches.lock().unwrap();
                    bank_batches::answer(&mut batches, &bank.pki, &ours, &wire, &wrapper)
                }
                other => panic!("a merchant does not send {}", other.name()),
            };
            bank.answers
                .lock()
                .unwrap()
                .insert(wire.clone(), answer.clone());
            answer
        }
    };
    let answer = match mood {
        Mood::LosesAnswers => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Confuses => {
            let answers = bank.answers.lock().unwrap();
            let other = answers.iter().find(|(request, _)| **request != wire);
            other.map_or(answer, |(_, other)| other.clone())
        }
        _ => answer,
    };
    ([(header::CONTENT_TYPE, SET_PAYMENT)], answer).into_response()
}

/// Nothing is kept of it, and no mood keeps a merchant from what it needs to ask anything.
fn certificate(
    bank: &BankState,
    wire: &[u8],
    wrapper: &MessageWrapper,
    mood: Mood,
) -> Result<Vec<u8>, Vec<u8>> {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let verifier = bank.pki.verifier();
    let current = bank.current();
    let (ours, bin) = ([&current], pki::ACQUIRER_BIN);
    match p_cert::open(wire, wrapper, (&ours, bin), verifier, ctx.now) {
        Ok(request) => {
            let state = RevocationState::of(verifier, &request.brand_id);
            let bin = match mood {
                Mood::IsOfAnotherBin => "999999",
                _ => bin,
            };
            Ok(p_cert::answer(&mut ctx, &ours, bin, &request, &state).unwrap())
        }
        // The merchant's own certificate may have ended.
        Err(refusal) => Err(ErrorMessage::answer(&mut ctx, &refusal, Some(wrapper)).encode()),
    }
}

/// To whoever signed the newest AuthReq.
fn refused_for_good(bank: &BankState, wire: &[u8], wrapper: &MessageWrapper) -> Response {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let refused = Refused {
        wire,
        wrapper,
        sender: bank.signers.lock().unwrap().last().unwrap().1,
        rrpid: wrapper.rrpid().unwrap(),
    };
    let by = bank.current().signature;
    let error = ErrorMessage::answer_signed(&mut ctx, &by, &Rejection::TooOld, &refused);
    let media_type = [(header::CONTENT_TYPE, SET_PAYMENT)];
    (StatusCode::BAD_REQUEST, media_type, error.unwrap().encode()).into_response()
}

fn authorize(bank: &BankState, wire: &[u8], wrapper: &MessageWrapper, mood: Mood) -> Vec<u8> {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let verifier = bank.pki.verifier();
    let held = bank.ours.lock().unwrap().clone();
    let ours: Vec<_> = held.iter().collect();
    let opened = auth::open(wire, wrapper, &ours, verifier, ctx.now).unwrap();
    let asker = opened.asker.clone();
    let signed = ("AuthReq".to_owned(), asker.merchant());
    bank.signers.lock().unwrap().push(signed);
    let shown = opened.verify((&ours, true), &bank.tokens, verifier, ctx.now);
    let Shown::Pi(payment) = shown.unwrap().unwrap() else {
        panic!("no payment instruction")
    };
    let mut receipts = bank.receipts.lock().unwrap();
    receipts.authorized(asker.rrpid(), payment.receipt_for(), asker.amount);
    drop(receipts);
    let decision = match mood {
        Mood::Declines => Decision::Refused {
            code: AuthCode::Declined,
            reason: Some(RespReason::InsufficientFunds),
        },
        _ => Decision::Approved(Approval {
            payment: &payment,
            approval_code: "A1B2C3".to_owned(),
            message: Some("Thank you for your purchase.".to_owned()),
            approvals: 1,
            captured: asker.capture_now.then(|| sold(bank, &asker, mood)),
        }),
    };
    let with = Answering {
        ours: ours[0],
        tokens: &bank.tokens,
        state: &RevocationState::of(bank.pki.verifier(), &asker.brand_id),
    };
    auth::answer(&mut ctx, with, &asker, &decision)
        .unwrap()
        .wire
}

/// What becomes of the capture, of a sale.
fn sold(bank: &BankState, asker: &auth::Asker, mood: Mood) -> Outcome {
    match mood {
        Mood::RefusesCaptures => Outcome::Refused(CapCode::AuthExpired),
        _ => Outcome::Captured(bank.batches.lock().unwrap().put(Done {
            xid: asker.auth_tags.trans_ids.xid,
            auth_rrpid: asker.rrpid(),
            amount: asker.amount,
            kind: AmountType::Credit,
            original: None,
        })),
    }
}

fn reverse(bank: &BankState, wire: &[u8], wrapper: &MessageWrapper, mood: Mood) -> Vec<u8> {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let verifier = bank.pki.verifier();
    let held = bank.ours.lock().unwrap().clone();
    let ours: Vec<_> = held.iter().collect();
    let request = auth_rev::open(wire, wrapper, &ours, &bank.tokens, verifier, ctx.now).unwrap();
    let reversal = match (mood, request.refused) {
        (Mood::GivesNoReceipts, None) => Reversal::Approved(None),
        (Mood::RefusesReversals, _) => Reversal::Refused(AuthRevCode::InvalidTransaction),
        (_, Some(code)) => Reversal::Refused(code),
        _ => {
            if !request.shows_token {
                bank.batches.lock().unwrap().take_back(request.auth_rrpid);
            }
            // None for an authorization that never came.
            let mut receipts = bank.receipts.lock().unwrap();
            let newer = receipts.stands(request.auth_rrpid, request.auth_new_amt);
            Reversal::Approved(newer.map(|newer| newer.facts))
        }
    };
    let with = Answering {
        ours: ours[0],
        tokens: &bank.tokens,
        state: &RevocationState::of(verifier, &request.asker.brand_id),
    };
    auth_rev::answer(&mut ctx, with, &request, &reversal)
        .unwrap()
        .wire
}

fn capture(bank: &BankState, wire: &[u8], wrapper: &MessageWrapper, mood: Mood) -> Vec<u8> {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let verifier = bank.pki.verifier();
    let held = bank.ours.lock().unwrap().clone();
    let ours: Vec<_> = held.iter().collect();
    let request = cap::open(wire, wrapper, &ours, &bank.tokens, verifier, ctx.now).unwrap();
    let signed = ("CapReq".to_owned(), request.asker.merchant());
    bank.signers.lock().unwrap().push(signed);
    let outcome = |(item, refused): &(CapItem, Option<CapCode>)| match (mood, refused) {
        (Mood::RefusesCaptures, _) => Outcome::Refused(CapCode::UnspecifiedFailure),
        (Mood::HoldRanOut, _) => Outcome::Refused(CapCode::AuthExpired),
        (Mood::CapturedBefore(minor), _) => {
            let currency = item.cap_req_amt.currency();
            Outcome::Duplicate(CurrencyAmount::new(currency, minor).unwrap(), None)
        }
        (_, Some(code)) => Outcome::Refused(*code),
        (_, None) => Outcome::Captured(bank.batches.lock().unwrap().put(Done {
            xid: item.trans_ids.xid,
            auth_rrpid: item.auth_rrpid,
            amount: item.cap_req_amt,
            kind: AmountType::Credit,
            original: None,
        })),
    };
    let told = |asked: &(CapItem, Option<CapCode>)| {
        let (outcome, mut receipts) = (outcome(asked), bank.receipts.lock().unwrap());
        let captured = match &outcome {
            Outcome::Captured(_) => Some(asked.0.cap_req_amt),
            Outcome::Duplicate(amount, _) => Some(*amount),
            Outcome::Refused(_) => None,
        };
        let captured = captured.filter(|_| mood != Mood::GivesNoReceipts);
        let receipt = captured.and_then(|amount| receipts.stands(asked.0.auth_rrpid, amount));
        (outcome, receipt)
    };
    let outcomes: Vec<_> = request.items.iter().map(told).collect();
    let state = RevocationState::of(verifier, &request.asker.brand_id);
    cap::answer(&mut ctx, ours[0], &request, &outcomes, &state)
        .unwrap()
        .wire
}

fn refund(bank: &BankState, wire: &[u8], wrapper: &MessageWrapper, mood: Mood) -> Vec<u8> {
    let mut rng = random::system();
    let mut ctx = Context {
        now: clock::now(),
        rng: &mut rng,
    };
    let verifier = bank.pki.verifier();
    let held = bank.ours.lock().unwrap().clone();
    let ours: Vec<_> = held.iter().collect();
    let tokens = &bank.tokens;
    let request = cap_rev_or_cred::open(wire, wrapper, &ours, tokens, verifier, ctx.now).unwrap();
    let which = request.which;
    let first = request.earlier.unwrap_or_else(|| request.asker.rrpid());
    let outcome = |(item, refused): &(CapRevOrCredReqItem, Option<CapRevOrCredCode>)| {
        if mood == Mood::RefusesRefunds {
            return cap_rev_or_cred::Outcome::Refused(CapRevOrCredCode::CapDataMismatch);
        }
        if let Some(code) = refused {
            return cap_rev_or_cred::Outcome::Refused(*code);
        }
        let (kind, original) = match which {
            CapRevOrCred::Cred => (AmountType::Debit, None),
            CapRevOrCred::CapRev => (AmountType::Debit, item.original.clone()),
            CapRevOrCred::CredRev => (AmountType::Credit, item.original.clone()),
        };
        let mut undone = bank.undone.lock().unwrap();
        let place = undone.entry(first).or_insert_with(|| {
            bank.batches.lock().unwrap().put(Done {
                xid: item.trans_ids.xid,
                auth_rrpid: item.auth_rrpid,
                amount: item.cap_rev_or_cred_req_amt,
                kind,
                original,
            })
        });
        cap_rev_or_cred::Outcome::Done(place.clone())
    };
    let told = |asked: &(CapRevOrCredReqItem, Option<CapRevOrCredCode>)| {
        let outcome = outcome(asked);
        let (rrpid, amount) = (asked.0.auth_rrpid, asked.0.cap_rev_or_cred_req_amt);
        let mut receipts = bank.receipts.lock().unwrap();
        let receipt = match (&outcome, which) {
            (cap_rev_or_cred::Outcome::Refused(_), _) => None,
            _ if mood == Mood::GivesNoReceipts => None,
            (_, CapRevOrCred::CapRev) => receipts.stands(rrpid, amount),
            (_, CapRevOrCred::Cred) => receipts.refunded(rrpid, first, amount),
            (_, CapRevOrCred::CredRev) => receipts.cancelled(rrpid, amount),
        };
        (outcome, receipt)
    };
    let outcomes: Vec<_> = request.items.iter().map(told).collect();
    let state = RevocationState::of(verifier, &request.asker.brand_id);
    cap_rev_or_cred::answer(&mut ctx, ours[0], &request, &outcomes, &state)
        .unwrap()
        .wire
}
