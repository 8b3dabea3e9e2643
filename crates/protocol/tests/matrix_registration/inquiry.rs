//! CertRes that says to wait, CertInqReq and CertInqRes: a cardholder's, signed with the key that is to be
//! certified, and those of a merchant that applies for a key-exchange certificate alone.

use crate::card;
use crate::layers::KeyRing;
use crate::old;
use crate::rows::Alteration::{Bit, Later, Text};
use crate::rows::{Row, harmless, row};
use crate::shared::{
    Case, End, Outcome, WORDS, answers_nothing, as_sent, at, cert_res, chain, fresh, ring, with,
};
use crate::world::{Ca, cca, decide, inquired_with, pend};
use openset_jose::ContentKey;
use openset_pki::PathVerifier;
use openset_protocol::Rejection::{self, ChallengeMismatch, Disagreement, HeaderMismatch};
use openset_protocol::ca::cert::Record;
use openset_protocol::cardholder::registration;
use openset_protocol::content_type::ContentType;
use openset_protocol::enrolment::{self, Keys};
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::reg_form::RequestType;
use openset_testkit::pki::TestCa;
use serde::Serialize;
use std::sync::LazyLock;

/// A registration that waits, and an inquiry before and after the operator's yes.
struct Genuine<S> {
    /// After CertReq.
    sent: S,
    cert_res: Vec<u8>,
    /// After CertInqReq.
    asked: S,
    waiting: Record,
    cert_inq_req: Vec<u8>,
    cert_inq_res: Vec<u8>,
}

static CARD: LazyLock<Genuine<registration::AwaitingCertRes>> = LazyLock::new(|| {
    let verifier = fresh();
    let (sent, wire, session) = card::until_cert_req();
    let verdict = Ca::default().cert(cca(), &wire, &session).unwrap();
    let (cert_res, waiting) = pend(cca(), verdict);
    let outcome = with(|ctx| sent.clone().handle(ctx, &cert_res, &verifier)).unwrap();
    let registration::Outcome::Pended(pended, _) = outcome else {
        panic!("{outcome:?}")
    };
    let step = with(|ctx| pended.inquire(ctx, &card::wallet_key())).unwrap();
    let (ended, _) = decide(cca(), waiting.clone());
    Genuine {
        sent,
        cert_res,
        asked: step.state,
        cert_inq_res: inquired_with(cca(), &step.wire, &ended, &verifier).unwrap(),
        cert_inq_req: step.wire,
        waiting,
    }
});

static SHOP: LazyLock<Genuine<enrolment::AwaitingCertRes>> = LazyLock::new(|| {
    let verifier = fresh();
    let ca = mca();
    let begun = crate::renewal::shop(RequestType::MerRenewalEnc);
    let verdict = Ca::default().cert(ca, &begun.wire, &begun.session).unwrap();
    let (cert_res, waiting) = pend(ca, verdict);
    let outcome = with(|ctx| begun.state.clone().handle(ctx, &cert_res, &verifier)).unwrap();
    let enrolment::Outcome::Pended(pended, _) = outcome else {
        panic!("{outcome:?}")
    };
    let held = old::shop();
    let keys = Keys {
        held: Some(&held.signature),
        ..Keys::default()
    };
    let step = with(|ctx| pended.inquire(ctx, &keys)).unwrap();
    let (ended, _) = decide(ca, waiting.clone());
    Genuine {
        sent: begun.state,
        cert_res,
        asked: step.state,
        cert_inq_res: inquired_with(ca, &step.wire, &ended, &verifier).unwrap(),
        cert_inq_req: step.wire,
        waiting,
    }
});

fn mca() -> &'static TestCa {
    crate::renewal::mca()
}

fn card_keys() -> KeyRing {
    let mut ring = ring(cca(), "cca");
    ring.add_for(ContentType::CertInqReqTbs, card::wallet_key());
    ring.add_symmetric(ContentType::CertResTbe, back_key(&CARD.sent));
    ring
}

fn back_key(state: &impl Serialize) -> ContentKey {
    let json = serde_json::to_value(state).unwrap();
    serde_json::from_value(json["back_key"].clone()).unwrap()
}

fn shop_keys() -> KeyRing {
    let mut ring = ring(mca(), "mca");
    ring.add(old::shop().signature.thumbprint(), old::shop_signs());
    ring
}

fn card_hears(
    message: &'static str,
    state: registration::AwaitingCertRes,
    verifier: &PathVerifier,
    wire: &[u8],
) -> Outcome {
    match at(message, with(|ctx| state.handle(ctx, wire, verifier)))? {
        registration::Outcome::Registered(_) => Ok(()),
        registration::Outcome::Mend(_, status)
        | registration::Outcome::Pended(_, status)
        | registration::Outcome::Refused(status) => Err(End::Answered(status.cert_status_code)),
    }
}

fn shop_hears(
    message: &'static str,
    state: enrolment::AwaitingCertRes,
    verifier: &PathVerifier,
    wire: &[u8],
) -> Outcome {
    match at(message, with(|ctx| state.handle(ctx, wire, verifier)))? {
        enrolment::Outcome::Enrolled(_) => Ok(()),
        enrolment::Outcome::Mend(_, status)
        | enrolment::Outcome::Pended(_, status)
        | enrolment::Outcome::Refused(status) => Err(End::Answered(status.cert_status_code)),
    }
}

/// That the applicant has to wait is what must come of it.
fn waits(outcome: Outcome) -> Outcome {
    match outcome {
        Err(End::Answered(CertStatusCode::RequestPended)) => Ok(()),
        other => other,
    }
}

fn card_asks(verifier: &PathVerifier, wire: &[u8]) -> Outcome {
    let answer = at(
        "CertInqReq",
        inquired_with(cca(), wire, &CARD.waiting, verifier),
    )?;
    let state = as_sent(&CARD.asked, wire);
    waits(card_hears("CertInqRes", state, verifier, &answer))
}

fn shop_asks(verifier: &PathVerifier, wire: &[u8]) -> Outcome {
    let answer = at(
        "CertInqReq",
        inquired_with(mca(), wire, &SHOP.waiting, verifier),
    )?;
    let state = as_sent(&SHOP.asked, wire);
    waits(shop_hears("CertInqRes", state, verifier, &answer))
}

fn cert_inq_req(signer: &'static str) -> Vec<Row<End>> {
    let refused = |rejection| End::Refused("CertInqReq", rejection);
    let challenge = End::Refused("CertInqRes", ChallengeMismatch("chall_ee3"));
    vec![
        row(signer, Bit, refused(Rejection::NotFromSigner)),
        row("to/certificate", Bit, refused(Rejection::NotForUs)),
        row(
            "message",
            Text("CertReq"),
            refused(HeaderMismatch("message")),
        ),
        row("rrpid", Bit, refused(HeaderMismatch("rrpid"))),
        row("date", Later, refused(HeaderMismatch("date"))),
        row(
            "data/lid_ee",
            Text("other"),
            refused(HeaderMismatch("lid_c")),
        ),
        row("data/chall_ee3", Bit, challenge),
        row("data/lid_ca", Text("other"), refused(Rejection::UnknownLid)),
    ]
}

/// Without the name of the registration nobody knows who should have signed.
fn unnamed() -> Vec<(&'static str, Option<End>)> {
    let refused = End::Refused("CertInqReq", Rejection::Unauthentic);
    vec![("data/lid_ca", Some(refused))]
}

fn case(
    name: &'static str,
    wire: &'static [u8],
    ring: fn() -> KeyRing,
    receive: fn(&PathVerifier, &[u8]) -> Outcome,
    rows: Vec<Row<End>>,
) -> Case {
    Case {
        name,
        wire,
        ring,
        fresh,
        receive,
        links: &[],
        rows,
        optional: Vec::new(),
    }
}

fn pended_rows(prefix: &str, complete: End) -> Vec<Row<End>> {
    let mut rows = cert_res("CertRes", prefix);
    let status = format!("{prefix}data/cert_status/");
    rows.extend([
        row(
            format!("{status}cert_status_code"),
            Text("requestComplete"),
            complete,
        ),
        harmless(format!("{status}ee_message"), Text("Hello"), WORDS),
    ]);
    rows
}

fn card_pended() -> Case {
    let incomplete = End::Refused("CertRes", Disagreement("nonce_cca"));
    let mut case = case(
        "CertRes",
        &CARD.cert_res,
        card_keys,
        |verifier, wire| waits(card_hears("CertRes", CARD.sent.clone(), verifier, wire)),
        pended_rows("sealed/~/", incomplete),
    );
    case.optional = vec![
        answers_nothing("CertRes", "sealed/~/answers"),
        ("sealed/~/data/cert_status/ee_message", None),
    ];
    case
}

fn shop_pended() -> Case {
    let empty = Rejection::MissingCertificate("a chain inside the message is empty");
    let mut case = case(
        "CertRes",
        &SHOP.cert_res,
        shop_keys,
        |verifier, wire| waits(shop_hears("CertRes", SHOP.sent.clone(), verifier, wire)),
        pended_rows("signed/", End::Refused("CertRes", empty)),
    );
    case.optional = vec![
        answers_nothing("CertRes", "signed/answers"),
        ("signed/data/cert_status/ee_message", None),
    ];
    case
}

fn card_inquires() -> Case {
    let rows = cert_inq_req("from/key");
    let mut case = case("CertInqReq", &CARD.cert_inq_req, card_keys, card_asks, rows);
    case.optional = unnamed();
    case
}

fn shop_inquires() -> Case {
    let rows = cert_inq_req("from/certificate");
    let mut case = case("CertInqReq", &SHOP.cert_inq_req, shop_keys, shop_asks, rows);
    case.optional = unnamed();
    case
}

fn card_is_told() -> Case {
    let refused = |what| End::Refused("CertInqRes", Disagreement(what));
    let mut rows = cert_res("CertInqRes", "sealed/~/");
    let status = "sealed/~/data/cert_status/";
    rows.extend([
        row(
            format!("{status}cert_status_code"),
            Text("requestPended"),
            End::Answered(CertStatusCode::RequestPended),
        ),
        row(
            format!("{status}nonce_cca"),
            Bit,
            refused("the account name"),
        ),
    ]);
    rows.extend(chain("CertInqRes", "sealed/~/data/signature", 4));
    let mut case = case(
        "CertInqRes",
        &CARD.cert_inq_res,
        card_keys,
        |verifier, wire| card_hears("CertInqRes", CARD.asked.clone(), verifier, wire),
        rows,
    );
    case.optional = vec![
        answers_nothing("CertInqRes", "sealed/~/answers"),
        (
            "sealed/~/data/cert_status/nonce_cca",
            Some(refused("nonce_cca")),
        ),
    ];
    case
}

fn shop_is_told() -> Case {
    let mut rows = cert_res("CertInqRes", "signed/");
    rows.push(row(
        "signed/data/cert_status/cert_status_code",
        Text("rejectedByCA"),
        End::Answered(CertStatusCode::RejectedByCa),
    ));
    rows.extend(chain("CertInqRes", "signed/data/key_exchange", 4));
    let mut case = case(
        "CertInqRes",
        &SHOP.cert_inq_res,
        shop_keys,
        |verifier, wire| shop_hears("CertInqRes", SHOP.asked.clone(), verifier, wire),
        rows,
    );
    case.optional = vec![answers_nothing("CertInqRes", "signed/answers")];
    case
}

pub fn all() -> Vec<Case> {
    vec![
        card_pended(),
        shop_pended(),
        card_inquires(),
        shop_inquires(),
        card_is_told(),
        shop_is_told(),
    ]
}
