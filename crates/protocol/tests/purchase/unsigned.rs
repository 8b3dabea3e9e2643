//! Purchases that nobody signed (SET's PReqUnsigned): taken only where wallet, merchant, gateway and the gateway's certificate
//! all allow it, and tied together as those with a signature are, but for who pays.

use crate::layers::fresh_rng;
use crate::run::{Request, Run};
use crate::world::{APPROVAL, ORDER, PLAN, amount, opening_key, world};
use openset_jose::base64url;
use openset_jose::jwe;
use openset_pki::Role;
use openset_protocol::Rejection;
use openset_protocol::cardholder::purchase::{self, AwaitingPRes, Order, PaymentStatus, Step};
use openset_protocol::cardholder::{BareCard, PayingCard, inquiry};
use openset_protocol::gateway::auth::{
    Answering, Approval, Decision, Refusal, Shown, VerifiedPayment,
};
use openset_protocol::identity::Credentials;
use openset_protocol::ids::Language;
use openset_protocol::merchant::auth::Asking;
use openset_protocol::merchant::p::{OpenedPReq, OwnOrder, PayerName, VerifiedPReq};
use openset_protocol::merchant::p_init::OpenedPurchase;
use openset_protocol::messages::auth::AuthCode;
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::messages::p::PReqTbe;
use openset_protocol::wrapper::{Jwe, Message, MessageWrapper};
use openset_protocol::{gateway, merchant};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// A gateway whose certificate lets cardholders pay without one of theirs.
static LENIENT: LazyLock<Credentials> =
    LazyLock::new(|| world().pki.lenient_gateway("Visa", "lenient"));

fn card() -> BareCard {
    let card = world().card();
    BareCard {
        pan: card.pan,
        card_expiry: card.card_expiry,
        brand_id: "Visa".parse().unwrap(),
    }
}

struct Bought {
    opened: OpenedPurchase,
    state: AwaitingPRes,
    p_req: Vec<u8>,
}

/// Steps 5 and 6 with a shop that shows this gateway.
fn buy(card: PayingCard<'_>, gateway: &Credentials) -> Result<Bought, Rejection> {
    buy_by(card, gateway, None)
}

fn buy_by(
    card: PayingCard<'_>,
    gateway: &Credentials,
    plan: Option<InstallRecurData>,
) -> Result<Bought, Rejection> {
    let w = world();
    let order = Order {
        lid_m: "order-1".parse().unwrap(),
        order_description: ORDER.to_vec(),
        purch_amt: amount(4200),
        install_recur_data: plan,
        language: Language::english(),
        thumbs: None,
    };
    let Step { state, wire } = w.with(|ctx| purchase::start(ctx, card, order)).unwrap();
    let wrapper = MessageWrapper::decode(&wire).unwrap();
    let (opened, p_init_res) = w
        .with(|ctx| {
            let request = merchant::p_init::open(ctx, &wrapper).unwrap();
            let chain = gateway.key_exchange.chain();
            merchant::p_init::answer(ctx, &wire, request, &w.shop, chain, &w.state())
        })
        .unwrap();
    let step = w.with(|ctx| state.handle(ctx, card, &p_init_res, w.verifier(), None))?;
    Ok(Bought {
        opened,
        state: step.state,
        p_req: step.wire,
    })
}

fn bought() -> Bought {
    buy((&card()).into(), &LENIENT).unwrap()
}

fn opened(p_req: &[u8]) -> Result<OpenedPReq, Rejection> {
    merchant::p::open(&MessageWrapper::decode(p_req).unwrap(), &[&world().shop])
}

fn verified(bought: &Bought) -> Result<VerifiedPReq, Rejection> {
    let w = world();
    let wrapper = MessageWrapper::decode(&bought.p_req).unwrap();
    let own = OwnOrder {
        install_recur_data: None,
        ..w.order()
    };
    opened(&bought.p_req)?.verify(&wrapper, &bought.opened, own, w.verifier(), w.now)
}

/// AuthReq to this gateway, which takes what nobody signed or does not.
fn authorized(
    p_req: &VerifiedPReq,
    (to, accepts): (&Credentials, bool),
    more: bool,
) -> Result<Result<VerifiedPayment, Refusal>, Rejection> {
    authorized_by(p_req, (to, accepts), more, None)
}

fn authorized_by(
    p_req: &VerifiedPReq,
    (to, accepts): (&Credentials, bool),
    more: bool,
    plan: Option<InstallRecurData>,
) -> Result<Result<VerifiedPayment, Refusal>, Rejection> {
    let w = world();
    let asking = Asking {
        trans_ids: &p_req.trans_ids,
        instrument: p_req.payment_instruction(),
        hod2: p_req.hod,
        amount: amount(4200),
        merch_cat_code: "5942",
        subsequent_auth_ind: more,
        capture_now: false,
        install_recur_data: plan,
    };
    let sealed_for = to.key_exchange.certificate();
    let (_, wire) = w
        .with(|ctx| merchant::auth::request(ctx, &w.shop, sealed_for, &asking, w.verifier()))
        .unwrap();
    let wrapper = MessageWrapper::decode(&wire).unwrap();
    let opened = gateway::auth::open(&wire, &wrapper, &[to], w.verifier(), w.now)?;
    let shown = opened.verify((&[to], accepts), &w.tokens(), w.verifier(), w.now)?;
    Ok(shown.map(|shown| match shown {
        Shown::Pi(payment) => *payment,
        Shown::Token(_) => panic!("a token"),
    }))
}

/// The payment instruction with something altered inside, sealed anew for the same or another gateway.
fn altered_pi(pi: &Jwe, sealed_for: &Credentials, change: impl Fn(&mut Value, &mut Value)) -> Jwe {
    let sealed = jwe::Sealed::parse(&pi.0).unwrap();
    let plain = sealed.open(&opening_key(Role::Gateway, "lenient")).unwrap();
    let end = plain.iter().rposition(|byte| *byte == b'}').unwrap();
    let mut instruction: Value = serde_json::from_slice(&plain[..=end]).unwrap();
    let pi_data = base64url::decode(instruction["pi_data"].as_str().unwrap()).unwrap();
    let mut pi_data: Value = serde_json::from_slice(&pi_data).unwrap();
    change(&mut instruction, &mut pi_data);
    instruction["pi_data"] = json!(base64url::encode(&serde_json::to_vec(&pi_data).unwrap()));
    let certificate = sealed_for.key_exchange.certificate();
    let plain = serde_json::to_vec(&instruction).unwrap();
    let (to, thumbprint) = (certificate.public_key(), certificate.thumbprint());
    let cty = &sealed.header().cty;
    let resealed = jwe::seal(&mut fresh_rng(), to, Some(thumbprint), cty, &plain);
    Jwe(resealed.unwrap())
}

#[test]
fn unsigned_purchase_is_paid_and_inquired_about_where_everybody_allows_it() {
    let (w, bought) = (world(), bought());
    let p_req = opened(&bought.p_req).unwrap();
    assert!(p_req.is_unsigned());
    p_req
        .check_mode(true, LENIENT.key_exchange.certificate())
        .unwrap();
    let p_req = verified(&bought).unwrap();
    assert!(p_req.order_agrees && p_req.payer.certificate().is_none());
    let payment = authorized(&p_req, (&LENIENT, true), false)
        .unwrap()
        .unwrap();
    assert_eq!(payment.pan, card().pan);
    assert_eq!(payment.purch_amt, amount(4200));
    assert_eq!(payment.cardholder, None);

    let asking = Asking {
        trans_ids: &p_req.trans_ids,
        instrument: p_req.payment_instruction(),
        hod2: p_req.hod,
        amount: amount(4200),
        merch_cat_code: "5942",
        subsequent_auth_ind: false,
        capture_now: false,
        install_recur_data: None,
    };
    let sealed_for = LENIENT.key_exchange.certificate();
    let (awaiting, wire) = w
        .with(|ctx| merchant::auth::request(ctx, &w.shop, sealed_for, &asking, w.verifier()))
        .unwrap();
    let wrapper = MessageWrapper::decode(&wire).unwrap();
    let asker = gateway::auth::open(&wire, &wrapper, &[&*LENIENT], w.verifier(), w.now);
    let asker = asker.unwrap().asker;
    let decision = Decision::Approved(Approval {
        payment: &payment,
        approval_code: APPROVAL.to_owned(),
        message: None,
        approvals: 1,
        captured: None,
    });
    let answer = w.with(|ctx| {
        let with = Answering {
            ours: &LENIENT,
            tokens: &w.tokens(),
            state: &w.state(),
        };
        gateway::auth::answer(ctx, with, &asker, &decision)
    });
    let answer = awaiting.handle(&answer.unwrap().wire, &[&w.shop], w.verifier(), w.now);
    let answer = answer.unwrap();
    let run = Run {
        world: w,
        verifier: w.verifier(),
    };
    let told = run.tell(
        &p_req,
        &answer,
        &Request::p_req(&p_req, &bought.p_req),
        None,
    );
    let told = w
        .with(|ctx| bought.state.handle(ctx, &told, w.verifier()))
        .unwrap();
    assert_eq!(told.status, PaymentStatus::Paid);

    let agreed = bought.state.purchase();
    let asked = w
        .with(|ctx| inquiry::start(ctx, &card(), agreed, w.verifier()))
        .unwrap();
    let wrapper = MessageWrapper::decode(&asked.wire).unwrap();
    let inquiry = merchant::inq::open(&wrapper, &[&w.shop], w.verifier(), w.now).unwrap();
    let owner = p_req.payer.name();
    inquiry
        .check_owner(&owner, &bought.opened.trans_ids)
        .unwrap();
    assert_eq!(owner.to_string().parse::<PayerName>().unwrap(), owner);
}

#[test]
fn each_party_refuses_what_nobody_signed_unless_it_takes_that() {
    let (w, bought) = (world(), bought());
    let strict = buy((&card()).into(), &w.gateway).err();
    assert_eq!(
        strict,
        Some(Rejection::SignatureRequired),
        "wallet, by the certificate"
    );
    let p_req = opened(&bought.p_req).unwrap();
    let (lenient, strict) = (
        LENIENT.key_exchange.certificate(),
        w.gateway.key_exchange.certificate(),
    );
    for (accepts, gateway) in [(false, lenient), (true, strict), (false, strict)] {
        assert_eq!(
            p_req.check_mode(accepts, gateway),
            Err(Rejection::SignatureRequired)
        );
    }
    let p_req = verified(&bought).unwrap();
    let refused = |to, accepts, more| authorized(&p_req, (to, accepts), more).unwrap().err();
    assert_eq!(refused(&LENIENT, false, false), Some(Refusal::Unsigned));
    assert_eq!(
        refused(&LENIENT, true, true),
        Some(Refusal::Unsigned),
        "for later parts"
    );
    assert_eq!(Refusal::Unsigned.code(), AuthCode::SignatureRequired);
    let strict = &w.gateway;
    let renamed = strict.key_exchange.thumbprint();
    let pi = altered_pi(&p_req.pi, strict, |_, data| {
        data["unsigned_for"]["gateway"] = json!(renamed)
    });
    let passed_on = VerifiedPReq {
        pi,
        ..p_req.clone()
    };
    let refused = authorized(&passed_on, (strict, true), false).unwrap().err();
    assert_eq!(
        refused,
        Some(Refusal::Unsigned),
        "gateway, by its certificate"
    );
}

#[test]
fn nobody_is_charged_by_a_plan_that_nobody_signed() {
    let plan = Some(*PLAN);
    let wallet = buy_by((&card()).into(), &LENIENT, plan).err();
    assert_eq!(wallet, Some(Rejection::SignatureRequired));
    // A dishonest wallet says that it agrees, and a shop asks for one payment alone.
    let p_req = verified(&bought()).unwrap();
    let agreed = serde_json::to_value(plan).unwrap();
    let pi = altered_pi(&p_req.pi, &LENIENT, |_, data| {
        data["pi_head"]["install_recur_data"] = agreed.clone();
    });
    let agreed = VerifiedPReq { pi, ..p_req };
    let refused = authorized_by(&agreed, (&LENIENT, true), false, plan);
    assert_eq!(refused.unwrap().err(), Some(Refusal::Unsigned));
    let hidden = authorized(&agreed, (&LENIENT, true), false);
    assert_eq!(hidden.unwrap().err(), Some(Refusal::Plan));
}

#[test]
fn signature_is_neither_taken_off_nor_put_on() {
    let w = world();
    let (bare, certified) = (card(), w.card());
    let unsigned = buy((&bare).into(), &LENIENT).unwrap();
    let signed = buy((&certified).into(), &LENIENT).unwrap();
    let open = |p_req: &[u8]| {
        let Message::PReq(jwe) = MessageWrapper::decode(p_req).unwrap().message else {
            panic!("no PReq")
        };
        let plain = jwe::Sealed::parse(&jwe.0).unwrap();
        let plain = plain.open(&opening_key(Role::Merchant, "shop-1")).unwrap();
        serde_json::from_slice::<PReqTbe>(&plain).unwrap()
    };
    let sealed = |p_req: &PReqTbe, like: &[u8]| {
        let mut wrapper = MessageWrapper::decode(like).unwrap();
        let shop = w.shop.key_exchange.certificate();
        let plain = serde_json::to_vec(p_req).unwrap();
        let (to, thumbprint) = (shop.public_key(), Some(shop.thumbprint()));
        let jwe = jwe::seal(&mut fresh_rng(), to, thumbprint, "PReqTBE", &plain).unwrap();
        wrapper.message = Message::PReq(Jwe(jwe));
        wrapper.encode()
    };
    let (of_unsigned, of_signed) = (open(&unsigned.p_req), open(&signed.p_req));
    let taken_off = PReqTbe {
        dual_signature: None,
        ..of_signed.clone()
    };
    let put_on = PReqTbe {
        dual_signature: of_signed.dual_signature.clone(),
        ..of_unsigned
    };
    for (altered, of) in [(taken_off, &signed), (put_on, &unsigned)] {
        let bought = Bought {
            p_req: sealed(&altered, &of.p_req),
            opened: of.opened.clone(),
            state: of.state.clone(),
        };
        assert!(matches!(
            verified(&bought),
            Err(Rejection::ContentType { .. })
        ));
    }
    // A dishonest shop does not look.
    let (honest, other) = (verified(&unsigned).unwrap(), verified(&signed).unwrap());
    let put_on = VerifiedPReq {
        dual_signature: other.dual_signature.clone(),
        ..honest
    };
    let taken_off = VerifiedPReq {
        dual_signature: None,
        ..other
    };
    for p_req in [put_on, taken_off] {
        let refused = authorized(&p_req, (&LENIENT, true), false).err();
        assert!(
            matches!(refused, Some(Rejection::ContentType { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn every_name_in_an_unsigned_instruction_is_compared() {
    let p_req = verified(&bought()).unwrap();
    let other = json!(base64url::encode(&[7; 32]));
    type Change<'a> = &'a dyn Fn(&mut Value, &mut Value);
    let rows: [(Change<'_>, Refusal); 8] = [
        (
            &|_, d| d["unsigned_for"]["merchant"] = other.clone(),
            Refusal::UnsignedFor,
        ),
        (
            &|_, d| d["unsigned_for"]["gateway"] = other.clone(),
            Refusal::UnsignedFor,
        ),
        (
            &|_, d| d["pi_head"]["trans_ids"]["xid"] = other.clone(),
            Refusal::TransIds,
        ),
        (
            &|_, d| d["pi_head"]["trans_ids"]["lid_c"] = json!("x"),
            Refusal::TransIds,
        ),
        (
            &|_, d| d["pi_head"]["inputs"]["hod"] = other.clone(),
            Refusal::Hod,
        ),
        (
            &|_, d| d["pi_head"]["merchant_id"] = json!("shop-2"),
            Refusal::Merchant,
        ),
        (&|i, _| i["hoi"] = other.clone(), Refusal::Hoi),
        (
            &|_, d| d["pan_token"]["card_expiry"] = json!("202012"),
            Refusal::Expired,
        ),
    ];
    for (place, (change, expected)) in rows.into_iter().enumerate() {
        let pi = altered_pi(&p_req.pi, &LENIENT, change);
        let altered = VerifiedPReq {
            pi,
            ..p_req.clone()
        };
        let refused = authorized(&altered, (&LENIENT, true), false).unwrap().err();
        assert_eq!(refused, Some(expected), "row {place}");
    }
    for dropped in ["unsigned_for", "pan_token", "pi_head"] {
        let pi = altered_pi(&p_req.pi, &LENIENT, |_, data| {
            data.as_object_mut().unwrap().remove(dropped);
        });
        let altered = VerifiedPReq {
            pi,
            ..p_req.clone()
        };
        let refused = authorized(&altered, (&LENIENT, true), false);
        assert!(matches!(refused, Err(Rejection::Malformed(_))), "{dropped}");
    }
}

#[test]
fn only_who_knows_the_salt_inquires_about_an_unsigned_purchase() {
    let (w, bought) = (world(), bought());
    let owner = verified(&bought).unwrap().payer.name();
    let agreed = bought.state.purchase();
    let asked = w
        .with(|ctx| inquiry::start(ctx, &card(), agreed, w.verifier()))
        .unwrap();
    let Message::InqReq(jwe) = MessageWrapper::decode(&asked.wire).unwrap().message else {
        panic!("no InqReq")
    };
    let plain = jwe::Sealed::parse(&jwe.0).unwrap();
    let plain = plain.open(&opening_key(Role::Merchant, "shop-1")).unwrap();
    let genuine: Value = serde_json::from_slice(&plain).unwrap();
    let read = |change: &dyn Fn(&mut Value)| {
        let mut altered = genuine.clone();
        change(&mut altered);
        let shop = w.shop.key_exchange.certificate();
        let plain = serde_json::to_vec(&altered).unwrap();
        let (to, thumbprint) = (shop.public_key(), Some(shop.thumbprint()));
        let jwe = jwe::seal(&mut fresh_rng(), to, thumbprint, "InqReqTBE", &plain).unwrap();
        let mut wrapper = MessageWrapper::decode(&asked.wire).unwrap();
        wrapper.message = Message::InqReq(Jwe(jwe));
        let inquiry = merchant::inq::open(&wrapper, &[&w.shop], w.verifier(), w.now)?;
        inquiry.check_owner(&owner, &bought.opened.trans_ids)
    };
    let other = json!(base64url::encode(&[7; 32]));
    assert_eq!(read(&|_| {}), Ok(()));
    let salt = read(&|asked| asked["unsigned"]["od_salt"] = other.clone());
    assert_eq!(salt, Err(Rejection::AnotherParty("cardholder")));
    let rrpid = read(&|asked| asked["unsigned"]["rrpid"] = other.clone());
    assert_eq!(rrpid, Err(Rejection::HeaderMismatch("rrpid")));
    let date = read(&|asked| asked["unsigned"]["date"] = json!("2020-01-01T00:00:00Z"));
    assert_eq!(date, Err(Rejection::HeaderMismatch("date")));
    let xid = read(&|asked| asked["unsigned"]["data"]["trans_ids"]["xid"] = other.clone());
    assert_eq!(xid, Err(Rejection::HeaderMismatch("xid")));
    for change in [
        &(|asked: &mut Value| asked["inq_req"] = json!("x")) as &dyn Fn(&mut Value),
        &|asked| *asked = json!({}),
    ] {
        assert!(matches!(read(change), Err(Rejection::Malformed(_))));
    }
    // A signed purchase is not inquired about by its salt.
    let certified = w.card();
    let signed = buy((&certified).into(), &LENIENT).unwrap();
    let agreed = signed.state.purchase();
    let unable = w.with(|ctx| inquiry::start(ctx, &card(), agreed, w.verifier()));
    assert_eq!(unable.err(), Some(Rejection::Disagreement("od_salt")));
}
