//! Thumbs: what an applicant names is left out and put back, what it lacks is brought, and what it named is repeated.

use crate::cardholder::{card, wallet_key};
use crate::world::{BRAND, Ca, answer, approve, cca, good_answers, pki, thumbs, with_context};
use openset_jose::{default_provider, jws, sha256};
use openset_pki::{CrlIssuer, Expect, PathError, PathVerifier, Purpose, Role, TrustAnchor};
use openset_protocol::ca::form;
use openset_protocol::card::Bin;
use openset_protocol::cardholder::registration::{
    self, AwaitingCardCInitRes, FormOrReferral, Outcome, Registered,
};
use openset_protocol::enrolment::{self, AwaitingMeAqCInitRes, Party, Step};
use openset_protocol::ids::Language;
use openset_protocol::messages::cert::CertRes;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_protocol::messages::reg_form::ACTIVATION_CODE;
use openset_protocol::thumbs::{RevocationState, Thumbs};
use openset_protocol::wrapper::{Jws, Message, MessageWrapper};
use openset_protocol::{ErrorCode, Rejection};
use openset_testkit::keys;
use serde_json::Value;

fn start(thumbs: Option<Thumbs>) -> Step<AwaitingCardCInitRes> {
    with_context(|ctx| registration::start(ctx, card(), thumbs))
}

fn shop() -> Party {
    let merchant_bin: Bin = "411111".parse().unwrap();
    Party {
        id_data: IdData::Merchant {
            merchant_bin,
            merchant_id: "shop-1".to_owned(),
        },
        brand_id: pki().brand(BRAND).id.clone(),
        language: Language::english(),
    }
}

fn start_shop(thumbs: Option<Thumbs>) -> Step<AwaitingMeAqCInitRes> {
    let key = keys::key("party/open");
    with_context(|ctx| enrolment::start(ctx, shop(), key.public_key(), thumbs))
}

/// A whole registration of a card with a CA, by a wallet that trusts by this verifier.
fn register(ca: &Ca, verifier: &PathVerifier) -> Registered {
    let step = start(Some(Thumbs::of(verifier, &card().brand_id)));
    let reply = Ca::default().card_c_init(&step.wire).unwrap();
    let step = with_context(|ctx| step.state.handle(ctx, &reply.wire, verifier)).unwrap();
    let reply = Ca::default().reg_form(&step.wire, reply.session).unwrap();
    let received = with_context(|ctx| step.state.handle(ctx, &reply.wire, verifier)).unwrap();
    let FormOrReferral::Form(form) = received else {
        panic!("a referral")
    };
    let step = with_context(|ctx| form.submit(ctx, good_answers(), &wallet_key())).unwrap();
    let session = reply.session.unwrap();
    let verdict = ca.cert(cca(), &step.wire, &session).unwrap();
    let wire = approve(cca(), verdict).wire;
    let outcome = with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap();
    let Outcome::Registered(registered) = outcome else {
        panic!("{outcome:?}")
    };
    *registered
}

/// How many certificates stand in a signed answer's header and in this chain inside it.
fn certificates(jws: &Jws, chain: &str) -> (usize, usize) {
    let object = jws::Unverified::parse(&jws.0).unwrap();
    let payload: Value = serde_json::from_slice(object.danger_unverified_payload()).unwrap();
    let carried = payload["data"][chain].as_array().unwrap().len();
    (object.header().x5c.len(), carried)
}

fn of_card_c_init_res(wire: &[u8]) -> (usize, usize) {
    let Message::CardCInitRes(jws) = MessageWrapper::decode(wire).unwrap().message else {
        unreachable!("CardCInitReq is answered with CardCInitRes")
    };
    certificates(&jws, "ca_key_exchange")
}

#[test]
fn a_wallet_gets_the_cas_that_it_does_not_name_and_puts_back_those_that_it_does() {
    let named = start(Some(thumbs()));
    let named = Ca::default().card_c_init(&named.wire).unwrap().wire;
    let unnamed = start(None);
    let unnamed = Ca::default().card_c_init(&unnamed.wire).unwrap().wire;
    assert_eq!(of_card_c_init_res(&named), (1, 1));
    assert_eq!(of_card_c_init_res(&unnamed), (3, 3));
    assert!(named.len() < unnamed.len());
    let registered = register(&Ca::default(), &pki().fresh_verifier());
    let issuer = cca().authority.chain_of(registered.chain.leaf());
    assert_eq!(registered.chain, issuer, "with every CA above it");
}

#[test]
fn a_merchant_gets_no_ca_that_it_names_and_has_whole_chains_in_the_end() {
    let (verifier, mca) = (pki().fresh_verifier(), &pki().brand(BRAND).mca);
    let (signs, opens) = (keys::key("party/sign"), keys::key("party/open"));
    let step = start_shop(Some(thumbs()));
    let form = form::merchant("Sell honestly.");
    let reply = Ca::default().me_aq_c_init(mca, &step.wire, &form).unwrap();
    let Message::MeAqCInitRes(jws) = MessageWrapper::decode(&reply.wire).unwrap().message else {
        unreachable!("Me-AqCInitReq is answered with Me-AqCInitRes")
    };
    assert_eq!(certificates(&jws, "ca_key_exchange"), (1, 1));
    let received = with_context(|ctx| step.state.handle(ctx, &reply.wire, &verifier, &opens));
    let enrolment::FormOrReferral::Form(form) = received.unwrap() else {
        panic!("a referral")
    };
    let answers = vec![answer(ACTIVATION_CODE, "8765-4321")];
    let step = with_context(|ctx| form.submit(ctx, answers, &signs, opens.public_key())).unwrap();
    let verdict = Ca::default().cert(mca, &step.wire, &reply.session).unwrap();
    let wire = approve(mca, verdict).wire;
    let Message::CertRes(CertRes::Signed(jws)) = MessageWrapper::decode(&wire).unwrap().message
    else {
        unreachable!("a merchant's CertRes is signed")
    };
    assert_eq!(certificates(&jws, "signature"), (1, 1));
    assert_eq!(certificates(&jws, "key_exchange"), (1, 1));
    let outcome = with_context(|ctx| step.state.handle(ctx, &wire, &verifier)).unwrap();
    let enrolment::Outcome::Enrolled(enrolled) = outcome else {
        panic!("{outcome:?}")
    };
    let (signature, key_exchange) = enrolled.both().unwrap();
    assert_eq!(signature, mca.authority.chain_of(signature.leaf()));
    assert_eq!(key_exchange, mca.authority.chain_of(key_exchange.leaf()));
}

#[test]
fn a_newcomer_that_knows_the_root_alone_gets_whole_chains_and_the_lists_to_judge_them_by() {
    let root = pki().root.certificate().der();
    let anchor = TrustAnchor::pinned(root, &sha256(root)).unwrap();
    let newcomer = PathVerifier::new(anchor, default_provider());
    let brand = card().brand_id;
    let nothing = Thumbs::of(&newcomer, &brand);
    assert_eq!(nothing, Thumbs::default());
    let step = start(Some(nothing));
    let wire = Ca::default().card_c_init(&step.wire).unwrap().wire;
    assert_eq!(of_card_c_init_res(&wire), (3, 3));
    with_context(|ctx| step.state.handle(ctx, &wire, &newcomer)).unwrap();
    assert_eq!(newcomer.authorities_held(&brand).len(), 2, "those above it");
    assert!(newcomer.brand_crl_identifier_held(&brand).is_some());
}

#[test]
fn newer_revocations_come_with_a_registration_and_take_effect() {
    let (older, newer) = (pki().fresh_verifier(), pki().fresh_verifier());
    let (now, brand) = (pki().now.seconds(), pki().brand(BRAND));
    let fraud = pki().merchant(BRAND, "fraud");
    let expect = Expect {
        role: Role::Merchant,
        purpose: Purpose::Signature,
        brand: None,
    };
    let judged = |by: &PathVerifier| by.verify(fraud.signature.chain(), &expect, now);
    assert!(judged(&older).is_ok());

    // What the CA has published since the wallet last asked it.
    let mca = &brand.mca.authority;
    let crl = pki().crl(mca, 7, &[fraud.signature.certificate()]);
    let chain = mca.chain().unwrap();
    newer
        .install_crl(crl, CrlIssuer::Chain(&chain), now)
        .unwrap();
    let bci = pki().brand_crl_identifier(BRAND, 9, 1);
    let bca = brand.bca.chain().unwrap();
    newer.install_brand_crl_identifier(bci, &bca, now).unwrap();
    let ca = Ca {
        state: RevocationState::of(&newer, &brand.id),
        ..Ca::default()
    };
    register(&ca, &older);

    let held = older.brand_crl_identifier_held(&brand.id).unwrap();
    assert_eq!(held.sequence(), 9);
    let refused = judged(&older).unwrap_err();
    assert_eq!(refused, PathError::Revoked(Role::Merchant));
}

/// A request in clear, with other thumbs or none.
fn altered(wire: &[u8], thumbs: Option<Thumbs>) -> Vec<u8> {
    let mut wrapper = MessageWrapper::decode(wire).unwrap();
    match &mut wrapper.message {
        Message::CardCInitReq(request) => request.thumbs = thumbs,
        Message::MeAqCInitReq(request) => request.thumbs = thumbs,
        other => panic!("{} is not in clear", other.name()),
    }
    wrapper.encode()
}

#[test]
fn thumbs_that_were_altered_on_the_way_to_the_ca_are_refused_as_thumbs_mismatch() {
    let mut fewer = thumbs();
    fewer.certs.pop();
    let opens = keys::key("party/open");
    let mut refusals = Vec::new();
    for other in [None, Some(fewer), Some(Thumbs::default())] {
        let step = start(Some(thumbs()));
        let wire = altered(&step.wire, other.clone());
        let answer = Ca::default().card_c_init(&wire).unwrap().wire;
        let handled = with_context(|ctx| step.state.handle(ctx, &answer, pki().verifier()));
        refusals.push(handled.err().unwrap());

        let step = start_shop(Some(thumbs()));
        let wire = altered(&step.wire, other);
        let (mca, form) = (&pki().brand(BRAND).mca, form::merchant("Sell honestly."));
        let answer = Ca::default().me_aq_c_init(mca, &wire, &form).unwrap().wire;
        let handled = with_context(|ctx| {
            let state = step.state;
            state.handle(ctx, &answer, pki().verifier(), &opens)
        });
        refusals.push(handled.err().unwrap());
    }
    assert_eq!(refusals, vec![Rejection::ThumbsMismatch; 6]);
    assert_eq!(refusals[0].code(), ErrorCode::ThumbsMismatch);
}
