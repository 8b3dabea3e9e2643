//! Thumbs: what a sender names is left out, what it lacks is brought, and what it named is repeated.

use crate::run::{Run, genuine, order_of_wallet};
use crate::world::{BRAND, World, world};
use openset_jose::jws;
use openset_pki::{CrlIssuer, Expect, PathError, Purpose, Role};
use openset_protocol::cardholder::purchase::{self, AwaitingPInitRes, Step};
use openset_protocol::merchant::p_init;
use openset_protocol::thumbs::{RevocationState, Thumbs};
use openset_protocol::wrapper::{Message, MessageWrapper};
use openset_protocol::{ErrorCode, Rejection};

fn run() -> Run<'static> {
    Run {
        world: world(),
        verifier: world().pki.verifier(),
    }
}

/// PInitReq with these thumbs.
fn start(w: &World, thumbs: Option<Thumbs>) -> Step<AwaitingPInitRes> {
    let mut order = order_of_wallet("order-2");
    order.thumbs = thumbs;
    w.with(|ctx| purchase::start(ctx, &w.card(), order))
        .unwrap()
}

/// PInitRes to a request whose thumbs were changed on the way, by a merchant that holds `state`.
fn answer(
    w: &World,
    wire: &[u8],
    thumbs: impl FnOnce(&mut Option<Thumbs>),
    state: &RevocationState,
) -> Vec<u8> {
    let wrapper = MessageWrapper::decode(wire).unwrap();
    let gateway = w.gateway.key_exchange.chain();
    let answered = w.with(|ctx| {
        let mut request = p_init::open(ctx, &wrapper).unwrap().clone();
        thumbs(&mut request.thumbs);
        p_init::answer(ctx, wire, &request, &w.shop, gateway, state)
    });
    answered.unwrap().1
}

/// How many certificates the header of a PInitRes carries.
fn certificates(wire: &[u8]) -> usize {
    let wrapper = MessageWrapper::decode(wire).unwrap();
    let Message::PInitRes(jws) = &wrapper.message else {
        unreachable!("PInitReq is answered with PInitRes")
    };
    jws::Unverified::parse(&jws.0).unwrap().header().x5c.len()
}

#[test]
fn a_wallet_that_names_nothing_gets_whole_chains() {
    let w = world();
    let start = start(w, None);
    let whole = answer(w, &start.wire, |_| (), &w.state());
    assert_eq!(certificates(&whole), 4);
    let genuine = &genuine().p_init_res;
    assert_eq!(certificates(genuine), 1, "the wallet holds the CAs");
    assert!(genuine.len() < whole.len());
    let step = w.with(|ctx| {
        start
            .state
            .handle(ctx, &w.card(), &whole, run().verifier, None)
    });
    assert!(step.is_ok());
}

#[test]
fn a_wallet_with_outdated_revocations_learns_the_newest_from_the_merchant() {
    let w = world();
    let (older, newer) = (w.pki.fresh_verifier(), w.pki.fresh_verifier());
    let now = w.now.seconds();
    // What the merchant learned meanwhile.
    let brand = w.pki.brand(BRAND);
    let crl = w.pki.crl(
        &brand.pca.authority,
        7,
        &[w.gateway.signature.certificate()],
    );
    let (pca, bca) = (
        brand.pca.authority.chain().unwrap(),
        brand.bca.chain().unwrap(),
    );
    newer.install_crl(crl, CrlIssuer::Chain(&pca), now).unwrap();
    let bci = w.pki.brand_crl_identifier(BRAND, 9, 1);
    newer.install_brand_crl_identifier(bci, &bca, now).unwrap();

    let start = start(w, Some(Thumbs::of(&older, &brand.id)));
    let state = RevocationState::of(&newer, &brand.id);
    let wire = answer(w, &start.wire, |_| (), &state);
    w.with(|ctx| start.state.handle(ctx, &w.card(), &wire, &older, None))
        .unwrap();

    let held = older.brand_crl_identifier_held(&brand.id).unwrap();
    assert_eq!(held.sequence(), 9);
    let expect = Expect {
        role: Role::Gateway,
        purpose: Purpose::Signature,
        brand: None,
    };
    let judged = older.verify(w.gateway.signature.chain(), &expect, now);
    assert_eq!(judged.unwrap_err(), PathError::Revoked(Role::Gateway));
}

#[test]
fn an_answer_that_repeats_other_thumbs_is_refused_as_thumbs_mismatch() {
    let w = world();
    let start = start(w, Some(w.thumbs()));
    for thumbs in [None, Some(w.m_thumbs())] {
        let wire = answer(w, &start.wire, |named| *named = thumbs, &w.state());
        let refused = w.with(|ctx| {
            let state = start.state.clone();
            state.handle(ctx, &w.card(), &wire, run().verifier, None)
        });
        let rejection = refused.err().unwrap();
        assert_eq!(rejection, Rejection::ThumbsMismatch);
        assert_eq!(rejection.code(), ErrorCode::ThumbsMismatch);
    }
}
