//! What the registrations of cardholders and of merchants have in common.

use crate::layers::{KeyRing, fresh_rng};
use crate::rows::Alteration::{Add, Bit, LastByte, Later, Not, Text};
use crate::rows::{Row, harmless, row};
use crate::trial::Ending;
use crate::world::{BRAND, pki};
use openset_pki::{PathError, PathVerifier};
use openset_protocol::Rejection::{
    self, ChallengeMismatch, DigestMismatch, Disagreement, HeaderMismatch,
};
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::reg_form::{ACTIVATION_CODE, FormAnswer, HOLDER, RegFormData};
use openset_protocol::signed::request_digest;
use openset_protocol::{Context, Timestamp};
use openset_testkit::keys::key;
use openset_testkit::pki::TestCa;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message of a registration under test.
pub type Case = crate::trial::Case<End>;

/// How a registration ended that went on from some message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Somebody refused a message.
    Refused(&'static str, Rejection),
    /// CertRes brought this code instead of certificates.
    Answered(CertStatusCode),
    /// The bank was asked about something that it does not approve.
    BankRefuses,
    /// The CA sent the applicant elsewhere.
    Referred,
}

/// What is left when nobody objects.
pub type Outcome = Result<(), End>;

impl Ending for End {
    fn refused(&self) -> Option<(&'static str, &Rejection)> {
        match self {
            Self::Refused(message, rejection) => Some((message, rejection)),
            _ => None,
        }
    }

    /// CertReq is signed with a key that stands inside it, so its payload is read before it is verified:
    /// flipped, it may contradict itself or the session first. A signature that fails is answered by CertRes.
    fn covers(&self, path: &str, part: Option<usize>) -> bool {
        let failed = *self == Self::Answered(CertStatusCode::SigValidationFail);
        let signed_by_new_key =
            path == "cert_req" && (part == Some(1) || (part == Some(2) && failed));
        // What the applicant's certificate signs fails in one way, whatever part was flipped.
        signed_by_new_key || (failed && part.is_some())
    }
}

pub fn at<T>(message: &'static str, result: Result<T, Rejection>) -> Result<T, End> {
    result.map_err(|rejection| End::Refused(message, rejection))
}

pub fn fresh() -> PathVerifier {
    pki().fresh_verifier()
}

pub fn now() -> Timestamp {
    pki().now
}

pub fn with<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    work(&mut Context {
        now: now(),
        rng: &mut fresh_rng(),
    })
}

/// An applicant's memory as if it had sent `wire`, so that only the checks of fields see an alteration.
pub fn as_sent<S: Serialize + DeserializeOwned>(state: &S, wire: &[u8]) -> S {
    let mut json = serde_json::to_value(state).unwrap();
    json["pending"]["request"] = serde_json::to_value(request_digest(wire)).unwrap();
    serde_json::from_value(json).unwrap()
}

/// The CA's keys; `name` is the fixture's.
pub fn ring(ca: &TestCa, name: &str) -> KeyRing {
    let mut ring = KeyRing::default();
    let signature = &ca.credentials.signature;
    ring.add(signature.thumbprint(), key(&format!("{BRAND}/{name}/sign")));
    let key_exchange = &ca.credentials.key_exchange;
    ring.add(
        key_exchange.thumbprint(),
        key(&format!("{BRAND}/{name}/open")),
    );
    ring
}

pub const HOLDER_NAME: &str = "Alice Example";
pub const CODE: &str = "1234-5678";

/// Fills in a form as it stands there.
pub fn filled_in(form: &RegFormData) -> Vec<FormAnswer> {
    let value = |name: &str| match name {
        HOLDER => HOLDER_NAME,
        ACTIVATION_CODE => CODE,
        _ => "I do not know",
    };
    let answer = |name: &String| FormAnswer {
        name: name.clone(),
        value: value(name).to_owned(),
    };
    form.fields
        .iter()
        .map(|field| answer(&field.name))
        .collect()
}

/// What stands around the data in every answer of the CA, and the applicant's name in it.
pub fn answer_frame(message: &'static str, prefix: &str) -> Vec<Row<End>> {
    let refused = |rejection| End::Refused(message, rejection);
    vec![
        row(
            format!("{prefix}from/certificate"),
            Bit,
            refused(Rejection::NotFromSigner),
        ),
        row(
            format!("{prefix}to/exchange"),
            Text("somebody-else"),
            refused(Rejection::NotForUs),
        ),
        row(
            format!("{prefix}message"),
            Text("PRes"),
            refused(HeaderMismatch("message")),
        ),
        row(
            format!("{prefix}rrpid"),
            Bit,
            refused(HeaderMismatch("rrpid")),
        ),
        row(
            format!("{prefix}date"),
            Later,
            refused(HeaderMismatch("date")),
        ),
        row(
            format!("{prefix}answers"),
            Bit,
            refused(Rejection::AnotherRequest),
        ),
        row(
            format!("{prefix}data/lid_ee"),
            Text("other"),
            refused(Disagreement("lid_ee")),
        ),
    ]
}

/// A chain of `length` certificates.
pub fn chain(message: &'static str, prefix: &str, length: usize) -> Vec<Row<End>> {
    let refused = || End::Refused(message, Rejection::Certificate(PathError::BadSignature));
    (0..length)
        .map(|place| row(format!("{prefix}/{place}"), LastByte, refused()))
        .collect()
}

/// The CA's key-exchange certificate: issued by the regional CA.
pub fn ca_certificate(message: &'static str) -> Vec<Row<End>> {
    let mut rows = chain(message, "data/ca_key_exchange", 3);
    rows.push(row(
        "data/cae_thumb",
        Bit,
        End::Refused(message, DigestMismatch("cae_thumb")),
    ));
    rows
}

/// Why words of the CA may be anything.
pub const WORDS: &str = "the CA's words and its form, for the person to read";

/// A form with this many fields. Under another name a field asks for something else.
pub fn form(fields: usize) -> Vec<Row<End>> {
    let prefix = "data/reg_form_or_referral/reg_form/";
    let another = End::Refused("CertReq", Disagreement("reg_form_id"));
    let mut rows = vec![
        row(format!("{prefix}reg_form_id"), Text("another-1"), another),
        row(
            format!("{prefix}policy_text"),
            Text("Do as you like."),
            End::Answered(CertStatusCode::RegFormAnswerMalformed),
        ),
    ];
    for place in 0..fields {
        let field = format!("{prefix}fields/{place}/");
        rows.extend([
            row(
                format!("{field}name"),
                Text("mother"),
                End::Answered(CertStatusCode::RegFormAnswerMalformed),
            ),
            harmless(format!("{field}description"), Text("Anything"), WORDS),
            harmless(format!("{field}length_max"), Add(1), WORDS),
            harmless(format!("{field}required"), Not, WORDS),
            harmless(format!("{field}invisible"), Not, WORDS),
        ]);
    }
    rows
}

/// CertReq but for keys, answers and account.
pub fn cert_req() -> Vec<Row<End>> {
    let refused = |rejection| End::Refused("CertReq", rejection);
    let data = |name: &str| format!("cert_req/data/{name}");
    let answered = End::Refused("CertRes", ChallengeMismatch("chall_ee3"));
    vec![
        row("cert_req/from/key", Bit, refused(Rejection::NotFromSigner)),
        row("cert_req/to/certificate", Bit, refused(Rejection::NotForUs)),
        row(
            "cert_req/message",
            Text("RegFormReq"),
            refused(HeaderMismatch("message")),
        ),
        row("cert_req/rrpid", Bit, refused(HeaderMismatch("rrpid"))),
        row("cert_req/date", Later, refused(HeaderMismatch("date"))),
        row(
            data("lid_ee"),
            Text("other"),
            refused(HeaderMismatch("lid_c")),
        ),
        row(data("chall_ee3"), Bit, answered),
        row(
            data("lid_ca"),
            Text("other"),
            refused(Rejection::UnknownLid),
        ),
        row(
            data("chall_ca"),
            Bit,
            refused(ChallengeMismatch("chall_ca")),
        ),
        row(
            data("request_type"),
            Text("pgwyInitialBoth"),
            refused(Disagreement("request_type")),
        ),
        row(data("request_date"), Later, refused(HeaderMismatch("date"))),
        row(
            data("reg_form_id"),
            Text("another-1"),
            refused(Disagreement("reg_form_id")),
        ),
        row(
            data("policy_accepted"),
            Bit,
            End::Answered(CertStatusCode::RegFormAnswerMalformed),
        ),
        // An even exponent is no RSA key.
        row(
            data("public_key_s"),
            LastByte,
            End::Answered(CertStatusCode::RejectedByCa),
        ),
    ]
}

/// The policy's acceptance may be left out of CertReq; not so that anybody is certified.
pub fn unaccepted() -> (&'static str, Option<End>) {
    let mend = End::Answered(CertStatusCode::RegFormAnswerMalformed);
    ("cert_req/data/policy_accepted", Some(mend))
}

/// The answer to one field of the form.
pub fn form_answer(place: usize) -> Vec<Row<End>> {
    let prefix = format!("cert_req/data/reg_form/{place}/");
    vec![
        row(
            format!("{prefix}name"),
            Text("mother"),
            End::Answered(CertStatusCode::RegFormAnswerMalformed),
        ),
        row(
            format!("{prefix}value"),
            Text("something else"),
            End::BankRefuses,
        ),
    ]
}

/// CertRes or CertInqRes but for certificates.
pub fn cert_res(message: &'static str, prefix: &str) -> Vec<Row<End>> {
    let refused = |rejection| End::Refused(message, rejection);
    let mut rows = answer_frame(message, prefix);
    let data = |name: &str| format!("{prefix}data/{name}");
    rows.extend([
        row(
            data("chall_ee3"),
            Bit,
            refused(ChallengeMismatch("chall_ee3")),
        ),
        row(
            data("lid_ca"),
            Text("other"),
            refused(Disagreement("lid_ca")),
        ),
    ]);
    rows
}

/// An answer's `answers` may be absent, in requests.
pub fn answers_nothing(message: &'static str, path: &'static str) -> (&'static str, Option<End>) {
    (path, Some(End::Refused(message, Rejection::AnotherRequest)))
}
