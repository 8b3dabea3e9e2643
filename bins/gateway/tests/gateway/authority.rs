//! A certificate authority that answers enrolments by the protocol crate, and counts them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use openset_protocol::ca::cert::{self, GatewayApproval, Inquiry, Issuer, Verdict};
use openset_protocol::ca::{AccountKey, AwaitingCertReq, Request, form, me_aq_c_init};
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::error::ErrorMessage;
use openset_protocol::thumbs::RevocationState;
use openset_protocol::wrapper::Message;
use openset_protocol::{Context, Rejection};
use openset_service::trust::{AuthorityEntry, BrandEntry, TrustDocument};
use openset_service::{clock, random};
use openset_testkit::pki::TestCa;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::purchase::PKI;

/// The code that the brand gave the gateway.
pub(crate) const POLICY: &str = "Route honestly.";
pub(crate) const BRAND_CODE: &str = "BRAND-CODE";

fn revocations() -> RevocationState {
    RevocationState::of(PKI.verifier(), &PKI.brand("Visa").id)
}

/// The authority.
#[derive(Clone)]
pub(crate) struct Ca {
    address: SocketAddr,
    reserved: Arc<Mutex<Option<TcpSocket>>>,
    sessions: Arc<Mutex<BTreeMap<String, AwaitingCertReq>>>,
    /// Request and answer of everything that was asked.
    answered: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
    /// What it received, in order: the message's name.
    pub(crate) received: Arc<Mutex<Vec<&'static str>>>,
    answering: Arc<watch::Sender<bool>>,
    /// What stands in the place of so many more answers to CertReq.
    instead: Arc<Mutex<(Instead, usize)>>,
}

/// What somebody on the way makes of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Instead {
    /// SET's Error, which nobody signs.
    #[default]
    Error,
    /// The answer with one character altered.
    Garbled,
}

impl Ca {
    /// One that has an address and does not listen there yet.
    pub(crate) async fn closed() -> Self {
        // Bound, it refuses calls and keeps its port.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            reserved: Arc::new(Mutex::new(Some(socket))),
            sessions: Arc::default(),
            answered: Arc::default(),
            received: Arc::default(),
            answering: Arc::new(watch::Sender::new(true)),
            instead: Arc::default(),
        }
    }

    /// The gateway's options that lead here.
    pub(crate) fn toml(&self, activation_code: &str) -> String {
        let root = hex::encode(openset_jose::sha256(PKI.root.certificate().der()));
        format!(
            "ca_url = \"http://{}\"\nroot_sha256 = \"{root}\"\nactivation_code = \"{activation_code}\"",
            self.address
        )
    }

    pub(crate) async fn listen(&self) -> JoinHandle<()> {
        let reserved = self.reserved.lock().unwrap().take();
        let listener = match reserved {
            Some(socket) => socket.listen(1024).unwrap(),
            None => TcpListener::bind(self.address).await.unwrap(),
        };
        let router = Router::new()
            .route(
                "/root.pem",
                get(|| async { PKI.root.certificate().to_pem() }),
            )
            .route("/trust", get(|| async { Json(trust()) }))
            .route("/set", post(set))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
    }

    /// While false, it does its work and does not tell.
    pub(crate) fn set_answering(&self, answering: bool) {
        self.answering.send_replace(answering);
    }

    /// The next answers to CertReq do not arrive, but this.
    pub(crate) fn replace_answers(&self, instead: Instead, count: usize) {
        *self.instead.lock().unwrap() = (instead, count);
    }

    /// What arrives of an answer.
    fn on_the_way(&self, wire: &[u8], answer: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let request = Request::decode(wire).unwrap();
        let mut instead = self.instead.lock().unwrap();
        if instead.1 == 0 || !matches!(request.wrapper.message, Message::CertReq(_)) {
            return (StatusCode::OK, answer);
        }
        instead.1 -= 1;
        match instead.0 {
            Instead::Error => {
                let mut rng = random::system();
                let mut ctx = Context {
                    now: clock::now(),
                    rng: &mut rng,
                };
                let wrapper = Some(&request.wrapper);
                let error = ErrorMessage::answer(&mut ctx, &Rejection::UnknownLid, wrapper);
                (StatusCode::BAD_REQUEST, error.encode())
            }
            Instead::Garbled => {
                let mut garbled = answer;
                let end = garbled.iter().rposition(|byte| *byte == b'"').unwrap();
                let place = end - 10;
                garbled[place] = if garbled[place] == b'A' { b'B' } else { b'A' };
                (StatusCode::OK, garbled)
            }
        }
    }

    pub(crate) fn count(&self, message: &str) -> usize {
        self.received
            .lock()
            .unwrap()
            .iter()
            .filter(|name| **name == message)
            .count()
    }

    /// Waits until it received this message so often.
    pub(crate) async fn until_received(&self, message: &str, count: usize) {
        for _ in 0..6000 {
            if self.count(message) >= count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{message} was not received {count} times");
    }

    /// How many different requests it answered.
    pub(crate) fn answered(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    fn answer(&self, wire: &[u8]) -> Vec<u8> {
        let request = Request::decode(wire).unwrap();
        self.received
            .lock()
            .unwrap()
            .push(request.wrapper.message.name());
        let mut answered = self.answered.lock().unwrap();
        if let Some(answer) = answered.get(wire) {
            return answer.clone();
        }
        let mut rng = random::system();
        let ctx = &mut Context {
            now: clock::now(),
            rng: &mut rng,
        };
        let pca = &PKI.brand("Visa").pca;
        let answer = match &request.wrapper.message {
            Message::MeAqCInitReq(_) => self.begin(ctx, pca, &request),
            Message::CertReq(_) => self.certify(ctx, pca, &request),
            other => panic!("{} is not for this CA", other.name()),
        };
        answered.insert(wire.to_vec(), answer.clone());
        answer
    }

    fn begin(&self, ctx: &mut Context<'_>, pca: &TestCa, request: &Request) -> Vec<u8> {
        let form = form::gateway(POLICY);
        let ours = &pca.credentials;
        let reply = me_aq_c_init::handle(ctx, ours, request, &form, &revocations()).unwrap();
        let lid_ca = reply.session.lid_ca.to_string();
        self.sessions.lock().unwrap().insert(lid_ca, reply.session);
        reply.wire
    }

    fn certify(&self, ctx: &mut Context<'_>, pca: &TestCa, request: &Request) -> Vec<u8> {
        let ca = &pca.credentials;
        let opened = cert::open(ca, request).unwrap();
        let session = self.sessions.lock().unwrap()[opened.lid_ca().as_str()].clone();
        let account_key = AccountKey::from_bytes([1; 32]);
        let inquiry = Inquiry {
            account_key: &account_key,
            certified_before: false,
            earlier: &[],
            renewed_before: false,
            verifier: PKI.verifier(),
            state: &revocations(),
        };
        let verdict = opened.verify(ctx, ca, request, &session, &inquiry).unwrap();
        let Verdict::AskBrand(application) = verdict else {
            panic!("not a gateway's application")
        };
        if application.request.credential.activation_code() != Some(BRAND_CODE) {
            let code = CertStatusCode::RejectedByCa;
            return application
                .reply
                .refuse(ctx, ca, code, "unknown code")
                .unwrap();
        }
        let issuer = Issuer {
            credentials: ca,
            authority: &pca.authority,
            certificate_seconds: 365 * 86_400,
            card_cert_required: true,
        };
        let approval = GatewayApproval {
            organization: "Test Acquirer".to_owned(),
        };
        application.complete(ctx, &issuer, approval).unwrap().wire
    }
}

async fn set(State(ca): State<Ca>, wire: Bytes) -> Response {
    let answer = ca.answer(&wire);
    let mut answering = ca.answering.subscribe();
    answering.wait_for(|answering| *answering).await.unwrap();
    let (status, answer) = ca.on_the_way(&wire, answer);
    let media_type = [(header::CONTENT_TYPE, "application/set-registration+json")];
    (status, media_type, answer).into_response()
}

fn trust() -> TrustDocument {
    let crl = |authority| PKI.crl(authority, 1, &[]);
    let mut document =
        TrustDocument::new(PKI.root.certificate().der(), "root", crl(&PKI.root).der());
    let pca = &PKI.brand("Visa").pca;
    for authority in PKI.authorities() {
        let Some(chain) = authority.chain() else {
            continue;
        };
        let id = chain.leaf().thumbprint().to_string();
        let mut entry = AuthorityEntry::new(&id, &chain, crl(authority).der());
        if chain.leaf().thumbprint() == pca.authority.certificate().thumbprint() {
            let own = &pca.credentials;
            entry = entry.with_own(own.signature.chain(), own.key_exchange.chain());
        }
        document.authorities.push(entry);
    }
    let bci = PKI.brand_crl_identifier("Visa", 1, 1);
    document.brands.push(BrandEntry::new(&bci));
    document
}
