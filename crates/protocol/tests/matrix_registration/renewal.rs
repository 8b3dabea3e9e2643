//! CertReq of renewals: a cardholder's, a merchant's of both certificates, and a merchant's of its
//! key-exchange certificate alone. All other messages are as in first registrations.

use crate::layers::{KeyRing, Link};
use crate::old;
use crate::rows::Alteration::{Bit, LastByte, Later, Text};
use crate::rows::{Row, harmless, row};
use crate::shared::{
    Case, End, Outcome, as_sent, at, cert_req, chain, fresh, ring, unaccepted, with,
};
use crate::world::{BRAND, Ca, PAN, approve, cca, pki, thumbs};
use openset_jose::{ContentKey, PrivateKey};
use openset_pki::PathVerifier;
use openset_protocol::BrandId;
use openset_protocol::Rejection::{self, DigestMismatch, Disagreement, HeaderMismatch};
use openset_protocol::ca::AwaitingCertReq;
use openset_protocol::ca::cert::Verdict;
use openset_protocol::ca::form::merchant;
use openset_protocol::cardholder::registration::{self, CardToRegister};
use openset_protocol::content_type::ContentType;
use openset_protocol::enrolment::{self, FormOrReferral, Keys, Party};
use openset_protocol::ids::Language;
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_protocol::messages::reg_form::RequestType;
use openset_testkit::keys::key;
use openset_testkit::pki::TestCa;
use std::sync::LazyLock;

fn brand() -> BrandId {
    BrandId::new(BRAND).unwrap()
}

pub fn mca() -> &'static TestCa {
    &pki().brand(BRAND).mca
}

fn wallet_key() -> PrivateKey {
    key("wallet/new")
}

fn signs() -> PrivateKey {
    key("party/new/sign")
}

fn opens() -> PrivateKey {
    key("party/new/open")
}

/// A renewal up to CertReq.
pub struct Genuine<S> {
    pub state: S,
    pub session: AwaitingCertReq,
    pub wire: Vec<u8>,
}

static CARD: LazyLock<Genuine<registration::AwaitingCertRes>> = LazyLock::new(|| {
    let (ca, verifier) = (Ca::default(), fresh());
    let card = CardToRegister {
        pan: PAN.parse().unwrap(),
        card_expiry: old::EXPIRY.parse().unwrap(),
        brand_id: brand(),
        language: Language::english(),
    };
    let step = with(|ctx| registration::renew(ctx, card, Some(thumbs())));
    let reply = ca.card_c_init(&step.wire).unwrap();
    let step = with(|ctx| step.state.handle(ctx, &reply.wire, &verifier)).unwrap();
    let reply = ca.reg_form(&step.wire, reply.session).unwrap();
    let received = with(|ctx| step.state.handle(ctx, &reply.wire, &verifier)).unwrap();
    let registration::FormOrReferral::Form(form) = received else {
        panic!("a referral")
    };
    let step =
        with(|ctx| form.submit_renewal(ctx, Vec::new(), &wallet_key(), &old::card())).unwrap();
    Genuine {
        state: step.state,
        session: reply.session.unwrap(),
        wire: step.wire,
    }
});

pub fn shop(request_type: RequestType) -> Genuine<enrolment::AwaitingCertRes> {
    let (ca, verifier) = (Ca::default(), fresh());
    let (signs, opens, held) = (signs(), opens(), old::shop());
    let party = Party {
        id_data: IdData::Merchant {
            merchant_bin: "411111".parse().unwrap(),
            merchant_id: "shop-1".to_owned(),
        },
        brand_id: brand(),
        language: Language::english(),
    };
    let shown = Some(opens.public_key());
    let step =
        with(|ctx| enrolment::apply(ctx, party, request_type, shown, Some(thumbs()))).unwrap();
    let reply = ca
        .me_aq_c_init(mca(), &step.wire, &merchant("Sell honestly."))
        .unwrap();
    let received = with(|ctx| step.state.handle(ctx, &reply.wire, &verifier, &opens)).unwrap();
    let FormOrReferral::Form(form) = received else {
        panic!("a referral")
    };
    let keys = Keys {
        signature: request_type.certifies_signature().then_some(&signs),
        key_exchange: Some(opens.public_key()),
        held: Some(&held.signature),
        renewed: Some(&held.key_exchange),
    };
    let step = with(|ctx| form.submit_keys(ctx, Vec::new(), &keys)).unwrap();
    Genuine {
        state: step.state,
        session: reply.session,
        wire: step.wire,
    }
}

static BOTH: LazyLock<Genuine<enrolment::AwaitingCertRes>> =
    LazyLock::new(|| shop(RequestType::MerRenewalBoth));
static EXCHANGE: LazyLock<Genuine<enrolment::AwaitingCertRes>> =
    LazyLock::new(|| shop(RequestType::MerRenewalEnc));

fn card_keys() -> KeyRing {
    let mut ring = ring(cca(), "cca");
    ring.add_for(ContentType::CertReqData, wallet_key());
    ring.add(old::card().signature.thumbprint(), old::card_signs());
    let json = serde_json::to_value(&CARD.state).unwrap();
    let back_key: ContentKey = serde_json::from_value(json["back_key"].clone()).unwrap();
    ring.add_symmetric(ContentType::CertResTbe, back_key);
    ring
}

fn shop_keys() -> KeyRing {
    let mut ring = ring(mca(), "mca");
    ring.add_for(ContentType::CertReqData, signs());
    ring.add(old::shop().signature.thumbprint(), old::shop_signs());
    ring
}

/// The bank approves what it is asked for, if it is asked about the certificate that is there.
fn decided(
    ca: &TestCa,
    verifier: &PathVerifier,
    session: &AwaitingCertReq,
    wire: &[u8],
) -> Result<Vec<u8>, End> {
    let verdict = at(
        "CertReq",
        Ca::default().cert_with(ca, wire, session, verifier),
    )?;
    match verdict {
        Verdict::Answer { code, .. } => Err(End::Answered(code)),
        asked => Ok(approve(ca, asked).wire),
    }
}

fn card_comes(verifier: &PathVerifier, wire: &[u8]) -> Outcome {
    let answer = decided(cca(), verifier, &CARD.session, wire)?;
    let state = as_sent(&CARD.state, wire);
    match at("CertRes", with(|ctx| state.handle(ctx, &answer, verifier)))? {
        registration::Outcome::Registered(_) => Ok(()),
        other => panic!("{other:?}"),
    }
}

fn shop_comes(
    genuine: &Genuine<enrolment::AwaitingCertRes>,
    verifier: &PathVerifier,
    wire: &[u8],
) -> Outcome {
    let answer = decided(mca(), verifier, &genuine.session, wire)?;
    let state = as_sent(&genuine.state, wire);
    match at("CertRes", with(|ctx| state.handle(ctx, &answer, verifier)))? {
        enrolment::Outcome::Enrolled(_) => Ok(()),
        other => panic!("{other:?}"),
    }
}

fn refused(rejection: Rejection) -> End {
    End::Refused("CertReq", rejection)
}

/// What stands around the data that a certificate of the applicant's signs.
fn frame(prefix: &str) -> Vec<Row<End>> {
    let path = |name: &str| format!("{prefix}/{name}");
    vec![
        row(
            path("from/certificate"),
            Bit,
            refused(Rejection::NotFromSigner),
        ),
        row(path("to/certificate"), Bit, refused(Rejection::NotForUs)),
        row(
            path("message"),
            Text("RegFormReq"),
            refused(HeaderMismatch("message")),
        ),
        row(path("rrpid"), Bit, refused(HeaderMismatch("rrpid"))),
        row(path("date"), Later, refused(HeaderMismatch("date"))),
    ]
}

/// The second signature, and the name of the certificate that makes it.
fn second_signature() -> Vec<Row<End>> {
    let mut rows = frame("renewal");
    rows.extend([
        row(
            "renewal/data/cert_req",
            Bit,
            refused(DigestMismatch("cert_req")),
        ),
        row(
            "cert_req/data/ee_thumb",
            Bit,
            refused(DigestMismatch("ee_thumb")),
        ),
    ]);
    rows
}

const OVER_CERT_REQ: Link = Link {
    over: "cert_req",
    content: ContentType::CertReqData,
    at: "renewal/data/cert_req",
};
const CARD_LINKS: &[Link] = &[
    Link {
        over: "acct_info",
        content: ContentType::AcctInfo,
        at: "cert_req/data/acct_info_digest",
    },
    OVER_CERT_REQ,
];
const SHOP_LINKS: &[Link] = &[OVER_CERT_REQ];

fn without(name: &'static str) -> Option<End> {
    Some(refused(Disagreement(name)))
}

fn card_case() -> Case {
    let account_name = End::Refused("CertRes", Disagreement("the account name"));
    let mut rows = cert_req();
    rows.extend(second_signature());
    rows.extend([
        row(
            "cert_req/data/ca_back_key_data",
            Bit,
            End::Refused("CertRes", Rejection::Unauthentic),
        ),
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
        row(
            "acct_info/card_expiry",
            Text("202711"),
            account_name.clone(),
        ),
        row(
            "acct_info/old_expiry",
            Text("202711"),
            refused(Rejection::AnotherParty("applicant")),
        ),
        row("acct_info/card_secret", Bit, account_name),
        row(
            "acct_info/pan_secret",
            Bit,
            refused(Rejection::AnotherParty("applicant")),
        ),
        harmless("acct_info/ex_nonce", Bit, "drawn freely"),
    ]);
    Case {
        name: "CertReq",
        wire: &CARD.wire,
        ring: card_keys,
        fresh,
        receive: card_comes,
        links: CARD_LINKS,
        rows,
        optional: vec![
            unaccepted(),
            ("cert_req/data/public_key_s", without("public_key_s")),
            (
                "cert_req/data/ca_back_key_data",
                without("ca_back_key_data"),
            ),
            (
                "cert_req/data/acct_info_digest",
                Some(refused(DigestMismatch("acct_info"))),
            ),
            ("cert_req/data/ee_thumb", without("ee_thumb")),
            ("acct_info/old_expiry", without("old_expiry")),
            ("acct_info/pan_secret", without("pan_secret")),
        ],
    }
}

const KEY_E: &str = "cert_req/data/public_key_e";
const PROOF: &str = "cert_req/data/key_exchange_proof";

fn key_exchange_key() -> Vec<Row<End>> {
    vec![
        row(KEY_E, LastByte, refused(Disagreement("public_key_e"))),
        row(PROOF, Bit, refused(Rejection::Possession("key-exchange"))),
    ]
}

fn key_exchange_dropped() -> Vec<(&'static str, Option<End>)> {
    vec![
        (KEY_E, without("public_key_e")),
        (PROOF, Some(refused(Rejection::Possession("key-exchange")))),
        ("cert_req/data/ee_thumb", without("ee_thumb")),
        unaccepted(),
    ]
}

fn both_case() -> Case {
    let mut rows = cert_req();
    rows.extend(second_signature());
    rows.extend(key_exchange_key());
    let mut optional = key_exchange_dropped();
    optional.push(("cert_req/data/public_key_s", without("public_key_s")));
    Case {
        name: "CertReq",
        wire: &BOTH.wire,
        ring: shop_keys,
        fresh,
        receive: |verifier, wire| shop_comes(&BOTH, verifier, wire),
        links: SHOP_LINKS,
        rows,
        optional,
    }
}

fn exchange_case() -> Case {
    let data = |name: &str| format!("cert_req/data/{name}");
    let mut rows = frame("cert_req");
    rows.extend(cert_req().into_iter().filter(|row| {
        let other = [data("public_key_s"), data("request_type")];
        row.path.starts_with("cert_req/data/") && !other.contains(&row.path)
    }));
    rows.extend(key_exchange_key());
    rows.push(row(
        data("request_type"),
        Text("merInitialEnc"),
        refused(Disagreement("request_type")),
    ));
    rows.push(row(
        data("ee_thumb"),
        Bit,
        refused(DigestMismatch("ee_thumb")),
    ));
    rows.extend(chain("CertReq", "renewed", 4).into_iter().map(|altered| {
        let answered = End::Answered(CertStatusCode::SigValidationFail);
        row(altered.path, altered.alteration, answered)
    }));
    Case {
        name: "CertReq",
        wire: &EXCHANGE.wire,
        ring: shop_keys,
        fresh,
        receive: |verifier, wire| shop_comes(&EXCHANGE, verifier, wire),
        links: &[],
        rows,
        optional: key_exchange_dropped(),
    }
}

pub fn all() -> Vec<Case> {
    vec![card_case(), both_case(), exchange_case()]
}
