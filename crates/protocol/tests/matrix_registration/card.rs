//! A cardholder's registration.

use crate::layers::{KeyRing, Link};
use crate::rows::Alteration::{Add, Bit, Text};
use crate::rows::{Row, harmless, row};
use crate::shared::{
    CODE, Case, End, HOLDER_NAME, Outcome, WORDS, answer_frame, answers_nothing, as_sent, at,
    ca_certificate, cert_req, cert_res, chain, filled_in, form, form_answer, fresh, ring,
    unaccepted, with,
};
use crate::world::{BRAND, Ca, PAN, approve, cca};
use openset_jose::{ContentKey, PrivateKey};
use openset_pki::PathVerifier;
use openset_protocol::BrandId;
use openset_protocol::Rejection::{
    self, ChallengeMismatch, DigestMismatch, Disagreement, HeaderMismatch,
};
use openset_protocol::ca::cert::{CardCredential, Verdict};
use openset_protocol::ca::{AwaitingCertReq, AwaitingRegFormReq};
use openset_protocol::cardholder::registration::{
    self, AwaitingCardCInitRes, AwaitingCertRes, AwaitingRegFormRes, CardToRegister,
    FormOrReferral, Outcome as Registration,
};
use openset_protocol::content_type::ContentType;
use openset_protocol::ids::Language;
use openset_protocol::messages::cert::CertStatusCode;
use openset_testkit::keys::key;
use std::sync::LazyLock;

pub fn wallet_key() -> PrivateKey {
    key("wallet")
}

fn card() -> CardToRegister {
    CardToRegister {
        pan: PAN.parse().unwrap(),
        card_expiry: "202712".parse().unwrap(),
        brand_id: BrandId::new(BRAND).unwrap(),
        language: Language::english(),
    }
}

/// One registration: each message, and what each side remembers.
struct Genuine {
    wallet_init: AwaitingCardCInitRes,
    card_c_init_res: Vec<u8>,
    ca_init: AwaitingRegFormReq,
    wallet_form: AwaitingRegFormRes,
    reg_form_req: Vec<u8>,
    reg_form_res: Vec<u8>,
    referral: Vec<u8>,
    ca_form: AwaitingCertReq,
    wallet_cert: AwaitingCertRes,
    cert_req: Vec<u8>,
    cert_res: Vec<u8>,
    wallet_mend: AwaitingCertRes,
    mend: Vec<u8>,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(Genuine::new);

fn genuine() -> &'static Genuine {
    &GENUINE
}

impl Genuine {
    fn new() -> Self {
        let (ca, verifier) = (Ca::default(), fresh());
        let init = with(|ctx| registration::start(ctx, card()));
        let ca_init = ca.card_c_init(&init.wire).unwrap();
        let form = with(|ctx| init.state.clone().handle(ctx, &ca_init.wire, &verifier)).unwrap();
        let elsewhere = Ca {
            served_bins: vec!["555555".parse().unwrap()],
            ..Ca::default()
        };
        let referral = elsewhere
            .reg_form(&form.wire, ca_init.session.clone())
            .unwrap()
            .wire;
        let ca_form = ca.reg_form(&form.wire, ca_init.session.clone()).unwrap();
        let received =
            with(|ctx| form.state.clone().handle(ctx, &ca_form.wire, &verifier)).unwrap();
        let FormOrReferral::Form(received) = received else {
            panic!("a referral")
        };
        let mut answers = filled_in(received.form());
        let again = received.clone();
        let cert = with(|ctx| again.submit(ctx, answers.clone(), &wallet_key())).unwrap();
        let session = ca_form.session.unwrap();
        let verdict = ca.cert(cca(), &cert.wire, &session).unwrap();
        answers[0].value = String::new();
        let wrong = with(|ctx| received.submit(ctx, answers, &wallet_key())).unwrap();
        let Verdict::Answer { wire: mend, .. } = ca.cert(cca(), &wrong.wire, &session).unwrap()
        else {
            panic!("an answer is missing")
        };
        Self {
            wallet_init: init.state,
            card_c_init_res: ca_init.wire,
            ca_init: ca_init.session,
            wallet_form: form.state,
            reg_form_req: form.wire,
            reg_form_res: ca_form.wire,
            referral,
            ca_form: session,
            wallet_cert: cert.state,
            cert_req: cert.wire,
            cert_res: approve(cca(), verdict).wire,
            wallet_mend: wrong.state,
            mend,
        }
    }
}

/// A registration up to CertReq.
pub fn until_cert_req() -> (AwaitingCertRes, Vec<u8>, AwaitingCertReq) {
    let g = genuine();
    (g.wallet_cert.clone(), g.cert_req.clone(), g.ca_form.clone())
}

fn back_key(state: &AwaitingCertRes) -> ContentKey {
    let json = serde_json::to_value(state).unwrap();
    serde_json::from_value(json["back_key"].clone()).unwrap()
}

fn keys_of(state: &AwaitingCertRes) -> KeyRing {
    let mut ring = ring(cca(), "cca");
    ring.add_for(ContentType::CertReqData, wallet_key());
    ring.add_symmetric(ContentType::CertResTbe, back_key(state));
    ring
}

fn keys() -> KeyRing {
    keys_of(&genuine().wallet_cert)
}

// How the registration goes on when this message comes in.

fn card_c_init_res(verifier: &PathVerifier, wire: &[u8]) -> Outcome {
    let state = genuine().wallet_init.clone();
    let step = at(
        "CardCInitRes",
        with(|ctx| state.handle(ctx, wire, verifier)),
    )?;
    go_on_from_reg_form_req(verifier, step.state, &step.wire)
}

fn reg_form_req(verifier: &PathVerifier, wire: &[u8]) -> Outcome {
    go_on_from_reg_form_req(verifier, as_sent(&genuine().wallet_form, wire), wire)
}

fn go_on_from_reg_form_req(
    verifier: &PathVerifier,
    wallet: AwaitingRegFormRes,
    wire: &[u8],
) -> Outcome {
    let reply = at(
        "RegFormReq",
        Ca::default().reg_form(wire, genuine().ca_init.clone()),
    )?;
    let session = reply.session.ok_or(End::Referred)?;
    go_on_from_reg_form_res(verifier, wallet, &session, &reply.wire)
}

fn reg_form_res(verifier: &PathVerifier, wire: &[u8]) -> Outcome {
    let g = genuine();
    go_on_from_reg_form_res(verifier, g.wallet_form.clone(), &g.ca_form, wire)
}

fn go_on_from_reg_form_res(
    verifier: &PathVerifier,
    wallet: AwaitingRegFormRes,
    session: &AwaitingCertReq,
    wire: &[u8],
) -> Outcome {
    let received = at("RegFormRes", with(|ctx| wallet.handle(ctx, wire, verifier)))?;
    let FormOrReferral::Form(form) = received else {
        return Err(End::Referred);
    };
    let answers = filled_in(form.form());
    let step = with(|ctx| form.submit(ctx, answers, &wallet_key())).unwrap();
    go_on_from_cert_req(verifier, step.state, session, &step.wire)
}

fn cert_req_comes(verifier: &PathVerifier, wire: &[u8]) -> Outcome {
    let g = genuine();
    go_on_from_cert_req(verifier, as_sent(&g.wallet_cert, wire), &g.ca_form, wire)
}

fn go_on_from_cert_req(
    verifier: &PathVerifier,
    wallet: AwaitingCertRes,
    session: &AwaitingCertReq,
    wire: &[u8],
) -> Outcome {
    let verdict = at("CertReq", Ca::default().cert(cca(), wire, session))?;
    let wire = match verdict {
        Verdict::Answer { code, .. } => return Err(End::Answered(code)),
        Verdict::AskIssuer(asked) => {
            let request = &asked.request;
            let card = card();
            let approved = request.pan == card.pan
                && request.expiry == card.card_expiry
                && matches!(&request.credential, CardCredential::Code { holder, activation_code }
                    if **holder == HOLDER_NAME && **activation_code == CODE);
            if !approved {
                return Err(End::BankRefuses);
            }
            approve(cca(), Verdict::AskIssuer(asked)).wire
        }
        other => panic!("{other:?}"),
    };
    go_on_from_cert_res(verifier, wallet, &wire)
}

fn go_on_from_cert_res(verifier: &PathVerifier, wallet: AwaitingCertRes, wire: &[u8]) -> Outcome {
    match at("CertRes", with(|ctx| wallet.handle(ctx, wire, verifier)))? {
        Registration::Registered(_) => Ok(()),
        Registration::Mend(_, status)
        | Registration::Pended(_, status)
        | Registration::Refused(status) => Err(End::Answered(status.cert_status_code)),
    }
}

fn case(
    name: &'static str,
    wire: &'static [u8],
    receive: fn(&PathVerifier, &[u8]) -> Outcome,
    rows: Vec<Row<End>>,
) -> Case {
    Case {
        name,
        wire,
        ring: keys,
        fresh,
        receive,
        links: &[],
        rows,
        optional: Vec::new(),
    }
}

fn card_c_init_case() -> Case {
    let mut rows = answer_frame("CardCInitRes", "");
    let challenge = End::Refused("CardCInitRes", ChallengeMismatch("chall_ee"));
    rows.extend([
        row("data/chall_ee", Bit, challenge),
        row(
            "data/lid_ca",
            Text("other"),
            End::Refused("RegFormReq", Rejection::UnknownLid),
        ),
    ]);
    rows.extend(ca_certificate("CardCInitRes"));
    let mut case = case(
        "CardCInitRes",
        &genuine().card_c_init_res,
        card_c_init_res,
        rows,
    );
    case.optional = vec![answers_nothing("CardCInitRes", "answers")];
    case
}

fn reg_form_req_case() -> Case {
    let refused = |rejection| End::Refused("RegFormReq", rejection);
    let rows = vec![
        row("rrpid", Bit, refused(HeaderMismatch("rrpid"))),
        row(
            "date",
            crate::rows::Alteration::Later,
            refused(HeaderMismatch("date")),
        ),
        row("lid_ee", Text("other"), refused(HeaderMismatch("lid_c"))),
        row(
            "chall_ee2",
            Bit,
            End::Refused("RegFormRes", ChallengeMismatch("chall_ee2")),
        ),
        row("lid_ca", Text("other"), refused(Rejection::UnknownLid)),
        row(
            "request_type",
            Text("merInitialBoth"),
            refused(Disagreement("request_type")),
        ),
        harmless("language", Text("de"), "the applicant's wish"),
        row(
            "pan_only/pan",
            Text("4111110000000005"),
            End::Refused("CertReq", Disagreement("pan")),
        ),
        harmless("pan_only/ex_nonce", Bit, "drawn freely"),
    ];
    case("RegFormReq", &genuine().reg_form_req, reg_form_req, rows)
}

fn reg_form_frame() -> Vec<Row<End>> {
    let refused = |rejection| End::Refused("RegFormRes", rejection);
    let mut rows = answer_frame("RegFormRes", "");
    rows.extend([
        row(
            "data/chall_ee2",
            Bit,
            refused(ChallengeMismatch("chall_ee2")),
        ),
        row(
            "data/lid_ca",
            Text("other"),
            refused(Disagreement("lid_ca")),
        ),
        row(
            "data/request_type",
            Text("merInitialBoth"),
            refused(Disagreement("request_type")),
        ),
    ]);
    rows
}

fn reg_form_res_case() -> Case {
    let mut rows = reg_form_frame();
    let challenge = End::Refused("CertReq", ChallengeMismatch("chall_ca"));
    rows.push(row("data/chall_ca", Bit, challenge));
    rows.extend(form(2));
    let mut case = case("RegFormRes", &genuine().reg_form_res, reg_form_res, rows);
    case.optional = vec![answers_nothing("RegFormRes", "answers")];
    case
}

fn referral_case() -> Case {
    let mut rows = reg_form_frame();
    let prefix = "data/reg_form_or_referral/referral/";
    rows.extend([
        harmless("data/chall_ca", Bit, "the registration ends here"),
        harmless(format!("{prefix}reason"), Text("Because."), WORDS),
        harmless(
            format!("{prefix}referral_urls/0"),
            Text("https://example.com/"),
            WORDS,
        ),
    ]);
    let referred = |verifier: &PathVerifier, wire: &[u8]| match reg_form_res(verifier, wire) {
        Err(End::Referred) => Ok(()),
        other => other,
    };
    let mut case = case("RegFormRes", &genuine().referral, referred, rows);
    case.optional = vec![answers_nothing("RegFormRes", "answers")];
    case
}

const CERT_REQ_LINKS: &[Link] = &[Link {
    over: "acct_info",
    content: ContentType::AcctInfo,
    at: "cert_req/data/acct_info_digest",
}];

fn cert_req_case() -> Case {
    let refused = |rejection| End::Refused("CertReq", rejection);
    let mut rows = cert_req();
    rows.extend(form_answer(0));
    rows.extend(form_answer(1));
    let account_name = End::Refused("CertRes", Disagreement("the account name"));
    let back_key = End::Refused("CertRes", Rejection::Unauthentic);
    rows.extend([
        row("cert_req/data/ca_back_key_data", Bit, back_key),
        row(
            "cert_req/data/acct_info_digest",
            Bit,
            refused(DigestMismatch("acct_info")),
        ),
        row(
            "acct_info/pan",
            Text("4111110000000005"),
            refused(Disagreement("pan")),
        ),
        row("acct_info/card_expiry", Text("202711"), End::BankRefuses),
        row("acct_info/card_secret", Bit, account_name),
        harmless("acct_info/ex_nonce", Bit, "drawn freely"),
    ]);
    let mut case = case("CertReq", &genuine().cert_req, cert_req_comes, rows);
    case.links = CERT_REQ_LINKS;
    case.optional = vec![
        unaccepted(),
        (
            "cert_req/data/public_key_s",
            Some(refused(Disagreement("public_key_s"))),
        ),
        (
            "cert_req/data/ca_back_key_data",
            Some(refused(Disagreement("ca_back_key_data"))),
        ),
        (
            "cert_req/data/acct_info_digest",
            Some(refused(DigestMismatch("acct_info"))),
        ),
    ];
    case
}

fn cert_res_case() -> Case {
    let refused = |what| End::Refused("CertRes", Disagreement(what));
    let mut rows = cert_res("CertRes", "sealed/~/");
    let status = "sealed/~/data/cert_status/";
    let code = End::Answered(CertStatusCode::RejectedByIssuer);
    rows.extend([
        row(
            format!("{status}cert_status_code"),
            Text("rejectedByIssuer"),
            code,
        ),
        row(
            format!("{status}nonce_cca"),
            Bit,
            refused("the account name"),
        ),
    ]);
    rows.extend(chain("CertRes", "sealed/~/data/signature", 4));
    let comes: fn(&PathVerifier, &[u8]) -> Outcome =
        |verifier, wire| go_on_from_cert_res(verifier, genuine().wallet_cert.clone(), wire);
    let mut case = case("CertRes", &genuine().cert_res, comes, rows);
    case.optional = vec![
        answers_nothing("CertRes", "sealed/~/answers"),
        (
            "sealed/~/data/cert_status/nonce_cca",
            Some(refused("nonce_cca")),
        ),
    ];
    case
}

fn mend_case() -> Case {
    let mut rows = cert_res("CertRes", "sealed/~/");
    let status = "sealed/~/data/cert_status/";
    let incomplete = End::Refused("CertRes", Disagreement("nonce_cca"));
    rows.extend([
        row(
            format!("{status}cert_status_code"),
            Text("requestComplete"),
            incomplete,
        ),
        harmless(format!("{status}ee_message"), Text("Hello"), WORDS),
        harmless(format!("{status}failed_items/0/item_number"), Add(1), WORDS),
        harmless(
            format!("{status}failed_items/0/item_reason"),
            Text("Hello"),
            WORDS,
        ),
    ]);
    let comes: fn(&PathVerifier, &[u8]) -> Outcome =
        |verifier, wire| match go_on_from_cert_res(verifier, genuine().wallet_mend.clone(), wire) {
            Err(End::Answered(CertStatusCode::RegFormAnswerMalformed)) => Ok(()),
            other => other,
        };
    let mut case = case("CertRes", &genuine().mend, comes, rows);
    case.ring = || keys_of(&genuine().wallet_mend);
    case.optional = vec![
        answers_nothing("CertRes", "sealed/~/answers"),
        ("sealed/~/data/cert_status/ee_message", None),
    ];
    case
}

pub fn all() -> Vec<Case> {
    vec![
        card_c_init_case(),
        reg_form_req_case(),
        reg_form_res_case(),
        referral_case(),
        cert_req_case(),
        cert_res_case(),
        mend_case(),
    ]
}
