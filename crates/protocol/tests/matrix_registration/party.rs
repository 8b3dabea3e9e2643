//! A merchant's enrolment; a gateway's differs in nothing but its CA.

use crate::layers::KeyRing;
use crate::rows::Alteration::{Bit, LastByte, Text};
use crate::rows::{Row, row};
use crate::shared::{
    CODE, Case, End, Outcome, answer_frame, answers_nothing, as_sent, at, ca_certificate, cert_req,
    cert_res, chain, filled_in, form, form_answer, fresh, ring, unaccepted, with,
};
use crate::world::{BRAND, Ca, approve, pki};
use openset_jose::PrivateKey;
use openset_pki::PathVerifier;
use openset_protocol::BrandId;
use openset_protocol::Rejection::{self, ChallengeMismatch, Disagreement};
use openset_protocol::ca::AwaitingCertReq;
use openset_protocol::ca::cert::Verdict;
use openset_protocol::ca::form::merchant;
use openset_protocol::content_type::ContentType;
use openset_protocol::enrolment::{
    self, AwaitingCertRes, AwaitingMeAqCInitRes, FormOrReferral, Outcome as Enrolment, Party,
};
use openset_protocol::ids::Language;
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_testkit::keys::key;
use openset_testkit::pki::TestCa;
use std::sync::LazyLock;

fn mca() -> &'static TestCa {
    &pki().brand(BRAND).mca
}

fn signs() -> PrivateKey {
    key("party/sign")
}

fn opens() -> PrivateKey {
    key("party/open")
}

fn applicant() -> Party {
    let merchant_bin = "411111".parse().unwrap();
    Party {
        id_data: IdData::Merchant {
            merchant_bin,
            merchant_id: "shop-1".to_owned(),
        },
        brand_id: BrandId::new(BRAND).unwrap(),
        language: Language::english(),
    }
}

/// One enrolment: each message, and what each side remembers.
struct Genuine {
    shop_init: AwaitingMeAqCInitRes,
    me_aq_c_init_res: Vec<u8>,
    session: AwaitingCertReq,
    shop_cert: AwaitingCertRes,
    cert_req: Vec<u8>,
    cert_res: Vec<u8>,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(Genuine::new);

fn genuine() -> &'static Genuine {
    &GENUINE
}

impl Genuine {
    fn new() -> Self {
        let (ca, verifier) = (Ca::default(), fresh());
        let init = with(|ctx| enrolment::start(ctx, applicant(), opens().public_key()));
        let reply = ca
            .me_aq_c_init(mca(), &init.wire, &merchant("Sell honestly."))
            .unwrap();
        let received = with(|ctx| {
            init.state
                .clone()
                .handle(ctx, &reply.wire, &verifier, &opens())
        });
        let FormOrReferral::Form(form) = received.unwrap() else {
            panic!("a referral")
        };
        let answers = filled_in(form.form());
        let cert = with(|ctx| form.submit(ctx, answers, &signs(), opens().public_key())).unwrap();
        let verdict = ca.cert(mca(), &cert.wire, &reply.session).unwrap();
        Self {
            shop_init: init.state,
            me_aq_c_init_res: reply.wire,
            session: reply.session,
            shop_cert: cert.state,
            cert_req: cert.wire,
            cert_res: approve(mca(), verdict).wire,
        }
    }
}

fn keys() -> KeyRing {
    let mut ring = ring(mca(), "mca");
    ring.add_for(ContentType::CertReqData, signs());
    ring.add_for(ContentType::KeyExchangeChallenge, opens());
    ring
}

fn me_aq_c_init_res(verifier: &PathVerifier, wire: &[u8]) -> Outcome {
    let state = genuine().shop_init.clone();
    let received = with(|ctx| state.handle(ctx, wire, verifier, &opens()));
    let FormOrReferral::Form(form) = at("Me-AqCInitRes", received)? else {
        return Err(End::Referred);
    };
    let answers = filled_in(form.form());
    let step = with(|ctx| form.submit(ctx, answers, &signs(), opens().public_key())).unwrap();
    go_on_from_cert_req(verifier, step.state, &step.wire)
}

fn cert_req_comes(verifier: &PathVerifier, wire: &[u8]) -> Outcome {
    go_on_from_cert_req(verifier, as_sent(&genuine().shop_cert, wire), wire)
}

fn go_on_from_cert_req(verifier: &PathVerifier, shop: AwaitingCertRes, wire: &[u8]) -> Outcome {
    let verdict = at(
        "CertReq",
        Ca::default().cert(mca(), wire, &genuine().session),
    )?;
    let wire = match verdict {
        Verdict::Answer { code, .. } => return Err(End::Answered(code)),
        Verdict::AskAcquirer(asked) if asked.request.credential.activation_code() != Some(CODE) => {
            return Err(End::BankRefuses);
        }
        asked => approve(mca(), asked).wire,
    };
    go_on_from_cert_res(verifier, shop, &wire)
}

fn go_on_from_cert_res(verifier: &PathVerifier, shop: AwaitingCertRes, wire: &[u8]) -> Outcome {
    match at("CertRes", with(|ctx| shop.handle(ctx, wire, verifier)))? {
        Enrolment::Enrolled(_) => Ok(()),
        Enrolment::Mend(_, status) | Enrolment::Pended(_, status) | Enrolment::Refused(status) => {
            Err(End::Answered(status.cert_status_code))
        }
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

fn me_aq_c_init_case() -> Case {
    let refused = |rejection| End::Refused("Me-AqCInitRes", rejection);
    let mut rows = answer_frame("Me-AqCInitRes", "");
    let other_registration = refused(ChallengeMismatch("key_exchange_challenge"));
    let secret = End::Refused("CertReq", Rejection::Possession("key-exchange"));
    rows.extend([
        row("data/chall_ee", Bit, refused(ChallengeMismatch("chall_ee"))),
        row("data/lid_ca", Text("other"), other_registration.clone()),
        row(
            "data/chall_ca",
            Bit,
            End::Refused("CertReq", ChallengeMismatch("chall_ca")),
        ),
        row(
            "data/request_type",
            Text("pgwyInitialBoth"),
            refused(Disagreement("request_type")),
        ),
        row(
            "data/key_exchange_challenge/lid_ca",
            Text("other"),
            other_registration,
        ),
        row("data/key_exchange_challenge/secret", Bit, secret),
    ]);
    rows.extend(form(1));
    rows.extend(ca_certificate("Me-AqCInitRes"));
    let mut case = case(
        "Me-AqCInitRes",
        &genuine().me_aq_c_init_res,
        me_aq_c_init_res,
        rows,
    );
    case.optional = vec![answers_nothing("Me-AqCInitRes", "answers")];
    case
}

fn cert_req_case() -> Case {
    let refused = |rejection| End::Refused("CertReq", rejection);
    let mut rows = cert_req();
    rows.extend(form_answer(0));
    let (key_e, proof) = (
        "cert_req/data/public_key_e",
        "cert_req/data/key_exchange_proof",
    );
    rows.extend([
        row(key_e, LastByte, refused(Disagreement("public_key_e"))),
        row(proof, Bit, refused(Rejection::Possession("key-exchange"))),
    ]);
    let mut case = case("CertReq", &genuine().cert_req, cert_req_comes, rows);
    case.optional = vec![
        unaccepted(),
        (
            "cert_req/data/public_key_s",
            Some(refused(Disagreement("public_key_s"))),
        ),
        (key_e, Some(refused(Disagreement("public_key_e")))),
        (proof, Some(refused(Rejection::Possession("key-exchange")))),
    ];
    case
}

fn cert_res_case() -> Case {
    let mut rows = cert_res("CertRes", "signed/");
    let code = End::Answered(CertStatusCode::RejectedByAcquirer);
    let status = "signed/data/cert_status/cert_status_code";
    rows.push(row(status, Text("rejectedByAcquirer"), code));
    rows.extend(chain("CertRes", "signed/data/signature", 4));
    rows.extend(chain("CertRes", "signed/data/key_exchange", 4));
    let comes: fn(&PathVerifier, &[u8]) -> Outcome =
        |verifier, wire| go_on_from_cert_res(verifier, genuine().shop_cert.clone(), wire);
    let mut case = case("CertRes", &genuine().cert_res, comes, rows);
    case.optional = vec![answers_nothing("CertRes", "signed/answers")];
    case
}

pub fn all() -> Vec<Case> {
    vec![me_aq_c_init_case(), cert_req_case(), cert_res_case()]
}
