//! A certificate authority in memory: shows what there is to trust, and registers cardholders.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use openset_jose::Thumbprint;
use openset_pki::authority::{RevocationReason, Serial, Subject, Validity};
use openset_pki::ocsp::{Responder, Status};
use openset_protocol::ca::cert::{
    self, CardApproval, CardCredential, Inquiry, Issuer, Record, Verdict,
};
use openset_protocol::ca::reg_form::{self, CardTerms};
use openset_protocol::ca::{AccountKey, Request, Session, card_c_init, form};
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::error::ErrorMessage;
use openset_protocol::messages::reg_form::RegFormData;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::Message;
use openset_protocol::{Context, Rejection};
use openset_service::set_endpoint::SET_REGISTRATION;
use openset_service::trust::{AuthorityEntry, BrandEntry, TrustDocument};
use openset_service::{clock, random};
use openset_testkit::pki::{TestCa, TestPki};
use tokio::net::TcpListener;

use crate::world::CODE;

pub(crate) const POLICY: &str = "Use the card well.";
/// How long OCSP responses are good.
const OCSP_S: i64 = 600;
pub(crate) const REFERRAL: &str = "http://127.0.0.1:9/elsewhere/set";

/// A year and half a day: the days left do not depend on the second.
pub(crate) const YEAR_S: i64 = 365 * 86_400 + 43_200;

/// How the authority treats what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Certifies whoever has the code.
    Certifies,
    /// 503 to everything.
    Down,
    /// Certifies, and has no OCSP responder: 503.
    WithoutOcsp,
    /// Takes the message of this name, acts, and answers 503: the answer is lost.
    LosesAnswersTo(&'static str),
    /// Answers the message of this name after a long time.
    SlowTo(&'static str),
    /// SET's Error to everything.
    Errors,
    /// Lets every request wait for an operator.
    Pends,
    /// SET's Error to the first message of this name, however often it comes; and the bank has taken the code for the
    /// first key.
    ErrorsToFirst(&'static str),
    /// Takes the message of this name, acts, and somebody puts SET's Error in the answer's place.
    ErrorsAfter(&'static str),
    /// The bank says no to renewals.
    RefusesRenewals,
    /// Serves other banks alone.
    Refers,
    /// Answers the message of this name with a signature (or seal) that does not hold.
    Forges(&'static str),
}

pub(crate) struct Authority {
    pub(crate) url: String,
    pub(crate) state: Arc<AuthorityState>,
}

pub(crate) struct AuthorityState {
    pki: Arc<TestPki>,
    mood: Mutex<Mood>,
    form: Mutex<RegFormData>,
    account_key: AccountKey,
    /// The languages in which forms were wanted.
    languages: Mutex<Vec<String>>,
    /// Where it refers to.
    referrals: Mutex<Vec<String>>,
    certificate_seconds: Mutex<i64>,
    /// The certificates that were renewed: each is renewed once.
    renewed: Mutex<HashSet<Thumbprint>>,
    /// Whether OCSP tells that all certificates are revoked.
    revokes: AtomicBool,
    responder: Responder,
    /// What waits for an operator, and what waited.
    records: Mutex<HashMap<String, Record>>,
    sessions: Mutex<HashMap<String, Session>>,
    /// Every message as it came, with its name.
    received: Mutex<Vec<(String, Vec<u8>)>>,
    /// The same request, the same answer.
    answers: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    /// The keys that were shown to be certified.
    keys: Mutex<Vec<Thumbprint>>,
}

impl Authority {
    pub(crate) async fn open(pki: &Arc<TestPki>) -> Self {
        let state = Arc::new(AuthorityState {
            pki: Arc::clone(pki),
            mood: Mutex::new(Mood::Certifies),
            form: Mutex::new(form::cardholder(POLICY)),
            account_key: AccountKey::from_bytes([7; 32]),
            languages: Mutex::default(),
            referrals: Mutex::new(vec![REFERRAL.to_owned()]),
            certificate_seconds: Mutex::new(YEAR_S),
            renewed: Mutex::default(),
            revokes: AtomicBool::new(false),
            responder: responder(pki),
            records: Mutex::default(),
            sessions: Mutex::default(),
            received: Mutex::default(),
            answers: Mutex::default(),
            keys: Mutex::default(),
        });
        let root = pki.root.certificate().to_pem();
        let document = document(pki);
        let router = Router::new()
            .route("/root.pem", get(move || async move { root }))
            .route("/trust", get(move || async move { Json(document) }))
            .route("/set", post(set))
            .route("/ocsp/{ca}", post(ocsp))
            .with_state(Arc::clone(&state));
        Self {
            url: serve(router).await,
            state,
        }
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// Refers to these authorities from now on.
    pub(crate) fn refer_to(&self, urls: &[String]) {
        self.be(Mood::Refers);
        *self.state.referrals.lock().unwrap() = urls.to_vec();
    }

    /// The operator decides about all that waits.
    pub(crate) fn decide(&self, approve: bool) {
        let cca = &self.state.pki.brand("Visa").cca;
        let mut records = self.state.records.lock().unwrap();
        for record in records
            .values_mut()
            .filter(|record| record.waits().is_some())
        {
            *record = if approve {
                let issuer = self.state.issuer(cca);
                with_context(|ctx| record.clone().issue(ctx, &issuer))
                    .unwrap()
                    .0
            } else {
                record.clone().reject("The operator says no.")
            };
        }
    }

    /// OCSP tells from now on that all certificates are revoked.
    pub(crate) fn revoke_all(&self) {
        self.state.revokes.store(true, Ordering::Relaxed);
    }

    /// Certifies for so long from now on.
    pub(crate) fn certify_for(&self, seconds: i64) {
        *self.state.certificate_seconds.lock().unwrap() = seconds;
    }

    /// The languages in which forms were wanted so far.
    pub(crate) fn languages(&self) -> Vec<String> {
        self.state.languages.lock().unwrap().clone()
    }

    /// How many certificates were renewed.
    pub(crate) fn renewed(&self) -> usize {
        self.state.renewed.lock().unwrap().len()
    }

    /// Gives out another form from now on.
    pub(crate) fn ask(&self, form: RegFormData) {
        *self.state.form.lock().unwrap() = form;
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
        self.wait_for_more(message, 0).await;
    }

    /// Waits until more than so many of this name have come.
    pub(crate) async fn wait_for_more(&self, message: &str, before: usize) {
        for _ in 0..9000 {
            if self.received(message).1 > before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {message} comes");
    }
}

pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn document(pki: &TestPki) -> TrustDocument {
    let mut document: Option<TrustDocument> = None;
    for (number, authority) in pki.authorities().into_iter().enumerate() {
        let crl = pki.crl(authority, 1, &[]);
        let id = format!("ca-{number}");
        match &mut document {
            None => {
                let root = pki.root.certificate();
                document = Some(TrustDocument::new(root.der(), &id, crl.der()));
            }
            Some(document) => {
                let chain = authority.chain().unwrap();
                document
                    .authorities
                    .push(AuthorityEntry::new(&id, &chain, crl.der()));
            }
        }
    }
    let mut document = document.unwrap();
    let bci = pki.brand_crl_identifier("Visa", 1, 1);
    document.brands.push(BrandEntry::new(&bci));
    document
}

/// The responder of the cardholders' CA.
fn responder(pki: &TestPki) -> Responder {
    let cca = &pki.brand("Visa").cca.authority;
    let own = openset_testkit::keys::key("responder");
    let subject = Subject {
        common_name: "Test Responder".to_owned(),
        brand: cca.certificate().brand().cloned(),
        ..Subject::default()
    };
    let now = clock::now_seconds();
    let validity = Validity {
        not_before: now - 60,
        not_after: now + 86_400,
    };
    let serial = Serial::from_bytes([0x42; 16]);
    let certificate = cca.issue_ocsp_responder(own.public_key(), &subject, validity, serial);
    Responder::new(cca.certificate().clone(), certificate.unwrap(), own).unwrap()
}

async fn ocsp(State(ca): State<Arc<AuthorityState>>, body: Bytes) -> Response {
    let message = ("OCSPRequest".to_owned(), body.to_vec());
    ca.received.lock().unwrap().push(message);
    if matches!(*ca.mood.lock().unwrap(), Mood::Down | Mood::WithoutOcsp) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let request = openset_pki::ocsp::Request::from_der(&body).unwrap();
    let now = clock::now_seconds();
    let status = |_: &[u8]| {
        if ca.revokes.load(Ordering::Relaxed) {
            let reason = RevocationReason::KeyCompromise;
            Status::Revoked { at: now, reason }
        } else {
            Status::Good
        }
    };
    let der = ca.responder.respond(&request, status, now, now + OCSP_S);
    let media_type = [(header::CONTENT_TYPE, "application/ocsp-response")];
    (media_type, der.unwrap()).into_response()
}

async fn set(State(ca): State<Arc<AuthorityState>>, body: Bytes) -> Response {
    let mood = *ca.mood.lock().unwrap();
    let wire = body.to_vec();
    let request = Request::decode(&wire).unwrap();
    let name = request.wrapper.message.name();
    ca.received
        .lock()
        .unwrap()
        .push((name.to_owned(), wire.clone()));
    ca.see_keys(&request);
    match mood {
        Mood::Down => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Errors => return error(&request, &Rejection::Unauthentic),
        Mood::ErrorsToFirst(message) if message == name && ca.is_first(name, &wire) => {
            return error(&request, &Rejection::Unauthentic);
        }
        Mood::SlowTo(message) if message == name => {
            tokio::time::sleep(Duration::from_secs(60)).await
        }
        _ => {}
    }
    let known = ca.answers.lock().unwrap().get(&wire).cloned();
    let answer = match known {
        Some(answer) => answer,
        None => match answer(&ca, &request, mood) {
            Ok(answer) => answer,
            Err(rejection) => return error(&request, &rejection),
        },
    };
    ca.answers.lock().unwrap().insert(wire, answer.clone());
    if mood == Mood::Forges(name) {
        let forged = forged(&answer);
        return ([(header::CONTENT_TYPE, SET_REGISTRATION)], forged).into_response();
    }
    if mood == Mood::ErrorsAfter(name) {
        return error(&request, &Rejection::Unauthentic);
    }
    if mood == Mood::LosesAnswersTo(name) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    ([(header::CONTENT_TYPE, SET_REGISTRATION)], answer).into_response()
}

fn error(request: &Request, rejection: &Rejection) -> Response {
    let error = with_context(|ctx| ErrorMessage::answer(ctx, rejection, Some(&request.wrapper)));
    let media_type = [(header::CONTENT_TYPE, SET_REGISTRATION)];
    (StatusCode::BAD_REQUEST, media_type, error.encode()).into_response()
}

/// The answer with one character of its signature or seal altered.
fn forged(answer: &[u8]) -> Vec<u8> {
    let mut forged = answer.to_vec();
    let end = forged.iter().rposition(|byte| *byte == b'"').unwrap();
    let place = end - 10;
    forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
    forged
}

pub(crate) fn with_context<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut rng = random::system();
    work(&mut Context {
        now: clock::now(),
        rng: &mut rng,
    })
}

fn answer(ca: &AuthorityState, request: &Request, mood: Mood) -> Result<Vec<u8>, Rejection> {
    let brand = ca.pki.brand("Visa");
    let ours = brand.cca.credentials.clone();
    match &request.wrapper.message {
        Message::CardCInitReq(_) => {
            let reply =
                with_context(|ctx| card_c_init::handle(ctx, &ours, request, &ca.revocations()))?;
            ca.keep(Session::AwaitingRegFormReq(reply.session));
            Ok(reply.wire)
        }
        Message::RegFormReq(_) => {
            let opened = reg_form::open(&ours, request)?;
            let session = ca
                .session(opened.lid_ca().as_str())?
                .awaiting_reg_form_req()?;
            let wanted = opened.wanted().0.as_str().to_owned();
            ca.languages.lock().unwrap().push(wanted);
            let form = ca.form.lock().unwrap().clone();
            let referral_urls = ca.referrals.lock().unwrap().clone();
            let terms = CardTerms {
                form: &form,
                refers_to: (mood == Mood::Refers).then_some(referral_urls.as_slice()),
                account_key: &ca.account_key,
                state: &ca.revocations(),
            };
            let reply = with_context(|ctx| opened.handle(ctx, &ours, request, session, &terms))?;
            if let Some(session) = reply.session {
                ca.keep(Session::AwaitingCertReq(Box::new(session)));
            }
            Ok(reply.wire)
        }
        Message::CertReq(_) => certify(ca, request, mood),
        Message::CertInqReq(_) => tell(ca, request),
        other => panic!("a wallet does not send {}", other.name()),
    }
}

fn certify(ca: &AuthorityState, request: &Request, mood: Mood) -> Result<Vec<u8>, Rejection> {
    let cca = &ca.pki.brand("Visa").cca;
    let opened = cert::open(&cca.credentials, request)?;
    let opened_as = opened.lid_ca().as_str().to_owned();
    let session = ca.session(&opened_as)?.awaiting_cert_req()?;
    let inquiry = Inquiry {
        account_key: &ca.account_key,
        certified_before: false,
        earlier: &[],
        renewed_before: false,
        verifier: ca.pki.verifier(),
        state: &ca.revocations(),
    };
    let verdict =
        with_context(|ctx| opened.verify(ctx, &cca.credentials, request, &session, &inquiry))?;
    let application = match verdict {
        Verdict::AskIssuer(application) => application,
        Verdict::Answer { wire, .. } => return Ok(wire),
        other => panic!("a card is put before its issuer: {other:?}"),
    };
    let first = ca.keys.lock().unwrap().first().copied();
    if matches!(mood, Mood::ErrorsToFirst(_)) && first != Some(application.request.key_thumbprint) {
        let code = CertStatusCode::RejectedByIssuer;
        return with_context(|ctx| {
            application
                .reply
                .refuse(ctx, &cca.credentials, code, "codeUsed")
        });
    }
    let refusal = match &application.request.credential {
        CardCredential::Code {
            activation_code, ..
        } if **activation_code != CODE => Some((
            CertStatusCode::RejectedByIssuer,
            "The activation code is not the one that the bank gave.",
        )),
        CardCredential::Certificate { .. } if mood == Mood::RefusesRenewals => {
            Some((CertStatusCode::RejectedByIssuer, "The account is closed."))
        }
        CardCredential::Certificate { renews } if !ca.renewed.lock().unwrap().insert(*renews) => {
            Some((CertStatusCode::RejectedByCa, "It was renewed before."))
        }
        _ => None,
    };
    if let Some((code, text)) = refusal {
        return with_context(|ctx| application.reply.refuse(ctx, &cca.credentials, code, text));
    }
    let approval = CardApproval {
        issuer_name: "Test Issuer".to_owned(),
    };
    if mood == Mood::Pends {
        let pending = |ctx: &mut Context<'_>| {
            let approved = application.approved(ctx, approval);
            approved.pend(ctx, &cca.credentials, "An operator looks at it.")
        };
        let (wire, record) = with_context(pending)?;
        let mut records = ca.records.lock().unwrap();
        records.insert(opened_as, record);
        return Ok(wire);
    }
    let issuer = ca.issuer(cca);
    let issued = with_context(|ctx| application.complete(ctx, &issuer, approval));
    Ok(issued.unwrap().wire)
}

/// What became of a CertReq.
fn tell(ca: &AuthorityState, request: &Request) -> Result<Vec<u8>, Rejection> {
    let credentials = &ca.pki.brand("Visa").cca.credentials;
    let inquired = cert::read_inquiry(request)?;
    let records = ca.records.lock().unwrap();
    let record = records
        .get(inquired.lid_ca().as_str())
        .ok_or(Rejection::UnknownLid)?;
    with_context(|ctx| {
        let verifier = ca.pki.verifier();
        let reply = inquired.verify(ctx, credentials, request, record, verifier)?;
        record.answer(ctx, credentials, &reply)
    })
}

impl AuthorityState {
    fn revocations(&self) -> RevocationState {
        RevocationState::of(self.pki.verifier(), &self.pki.brand("Visa").id)
    }

    fn issuer<'a>(&self, cca: &'a TestCa) -> Issuer<'a> {
        Issuer {
            credentials: &cca.credentials,
            authority: &cca.authority,
            certificate_seconds: *self.certificate_seconds.lock().unwrap(),
            card_cert_required: true,
        }
    }

    fn see_keys(&self, request: &Request) {
        let cca = &self.pki.brand("Visa").cca;
        if let Ok(opened) = cert::open(&cca.credentials, request) {
            self.keys.lock().unwrap().extend(opened.keys().first());
        }
    }

    fn is_first(&self, name: &str, wire: &[u8]) -> bool {
        let received = self.received.lock().unwrap();
        let first = received.iter().find(|(of, _)| of == name);
        first.is_some_and(|(_, first)| first == wire)
    }

    fn keep(&self, session: Session) {
        let id = session.lid_ca().as_str().to_owned();
        self.sessions.lock().unwrap().insert(id, session);
    }

    fn session(&self, lid_ca: &str) -> Result<Session, Rejection> {
        let sessions = self.sessions.lock().unwrap();
        sessions.get(lid_ca).cloned().ok_or(Rejection::UnknownLid)
    }
}
