//! One genuine purchase with everything that each party keeps and sends, and how it goes on from any
//! message on, genuine or not.

use crate::layers::KeyRing;
use crate::world::{APPROVAL, MESSAGE, ORDER, PLAN, STAPLE, World, amount, world};
use openset_jose::ContentKey;
use openset_pki::PathVerifier;
use openset_protocol::Rejection;
use openset_protocol::balance::{
    self, AskedAuthorization, Authorization, Instrument, Kind, Movement, No, Payment, Progress,
    limit_minor,
};
use openset_protocol::cardholder::inquiry::AwaitingInqRes;
use openset_protocol::cardholder::purchase::{
    self, AwaitingPInitRes, AwaitingPRes, Order, PaymentStatus, Step,
};
use openset_protocol::gateway;
use openset_protocol::gateway::auth::{Approval, Asker, Decision, Refusal, Shown, VerifiedPayment};
use openset_protocol::gateway::auth_rev::ReceiptFor;
use openset_protocol::gateway::cap::Outcome as Captured;
use openset_protocol::ids::{Language, Rrpid};
use openset_protocol::merchant;
use openset_protocol::merchant::auth::{Asking, AuthAnswer, AwaitingAuthRes};
use openset_protocol::merchant::auth_rev::AwaitingAuthRevRes;
use openset_protocol::merchant::cap::AwaitingCapRes;
use openset_protocol::merchant::p::{Asked, Authorized, VerifiedPReq, p_res, with_results};
use openset_protocol::merchant::p_init::OpenedPurchase;
use openset_protocol::messages::auth::{AuthCode, RespReason};
use openset_protocol::messages::auth_rev::AuthRevCode;
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::batch_admin::BaStatus;
use openset_protocol::messages::cap::CapCode;
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredCode;
use openset_protocol::messages::mail_order::is_lid_m;
use openset_protocol::messages::p_cert::PCertCode;
use openset_protocol::signed::request_digest;
use openset_protocol::wrapper::MessageWrapper;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

/// Where the capture of a sale stands.
pub fn sold() -> Captured {
    Captured::Captured(BatchPlace {
        batch_id: "batch-1".parse().unwrap(),
        batch_sequence_num: 1,
    })
}

/// How a purchase ended that went on from some message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Somebody refused a message.
    Refused(&'static str, Rejection),
    /// The gateway answered with a refusal of its own.
    Declined(Refusal),
    /// Or by the state rules.
    Unauthorized(AuthCode),
    /// The merchant's own order has another HOD: PRes orderRejected.
    OrderRejected,
    /// The gateway answered CapReq with this code.
    Uncaptured(CapCode),
    /// The gateway answered AuthRevReq with this code.
    Unreversed(AuthRevCode),
    /// The gateway answered CapRevReq, CredReq or CredRevReq with this code.
    Undone(CapRevOrCredCode),
    /// The gateway answered BatchAdminReq with this status.
    NotClosed(BaStatus),
    /// The gateway answered PCertReq with this code.
    NoCertificate(PCertCode),
}

/// What is left when nobody objects.
pub type Outcome = Result<(), End>;

pub fn at<T>(message: &'static str, result: Result<T, Rejection>) -> Result<T, End> {
    result.map_err(|rejection| End::Refused(message, rejection))
}

/// One purchase: each message, and what its sender remembers.
pub struct Genuine {
    pub p_init_req: Vec<u8>,
    pub awaiting_p_init_res: AwaitingPInitRes,
    pub opened: OpenedPurchase,
    pub p_init_res: Vec<u8>,
    pub awaiting_p_res: AwaitingPRes,
    pub p_req: Vec<u8>,
    pub verified: VerifiedPReq,
    pub awaiting_auth_res: AwaitingAuthRes,
    pub auth_req: Vec<u8>,
    pub auth_res: Vec<u8>,
    pub auth_res_declined: Vec<u8>,
    /// Once the first authorization was given back.
    pub awaiting_next_auth_res: AwaitingAuthRes,
    pub next_auth_req: Vec<u8>,
    pub answer: AuthAnswer,
    pub p_res: Vec<u8>,
    pub awaiting_auth_rev_res: AwaitingAuthRevRes,
    pub auth_rev_req: Vec<u8>,
    pub auth_rev_res: Vec<u8>,
    pub awaiting_cap_res: AwaitingCapRes,
    pub cap_req: Vec<u8>,
    pub cap_res: Vec<u8>,
    pub awaiting_inq_res: AwaitingInqRes,
    pub inq_req: Vec<u8>,
    /// After the capture.
    pub inq_res: Vec<u8>,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| Genuine::new(world()));
/// Another purchase of the same card at the same shop.
static OTHER: LazyLock<Genuine> = LazyLock::new(|| Genuine::new(world()));

pub fn genuine() -> &'static Genuine {
    &GENUINE
}

pub fn other() -> &'static Genuine {
    &OTHER
}

pub fn order_of_wallet(lid_m: &str) -> Order {
    Order {
        lid_m: lid_m.parse().unwrap(),
        order_description: ORDER.to_vec(),
        purch_amt: amount(4200),
        install_recur_data: Some(*PLAN),
        language: Language::english(),
        thumbs: Some(world().thumbs()),
    }
}

impl Genuine {
    fn new(world: &World) -> Self {
        let run = Run {
            world,
            verifier: world.pki.verifier(),
        };
        let order = order_of_wallet("order-1");
        let Step {
            state: awaiting_p_init_res,
            wire: p_init_req,
        } = world
            .with(|ctx| purchase::start(ctx, &world.card(), order))
            .unwrap();
        let (opened, p_init_res) = run.answer_p_init(&p_init_req);
        let Step {
            state: awaiting_p_res,
            wire: p_req,
        } = world
            .with(|ctx| {
                awaiting_p_init_res.clone().handle(
                    ctx,
                    &world.card(),
                    &p_init_res,
                    run.verifier,
                    Some(STAPLE.to_vec()),
                )
            })
            .unwrap();
        let verified = run.verify_p_req(&opened, &p_req).unwrap();
        let (awaiting_auth_res, auth_req) = run.ask(&verified);
        let auth_res = run.authorize(&auth_req).unwrap();
        let answer = awaiting_auth_res
            .handle(&auth_res, &[&world.shop], run.verifier, world.now)
            .unwrap();
        let (awaiting_next_auth_res, next_auth_req) = run.ask_again(&verified, &answer);
        let (awaiting_cap_res, cap_req) = run.ask_capture(&awaiting_auth_res, &verified, &answer);
        let (awaiting_auth_rev_res, auth_rev_req) =
            run.ask_reversal(&awaiting_auth_res, &verified, &answer);
        let Step {
            state: awaiting_inq_res,
            wire: inq_req,
        } = run.inquire(&awaiting_p_res);
        Self {
            auth_rev_res: run.reverse(&auth_rev_req, &verified).unwrap(),
            awaiting_auth_rev_res,
            auth_rev_req,
            auth_res_declined: run.decline(&auth_req),
            p_res: run.tell(&verified, &answer, &Request::p_req(&verified, &p_req), None),
            cap_res: run.capture(&cap_req).unwrap(),
            inq_res: run
                .answer_inquiry(&opened, &verified, &answer, &inq_req)
                .unwrap(),
            p_init_req,
            awaiting_p_init_res,
            opened,
            p_init_res,
            awaiting_p_res,
            p_req,
            verified,
            awaiting_auth_res,
            auth_req,
            auth_res,
            awaiting_next_auth_res,
            next_auth_req,
            answer,
            awaiting_cap_res,
            cap_req,
            awaiting_inq_res,
            inq_req,
        }
    }

    /// The wallet's key for the gateway's message.
    pub fn back_key(&self) -> ContentKey {
        let purchase = serde_json::to_value(self.awaiting_p_res.purchase()).unwrap();
        serde_json::from_value(purchase["acq_back_key_data"].clone()).unwrap()
    }

    /// All keys with which its messages were signed and sealed.
    pub fn ring(&self) -> KeyRing {
        world().ring(self.back_key())
    }
}

/// A sender's memory as if it had sent `wire`, so that only the checks of fields see an alteration.
pub fn as_sent<S: Serialize + DeserializeOwned>(state: &S, wire: &[u8]) -> S {
    let mut json = serde_json::to_value(state).unwrap();
    json["request"] = serde_json::to_value(request_digest(wire)).unwrap();
    serde_json::from_value(json).unwrap()
}

/// Which request a PRes or InqRes answers.
pub struct Request {
    pub rrpid: openset_protocol::ids::Rrpid,
    pub challenge: openset_protocol::ids::Challenge,
    pub digest: openset_protocol::digest::Digest,
    pub inquiry: bool,
}

impl Request {
    pub fn p_req(verified: &VerifiedPReq, wire: &[u8]) -> Self {
        Self {
            rrpid: verified.rrpid,
            challenge: verified.chall_c,
            digest: request_digest(wire),
            inquiry: false,
        }
    }
}

/// The gateway's database: payments by the names of their instructions.
static KEPT: LazyLock<Mutex<BTreeMap<String, VerifiedPayment>>> = LazyLock::new(Mutex::default);

/// And whom the receipts of an authorization are for, by its name.
static RECEIPTS_FOR: LazyLock<Mutex<BTreeMap<String, ReceiptFor>>> = LazyLock::new(Mutex::default);

pub fn kept_for(auth_rrpid: &Rrpid) -> ReceiptFor {
    let kept = RECEIPTS_FOR
        .lock()
        .unwrap()
        .get(&auth_rrpid.to_string())
        .cloned();
    kept.unwrap()
}

/// An authorization of all that was given back, so that its token may be used for as much again.
fn given_back() -> Authorization {
    let now_s = world().now.seconds();
    let all = Movement {
        id: "reversal".to_owned(),
        kind: Kind::Reversal,
        amount_minor: 4200,
        progress: Progress::Done,
        purged: false,
    };
    Authorization {
        auth_rrpid: openset_protocol::ids::Rrpid::from_bytes([1; 32]),
        amount_minor: 4200,
        answer: balance::AuthAnswer::Approved {
            at_s: now_s,
            expires_at_s: now_s + 600,
        },
        movements: vec![all],
    }
}

/// Everybody at work, against one memory of verified certificates.
pub struct Run<'a> {
    pub world: &'a World,
    pub verifier: &'a PathVerifier,
}

impl Run<'_> {
    pub fn answer_p_init(&self, wire: &[u8]) -> (OpenedPurchase, Vec<u8>) {
        let w = self.world;
        let wrapper = MessageWrapper::decode(wire).unwrap();
        w.with(|ctx| {
            let request = merchant::p_init::open(ctx, &wrapper).unwrap();
            merchant::p_init::answer(
                ctx,
                wire,
                request,
                &w.shop,
                w.gateway.key_exchange.chain(),
                &w.state(),
            )
        })
        .unwrap()
    }

    pub fn verify_p_req(
        &self,
        opened: &OpenedPurchase,
        wire: &[u8],
    ) -> Result<VerifiedPReq, Rejection> {
        let w = self.world;
        let wrapper = MessageWrapper::decode(wire)?;
        let p_req = merchant::p::open(&wrapper, &[&w.shop])?;
        let verified = p_req.verify(&wrapper, opened, w.order(), self.verifier, w.now)?;
        wrapper.check_date(w.now)?;
        Ok(verified)
    }

    pub fn ask(&self, verified: &VerifiedPReq) -> (AwaitingAuthRes, Vec<u8>) {
        self.ask_with(verified, verified.payment_instruction())
    }

    /// The next authorization of the same purchase.
    pub fn ask_again(
        &self,
        verified: &VerifiedPReq,
        answer: &AuthAnswer,
    ) -> (AwaitingAuthRes, Vec<u8>) {
        let token = answer.baggage.auth_token.as_ref().unwrap();
        self.ask_with(verified, merchant::auth::Instrument::Token(token))
    }

    fn ask_with(
        &self,
        verified: &VerifiedPReq,
        instrument: merchant::auth::Instrument<'_>,
    ) -> (AwaitingAuthRes, Vec<u8>) {
        let w = self.world;
        let asking = Asking {
            trans_ids: &verified.trans_ids,
            instrument,
            hod2: verified.hod,
            amount: amount(4200),
            merch_cat_code: "5942",
            subsequent_auth_ind: true,
            capture_now: true,
            // Nobody agrees to a plan by mail.
            install_recur_data: (!is_lid_m(&verified.trans_ids.lid_m)).then_some(*PLAN),
        };
        let gateway = w.gateway.key_exchange.certificate();
        w.with(|ctx| merchant::auth::request(ctx, &w.shop, gateway, &asking, w.verifier()))
            .unwrap()
    }

    /// The gateway verifies, and the issuer approves.
    pub fn authorize(&self, wire: &[u8]) -> Result<Vec<u8>, End> {
        let w = self.world;
        let ours = [&w.gateway];
        let wrapper = at("AuthReq", MessageWrapper::decode(wire))?;
        let opened = gateway::auth::open(wire, &wrapper, &ours, self.verifier, w.now);
        let opened = at("AuthReq", opened)?;
        let asker = opened.asker.clone();
        let shown = opened.verify((&ours, false), &w.tokens(), self.verifier, w.now);
        let shown = at("AuthReq", shown)?;
        at("AuthReq", wrapper.check_date(w.now))?;
        let (payment, approvals) = self.judge(&asker, shown.map_err(End::Declined)?)?;
        let name = asker.rrpid().to_string();
        let receipt_for = payment.receipt_for();
        RECEIPTS_FOR.lock().unwrap().insert(name, receipt_for);
        let decision = Decision::Approved(Approval {
            payment: &payment,
            approval_code: APPROVAL.to_owned(),
            message: Some(MESSAGE.to_owned()),
            approvals,
            captured: asker.capture_now.then(sold),
        });
        let answer = w.with(|ctx| w.gateway_answers(ctx, &asker, &decision));
        Ok(answer.unwrap())
    }

    /// What a gateway's database is asked: the payment, and how many approvals there are with this one.
    fn judge(&self, asker: &Asker, shown: Shown) -> Result<(VerifiedPayment, u32), End> {
        let w = self.world;
        let (payment, instrument, authorizations) = match shown {
            Shown::Pi(payment) => {
                let name = payment.hpi.to_string();
                KEPT.lock().unwrap().insert(name, (*payment).clone());
                (*payment, Instrument::Pi, Vec::new())
            }
            Shown::Token(token) => {
                let kept = KEPT.lock().unwrap().get(&token.hpi.to_string()).cloned();
                let kept = kept.ok_or(End::Declined(Refusal::AuthToken))?;
                let good = kept.verify_again(&asker.brand_id, self.verifier, w.now);
                at("AuthReq", good)?.map_err(End::Declined)?;
                let approvals = usize::try_from(token.approvals).unwrap();
                (kept, Instrument::Token { approvals }, vec![given_back()])
            }
        };
        let approvals = u32::try_from(authorizations.len()).unwrap() + 1;
        let balance = Payment {
            currency: payment.purch_amt.currency(),
            limit_minor: limit_minor(payment.purch_amt.minor(), 0),
            plan: payment.install_recur_data,
            opened_at_s: w.now.seconds(),
            authorizations,
        };
        let asked = AskedAuthorization {
            instrument,
            amount: asker.amount,
            plan: asker.install_recur_data.as_ref(),
            early_days: 0,
        };
        match balance.may_authorize(&asked, w.now.seconds()) {
            Ok(()) => Ok((payment, approvals)),
            Err(No::Code(code)) => Err(End::Unauthorized(code)),
            Err(No::Busy) => panic!("nothing is at work"),
        }
    }

    /// The issuer declines.
    pub fn decline(&self, wire: &[u8]) -> Vec<u8> {
        let w = self.world;
        let wrapper = MessageWrapper::decode(wire).unwrap();
        let opened =
            gateway::auth::open(wire, &wrapper, &[&w.gateway], self.verifier, w.now).unwrap();
        let decision = Decision::Refused {
            code: AuthCode::Declined,
            reason: Some(RespReason::InsufficientFunds),
        };
        let asker = &opened.asker;
        w.with(|ctx| w.gateway_answers(ctx, asker, &decision))
            .unwrap()
    }

    /// PRes or InqRes.
    pub fn tell(
        &self,
        verified: &VerifiedPReq,
        answer: &AuthAnswer,
        request: &Request,
        captured: Option<u64>,
    ) -> Vec<u8> {
        let w = self.world;
        let authorized = Authorized {
            payload: answer.payload.clone(),
            acq_card_msg: answer.baggage.acq_card_msg.clone(),
            receipt: answer.baggage.receipt.clone(),
            captured: captured.map(|minor| (w.now, amount(minor))),
        };
        let asked = Asked {
            trans_ids: &verified.trans_ids,
            rrpid: request.rrpid,
            chall_c: request.challenge,
            request: request.digest,
            inquiry: request.inquiry,
        };
        let payload = with_results(amount(4200), &authorized);
        w.with(|ctx| p_res(ctx, &w.shop, &asked, payload)).unwrap()
    }

    // From here on: how the purchase goes on when this message comes in.

    pub fn p_init_res(&self, wire: &[u8]) -> Outcome {
        let w = self.world;
        let waiting = genuine().awaiting_p_init_res.clone();
        let step = w.with(|ctx| waiting.handle(ctx, &w.card(), wire, self.verifier, None));
        let Step { state, wire } = at("PInitRes", step)?;
        self.go_on_from_p_req(&state, &wire)
    }

    pub fn p_req(&self, wire: &[u8]) -> Outcome {
        self.go_on_from_p_req(&as_sent(&genuine().awaiting_p_res, wire), wire)
    }

    fn go_on_from_p_req(&self, wallet: &AwaitingPRes, wire: &[u8]) -> Outcome {
        let verified = at("PReq", self.verify_p_req(&genuine().opened, wire))?;
        if !verified.order_agrees {
            return Err(End::OrderRejected);
        }
        let (shop, auth_req) = self.ask(&verified);
        let auth_res = self.authorize(&auth_req)?;
        self.go_on_from_auth_res(&shop, &auth_res, &verified, (wallet, wire))
    }

    pub fn auth_req(&self, wire: &[u8]) -> Outcome {
        let auth_res = self.authorize(wire)?;
        let genuine = genuine();
        let shop = as_sent(&genuine.awaiting_auth_res, wire);
        self.go_on_from_auth_res(
            &shop,
            &auth_res,
            &genuine.verified,
            (&genuine.awaiting_p_res, &genuine.p_req),
        )
    }

    pub fn auth_res(&self, wire: &[u8]) -> Outcome {
        let g = genuine();
        self.go_on_from_auth_res(
            &g.awaiting_auth_res,
            wire,
            &g.verified,
            (&g.awaiting_p_res, &g.p_req),
        )
    }

    pub fn go_on_from_auth_res(
        &self,
        shop: &AwaitingAuthRes,
        wire: &[u8],
        verified: &VerifiedPReq,
        (wallet, p_req): (&AwaitingPRes, &[u8]),
    ) -> Outcome {
        let w = self.world;
        let answer = at(
            "AuthRes",
            shop.handle(wire, &[&w.shop], self.verifier, w.now),
        )?;
        let p_res = self.tell(verified, &answer, &Request::p_req(verified, p_req), None);
        let status = self.read_p_res(wallet, &p_res)?;
        assert_eq!(
            status == PaymentStatus::Paid,
            answer.payload.approved(),
            "wallet and merchant agree"
        );
        if answer.payload.approved() {
            let (shop, cap_req) = self.ask_capture(shop, verified, &answer);
            let cap_res = self.capture(&cap_req)?;
            at(
                "CapRes",
                shop.handle(&cap_res, &[&w.shop], self.verifier, w.now),
            )?;
            let (shop, auth_req) = self.ask_again(verified, &answer);
            let auth_res = self.authorize(&auth_req)?;
            at(
                "AuthRes",
                shop.handle(&auth_res, &[&w.shop], self.verifier, w.now),
            )?;
        }
        Ok(())
    }

    pub fn next_auth_req(&self, wire: &[u8]) -> Outcome {
        let w = self.world;
        let auth_res = self.authorize(wire)?;
        let shop = as_sent(&genuine().awaiting_next_auth_res, wire);
        let answer = shop.handle(&auth_res, &[&w.shop], self.verifier, w.now);
        at("AuthRes", answer).map(drop)
    }

    pub fn read_p_res(&self, wallet: &AwaitingPRes, wire: &[u8]) -> Result<PaymentStatus, End> {
        let outcome = self
            .world
            .with(|ctx| wallet.handle(ctx, wire, self.verifier));
        at("PRes", outcome).map(|outcome| outcome.status)
    }

    pub fn p_res(&self, wire: &[u8]) -> Outcome {
        self.read_p_res(&genuine().awaiting_p_res, wire).map(drop)
    }
}
