//! That a purchase comes out right: every state that each party reaches.

use crate::run::{Genuine, Request, Run, genuine, order_of_wallet};
use crate::world::{APPROVAL, MESSAGE, PLAN, amount, world};
use openset_protocol::cardholder::purchase::{self, PaymentStatus, PurchaseOutcome};
use openset_protocol::gateway;
use openset_protocol::gateway::auth::{Refusal, Shown};
use openset_protocol::merchant::auth::AuthAnswer;
use openset_protocol::merchant::p::{Asked, OwnOrder, p_res, without_results};
use openset_protocol::messages::auth::{AuthCode, RespReason};
use openset_protocol::messages::cap::CapCode;
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::messages::p::CompletionCode;
use openset_protocol::wrapper::{Message, MessageWrapper};

fn run() -> Run<'static> {
    Run {
        world: world(),
        verifier: world().pki.verifier(),
    }
}

fn outcome(genuine: &Genuine, wire: &[u8]) -> PurchaseOutcome {
    world()
        .with(|ctx| {
            genuine
                .awaiting_p_res
                .handle(ctx, wire, world().pki.verifier())
        })
        .unwrap()
}

#[test]
fn an_approved_purchase_is_paid_and_captured_with_every_state_right() {
    let g = genuine();
    assert!(g.verified.order_agrees);
    assert_eq!(g.verified.trans_ids, g.opened.trans_ids);
    let AuthAnswer {
        payload, baggage, ..
    } = &g.answer;
    assert_eq!(payload.auth_code, AuthCode::Approved);
    assert_eq!(payload.auth_amt, amount(4200));
    assert_eq!(payload.approval_code.as_deref(), Some(APPROVAL));
    assert!(
        baggage.cap_token.is_some() && baggage.receipt.is_some() && baggage.acq_card_msg.is_some()
    );

    let told = outcome(g, &g.p_res);
    assert_eq!(told.status, PaymentStatus::Paid);
    assert_eq!(told.completion_code, CompletionCode::AuthorizationPerformed);
    assert_eq!(told.message.as_deref(), Some(MESSAGE));
    let receipt = told.receipt.unwrap();
    assert_eq!(receipt.auth_amt, amount(4200));
    assert_eq!(receipt.merchant_id, "shop-1");
    assert_eq!(receipt.xid, g.opened.trans_ids.xid);

    let w = world();
    let captured = g
        .awaiting_cap_res
        .handle(&g.cap_res, &[&w.shop], w.pki.verifier(), w.now)
        .unwrap();
    assert_eq!(captured.len(), 1);
    assert_eq!(captured[0].cap_code, CapCode::Success);
    assert_eq!(captured[0].cap_amt, amount(4200));

    let purchase = g.awaiting_p_res.purchase();
    let told = w
        .with(|ctx| {
            g.awaiting_inq_res
                .handle(ctx, purchase, &g.inq_res, w.pki.verifier())
        })
        .unwrap();
    assert_eq!(told.status, PaymentStatus::Paid);
    assert_eq!(told.completion_code, CompletionCode::CapturePerformed);
}

#[test]
fn what_the_issuer_is_asked_is_what_the_cardholder_signed() {
    let (g, w) = (genuine(), world());
    let wrapper = MessageWrapper::decode(&g.auth_req).unwrap();
    let opened = gateway::auth::open(
        &g.auth_req,
        &wrapper,
        &[&w.gateway],
        w.pki.verifier(),
        w.now,
    )
    .unwrap();
    assert_eq!(opened.asker.merchant_id(), "shop-1");
    assert_eq!(opened.asker.merchant(), w.shop.signature.thumbprint());
    let shown = opened.verify((&[&w.gateway], false), &w.tokens(), w.pki.verifier(), w.now);
    let Ok(Ok(Shown::Pi(payment))) = shown else {
        panic!("{shown:?}")
    };
    assert_eq!(payment.pan, w.card().pan);
    assert_eq!(payment.card_expiry, w.card().card_expiry);
    assert_eq!(payment.purch_amt, amount(4200));
    assert_eq!(payment.hod, g.verified.hod);
    assert_eq!(payment.cardholder, Some(w.card().signature.thumbprint()));
}

#[test]
fn a_declined_purchase_ends_declined_without_token_or_receipt() {
    let (g, w) = (genuine(), world());
    let answer = g
        .awaiting_auth_res
        .handle(&g.auth_res_declined, &[&w.shop], w.pki.verifier(), w.now)
        .unwrap();
    assert_eq!(answer.payload.auth_code, AuthCode::Declined);
    assert_eq!(
        answer.payload.resp_reason,
        Some(RespReason::InsufficientFunds)
    );
    assert_eq!(answer.payload.auth_amt, amount(0));
    assert!(answer.baggage.cap_token.is_none() && answer.baggage.receipt.is_none());
    let p_res = run().tell(
        &g.verified,
        &answer,
        &Request::p_req(&g.verified, &g.p_req),
        None,
    );
    let told = outcome(g, &p_res);
    assert_eq!(told.status, PaymentStatus::Declined);
    assert!(told.receipt.is_none());
}

#[test]
fn an_order_without_the_banks_word_is_pending_rejected_or_unknown_but_never_paid() {
    let (g, w) = (genuine(), world());
    let expected = [
        (CompletionCode::OrderReceived, PaymentStatus::Pending),
        (CompletionCode::OrderRejected, PaymentStatus::Rejected),
        (CompletionCode::OrderNotReceived, PaymentStatus::Unknown),
    ];
    for (completion_code, status) in expected {
        let request = Request::p_req(&g.verified, &g.p_req);
        let asked = Asked {
            trans_ids: &g.verified.trans_ids,
            rrpid: request.rrpid,
            chall_c: request.challenge,
            request: request.digest,
            inquiry: false,
        };
        let wire = w
            .with(|ctx| p_res(ctx, &w.shop, &asked, without_results(completion_code)))
            .unwrap();
        assert_eq!(outcome(g, &wire).status, status);
    }
}

#[test]
fn merchant_sees_that_its_own_order_is_another() {
    let (g, w) = (genuine(), world());
    let wrapper = MessageWrapper::decode(&g.p_req).unwrap();
    let orders = [
        OwnOrder {
            order_description: b"2 x The Rust Programming Language",
            purch_amt: amount(4200),
            install_recur_data: Some(&*PLAN),
        },
        OwnOrder {
            order_description: crate::world::ORDER,
            purch_amt: amount(4200),
            install_recur_data: None,
        },
        OwnOrder {
            order_description: crate::world::ORDER,
            purch_amt: amount(4200),
            install_recur_data: Some(&InstallRecurData::InstallTotalTrans(2)),
        },
        OwnOrder {
            order_description: crate::world::ORDER,
            purch_amt: amount(4201),
            install_recur_data: Some(&*PLAN),
        },
    ];
    for order in orders {
        let p_req = openset_protocol::merchant::p::open(&wrapper, &[&w.shop]).unwrap();
        let verified = p_req
            .verify(&wrapper, &g.opened, order, w.pki.verifier(), w.now)
            .unwrap();
        assert!(!verified.order_agrees);
    }
}

#[test]
fn an_expired_card_is_refused_before_the_issuer_is_asked() {
    let w = world();
    let (card, run) = (w.expired_card(), run());
    let start = w
        .with(|ctx| purchase::start(ctx, &card, order_of_wallet("order-2")))
        .unwrap();
    let (opened, p_init_res) = run.answer_p_init(&start.wire);
    let step = w
        .with(|ctx| {
            start
                .state
                .handle(ctx, &card, &p_init_res, run.verifier, None)
        })
        .unwrap();
    let verified = run.verify_p_req(&opened, &step.wire).unwrap();
    let (_, auth_req) = run.ask(&verified);
    assert_eq!(
        run.authorize(&auth_req),
        Err(crate::run::End::Declined(Refusal::Expired))
    );
}

#[test]
fn a_zero_amount_cannot_be_authorized() {
    let w = world();
    let (card, run) = (w.card(), run());
    let mut order = order_of_wallet("order-3");
    order.purch_amt = amount(0);
    let start = w.with(|ctx| purchase::start(ctx, &card, order)).unwrap();
    let (opened, p_init_res) = run.answer_p_init(&start.wire);
    let step = w
        .with(|ctx| {
            start
                .state
                .handle(ctx, &card, &p_init_res, run.verifier, None)
        })
        .unwrap();
    let wrapper = MessageWrapper::decode(&step.wire).unwrap();
    let own = OwnOrder {
        order_description: crate::world::ORDER,
        purch_amt: amount(0),
        install_recur_data: Some(&*PLAN),
    };
    let p_req = openset_protocol::merchant::p::open(&wrapper, &[&w.shop]).unwrap();
    let verified = p_req
        .verify(&wrapper, &opened, own, w.pki.verifier(), w.now)
        .unwrap();
    assert!(verified.order_agrees);
    let asking = openset_protocol::merchant::auth::Asking {
        trans_ids: &verified.trans_ids,
        instrument: verified.payment_instruction(),
        hod2: verified.hod,
        amount: amount(0),
        merch_cat_code: "5942",
        subsequent_auth_ind: false,
        capture_now: false,
        install_recur_data: Some(*PLAN),
    };
    let gateway = w.gateway.key_exchange.certificate();
    let (_, wire) = w
        .with(|ctx| {
            openset_protocol::merchant::auth::request(ctx, &w.shop, gateway, &asking, w.verifier())
        })
        .unwrap();
    assert_eq!(
        run.authorize(&wire),
        Err(crate::run::End::Unauthorized(AuthCode::AmountError))
    );
}

#[test]
fn nothing_of_the_cardholder_travels_in_clear() {
    let g = genuine();
    let certificate = world().card().signature.certificate().der().to_vec();
    let in_header = openset_jose::base64url::encode(&certificate);
    for wire in [
        &g.p_init_req,
        &g.p_req,
        &g.auth_req,
        &g.auth_res,
        &g.p_res,
        &g.inq_req,
        &g.cap_req,
    ] {
        let text = String::from_utf8(wire.clone()).unwrap();
        assert!(!text.contains(crate::world::PAN));
        assert!(!text.contains(&in_header));
    }
}

#[test]
fn every_message_passes_through_its_wrapper_unchanged() {
    let g = genuine();
    for wire in [
        &g.p_init_req,
        &g.p_init_res,
        &g.p_req,
        &g.auth_req,
        &g.auth_res,
        &g.p_res,
        &g.cap_req,
        &g.cap_res,
    ] {
        let wrapper = MessageWrapper::decode(wire).unwrap();
        assert!(!matches!(wrapper.message, Message::Error(_)));
        assert_eq!(&wrapper.encode(), wire);
    }
}
