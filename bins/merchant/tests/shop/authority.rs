//! A certificate authority in memory: it shows what there is to trust, and says by OCSP who is revoked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use openset_pki::Certificate;
use openset_pki::authority::RevocationReason;
use openset_pki::ocsp::{self, Request, Responder, Status};
use openset_service::clock;
use openset_service::ocsp::OCSP_RESPONSE;
use openset_service::trust::{AuthorityEntry, BrandEntry, TrustDocument};
use openset_testkit::pki::TestPki;

use crate::bank::serve;

/// How long OCSP responses are good.
const OCSP_SECONDS: i64 = 600;

/// What the responder says of every cardholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Good,
    Revoked,
    /// Nothing: 503.
    Down,
}

pub(crate) struct Authority {
    pub(crate) url: String,
    state: Arc<AuthorityState>,
}

struct AuthorityState {
    /// The cardholders' CA.
    issuer: Certificate,
    responder: Responder,
    word: Mutex<Word>,
    asked: AtomicUsize,
}

impl Authority {
    pub(crate) async fn open(pki: &Arc<TestPki>) -> Self {
        let issuer = &pki.brand("Visa").cca.authority;
        let state = Arc::new(AuthorityState {
            issuer: issuer.certificate().clone(),
            responder: pki.responder(issuer),
            word: Mutex::new(Word::Good),
            asked: AtomicUsize::new(0),
        });
        let (root, document) = (pki.root.certificate().to_pem(), document(pki));
        let router = Router::new()
            .route("/root.pem", get(move || async move { root }))
            .route("/trust", get(move || async move { Json(document) }))
            .route("/ocsp/{ca}", post(answer))
            .with_state(Arc::clone(&state));
        Self {
            url: serve(router).await,
            state,
        }
    }

    pub(crate) fn says(&self, word: Word) {
        *self.state.word.lock().unwrap() = word;
    }

    /// How often the responder was asked.
    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// A response about a certificate as a wallet staples it, made `age_s` seconds ago.
    pub(crate) fn staple(&self, subject: &Certificate, word: Word, age_s: i64) -> Vec<u8> {
        let request = ocsp::request(subject, &self.state.issuer, None).unwrap();
        let request = Request::from_der(&request).unwrap();
        self.state
            .respond(&request, word, clock::now_seconds() - age_s)
    }
}

impl AuthorityState {
    fn respond(&self, request: &Request, word: Word, at: i64) -> Vec<u8> {
        let reason = RevocationReason::KeyCompromise;
        let status = move |_: &[u8]| match word {
            Word::Revoked => Status::Revoked { at, reason },
            _ => Status::Good,
        };
        let answer = self
            .responder
            .respond(request, status, at, at + OCSP_SECONDS);
        answer.unwrap()
    }
}

async fn answer(State(ca): State<Arc<AuthorityState>>, body: Bytes) -> Response {
    ca.asked.fetch_add(1, Ordering::SeqCst);
    let word = *ca.word.lock().unwrap();
    if word == Word::Down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let request = Request::from_der(&body).unwrap();
    assert!(request.nonce().is_some(), "the merchant asks with a nonce");
    let der = ca.respond(&request, word, clock::now_seconds());
    ([(header::CONTENT_TYPE, OCSP_RESPONSE)], der).into_response()
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
    let mut document = document.expect("the root came first");
    for brand in pki.brands() {
        let bci = pki.brand_crl_identifier(brand, 1, 1);
        document.brands.push(BrandEntry::new(&bci));
    }
    document
}
